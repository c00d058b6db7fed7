"""What augmentation changes in a pose, and what it leaves alone."""

import dataclasses

import fake_records
import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import example, pose_augmentation
from vpn_jax.inputs.pose_augmentation import Augmentation

KINECT = skeletons.get("kinect_v2")
SMALL = example.Settings(num_frames=12, frame_size=32, pose_steps=6)
RECORD = fake_records.noise_record(3, frames=24)
# All steps alike, so that it does not matter which are drawn.
STILL = dataclasses.replace(RECORD, pose=np.repeat(RECORD.pose[:1], 24, axis=0))


def made(augment=None, seed=0, record=RECORD, fixed=None, **settings):
  settings = dataclasses.replace(SMALL, augment=augment or Augmentation(), **settings)
  rng = np.random.default_rng(seed)
  drawn = None if fixed is None else np.random.default_rng(fixed)
  return example.make(record, settings, KINECT, rng, fixed=drawn)


def bone_lengths(pose):
  a, b = KINECT.bone_indices().T
  return np.linalg.norm(pose[:, a] - pose[:, b], axis=-1)


def test_positive_turns_take_y_to_z_z_to_x_and_x_to_y():
  x, y, z = np.eye(3)
  quarter = np.pi / 2
  turns = [pose_augmentation.rotation(quarter * axis) for axis in (x, y, z)]
  for turn, before, after in zip(turns, (y, z, x), (z, x, y)):
    np.testing.assert_allclose(turn @ before, after, atol=1e-12)
  # about z, then x, then y: x goes to y, to z, to x
  together = pose_augmentation.rotation(quarter * np.ones(3))
  np.testing.assert_allclose(together @ x, x, atol=1e-12)


def test_a_turned_pose_has_the_same_bones_and_the_same_frames():
  plain = made(record=STILL)
  turned = made(Augmentation(rotation=(10.0, 60.0, 5.0)), record=STILL)
  assert not np.allclose(turned["pose"], plain["pose"], atol=0.05)
  np.testing.assert_allclose(
    bone_lengths(turned["pose"]), bone_lengths(plain["pose"]), rtol=1e-4
  )
  np.testing.assert_array_equal(turned["frames"], plain["frames"])


def test_a_turn_about_the_vertical_keeps_heights_and_its_bounds():
  for seed in range(20):
    change = pose_augmentation.draw(
      Augmentation(rotation=(0.0, 30.0, 0.0)), KINECT, np.random.default_rng(seed)
    )
    np.testing.assert_allclose(change.matrix[1], [0, 1, 0], atol=1e-7)
    assert change.matrix[0, 0] >= np.cos(np.radians(30)) - 1e-6


def test_scale_multiplies_all_lengths_alike():
  plain = np.random.default_rng(0).normal(size=(4, 2, 25, 3)).astype(np.float32)
  rng = np.random.default_rng(0)
  change = pose_augmentation.draw(Augmentation(scale=0.5), KINECT, rng)
  ratio = pose_augmentation.apply(change, plain) / plain
  np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-5)
  assert 0.5 <= ratio.flat[0] <= 1.5
  assert abs(ratio.flat[0] - 1.0) > 0.01


def test_noise_has_its_deviation_and_spares_unknown_joints():
  plain = np.ones((50, 1, 25, 3), np.float32)
  plain[:, :, 3] = 0.0
  rng = np.random.default_rng(0)
  change = pose_augmentation.draw(Augmentation(noise=0.02), KINECT, rng)
  noise = pose_augmentation.apply(change, plain) - plain
  assert (noise[:, :, 3] == 0).all()
  others = np.delete(noise, 3, axis=2)
  assert np.std(others) == pytest.approx(0.02, rel=0.05)
  assert np.abs(np.mean(others)) < 0.002


def test_dropped_joints_are_zeros_in_all_steps():
  plain = np.ones((5, 2, 25, 3), np.float32)
  shares = []
  for seed in range(40):
    change = pose_augmentation.draw(
      Augmentation(joint_drop=0.2), KINECT, np.random.default_rng(seed)
    )
    zero = (pose_augmentation.apply(change, plain) == 0).all(axis=(0, 1, 3))
    assert tuple(np.flatnonzero(zero)) == change.dropped
    shares.append(zero.mean())
  assert np.mean(shares) == pytest.approx(0.2, abs=0.04)
  assert (plain == 1).all()


def test_one_limb_is_dropped():
  limbs = KINECT.limbs()
  found = set()
  for seed in range(40):
    rng = np.random.default_rng(seed)
    found.add(pose_augmentation.draw(Augmentation(limb_drop=0.5), KINECT, rng).dropped)
  assert found == {(), *limbs}


