"""Tests of vpn_jax/analysis/training_curves.py, by values found by hand."""

import json

import numpy as np
import pytest

from vpn_jax.analysis import training_curves


def test_curves_of_a_resumed_run(tmp_path):
  lines = [
    {"step": 1, "seconds": 0.1, "train/loss": 3.0, "train/accuracy": 10},
    {"step": 2, "seconds": 0.2, "train/loss": 2.0},
    {"step": 3, "seconds": 0.3, "train/loss": 1.5},  # lost when the machine failed
    {"step": 2, "seconds": 0.1, "train/loss": 2.5},  # resumed from step 1
    {"step": 2, "seconds": 0.1, "test/top1": 40.0},
  ]
  text = "\n".join(map(json.dumps, lines)) + '\n{"step": 3, "tra'  # cut off
  (tmp_path / "metrics.jsonl").write_text(text)
  curves = training_curves.read(tmp_path)
  assert set(curves) == {"train/loss", "train/accuracy", "test/top1"}
  np.testing.assert_array_equal(curves["train/loss"][0], [1, 2, 3])
  np.testing.assert_array_equal(curves["train/loss"][1], [3.0, 2.5, 1.5])
  np.testing.assert_array_equal(curves["test/top1"], [[2], [40.0]])


def test_curves_that_cannot_be_read(tmp_path):
  with pytest.raises(FileNotFoundError, match="train first with --workdir="):
    training_curves.read(tmp_path)
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"loss": 2}\n{"step": 3}\n')
  with pytest.raises(ValueError, match=r"line 2 is .*expected an object with `step`"):
    training_curves.read(tmp_path)


def test_running_mean_is_not_shifted():
  values = np.array([0.0, 3.0, 6.0, 0.0, 9.0])
  # Ends alone; then (0+3+6)/3, (3+6+0)/3, (6+0+9)/3.
  np.testing.assert_allclose(training_curves.running_mean(values, 3), [0, 3, 3, 5, 9])
  np.testing.assert_allclose(training_curves.running_mean(values, 1), values)
  line = np.arange(9.0)
  np.testing.assert_allclose(training_curves.running_mean(line, 5), line)
