"""People who stay the same from frame to frame."""

import numpy as np
import pytest

from vpn_jax.datasets import joint_files, prepared, skeletons, tracking
from vpn_jax.datasets.pose_files import people

BODY = skeletons.get("coco_17")


def two(frames=8):
  """A small person at 100 who walks and a large one at 400, [F, 2, 17, 2]."""
  rng = np.random.default_rng(0)
  shape = rng.uniform(0, 1, (17, 2))
  joints = np.empty((frames, 2, 17, 2), np.float32)
  joints[:, 0] = 100 + 60 * shape + 5 * np.arange(frames)[:, None, None]
  joints[:, 1] = 400 + 90 * shape
  return joints


def swapped(joints, frames):
  made = joints.copy()
  made[frames] = made[frames][:, ::-1]
  return made


@pytest.mark.parametrize("frames", [[1, 3, 5, 7], [4, 5, 6, 7], [2, 3, 6]])
def test_people_who_swap_are_put_in_order(frames):
  joints = two()
  file = swapped(joints, frames)
  order = tracking.in_order(file)
  np.testing.assert_array_equal(tracking.take(file, order), joints)
  assert [f for f in range(8) if order[f, 0] == 1] == frames


def test_who_is_alone_stays_in_their_row():
  """A file that lists whom it found, without gaps: the second is then first."""
  joints = two()
  joints[3:6, 0] = np.nan  # the small one is lost
  file = swapped(joints, [3, 4, 5])
  made = tracking.take(file, tracking.in_order(file))
  np.testing.assert_array_equal(made, joints)


def test_an_order_that_may_be_right_stays():
  rng = np.random.default_rng(1)
  same = np.tile(np.arange(2), (20, 1))
  crowd = rng.uniform(0, 100, (20, 2, 17, 2))  # jumps in any order
  np.testing.assert_array_equal(tracking.in_order(crowd), same)
  hug = rng.uniform(0, 100, (1, 1, 17, 2)) + rng.normal(0, 3, (20, 2, 17, 2))
  np.testing.assert_array_equal(tracking.in_order(hug), same)
  assert tracking.in_order(two()[:, :1]).tolist() == [[0]] * 8
  assert tracking.in_order(np.full((4, 2, 17, 2), np.nan)).tolist() == [[0, 1]] * 4


def test_all_files_of_several_people_are_put_in_order():
  joints = two()
  file = swapped(joints, [1, 3, 5, 7])
  scores = np.tile(np.float32([0.5, 0.9])[:, None], (8, 1, 17))
  mixed = swapped(scores, [1, 3, 5, 7])
  opened = prepared.raw_clip(file, mixed, "x")
  np.testing.assert_array_equal(opened.image_joints, joints)
  np.testing.assert_array_equal(opened.visibility, scores)
  scored = np.concatenate([file, mixed[..., None]], axis=-1)
  _, image, found = joint_files.pair(
    None, scored, BODY, ("w", "i"), units="pixel", size=None
  )
  np.testing.assert_array_equal(image, joints)
  np.testing.assert_array_equal(found, scores)
  # Numbers of people that name their order in a frame.
  frames = [[people.person(p, None, i) for i, p in enumerate(frame)] for frame in file]
  made, _ = people.arrange(frames, "x")
  np.testing.assert_array_equal(made, joints[:, ::-1])  # the larger is the main actor
  # Numbers that are right count, also where somebody leaps.
  joints[4:, 0] += 200
  frames = [
    [people.person(p, None, i) for i, p in enumerate(frame)] for frame in joints
  ]
  made, _ = people.arrange(frames, "x")
  np.testing.assert_array_equal(made, joints[:, ::-1])


def test_overlap_by_hand():
  a, b = np.float32([0, 0, 4, 4]), np.float32([2, 2, 6, 6])
  assert tracking._overlap(a, b) == pytest.approx(4 / 28)
  assert tracking._overlap(a, a) == 1
  assert tracking._overlap(a, a + 5) == 0
  assert tracking._overlap(0 * a, 0 * a) == 0
