"""What frames of object pairs show: the patch is that of the object and suffices."""

import dataclasses

import jax
import numpy as np
import pytest

from benchmarks import oracle
from configs import synthetic as configuration
from vpn_jax.datasets.synthetic import generator, rendering

PAIR = [generator.CLASSES.index(name) for name in oracle.PAIRS[0]]


def config(clips, **fields):
  c = configuration.get_config("cs")
  c.data.update(num_clips=clips, **fields)
  return c


@pytest.fixture
def adam():
  """Optax raises a float to the power of an integer, its number of steps."""
  with jax.numpy_dtype_promotion("standard"):
    yield


@pytest.fixture(scope="module")
def made():
  """Examples of the first 56 clips, 16 of them of the pairs; from half the frames."""
  return list(oracle.examples(config(56, clip_frames=24), workers=0))


def test_only_the_pairs_are_made_and_sampled_as_for_evaluation(made):
  assert [e.label for e in made] == [4, 5, 6, 7] * 4
  for e in made:
    assert e.frames.shape == (16, 112, 112, 3)
    assert e.frames.dtype == np.uint8
    assert e.pose.shape == (16, 25, 3)
    assert e.position.shape == (16, 2)
  # Subject 1 + (person + label) % 10; subjects 1, 2, 4, 5, 8, 9 train.
  assert [e.trains for e in made[:4]] == [True, False, False, True]


def test_patches_lie_at_the_object(monkeypatch):
  ball = rendering.Patch(np.zeros((1, 3)), (255.0, 0.0, 255.0), "blob", 0.07)
  monkeypatch.setattr(rendering, "make_object", lambda *_: [[ball]])
  for example in oracle.examples(config(28, clip_frames=24), workers=0):
    cut = oracle.patches(example)
    assert cut.shape == (16, oracle.PATCH, oracle.PATCH, 3)
    red, green, blue = np.moveaxis(cut.astype(int), -1, 0)
    magenta = np.minimum(red, blue) - green > 60
    middle = oracle.PATCH // 2
    seen = magenta[:, middle - 1 : middle + 2, middle - 1 : middle + 2]
    assert seen.mean() > 0.7  # a hand may lie over it


def test_patches_repeat_the_edge_of_the_frame(made):
  at = np.full((16, 2), -50.0)
  outside = oracle.patches(dataclasses.replace(made[0], position=at), 8)
  np.testing.assert_array_equal(
    outside[3], np.broadcast_to(outside[3, 0, 0], (8, 8, 3))
  )


def test_the_oracle_tells_the_pair_and_no_shuffled_labels(adam):
  both = [e for e in oracle.examples(config(280, clip_frames=16), workers=0)]
  both = [e for e in both if e.label in PAIR]
  x = np.stack([oracle.patches(e, 24)[::8] for e in both])
  y = np.array([e.label == PAIR[1] for e in both], int)
  trains = np.array([e.trains for e in both])
  assert oracle.oracle_accuracy(x, y, trains, steps=40) > 0.8
  shuffled = np.random.default_rng(0).permutation(y)
  assert oracle.oracle_accuracy(x, shuffled, trains, steps=40) < 0.8
  poses = np.stack([e.pose for e in both])
  linear = oracle.classifiers()["linear"]
  assert 0.2 < oracle.accuracy(linear, poses, y, trains) < 0.8


def test_features_at_the_object_are_those_of_its_cell():
  position = np.repeat([[10.0, 100.0], [60.0, 20.0]], 8, axis=0)  # moves half way
  frames = np.zeros((16, 112, 112, 3), np.uint8)
  example = oracle.Example(4, True, frames, np.zeros((16, 25, 3)), position)
  features = np.random.default_rng(0).normal(size=(4, 7, 7, 3))
  got = oracle.pooled(features, example)
  first, last = features[:2, 6, 0], features[2:, 1, 3]
  expected = np.concatenate([first, last]).mean(0)
  np.testing.assert_allclose(got["at the object"], expected)
  np.testing.assert_allclose(got["mean"], features.reshape(-1, 3).mean(0))
  assert got["grid"].shape == (7, 7, 3)


def test_the_program_prints_a_line_per_classifier(capsys, adam):
  oracle.measure(config(140, clip_frames=16), probe=False, workers=0, seeds=1, steps=2)
  printed = capsys.readouterr().out
  assert "40 clips in" in printed
  for words in ("oracle, seed 0", "poses alone, linear", "12 / 8"):
    assert words in printed
