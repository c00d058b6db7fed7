"""Frames and poses of an example."""

import dataclasses

import fake_records
import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import example, pose_augmentation, pose_coordinates

KINECT = skeletons.get("kinect_v2")
SMALL = example.Settings(num_frames=8, frame_size=32, pose_steps=4)


def test_joints_that_were_not_seen_are_zero_or_filled():
  record = fake_records.noise_record(0)
  pose = record.pose.copy()
  hand, arm = KINECT.index("left_hand"), KINECT.index("left_wrist")
  pose[3:, 0, hand] = np.nan  # from then on as in frame 2
  zero = dataclasses.replace(SMALL, num_frames=12, pose_steps=12, inputs=("pose",))
  fill = dataclasses.replace(zero, missing="fill")
  plain, lost = record, dataclasses.replace(record, pose=pose)
  whole, zeros, filled = (
    example.make(r, s, KINECT, None)["pose"]
    for r, s in ((plain, fill), (lost, zero), (lost, fill))
  )
  assert (zeros[3:, hand] == 0).all()
  np.testing.assert_array_equal(filled[:3], whole[:3])
  np.testing.assert_array_equal(filled[3:, hand], np.tile(whole[2, hand], (9, 1)))
  others = np.arange(25) != hand
  np.testing.assert_array_equal(filled[:, others], whole[:, others])
  np.testing.assert_array_equal(example.make(plain, zero, KINECT, None)["pose"], whole)
  pose[:, 0, hand] = np.nan
  never = example.make(dataclasses.replace(record, pose=pose), fill, KINECT, None)
  parent = KINECT.parents()[hand]
  assert parent == arm
  np.testing.assert_array_equal(never["pose"][:, hand], whole[:, parent])
  with pytest.raises(ValueError, match="missing is 'none', expected one of"):
    dataclasses.replace(SMALL, missing="none")


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
  pose = pose_coordinates.mirror_pose(plain["pose"][:, None], KINECT)[:, 0]
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
  centred = pose_coordinates.center_pose(record.pose[:, :1], KINECT)
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


def in_image(**fields):
  return example.Settings(
    **{**SMALL_ALL.__dict__, "inputs": ("pose",), "coordinates": "image", **fields}
  )


def test_coordinates_are_those_of_the_settings_or_of_the_record():
  record = fake_records.noise_record(3)
  in_world = example.make(record, in_image(coordinates="world"), KINECT, None)
  usual = example.make(record, in_image(coordinates=""), KINECT, None)
  np.testing.assert_array_equal(usual["pose"], in_world["pose"])
  made = example.make(record, in_image(), KINECT, None)["pose"]
  steps = [1, 4, 7, 10]
  want = pose_coordinates.image_pose(record.image_joints, record.visibility, (0, 11))[
    steps, 0
  ]
  np.testing.assert_array_equal(made, want)
  np.testing.assert_array_equal(made[..., 2], record.visibility[steps, 0])
  flat = dataclasses.replace(record, pose=np.full_like(record.pose, np.nan))
  np.testing.assert_array_equal(
    example.make(flat, in_image(coordinates=""), KINECT, None)["pose"], made
  )
  with pytest.raises(ValueError, match=r"clip003 has no .* world .*coordinates=image"):
    example.make(flat, in_image(coordinates="world"), KINECT, None)
  nowhere = np.full_like(record.image_joints, np.nan)
  blind = dataclasses.replace(record, image_joints=nowhere)
  with pytest.raises(ValueError, match=r"has no joints in image .*coordinates=world"):
    example.make(blind, in_image(), KINECT, None)
  with pytest.raises(ValueError, match="coordinates is 'polar', expected 'world'"):
    in_image(coordinates="polar")


def test_a_flip_mirrors_x_in_the_image():
  record, flipped = fake_records.noise_record(0), set()
  for seed in range(9):  # the window has all frames, and the flip is drawn last
    plain, made = (
      example.make(record, in_image(flip=flip), KINECT, np.random.default_rng(seed))
      for flip in (False, True)
    )
    mirrored = plain["pose"][:, KINECT.mirror()] * np.float32([-1, 1, 1])
    is_flipped = not np.array_equal(made["pose"], plain["pose"])
    np.testing.assert_array_equal(
      made["pose"], mirrored if is_flipped else plain["pose"]
    )
    flipped.add(is_flipped)
  assert flipped == {True, False}


def test_augmentation_in_the_image_keeps_scores():
  pose = np.random.default_rng(0).uniform(0.1, 1.0, (2, 1, 3, 3)).astype(np.float32)
  quarter = pose_augmentation.rotation(np.radians([0, 0, 90])).astype(np.float32)
  change = pose_augmentation.Change(matrix=2 * quarter, dropped=(1,))
  made = pose_augmentation.apply_in_image(change, pose)
  np.testing.assert_allclose(made[..., 0, 0], -2 * pose[..., 0, 1], rtol=1e-5)
  np.testing.assert_allclose(made[..., 0, 1], 2 * pose[..., 0, 0], rtol=1e-5)
  np.testing.assert_array_equal(made[..., 0, 2], pose[..., 0, 2])
  assert (made[:, :, 1] == 0).all()
