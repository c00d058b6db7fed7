"""Damaged poses: what each kind does to a record, an example, a batch."""

import dataclasses

import fake_records
import jax
import numpy as np
import pytest

from configs import common
from vpn_jax.datasets import protocol_settings, skeletons
from vpn_jax.figures import robustness
from vpn_jax.inputs import example, multi_view, pipeline, pose_damage
from vpn_jax.inputs.pose_damage import Damage
from vpn_jax.jobs import settings
from vpn_jax.records import store

KINECT = skeletons.get("kinect_v2")
INPUTS = ("frames", "pose", "frame_joints")
SMALL = example.Settings(num_frames=8, frame_size=32, pose_steps=4, inputs=INPUTS)


@pytest.fixture
def record():
  """24 frames of 30 per second; joint j of frame t is at (t, j), 24 pixels tall."""
  made = fake_records.noise_record(0, frames=24, persons=1)
  t, j = np.mgrid[:24, :25].astype(np.float32)
  at = np.stack([t, j], axis=-1)[:, None]
  return dataclasses.replace(
    made,
    fps=30.0,
    pose=np.concatenate([at, 0 * at[..., :1] + 2], axis=-1),
    image_joints=at,
    visibility=np.full((24, 1, 25), 0.5, np.float32),
  )


def test_without_damage_a_record_stays_itself(record):
  assert pose_damage.apply(pose_damage.NONE, record) is record


@pytest.mark.parametrize(("seconds", "lag"), [(0.1, 3), (-0.2, -6), (9.0, 99)])
def test_poses_are_late_or_early_and_stay_at_the_ends(record, seconds, lag):
  late = pose_damage.apply(Damage(shift=seconds), record)
  expected = [min(max(t - lag, 0), 23) for t in range(24)]
  np.testing.assert_array_equal(late.pose[:, 0, 0, 0], expected)
  np.testing.assert_array_equal(late.image_joints[:, 0, 7, 0], expected)
  assert late.frames is record.frames


def test_noise_has_its_deviation_in_metres_and_in_pixels(record):
  """The box is 24 pixels tall: 1.7 m, so that 0.17 m are 2.4 pixels."""
  noisy = pose_damage.apply(Damage(noise=0.17), record)
  metres, pixels = noisy.pose - record.pose, noisy.image_joints - record.image_joints
  assert metres.std() == pytest.approx(0.17, rel=0.05)
  assert pixels.std() == pytest.approx(2.4, rel=0.05)
  assert metres.mean() == pytest.approx(0.0, abs=0.02)
  assert noisy.pose.dtype == noisy.image_joints.dtype == np.float32
  np.testing.assert_array_equal(noisy.visibility, record.visibility)


def test_dropped_joints_are_missing_throughout_and_lost_frames_altogether(record):
  hidden = pose_damage.apply(Damage(joint_drop=0.4), record)
  gone = np.isnan(hidden.pose).all(axis=-1)[:, 0]
  assert (gone == gone[0]).all()
  assert 4 <= gone[0].sum() <= 16
  lost = pose_damage.apply(Damage(frame_drop=0.4), record)
  gone_frames = np.isnan(lost.pose).all(axis=-1)[:, 0]
  assert (gone_frames == gone_frames[:, :1]).all()
  assert 4 <= gone_frames[:, 0].sum() <= 16
  for made, missing in ((hidden, gone), (lost, gone_frames)):
    assert np.isnan(made.image_joints[:, 0][missing]).all()
    assert (made.visibility[:, 0][missing] == 0).all()
    np.testing.assert_array_equal(
      made.pose[:, 0][~missing], record.pose[:, 0][~missing]
    )


def test_each_level_continues_the_one_below(record):
  """A clip loses further joints, and the same noise grows."""

  def missing(value):
    damaged = pose_damage.apply(Damage(joint_drop=value), record)
    return np.isnan(damaged.pose[0, 0, :, 0])

  assert (missing(0.2) <= missing(0.5)).all()
  assert missing(0.2).sum() < missing(0.5).sum()
  little, much = (
    pose_damage.apply(Damage(noise=noise), record).pose - record.pose
    for noise in (0.1, 0.2)
  )
  np.testing.assert_allclose(2 * little, much, atol=1e-5)
  other = dataclasses.replace(record, name="another")
  assert not np.array_equal(
    missing(0.5),
    np.isnan(pose_damage.apply(Damage(joint_drop=0.5), other).pose[0, 0, :, 0]),
  )


