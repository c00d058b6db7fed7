"""Poses relative to the body, in the world and in the image, and mirrored."""

import dataclasses

import fake_records
import numpy as np

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import example, pose_coordinates
from vpn_jax.records import crop, record_format

KINECT = skeletons.get("kinect_v2")


def test_center_pose_uses_the_first_valid_frame():
  pose = np.random.default_rng(0).normal(size=(4, 2, 25, 3)).astype(np.float32)
  pose[0] = np.nan
  pose[:, 1] = np.nan
  made = pose_coordinates.center_pose(pose, KINECT)
  np.testing.assert_allclose(made[1, 0, 1], 0.0, atol=1e-6)  # mid-spine
  np.testing.assert_allclose(
    made[2, 0] - made[1, 0], pose[2, 0] - pose[1, 0], atol=1e-5
  )
  assert (made[0] == 0).all()
  assert (made[:, 1] == 0).all()  # an absent person is zero


def test_center_pose_without_its_origin():
  pose = np.ones((3, 1, 25, 3), np.float32)
  pose[0], pose[:, :, 1] = np.nan, np.nan  # the mid-spine is never seen
  pose[1, 0, 5] = 25  # 24 joints: their mean is 2
  made = pose_coordinates.center_pose(pose, KINECT)
  assert made[1, 0, [0, 1, 5]].tolist() == [[-1] * 3, [0] * 3, [23] * 3]


def test_mirror_swaps_sides_and_x():
  pose = np.random.default_rng(0).normal(size=(3, 1, 25, 3)).astype(np.float32)
  mirrored = pose_coordinates.mirror_pose(pose, KINECT)
  left, right = KINECT.index("left_hand"), KINECT.index("right_hand")
  np.testing.assert_allclose(mirrored[:, :, left, 0], -pose[:, :, right, 0])
  np.testing.assert_allclose(mirrored[:, :, left, 1:], pose[:, :, right, 1:])
  np.testing.assert_allclose(pose_coordinates.mirror_pose(mirrored, KINECT), pose)


def box_record():
  """Three frames of a main actor and another, 4 joints; see the numbers below."""
  actor = np.full((3, 4, 2), np.nan, np.float32)
  actor[0, :3] = [[100, 50], [140, 50], [120, 210]]
  actor[1, :2] = [[100, 90], [180, 90]]
  actor[2, 0] = [900, 900]  # outside the window of the first two
  other = np.full((3, 4, 2), np.nan, np.float32)
  other[0, 0] = [300, 130]
  visibility = np.full((3, 2, 4), np.nan, np.float32)
  visibility[0, 0, 1] = 0.25
  return np.stack([actor, other], axis=1), visibility


def test_image_pose_by_hand():
  """The box of the first two frames is 80 wide, 160 high, its middle (140, 130)."""
  joints, visibility = box_record()
  made = pose_coordinates.image_pose(joints, visibility, (0, 1))
  assert made.dtype == np.float32
  expected = [[-0.5, -1, 1], [0, -1, 0.25], [-0.25, 1, 1], [0, 0, 0]]
  np.testing.assert_allclose(made[0, 0], expected)
  np.testing.assert_allclose(made[1, 0, :2], [[-0.5, -0.5, 1], [0.5, -0.5, 1]])
  np.testing.assert_allclose(made[0, 1], [[2, 0, 1], *[[0, 0, 0]] * 3])
  moved = pose_coordinates.image_pose(3 * joints + 7, visibility, (0, 1))
  np.testing.assert_allclose(moved, made, atol=1e-6)  # another camera, another place
  absent = pose_coordinates.image_pose(joints[:, 1:], visibility[:, 1:], (1, 2))
  assert (absent == 0).all()


def test_filled_joints_in_the_image_keep_a_score_of_zero():
  joints = np.array([[[[0, 0], [4, 2]]], [[[0, 0], [np.nan, np.nan]]]], np.float32)
  visibility = np.array([[[1, 0.5]], [[1, 0]]], np.float32)
  at = np.nan_to_num(joints, nan=2.0)
  made = pose_coordinates.image_pose(joints, visibility, (0, 1), at)
  # The box is 4 wide around (2, 1).
  assert made[:, 0].tolist() == [[[-1, -0.5, 1], [1, 0.5, 0.5]],
                                 [[-1, -0.5, 1], [0, 0.5, 0]]]  # fmt: skip


def test_a_crop_that_moves_leaves_the_path_of_a_person():
  """Poses in the image are of the video, also where each frame has its own crop."""
  record = fake_records.noise_record(0)
  settings = example.Settings(
    num_frames=8, frame_size=32, pose_steps=8, inputs=("pose",), coordinates="image"
  )
  count, side = record.num_frames, record_format.frame_side(record.frames[0])
  in_video = record.image_joints
  still = np.tile(np.float32([5, 7, 105, 107]), (count, 1))
  moves = still + np.arange(count, dtype=np.float32)[:, None] * 3
  made = []
  for boxes in (still, moves):
    joints = crop.to_crop(in_video, boxes, side)
    cut = dataclasses.replace(record, boxes=boxes, image_joints=joints)
    made.append(example.make(cut, settings, KINECT, None)["pose"])
  np.testing.assert_allclose(made[1], made[0], atol=1e-4)
