"""The metrics, by hand."""

import numpy as np
import pytest

from vpn_jax.evaluation import metrics

# Three clips of class 0, of which two are right, one of class 1, none of class 2.
LABELS = np.array([0, 0, 0, 1])
SCORES = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7], [0.2, 0.3, 0.5]])


def test_ranking_keeps_the_order_of_equals():
  assert metrics.ranking(SCORES).tolist() == [
    [0, 1, 2],
    [0, 1, 2],
    [2, 1, 0],
    [2, 1, 0],
  ]


@pytest.mark.parametrize(("k", "expected"), [(1, 50.0), (2, 75.0), (3, 100.0)])
def test_top_k_accuracy(k, expected):
  assert metrics.top_k_accuracy(LABELS, SCORES, k) == expected


def test_confusion_has_a_row_for_each_true_class():
  matrix = metrics.confusion(LABELS, SCORES)
  assert matrix.tolist() == [[2, 0, 1], [0, 0, 1], [0, 0, 0]]
  percent = metrics.row_percent(matrix)
  np.testing.assert_allclose(percent[:2], [[200 / 3, 0, 100 / 3], [0, 0, 100]])
  assert np.isnan(percent[2]).all()


def test_mean_class_accuracy_leaves_out_classes_without_clips():
  assert metrics.mean_class_accuracy(LABELS, SCORES) == pytest.approx(100 / 3)


def test_reliability_by_hand():
  """Confidences 0.5, 0.4, 0.7 and 0.5, of which the first two are right."""
  count, confidence, accuracy = metrics.reliability(LABELS, SCORES, bins=4)
  assert count.tolist() == [0, 3, 1, 0]
  np.testing.assert_allclose(confidence[1:3], [140 / 3, 70])
  np.testing.assert_allclose(accuracy[1:3], [200 / 3, 0])
  assert np.isnan(confidence[[0, 3]]).all()
  error = metrics.calibration_error(LABELS, SCORES, bins=4)
  assert error == pytest.approx((3 * 20 + 70) / 4)


def test_scores_that_are_odds_are_calibrated():
  """Of 1,000 clips with a score of 0.8, 800 are right; of as many with 1, all."""
  scores = np.repeat([[0.8, 0.2], [1.0, 0.0]], 1000, axis=0)
  labels = np.repeat([0, 1, 0], [800, 200, 1000])
  assert metrics.calibration_error(labels, scores) == pytest.approx(0.0, abs=1e-9)
  assert metrics.calibration_error(1 - labels, scores) == pytest.approx(80.0)


def test_accuracy_of_the_clips_with_the_highest_confidence():
  found = metrics.accuracy_by_coverage(LABELS, SCORES)
  np.testing.assert_allclose(found, [0, 50, 100 / 3, 50])


def softmax(logits):
  odds = np.exp(logits - logits.max(axis=1, keepdims=True))
  return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_tempered_scores_are_those_of_divided_logits(temperature):
  logits = np.random.default_rng(0).normal(size=(5, 4)) * 3
  got = metrics.tempered(softmax(logits), temperature)
  np.testing.assert_allclose(got, softmax(logits / temperature), rtol=1e-9)
  scores = softmax(logits).astype(np.float32)
  assert metrics.tempered(scores, 1.0) is scores
  certain = metrics.tempered(np.float32([[1, 0, 0, 0]]), temperature)
  np.testing.assert_array_equal(certain.argmax(axis=1), 0)
  assert np.isfinite(certain).all()


@pytest.mark.parametrize("temperature", [0.4, 1.0, 5.0])
def test_best_temperature_is_the_one_that_was_left_out(temperature):
  """Classes are drawn by their odds; the scores are `temperature` times too sure."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(4000, 6)) * 2
  chosen = softmax(logits).cumsum(axis=1) > rng.random((len(logits), 1))
  labels, scores = chosen.argmax(axis=1), softmax(temperature * logits)
  found = metrics.best_temperature(labels, scores)
  assert found == pytest.approx(temperature, rel=0.06)
  assert metrics.calibration_error(labels, metrics.tempered(scores, found)) < 2.5
