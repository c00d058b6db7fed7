"""What was not seen, as each kind of file says it."""

import numpy as np
import pytest

from vpn_jax.datasets import (
  clip_joints,
  detections,
  joint_files,
  missing,
  prepared,
  skeletons,
)
from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.pose_files import people

BODY = skeletons.get("kinect_v2")
HAND, HEAD, SPINE = (BODY.index(j) for j in ("left_hand", "head", "spine_mid"))
NAN = float("nan")


def world(frames=4):
  """A person some metres from the camera, float32 [F, 1, 25, 3]."""
  rng = np.random.default_rng(0)
  return rng.uniform(1, 1.5, (frames, 1, 25, 3)).astype(np.float32)


@pytest.mark.parametrize("mark", [0.0, -1.0, NAN])
@pytest.mark.parametrize("channels", [2, 3])
def test_marks_of_a_joint(mark, channels):
  joints = world()[..., :channels]
  joints[1, 0, HAND] = mark
  joints[2, 0, HEAD, 0] = NAN  # one number is enough
  joints[3] = mark  # the whole person
  found = missing.seen(joints, None, BODY)
  assert np.argwhere(~found[:3])[:, [0, 2]].tolist() == [[1, HAND], [2, HEAD]]
  assert not found[3].any()
  cleared = missing.clear(joints, found)
  assert cleared.dtype == np.float32
  np.testing.assert_array_equal(np.isnan(cleared).all(axis=-1), ~found)
  np.testing.assert_array_equal(cleared[found], joints[found])


def test_scores():
  joints = world(1)
  scores = np.ones((1, 1, 25), np.float32)
  scores[0, 0, :4] = 0, -0.1, NAN, 0.01
  found = missing.seen(joints, scores, BODY)
  assert found[0, 0, :5].tolist() == [False, False, False, True, True]
  assert missing.seen(joints, np.full_like(scores, NAN), BODY).all()  # unknown


def test_the_centre_of_poses_is_not_missing():
  """Joints of files that are centred on the spine, always or in the first frame."""
  centred = world() - world()[:, :, SPINE : SPINE + 1]
  centred[3] = 0  # nobody
  found = missing.seen(centred, None, BODY)
  assert found[:3].all()
  assert not found[3].any()
  once = world() - world()[:1, :, SPINE : SPINE + 1]
  assert missing.seen(once, None, BODY).all()
  # Two joints at 0 are no centre, nor is a hand, nor a head that is lost later.
  centred[:3, 0, HEAD] = 0
  assert not missing.seen(centred, None, BODY)[:3, 0, [SPINE, HEAD]].any()
  hand = world()
  hand[:, 0, HAND] = 0
  assert not missing.seen(hand, None, BODY)[:, 0, HAND].any()
  lost = world()
  lost[2, 0, HEAD] = 0
  assert missing.seen(lost, None, BODY)[:, 0, HEAD].tolist() == [
    True,
    True,
    False,
    True,
  ]


@pytest.mark.parametrize("mark", [0.0, -1.0, NAN])
def test_all_readers_agree(mark, tmp_path):
  """npz files of world and image, prepared sets, and people of pose estimators."""
  pose = world()
  pose[1, 0, HAND] = mark
  image = 100 * world()[..., :2]
  image[1, 0, HAND] = mark
  np.savez(tmp_path / "x.npz", world=pose, image=image)
  read = clip_joints.read(tmp_path / "x.npz", BODY, units="pixel", size=(200, 200))
  expected = np.ones((4, 1, 25), bool)
  expected[1, 0, HAND] = False
  made = [
    read.world,
    read.image,
    prepared.raw_clip(pose, None, "x", BODY).pose,
    prepared.raw_clip(image, None, "x").image_joints,
    np.stack([people.person(frame[0], None).joints for frame in image])[:, None],
  ]
  for joints in made:
    np.testing.assert_array_equal(np.isfinite(joints).all(axis=-1), expected)


def test_no_visibility_is_missing_in_both_kinds_of_joints():
  with_visibility = np.concatenate([world(), np.ones((4, 1, 25, 1), "f4")], axis=-1)
  with_visibility[2, 0, HAND, 3] = 0
  image = 100 * world()[..., :2]
  pose, joints, visibility = joint_files.pair(
    with_visibility, image, BODY, ("w", "i"), units="pixel", size=None
  )
  for found in (pose, joints):
    assert np.argwhere(np.isnan(found).any(axis=-1)).tolist() == [[2, 0, HAND]]
  assert visibility[2, 0, HAND] == 0
  scored = np.concatenate([image, with_visibility[..., 3:]], axis=-1)
  _, joints, _ = joint_files.pair(
    None, scored, BODY, ("w", "i"), units="pixel", size=None
  )
  assert np.argwhere(np.isnan(joints).any(axis=-1)).tolist() == [[2, 0, HAND]]
  with_visibility[..., 3] = 0
  with pytest.raises(BadClip, match="nobody in any frame: all joints are NaN, 0 or -1"):
    joint_files.world(with_visibility, BODY, "w")


def test_fractions_that_are_called_pixels():
  with pytest.raises(BadClip, match=r"i reaches 1\.\d+ in a picture of 640x480, exp.*"):
    joint_files.image(world()[..., :2], BODY, "i", units="pixel", size=(640, 480))


def test_boxes_of_nobody():
  rows = [[0, 1, 1, 5, 9], [1, 0, 0, 0, 0], [2, -1, -1, -1, -1], [3, *[NAN] * 4]]
  made = detections.arrange(np.array(rows), 4, "boxes")
  assert np.isnan(made).all(axis=(1, 2)).tolist() == [False, True, True, True]


def test_joints_of_a_picture_of_another_size(tmp_path):
  """Of the larger original, or of pixels that are not square."""
  image = 100 * world()[..., :2]
  np.savez(tmp_path / "x.npz", image=image, size=[400, 200])
  for size, scale in (
    ((200, 100), [0.5, 0.5]),
    ((500, 200), [1.25, 1]),
    (None, [1, 1]),
  ):
    read = clip_joints.read(tmp_path / "x.npz", BODY, units="pixel", size=size)
    np.testing.assert_allclose(read.image, image * np.float32(scale), rtol=1e-6)
  np.savez(tmp_path / "y.npz", image=image / [400, 200], size=[400, 200])
  read = clip_joints.read(tmp_path / "y.npz", BODY, size=(200, 100))
  np.testing.assert_allclose(read.image, image / 2, rtol=1e-5)
  with pytest.raises(
    BadClip, match="picture of 400x200, but its video is shown as 200"
  ):
    clip_joints.read(tmp_path / "x.npz", BODY, units="pixel", size=(200, 400))
