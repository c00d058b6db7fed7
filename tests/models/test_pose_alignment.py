"""Poses turned to face the camera: values by hand, and what must not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.models import pose_backbone
from vpn_jax.models.pose_alignment import align_pose

LEFT, RIGHT, HEAD = 0, 1, 2


def turned(pose, angle):
  """Poses [..., 3] turned about the vertical by an angle in radians."""
  c, s = np.cos(angle), np.sin(angle)
  return (pose @ np.float32([[c, 0, s], [0, 1, 0], [-s, 0, c]])).astype(np.float32)


@pytest.fixture
def pose():
  """Two clips [2, 5, 3, 3] whose hips lie in the image plane at the first step."""
  rng = np.random.default_rng(0)
  pose = rng.normal(size=(2, 5, 3, 3)).astype(np.float32)
  pose[:, 0, LEFT], pose[:, 0, RIGHT] = (0.2, -0.1, 0.3), (-0.2, 0.1, 0.3)
  return pose


def test_a_hip_line_of_3_4_5_is_turned_into_the_image_plane():
  """Left minus right is (0.3, 0, 0.4): x becomes 0.5 and z becomes 0."""
  pose = jnp.zeros((1, 1, 3, 3)).at[0, 0, LEFT].set(jnp.array([0.3, 0.1, 0.4]))
  pose = pose.at[0, 0, RIGHT].set(jnp.array([0.0, 0.1, 0.0]))
  pose = pose.at[0, 0, HEAD].set(jnp.array([0.0, 2.0, 1.0]))
  got = align_pose(pose, LEFT, RIGHT, "view")
  np.testing.assert_allclose(got[0, 0, LEFT], (0.5, 0.1, 0.0), atol=1e-6)
  # x = cos 0 + sin 1 = 0.8, z = cos 1 - sin 0 = 0.6
  np.testing.assert_allclose(got[0, 0, HEAD], (0.8, 2.0, 0.6), atol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0, np.pi])
def test_the_camera_does_not_matter(pose, angle):
  for how in ("view", "body"):
    first, second = (
      align_pose(jnp.asarray(p), LEFT, RIGHT, how) for p in (pose, turned(pose, angle))
    )
    np.testing.assert_allclose(first, second, atol=1e-5)
  np.testing.assert_allclose(align_pose(pose, LEFT, RIGHT, "view"), pose, atol=1e-6)


def test_bones_keep_their_lengths_and_heights(pose):
  for how in ("view", "body"):
    got = np.asarray(align_pose(jnp.asarray(turned(pose, 1.0)), LEFT, RIGHT, how))
    for a, b in ((LEFT, RIGHT), (LEFT, HEAD)):
      lengths = [np.linalg.norm(p[:, :, a] - p[:, :, b], axis=-1) for p in (pose, got)]
      np.testing.assert_allclose(*lengths, atol=1e-5)
    np.testing.assert_allclose(got[..., 1], pose[..., 1], atol=1e-6)


def test_view_turns_all_steps_alike_and_body_each(pose):
  view, body = (align_pose(jnp.asarray(pose), LEFT, RIGHT, h) for h in ("view", "body"))
  assert np.abs(view[:, 1:, LEFT, 2] - view[:, 1:, RIGHT, 2]).min() > 1e-3
  line = np.asarray(body[:, :, LEFT] - body[:, :, RIGHT])
  np.testing.assert_allclose(line[..., 2], 0.0, atol=1e-6)
  assert (line[..., 0] > 0).all()


def test_by_the_mean_hip_line():
  """Lines of (3, 0) and (1, 2) in x and z, mean (2, 1): x is the length, root of 5."""
  pose = np.zeros((1, 3, 3, 3), np.float32)
  pose[0, :, RIGHT] = (1, 0, 1)
  pose[0, 0, LEFT], pose[0, 1, LEFT] = (4, 0, 1), (2, 0, 3)
  pose[0, 2, LEFT] = 0.0  # not seen, and not counted
  got = np.asarray(align_pose(jnp.asarray(pose), LEFT, RIGHT, "view", by="mean"))
  line = got[0, :2, LEFT] - got[0, :2, RIGHT]
  np.testing.assert_allclose(line.mean(axis=0), (np.sqrt(5), 0, 0), atol=1e-6)
  np.testing.assert_allclose(line[0], (6 / np.sqrt(5), 0, -3 / np.sqrt(5)), atol=1e-6)
  # Lines that cancel have no direction: that of the first step counts.
  pose[0, 1, LEFT] = (-2, 0, 1)
  first = align_pose(jnp.asarray(pose), LEFT, RIGHT, "view")
  mean = align_pose(jnp.asarray(pose), LEFT, RIGHT, "view", by="mean")
  np.testing.assert_allclose(mean, first, atol=1e-6)
  with pytest.raises(ValueError, match="align_by is 'all', expected one of"):
    align_pose(jnp.asarray(pose), LEFT, RIGHT, "view", by="all")


@pytest.mark.parametrize("angle", [0.7, -2.0])
def test_the_camera_does_not_matter_by_the_mean(pose, angle):
  aligned = [
    align_pose(jnp.asarray(p), LEFT, RIGHT, "view", by="mean")
    for p in (pose, turned(pose, angle))
  ]
  np.testing.assert_allclose(*aligned, atol=1e-5)


def test_steps_without_hips_follow_those_with(pose):
  lost = pose.copy()
  lost[0, 0] = 0.0  # nobody at the first step: the angle is that of the second
  lost[1] = 0.0  # nobody at all
  for how in ("view", "body"):
    got = np.asarray(align_pose(jnp.asarray(lost), LEFT, RIGHT, how))
    assert np.isfinite(got).all()
    line = got[0, 1, LEFT] - got[0, 1, RIGHT]
    np.testing.assert_allclose(line[2], 0.0, atol=1e-6)
    np.testing.assert_array_equal(got[1], 0.0)
  lost = pose.copy()
  lost[0, 3, [LEFT, RIGHT]] = 0.0
  got = np.asarray(align_pose(jnp.asarray(lost), LEFT, RIGHT, "body"))
  ratio = np.hypot(got[0, 3, HEAD, 0], got[0, 3, HEAD, 2])
  np.testing.assert_allclose(ratio, np.hypot(*pose[0, 3, HEAD, ::2]), atol=1e-5)
  expected = np.asarray(
    align_pose(jnp.asarray(pose[:, 2:3]), LEFT, RIGHT, "body")
  )  # angle of step 2
  x, z = pose[0, 2, HEAD, ::2]
  angle = np.arctan2(*expected[0, 0, HEAD, ::-2]) - np.arctan2(z, x)
  np.testing.assert_allclose(
    got[0, 3, HEAD], turned(lost[0, 3, HEAD], angle), atol=1e-5
  )


def test_a_step_that_shows_one_hip_has_no_direction(pose):
  expected = np.asarray(align_pose(jnp.asarray(pose[:, 1:]), LEFT, RIGHT, "view"))
  for hip in (LEFT, RIGHT):
    lost = pose.copy()
    lost[:, 0, hip] = 0.0  # far from the other hip, as the origin is
    for how in ("view", "body"):
      got = np.asarray(align_pose(jnp.asarray(lost), LEFT, RIGHT, how))
      line = got[:, 1, LEFT] - got[:, 1, RIGHT]
      np.testing.assert_allclose(line[:, 2], 0.0, atol=1e-6)
    got = np.asarray(align_pose(jnp.asarray(lost), LEFT, RIGHT, "view"))
    np.testing.assert_allclose(got[:, 1:], expected, atol=1e-6)


def test_upright_by_hand():
  """Left minus right is (1, 0, 0) and the trunk (0, 3, 4), which becomes (0, 5, 0)."""
  shoulders = (3, 4)
  pose = np.zeros((1, 2, 5, 3), np.float32)
  pose[0, :, LEFT], pose[0, :, RIGHT] = (0.5, 0, 0), (-0.5, 0, 0)
  pose[0, :, 3], pose[0, :, 4] = (0.7, 3, 4), (-0.7, 3, 4)
  pose[0, :, HEAD] = (0, 4, -3)  # at a right angle to both
  got = align_pose(jnp.asarray(pose), LEFT, RIGHT, "upright", shoulders)
  np.testing.assert_allclose(got[0, 0, 3], (0.7, 5, 0), atol=1e-6)
  np.testing.assert_allclose(got[0, 0, LEFT], (0.5, 0, 0), atol=1e-6)
  np.testing.assert_allclose(got[0, 0, HEAD], (0, 0, -5), atol=1e-6)
  # Where y points down, a trunk does so as well.
  down = pose * np.float32([1, -1, -1])
  got = align_pose(jnp.asarray(down), LEFT, RIGHT, "upright", shoulders)
  np.testing.assert_allclose(got[0, 0, 3], (0.7, -5, 0), atol=1e-6)
  # The first step that shows all four counts; without one nothing turns.
  lost = pose.copy()
  lost[0, 0, 3] = 0.0
  got = align_pose(jnp.asarray(lost), LEFT, RIGHT, "upright", shoulders)
  np.testing.assert_allclose(got[0, 1, 3], (0.7, 5, 0), atol=1e-6)
  lost[0, 1, 3] = 0.0
  got = align_pose(jnp.asarray(lost), LEFT, RIGHT, "upright", shoulders)
  np.testing.assert_allclose(got, lost, atol=1e-6)


def test_the_network_does_not_see_the_camera():
  branch = pose_backbone.PoseBranch(skeleton="kinect_v2", align="view")
  rng = np.random.default_rng(1)
  pose = rng.normal(size=(2, 8, 25, 3)).astype(np.float32)
  variables = branch.init(jax.random.key(0), pose)
  plain = pose_backbone.PoseBranch(skeleton="kinect_v2")
  apply = {b: jax.jit(b.apply) for b in (branch, plain)}
  outs = {
    b: [apply[b](variables, p)[0] for p in (pose, turned(pose, 0.8))] for b in apply
  }
  np.testing.assert_allclose(*outs[branch], atol=1e-4)
  assert np.abs(outs[plain][0] - outs[plain][1]).max() > 1e-2


def test_auto_turns_joints_in_the_world_and_leaves_those_in_the_image():
  pose = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4, 25, 3)), jnp.float32)

  def seen(**fields):
    branch = pose_backbone.PoseBranch(**fields)
    return branch._normalized(pose, skeletons.get("kinect_v2"))

  np.testing.assert_array_equal(seen(align="auto"), seen(align="view"))
  assert np.abs(seen(align="auto") - pose).max() > 0.1
  np.testing.assert_array_equal(seen(align="auto", coordinates="image"), pose)


def test_messages():
  with pytest.raises(ValueError, match=r"got shoulders \(\), expected a left and a ri"):
    align_pose(jnp.zeros((1, 1, 3, 3)), LEFT, RIGHT, "upright")
  with pytest.raises(ValueError, match=r"'front', expected one of \('none', 'auto', "):
    align_pose(jnp.zeros((1, 1, 3, 3)), LEFT, RIGHT, "front")
  for name in skeletons.SKELETONS:
    left, right = skeletons.get(name).hips()
    assert left != right
