"""Tests of vpn_jax/analysis/faithfulness.py, on functions with a known answer."""

import numpy as np
import pytest

from vpn_jax.analysis import faithfulness


def test_enlarge():
  line = faithfulness.enlarge(np.array([[[0.0, 1.0]]]), (1, 1, 4))
  # Two cells of two pixels, middles at 0.5 and 2.5: even beyond them.
  np.testing.assert_allclose(line, [[[0, 0.25, 0.75, 1]]])
  heat = np.random.default_rng(0).random((2, 7, 7))
  large = faithfulness.enlarge(heat, (6, 21, 35))
  assert large.shape == (6, 21, 35)
  # The middle pixel of odd cells is the cell.
  np.testing.assert_allclose(large[1::3, 1::3, 2::5], heat, rtol=1e-12)
  assert large.max() == heat.max()
  flat = faithfulness.enlarge(np.full((2, 3, 7), 0.1), (5, 50, 50))
  assert np.unique(flat).size == 1  # to the last digit


def test_tolerance_is_half_a_diagonal():
  assert faithfulness.tolerance((4, 4), (64, 64)) == pytest.approx(8 * 2**0.5)
  assert faithfulness.tolerance((7, 14), (224, 224)) == pytest.approx(
    (16**2 + 8**2) ** 0.5
  )


def test_near():
  targets = np.full((2, 2, 2), np.nan)
  targets[0, 1] = 3, 1  # x, y
  hits = faithfulness.near(targets, (4, 6), 1.0)
  expected = np.zeros((2, 4, 6), bool)
  for y, x in ((1, 3), (0, 3), (2, 3), (1, 2), (1, 4)):
    expected[0, y, x] = True
  np.testing.assert_array_equal(hits, expected)


def test_within():
  targets = np.array([[[3.0, 1.0], [np.nan, np.nan]], [[np.nan] * 2, [8.0, 8.0]]])
  points = np.array([[[3.0, 2.0], [5.0, 1.0], [8.0, 8.0]]] * 2)
  np.testing.assert_array_equal(
    faithfulness.within(points, targets, 1.5),
    [[True, False, False], [False, False, True]],
  )


def test_pointing():
  targets = np.array([[[3.0, 1.0]], [[10.0, 10.0]]])
  hits = faithfulness.near(targets, (12, 16), 2.0)
  heat = np.zeros((2, 12, 16))
  heat[0, 2, 4] = 1  # y, x
  assert faithfulness.pointing(heat, hits) == 1
  assert faithfulness.pointing(-heat, hits) == pytest.approx(
    (hits.sum() - 1) / (hits.size - 1)
  )
  heat[1, 2, 4] = 2  # the position, but not the time
  assert faithfulness.pointing(heat, hits) == 0
  heat[0, 2, 4] = 2
  assert faithfulness.pointing(heat, hits) == 0.5
  assert faithfulness.pointing(np.full((2, 12, 16), 0.3), hits) == hits.mean()
  assert 0 < hits.mean() < 0.1
  joints = np.array([False, True, True])
  assert faithfulness.pointing(np.array([1.0, 3.0, 2.0]), joints) == 1


def test_ranks():
  relevance = np.array([[1.0, 5.0, 1.0], [7.0, 1.0, -2.0]])
  ties = np.array([[0.2, 0.0, 0.3], [0.0, 0.1, 0.9]])
  np.testing.assert_array_equal(
    faithfulness.ranks(relevance, ties), [[3, 1, 2], [0, 4, 5]]
  )


def test_replaced():
  start, end = np.zeros((2, 2, 1)), np.arange(1.0, 5).reshape(2, 2, 1)
  rank = np.array([[2, 0], [3, 1]])
  made = faithfulness.replaced(start, end, rank, 2)[..., 0]
  np.testing.assert_array_equal(made, [[[0, 0], [0, 0]], [[0, 2], [0, 4]], end[..., 0]])
  # Joints: the same at all steps of the pose.
  start, end = np.zeros((3, 2, 1)), np.ones((3, 2, 1))
  made = faithfulness.replaced(start, end, np.array([1, 0]), 2)[..., 0]
  np.testing.assert_array_equal(made[1], [[0, 1]] * 3)