def test_an_example_has_damaged_poses_and_its_own_pixels(record):
  """Joint 24 at rest would be at x = t of the steps; a shift of 0.1 s is 3 frames."""
  plain = example.make(record, SMALL, KINECT, None)
  late = example.make(record, SMALL, KINECT, None, damage=Damage(shift=0.1))
  np.testing.assert_array_equal(plain["frames"], late["frames"])
  np.testing.assert_allclose(plain["pose"][:, 24, 0] - late["pose"][:, 24, 0], 3)
  nobody = example.make(record, SMALL, KINECT, None, damage=Damage(frame_drop=1.0))
  assert not nobody["pose"].any()
  assert not nobody["frame_joints"].any()


def test_training_draws_damage_up_to_the_limits(record):
  limits = Damage(noise=0.1, joint_drop=0.4, frame_drop=0.2, shift=0.3)
  drawn = [pose_damage.draw(limits, np.random.default_rng(i)) for i in range(200)]
  for kind in pose_damage.KINDS:
    values = np.array([getattr(one, kind) for one in drawn])
    limit = getattr(limits, kind)
    low = -limit if kind == "shift" else 0.0
    assert low <= values.min() < low + 0.1 * limit
    assert 0.9 * limit < values.max() <= limit

  train = dataclasses.replace(SMALL, damage=dataclasses.asdict(limits), views=2)
  poses = [
    example.make(record, train, KINECT, np.random.default_rng(i))["pose"]
    for i in range(2)
  ]
  assert not np.array_equal(*poses)
  # a fixed view is damaged anew each time, beside the same frames
  fixed = [
    example.make(
      record, train, KINECT, np.random.default_rng(i), fixed=np.random.default_rng(5)
    )
    for i in range(2)
  ]
  assert not np.array_equal(fixed[0]["frame_joints"], fixed[1]["frame_joints"])
  np.testing.assert_array_equal(fixed[0]["frames"], fixed[1]["frames"])
  # and an evaluation is not damaged by the settings of training
  np.testing.assert_array_equal(
    example.make(record, train, KINECT, None)["pose"],
    example.make(record, SMALL, KINECT, None)["pose"],
  )


@pytest.mark.parametrize("views", [0, 2])
def test_settings_without_damage_draw_nothing(record, views):
  """Batches are those of before there was damage, to the bit."""
  rng, same = np.random.default_rng(1), np.random.default_rng(1)
  settings = dataclasses.replace(SMALL, views=views)
  example.make(record, settings, KINECT, rng)
  example.make(record, dataclasses.replace(settings, damage={}), KINECT, same)
  assert rng.random() == same.random()


def test_batches_hold_damaged_poses_beside_their_own(noise_records):
  index = store.read_index(noise_records)
  rule = protocol_settings.custom("subject:9", "subject:1,2,3,4")
  part = pipeline.Part(noise_records, index, rule, "test", SMALL)
  noise, late = Damage(noise=0.1), Damage(shift=0.2, joint_drop=0.5)
  (plain,) = part.eval_batches(len(part))
  (both,) = part.eval_batches(len(part), others=(noise, late, "rest"))
  assert set(both) - set(plain) == {
    f"{name}_{other}"
    for name in ("pose", "frame_joints")
    for other in ("noise=0.1", "joint_drop=0.5,shift=0.2", "rest")
  }
  for damage in (noise, late):
    inferred = multi_view.Inference(damage=dataclasses.asdict(damage))
    assert inferred.poses == "damaged"
    (alone,) = part.eval_batches(len(part), inferred)
    for name in ("pose", "frame_joints"):
      np.testing.assert_array_equal(alone[name], both[f"{name}_{damage}"])
      assert not np.array_equal(alone[name], plain[name])
    np.testing.assert_array_equal(alone["frames"], plain["frames"])
  jax.tree.map(np.testing.assert_array_equal, plain, {k: both[k] for k in plain})


def test_every_kind_is_in_the_configuration_the_job_and_the_figure():
  assert common.damage() == dataclasses.asdict(pose_damage.NONE)
  assert tuple(settings.robustness()) == tuple(robustness.KINDS) == pose_damage.KINDS


def test_messages():
  for values, message in (
    ({"noise": -1.0}, "damage.noise is -1.0, expected metres, 0 or more"),
    ({"noise": np.inf}, "damage.noise is inf, expected metres"),
    ({"joint_drop": 1.2}, "damage.joint_drop is 1.2, expected a probability"),
    ({"frame_drop": -0.1}, "damage.frame_drop is -0.1, expected a probability"),
    ({"shift": np.nan}, "damage.shift is nan, expected seconds"),
  ):
    with pytest.raises(ValueError, match=message):
      Damage(**values)
  with pytest.raises(ValueError, match="damage is shift=1 beside shuffle_pose or rest"):
    multi_view.Inference(shuffle_pose=True, damage=Damage(shift=1.0))
