"""Tests of vpn_jax/analysis/hand_truth.py, and of what acts in a made-up motion."""

import dataclasses

import numpy as np
import pytest

from vpn_jax.analysis import hand_truth
from vpn_jax.datasets import skeletons
from vpn_jax.datasets.synthetic import generator, kinematics, scripts
from vpn_jax.datasets.synthetic import motion as motions
from vpn_jax.records import prepare, store

SKELETON = skeletons.get("kinect_v2")
HANDS = {"clap": 2, "rub hands": 2, "drink from cup": 1, "drink from can": 1,
         "read a book": 2, "use a tablet": 2, "put on headphones": 2, "flick hair": 1,
         "wave with one hand": 1, "wave with two hands": 2, "thumb up": 1,
         "thumb down": 1}  # fmt: skip


def motion(action, seed, frames=48):
  body = kinematics.make_body(np.random.default_rng(1))
  return motions.make_motion(np.random.default_rng(seed), action, body, frames, 20.0)


def acting_names(moved):
  """Names of the joints that act in any frame."""
  return {SKELETON.joints[j] for j in np.flatnonzero(moved.acting.any(axis=0))}


@pytest.mark.parametrize("action", scripts.ACTIONS)
def test_what_acts(action):
  sides = set()
  for seed in range(8):
    names = acting_names(motion(action, seed))
    if action in ("hop", "jump up"):
      assert names == {"left_ankle", "left_foot", "right_ankle", "right_foot"}
      continue
    side = {name.split("_")[0] for name in names}
    ends = ("wrist", "hand", "hand_tip", "thumb")
    assert names == {f"{s}_{end}" for s in side for end in ends}
    assert len(side) == HANDS[action]
    sides |= side
  assert action in ("hop", "jump up") or sides == {"left", "right"}


def test_the_hand_that_waves_is_the_raised_one():
  for seed in range(8):
    moved = motion("wave with one hand", seed)
    left, right = SKELETON.hands()
    height = moved.joints[-1, :, 1]
    assert moved.acting[-1, left] == (height[left] > height[right])
    assert moved.acting[-1, right] != moved.acting[-1, left]


def test_a_hand_acts_until_it_is_idle_again():
  moved = motion("flick hair", 3, frames=120)
  hand = moved.acting[:, SKELETON.hands()].any(axis=1)
  assert hand[10:20].all()
  assert not hand[-10:].any()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """Records of the first 14 clips, which are cropped and shrunk, and their index."""
  from configs import synthetic as config

  c = config.get_config("cs")
  folder = tmp_path_factory.mktemp("truth")
  c.data.update(seed=4, num_clips=14, clip_frames=24, records=str(folder))
  c.prepare.update(workers=0, size=64)
  index = prepare.prepare(c.data, c.prepare)
  return index, store.RecordReader(folder, index.clips())


def test_points_lie_where_the_record_shows_them(made):
  index, source = made
  for i, record in enumerate(source[i] for i in range(14)):
    found = hand_truth.of(record, index)
    name = generator.CLASSES[i]
    assert found.acting.shape == (24, 25)
    assert found.held.shape == (24, 1, 2)
    np.testing.assert_allclose(found.joints, record.image_joints[:, 0], atol=0.01)
    held = found.held
    holds = name.startswith(("drink", "read", "use", "put"))
    assert np.isfinite(held).all() == holds
    assert np.isnan(held).all() == (not holds)
    if name.startswith(("drink", "read", "use")):  # it is where the hands are
      away = np.linalg.norm(found.joints - held, axis=-1)
      assert np.where(found.acting, away, np.inf).min(axis=1).max() < 10


def test_clips_that_the_generator_does_not_make_any_more(made):
  index, source = made
  other = dataclasses.replace(index, source={**index.source, "seed": 5})
  with pytest.raises(
    ValueError, match=r"M000003.* is not what the generator makes of "
  ):
    hand_truth.of(source[3], other)
  with pytest.raises(ValueError, match="of seed 4 now: run --job=prepare again"):
    hand_truth.of(dataclasses.replace(source[3], name="M000017_S01_C1_A01"), index)


def test_records_without_a_truth(made):
  index, _ = made
  assert hand_truth.unknown(index) == ""
  other = dataclasses.replace(index, dataset="ntu60")
  assert "of ntu60 clips nobody knows" in hand_truth.unknown(other)