# A network that responds to one known part of the clip.

SHAPE = 4, 16, 16


@pytest.fixture
def one_part():
  """Frames of noise, the quarter of their pixels that counts, and the score."""
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
  part = np.zeros(SHAPE, bool)
  part[1:3, 4:12, :] = True

  def score(clips):
    same = (clips == frames).all(axis=-1)
    return same[:, part].mean(axis=1)

  return frames, part, score


def areas(one_part, relevance):
  """Deletion and insertion area of a map, in eighths."""
  frames, _, score = one_part
  empty = np.zeros_like(frames)
  rank = faithfulness.ranks(relevance, np.random.default_rng(1).random(SHAPE))
  curves = faithfulness.deletion_insertion(score, frames, empty, empty, rank, 8)
  assert curves.shape == (2, 9)
  np.testing.assert_allclose(curves[:, [0, -1]], [[1, 0], [0, 1]])
  return faithfulness.area(curves)


def test_areas_of_true_and_false_maps(one_part):
  """All of the part goes or comes in the first quarter, or in the last one."""
  part = one_part[1].astype(float)
  true, false = areas(one_part, part), areas(one_part, -part)
  np.testing.assert_allclose(true, [1 / 8, 7 / 8], atol=1e-9)
  np.testing.assert_allclose(false, [7 / 8, 1 / 8], atol=1e-9)
  nothing = areas(one_part, np.zeros(SHAPE))
  np.testing.assert_allclose(nothing, [1 / 2, 1 / 2], atol=0.05)
  half = np.random.default_rng(2).random(SHAPE) * 1.5 + part
  deleted, inserted = areas(one_part, half)
  assert true[0] < deleted < nothing[0]
  assert true[1] > inserted > nothing[1]


def test_pointing_of_true_and_false_maps(one_part):
  _, part, _ = one_part
  hits = faithfulness.near(np.array([[[8.0, 8.0]]] * 4), (16, 16), 3.0)
  true = np.where(part, 1 - np.abs(np.arange(16) - 8) / 16, 0)
  assert faithfulness.pointing(true, hits) > 0.5  # rows 4 to 11, all with x = 8
  assert faithfulness.pointing(-true, hits) < hits.mean()


def test_curves_over_joints():
  pose = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
  rest = np.broadcast_to(pose.mean(axis=0), pose.shape)

  def score(poses):  # of joint 3 alone
    return (poses[:, :, 3] == pose[:, 3]).all(axis=(1, 2)).astype(np.float32)

  for first, expected in ((3, [0.1, 0.9]), (0, [0.3, 0.7])):
    relevance = np.zeros(5)
    relevance[first], relevance[3] = 2, max(relevance[3], 1)
    rank = faithfulness.ranks(relevance, np.arange(5.0))
    curves = faithfulness.deletion_insertion(score, pose, rest, rest, rank, 5)
    np.testing.assert_allclose(faithfulness.area(curves), expected, atol=1e-6)


def test_area():
  np.testing.assert_allclose(
    faithfulness.area(np.array([[1.0, 1.0, 1.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.0]])),
    [1, 0.5, 0.25],
  )


def test_what_frames_become():
  frames = np.zeros((2, 40, 40, 3), np.uint8)
  frames[:, :, ::2] = 200, 100, 51
  empty = faithfulness.mean_coloured(frames)
  assert empty.shape == frames.shape
  assert empty.dtype == np.uint8
  np.testing.assert_array_equal(
    np.unique(empty.reshape(-1, 3), axis=0), [[100, 50, 26]]
  )
  unclear = faithfulness.blurred(frames)
  assert unclear.dtype == np.uint8
  assert np.ptp(unclear[..., 0].astype(int)) < 8  # the stripes are gone
  frames[:, :, 20:] = 255  # half of it white stays the lighter one
  unclear = faithfulness.blurred(frames)
  assert unclear[:, :, 30:].min() > unclear[:, :, :10].max()
