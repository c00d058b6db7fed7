"""Calibration over pooled folds, at temperatures of the other folds."""

import sys

import numpy as np
import pytest

from benchmarks import pooled_calibration
from vpn_jax.evaluation import metrics, predictions

SURE = 4.0  # how many times too large the logits are


def write_folds(folder, name, seed, sizes=(400, 600)):
  """Runs whose classes are drawn by their odds, and whose scores are too sure."""
  workdirs = []
  for fold, size in enumerate(sizes):
    rng = np.random.default_rng((0, fold))  # the clips of every row
    labels = rng.integers(0, 3, size)
    noise = np.random.default_rng((seed, fold)).normal(size=(size, 3))
    logits = np.eye(3)[labels] + noise  # the odds of labels under unit noise
    odds = np.exp(SURE * logits)
    workdirs.append(str(folder / name / str(fold)))
    predictions.write(
      f"{workdirs[-1]}/test",
      predictions.Predictions(
        names=tuple(f"{fold}_{i}" for i in range(size)),
        labels=labels,
        scores=(odds / odds.sum(axis=1, keepdims=True)).astype(np.float32),
        class_names=("a", "b", "c"),
      ),
    )
  return ",".join(workdirs)


def test_temperatures_of_other_folds_calibrate(tmp_path, capsys, monkeypatch):
  row = write_folds(tmp_path, "vpn", seed=1)
  parts = pooled_calibration.folds([row])
  labels, scores = pooled_calibration.pooled(parts)
  assert scores.shape == (1000, 3)
  assert metrics.calibration_error(labels, scores) > 15
  again, tempered, found = pooled_calibration.at_temperatures_of_others(parts)
  np.testing.assert_array_equal(again, labels)
  np.testing.assert_array_equal(tempered.argmax(axis=1), scores.argmax(axis=1))
  assert found[0] == metrics.best_temperature(parts[1].labels, parts[1].scores)
  np.testing.assert_allclose(found, SURE, rtol=0.25)
  assert metrics.calibration_error(labels, tempered) < 6
  monkeypatch.setattr(sys, "argv", ["calibration", row])
  pooled_calibration.main()
  first, second = capsys.readouterr().out.splitlines()
  assert first == pooled_calibration.in_words(labels, scores)
  assert second.startswith("at temperatures of the other folds (")


def test_rows_are_averaged_fold_by_fold(tmp_path):
  rows = [write_folds(tmp_path, name, seed) for seed, name in enumerate("ab")]
  alone = [pooled_calibration.folds([row]) for row in rows]
  for fold, part in enumerate(pooled_calibration.folds(rows)):
    mean = (alone[0][fold].scores + alone[1][fold].scores) / 2
    np.testing.assert_allclose(part.scores, mean, atol=1e-6)
  with pytest.raises(ValueError, match=r"have \[2, 1\] runs, expected as many each"):
    pooled_calibration.folds([rows[0], rows[1].split(",")[0]])
