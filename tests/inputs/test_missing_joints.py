"""Tests of vpn_jax/inputs/missing_joints.py, by hand, and in both kinds of arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import missing_joints

# A spine of three joints with an arm of two at its top; the first one is the root.
BODY = skeletons.Skeleton(
  name="spine",
  joints=("root", "middle", "top", "elbow", "hand"),
  bones=(("root", "middle"), ("middle", "top"), ("top", "elbow"), ("elbow", "hand")),
  origin=("root",),
)
NAN = np.nan


def of_one(rows):
  """One coordinate of the five joints, [F, 1, 5, 1]."""
  return np.array(rows, np.float32)[:, None, :, None]


def test_over_time_the_nearest_frame_counts_and_of_two_the_earlier():
  joints = of_one(
    [
      [0, 1, 2, 3, NAN],
      [0, 1, 2, 3, 40],
      [0, 1, 2, 3, NAN],  # as far from both
      [0, 1, 2, 3, 43],
      [0, 1, 2, 3, NAN],
      [0, 1, 2, 3, NAN],
    ]
  )
  got = missing_joints.fill(joints, BODY)[:, 0, :, 0]
  assert got[:, 4].tolist() == [40, 40, 40, 43, 43, 43]
  np.testing.assert_array_equal(got[:, :4], joints[:, 0, :4, 0])


def test_a_joint_that_is_never_seen_is_where_the_next_one_is():
  got = missing_joints.fill(of_one([[0, 1, NAN, NAN, NAN], [0, 2, NAN, NAN, 9]]), BODY)
  # The top is next to the middle joint, the elbow next to the hand.
  assert got[:, 0, :, 0].tolist() == [[0, 1, 1, 9, 9], [0, 2, 2, 9, 9]]
  got = missing_joints.fill(of_one([[NAN, NAN, NAN, NAN, 9]]), BODY)
  assert got[0, 0, :, 0].tolist() == [9] * 5  # up the whole tree


def test_without_its_parent_a_joint_is_in_the_middle_of_its_children():
  between = missing_joints.fill(of_one([[0, 1, NAN, 5, 6]]), BODY)
  assert between[0, 0, 2, 0] == 1  # its parent first
  fork = skeletons.Skeleton(
    name="fork", joints=("root", "a", "b"), bones=(("root", "a"), ("root", "b")),
    origin=("root",),
  )  # fmt: skip
  got = missing_joints.fill(of_one([[NAN, 2, 4]]), fork)
  assert got[0, 0, :, 0].tolist() == [3, 2, 4]


def test_whoever_is_never_seen_stays_so_and_the_rest_as_it_is():
  rng = np.random.default_rng(0)
  joints = rng.normal(size=(7, 2, 5, 3)).astype(np.float32)
  assert missing_joints.fill(joints, BODY) is joints
  lost = joints.copy()
  lost[:, 1] = NAN
  got = missing_joints.fill(lost, BODY)
  np.testing.assert_array_equal(got[:, 0], joints[:, 0])
  assert np.isnan(got[:, 1]).all()


@pytest.mark.parametrize("name", ["kinect_v2", "coco_17", "smpl_24"])
def test_both_kinds_of_arrays_and_leading_axes(name):
  body, rng = skeletons.get(name), np.random.default_rng(1)
  joints = rng.normal(size=(3, 9, 2, body.num_joints, 3)).astype(np.float32)
  joints[rng.random(joints.shape[:-1]) < 0.5] = NAN
  joints[0, :, 0, ::2] = NAN  # never seen
  joints[1, :, 1] = NAN
  expected = np.stack([missing_joints.fill(clip, body) for clip in joints])
  traced = jax.jit(lambda x: missing_joints.fill(x, body))(jnp.asarray(joints))
  np.testing.assert_allclose(traced, expected, atol=1e-6)
  np.testing.assert_allclose(missing_joints.fill(joints, body), expected, atol=1e-6)
  seen = np.isfinite(joints)
  np.testing.assert_array_equal(expected[seen], joints[seen])
  assert np.isfinite(expected[[0, 2]]).all()