def test_temporal_crop_and_speed_choose_the_steps():
  pose = np.arange(400, dtype=np.float32)[:, None, None, None]
  pose = np.broadcast_to(pose, (400, 1, 25, 3))
  record = dataclasses.replace(RECORD, frames=RECORD.frames[:1] * 400, pose=pose)
  settings = dict(record=record, pose_window="video", pose_steps=40, inputs=("pose",))
  lengths, starts = [], []
  for seed in range(30):
    times = made(Augmentation(temporal_crop=0.5), seed, **settings)["pose"][:, 0, 0]
    lengths.append((times[-1] - times[0]) / 400)
    starts.append(times[0] / 400)
  assert 0.44 < min(lengths) < 0.6 < 0.9 < max(lengths) <= 1.0
  assert min(starts) < 0.05
  assert max(starts) > 0.25
  ratios = []
  for seed in range(30):
    times = made(Augmentation(speed=0.5), seed, **settings)["pose"][:, 0, 0]
    assert (np.diff(times) >= 0).all()
    ratios.append((times[-1] - times[20]) / (times[19] - times[0]))
  # at speeds from 0.5 to 1.5 the second half covers (1 + s/2) / (1 - s/2) of the first
  assert 1.3 < max(ratios) < 1.8
  assert 1.3 < 1 / min(ratios) < 1.8


def test_nothing_is_drawn_when_all_is_off():
  rng = np.random.default_rng(0)
  change = pose_augmentation.draw(Augmentation(), KINECT, rng)
  assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
  assert change == pose_augmentation.NO_CHANGE
  pose = np.ones((2, 1, 25, 3), np.float32)
  assert pose_augmentation.apply(change, pose) is pose


EVERYTHING = Augmentation((9, 9, 9), 0.1, 0.01, 0.2, 0.5, 0.6, 0.3)


def test_the_generator_decides_and_evaluation_changes_nothing():
  same = [made(EVERYTHING, seed=4)["pose"] for _ in range(2)]
  np.testing.assert_array_equal(*same)
  assert not np.array_equal(same[0], made(EVERYTHING, seed=5)["pose"])
  alone = made(EVERYTHING, seed=4, inputs=("pose",))["pose"]
  np.testing.assert_array_equal(alone, same[0])  # whichever inputs there are
  settings = dataclasses.replace(SMALL, augment=EVERYTHING)
  tested = [example.make(RECORD, s, KINECT, None)["pose"] for s in (settings, SMALL)]
  np.testing.assert_array_equal(*tested)


def test_a_fixed_view_is_augmented_anew():
  turn = Augmentation(rotation=(0.0, 90.0, 0.0), joint_drop=0.3)
  poses = [made(turn, seed, STILL, fixed=7)["pose"] for seed in (0, 1)]
  assert not np.array_equal(*poses)
  np.testing.assert_array_equal(poses[0], made(turn, 0, STILL, fixed=8)["pose"])


def test_settings_are_read_from_a_config():
  values = {"rotation": [0, 20, 0], "noise": 0.01}  # as JSON has them
  settings = example.Settings(augment=values)
  assert settings.augment == Augmentation(rotation=(0, 20, 0), noise=0.01)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"rotation": (5, 5)}, r"rotation is \(5, 5\), expected three angles"),
    ({"rotation": (0, 200, 0)}, r"rotation is .* expected three angles of 0 to 180"),
    ({"scale": 1.0}, "scale is 1.0, expected a relative change of 0 or more"),
    ({"speed": -0.1}, "speed is -0.1, expected a relative change"),
    ({"joint_drop": 2.0}, "joint_drop is 2.0, expected a probability"),
    ({"limb_drop": -1.0}, "limb_drop is -1.0, expected a probability"),
    ({"noise": -1.0}, "noise is -1.0, expected metres"),
    ({"temporal_crop": 0.0}, "temporal_crop is 0.0, expected a fraction above 0"),
  ],
)
def test_messages(values, message):
  with pytest.raises(ValueError, match=message):
    Augmentation(**values)


def test_a_skeleton_without_limbs_cannot_drop_one():
  snake = skeletons.Skeleton("snake", ("a", "b"), (("a", "b"),), ("a",))
  pose_augmentation.check(Augmentation(joint_drop=0.5), snake)
  with pytest.raises(ValueError, match=r"limb_drop is 0.5 and skeleton 'snake' has no"):
    pose_augmentation.check(Augmentation(limb_drop=0.5), snake)
