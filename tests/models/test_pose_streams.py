"""Streams and sizes of poses: values by hand, and what must not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.models import pose_backbone, pose_streams

PARENTS = np.array([0, 0, 1])  # a chain of three joints


@pytest.fixture
def pose():
  """Two steps of three joints, [1, 2, 3, 3]."""
  first = [[1.0, 0, 0], [1, 2, 0], [1, 2, 3]]
  second = [[2.0, 0, 0], [2, 2, 1], [4, 2, 3]]
  return jnp.array([[first, second]])


@pytest.mark.parametrize(
  ("which", "expected"),
  [
    ("joint", [[[1, 0, 0], [1, 2, 0], [1, 2, 3]], [[2, 0, 0], [2, 2, 1], [4, 2, 3]]]),
    ("bone", [[[0, 0, 0], [0, 2, 0], [0, 0, 3]], [[0, 0, 0], [0, 2, 1], [2, 0, 2]]]),
    ("joint_motion", [[[1, 0, 0], [1, 0, 1], [3, 0, 0]], [[0, 0, 0]] * 3]),
    ("bone_motion", [[[0, 0, 0], [0, 0, 1], [2, 0, -1]], [[0, 0, 0]] * 3]),
  ],
)
def test_by_hand(pose, which, expected):
  np.testing.assert_array_equal(
    pose_streams.stream(pose, PARENTS, which)[0], np.float32(expected)
  )
  two = jnp.concatenate([pose, pose], axis=2)
  got = pose_streams.stream(two, PARENTS, which)
  np.testing.assert_array_equal(got[:, :, 3:], got[:, :, :3])


def test_somebody_who_disappears_does_not_jump(pose):
  gone = jnp.concatenate([pose, jnp.zeros((1, 1, 3, 3))], axis=1)
  for which in pose_streams.STREAMS[1:]:
    got = pose_streams.stream(gone, PARENTS, which)
    np.testing.assert_array_equal(got[0, 2], 0.0)
    if which.endswith("motion"):
      np.testing.assert_array_equal(got[0, 1], 0.0)


def test_joints_in_the_image_keep_their_scores():
  pose = jnp.array(
    [
      [
        [[0.0, 0, 0.9], [0.5, 1, 0.8], [0, 0, 0]],
        [[0.1, 0, 0.7], [0.5, 2, 1], [3, 4, 1]],
      ]
    ]
  )
  apply = lambda which: pose_streams.stream(pose, PARENTS, which, "image")  # noqa: E731
  bone, motion, moving = map(apply, ("bone", "joint_motion", "bone_motion"))
  # The third joint is not seen at the first step: no bone there, and no motion.
  np.testing.assert_allclose(bone[0, 0], [[0, 0, 0.9], [0.5, 1, 0.8], [0, 0, 0]])
  np.testing.assert_allclose(
    bone[0, 1], [[0, 0, 0.7], [0.4, 2, 1], [2.5, 2, 1]], atol=1e-6
  )
  np.testing.assert_allclose(
    motion[0, 0], [[0.1, 0, 0.9], [0, 1, 0.8], [0, 0, 0]], atol=1e-6
  )
  np.testing.assert_allclose(motion[0, 1, :, 2], [0.7, 1, 1])
  np.testing.assert_allclose(moving[0, 0, 1], [-0.1, 1, 0.8], atol=1e-6)


def test_parents_of_a_tree_and_of_parts_without_a_bone_to_it():
  kinect = skeletons.get("kinect_v2")
  parents = kinect.parents()
  name = lambda joint: kinect.joints[parents[kinect.index(joint)]]  # noqa: E731
  assert name("spine_mid") == "spine_mid"
  assert name("head") == "neck"
  assert name("left_hand_tip") == "left_hand"
  assert name("spine_base") == "spine_mid"
  assert name("right_hip") == "spine_base"
  face = skeletons.get("mediapipe_33")
  parents, hops = face.parents(), face.hops()
  hang = {face.joints[j]: face.joints[p] for j, p in enumerate(parents)}
  assert hang["left_hip"] == hang["right_hip"] == "left_hip"  # the origin's first joint
  assert hang["nose"] == hang["mouth_left"] == "left_hip"  # no bone leads there
  assert hang["left_ear"] == "left_eye_outer"
  assert hops[[face.index(j) for j in ("left_hip", "nose", "left_ear")]].tolist() == [
    0, 1, 5,
  ]  # fmt: skip
  for skeleton in skeletons.SKELETONS.values():
    parents = skeleton.parents()
    for _ in range(skeleton.num_joints):
      parents = parents[parents]
    assert set(parents) == {skeleton.origin_indices()[0]}  # all lead to one root


def test_a_torso_of_half_a_metre():
  """Hips at 0 and shoulders 0.5 above; one step is twice as tall, one is empty."""
  pose = np.zeros((1, 4, 5, 3), np.float32)
  pose[0, :, 0], pose[0, :, 1] = (-0.1, 0, 2), (0.1, 0, 2)
  pose[0, :, 2], pose[0, :, 3] = (-0.2, 0.5, 2), (0.2, 0.5, 2)
  pose[0, :, 4] = (0, 0.9, 2)
  pose[0, 1, 2:4, 1] = 1.0
  pose[0, 3] = 0.0
  got = pose_streams.scale_by_torso(jnp.asarray(pose), (0, 1), (2, 3))
  np.testing.assert_allclose(got, pose / 0.5, rtol=1e-6)
  scores = pose_streams.scale_by_torso(jnp.asarray(pose), (0, 1), (2, 3), "image")
  np.testing.assert_allclose(scores[..., :2], pose[..., :2] / 0.5, rtol=1e-6)
  np.testing.assert_array_equal(scores[..., 2], pose[..., 2])
  nobody = jnp.zeros((1, 4, 5, 3))
  np.testing.assert_array_equal(
    pose_streams.scale_by_torso(nobody, (0, 1), (2, 3)), nobody
  )


def test_a_torso_without_one_of_its_joints_is_not_measured():
  pose = np.zeros((1, 3, 5, 3), np.float32)
  pose[0, :, 0], pose[0, :, 1] = (-0.1, 0, 2), (0.1, 0, 2)
  pose[0, :, 2], pose[0, :, 3] = (-0.2, 0.5, 2), (0.2, 0.5, 2)
  for joint in range(4):
    lost = pose.copy()
    lost[0, :2, joint] = 0.0  # in two of three steps
    got = pose_streams.scale_by_torso(jnp.asarray(lost), (0, 1), (2, 3))
    np.testing.assert_allclose(got, lost / 0.5, rtol=1e-6)
    lost[0, 2, joint] = 0.0
    got = pose_streams.scale_by_torso(jnp.asarray(lost), (0, 1), (2, 3))
    np.testing.assert_array_equal(got, lost)


@pytest.mark.parametrize("stream", pose_streams.STREAMS)
def test_camera_and_size_do_not_matter_to_the_network(stream):
  fields = {"align": "upright", "scale": "torso", "stream": stream, "kind": "stgcn"}
  branch = pose_backbone.PoseBranch(
    **fields, blocks=1, block_features=8, input_norm="none"
  )
  pose = np.random.default_rng(1).normal(size=(2, 6, 25, 3)).astype(np.float32)
  pose[:, 0, [4, 8, 20], 1] += 3.0  # the trunk of the first step points up
  a, b = 0.4, 1.1
  tilt = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
  pan = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
  turned = 1.7 * pose @ np.float32(tilt) @ np.float32(pan)
  apply = jax.jit(lambda p: branch._normalized(p, skeletons.get("kinect_v2")))
  seen = [apply(p) for p in (pose, turned)]
  np.testing.assert_allclose(*seen, atol=1e-5)
  assert np.std(seen[0]) > 0.1


def test_messages():
  pose = jnp.zeros((1, 4, 25, 3))

  def init(**fields):
    jax.eval_shape(pose_backbone.PoseBranch(**fields).init, jax.random.key(0), pose)

  with pytest.raises(ValueError, match=r"pose\.stream is 'limb', expected one of \('j"):
    init(stream="limb")
  with pytest.raises(ValueError, match=r"pose\.scale is 'body', expected one of \('no"):
    init(scale="body")
  with pytest.raises(ValueError, match=r"pose\.coordinates is 'pixel', expected one"):
    init(coordinates="pixel")
  with pytest.raises(
    ValueError, match="align is 'view', expected 'none' for joints in"
  ):
    init(coordinates="image", align="view")
