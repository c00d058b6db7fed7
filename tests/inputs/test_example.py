"""Frames and poses of an example."""

import fake_records
import numpy as np

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import example

KINECT = skeletons.get("kinect_v2")
SMALL = example.Settings(num_frames=8, frame_size=32, pose_steps=4)


def test_center_pose_uses_the_first_valid_frame():
  pose = np.random.default_rng(0).normal(size=(4, 2, 25, 3)).astype(np.float32)
  pose[0] = np.nan
  pose[:, 1] = np.nan
  made = example.center_pose(pose, KINECT)
  np.testing.assert_allclose(made[1, 0, 1], 0.0, atol=1e-6)  # mid-spine
  np.testing.assert_allclose(
    made[2, 0] - made[1, 0], pose[2, 0] - pose[1, 0], atol=1e-5
  )
  assert (made[0] == 0).all()
  assert (made[:, 1] == 0).all()  # an absent person is zero


def test_mirror_swaps_sides_and_x():
  pose = np.random.default_rng(0).normal(size=(3, 1, 25, 3)).astype(np.float32)
  mirrored = example.mirror_pose(pose, KINECT)
  left, right = KINECT.index("left_hand"), KINECT.index("right_hand")
  np.testing.assert_allclose(mirrored[:, :, left, 0], -pose[:, :, right, 0])
  np.testing.assert_allclose(mirrored[:, :, left, 1:], pose[:, :, right, 1:])
  np.testing.assert_allclose(example.mirror_pose(mirrored, KINECT), pose)


def test_flip_acts_on_frames_and_pose_together():
  record = fake_records.noise_record(0)
  settings = example.Settings(**{**SMALL.__dict__, "num_frames": 12, "flip": True})
  flipped = {}
  for seed in range(20):  # the window has all frames: only the flip is random
    made = example.make(record, settings, KINECT, np.random.default_rng(seed))
    plain = example.make(record, SMALL_ALL, KINECT, np.random.default_rng(seed))
    is_flipped = not np.array_equal(made["frames"], plain["frames"])
    flipped[is_flipped] = made, plain
  assert set(flipped) == {True, False}
  made, plain = flipped[True]
  np.testing.assert_array_equal(made["frames"], plain["frames"][:, :, ::-1])
  pose = example.mirror_pose(plain["pose"][:, None], KINECT)[:, 0]
  np.testing.assert_array_equal(made["pose"], pose)


SMALL_ALL = example.Settings(**{**SMALL.__dict__, "num_frames": 12})


def test_example_shows_the_frames_of_the_window():
  record = fake_records.noise_record(3)
  made = example.make(record, SMALL, KINECT, None)
  assert made["frames"].shape == (8, 32, 32, 3)
  assert made["frames"].dtype == np.uint8
  assert made["pose"].shape == (4, 25, 3)
  tops = made["frames"][:, 2, 16].mean(axis=-1)  # 10 per frame
  np.testing.assert_allclose(tops, 10 * np.arange(2, 10), atol=4)
  centred = example.center_pose(record.pose[:, :1], KINECT)
  np.testing.assert_array_equal(made["pose"], centred[[3, 5, 7, 9], 0])


def test_two_persons_stack_on_the_joint_axis():
  record = fake_records.noise_record(3, persons=1)
  settings = example.Settings(**{**SMALL.__dict__, "persons": 2})
  made = example.make(record, settings, KINECT, None)
  assert made["pose"].shape == (4, 50, 3)
  assert (made["pose"][:, 25:] == 0).all()
  assert (made["pose"][:, :25] != 0).any()


def test_random_crop_changes_frames_only():
  record = fake_records.noise_record(3)
  settings = example.Settings(**{**SMALL_ALL.__dict__, "crop": 0.5})
  made = example.make(record, settings, KINECT, np.random.default_rng(0))
  plain = example.make(record, SMALL_ALL, KINECT, np.random.default_rng(0))
  np.testing.assert_array_equal(made["pose"], plain["pose"])
  assert made["frames"].shape == plain["frames"].shape
  assert not np.array_equal(made["frames"], plain["frames"])
