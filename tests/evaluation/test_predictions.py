"""Metrics by hand."""

import numpy as np
import pytest

from vpn_jax.evaluation import predictions as predictions_lib


def predictions():
  # true 0 0 0 1, predicted 0 0 1 1; class 2 is in no label
  scores = np.array(
    [[0.8, 0.1, 0.1], [0.5, 0.3, 0.2], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]], np.float32
  )
  return predictions_lib.Predictions(
    names=("w", "x", "y", "z"),
    labels=np.array([0, 0, 0, 1]),
    scores=scores,
    class_names=("sit", "walk", "eat"),
  )


def test_metrics_by_hand():
  values = predictions_lib.metrics(predictions())
  assert values["top1"] == 75.0  # 3 of 4
  np.testing.assert_allclose(values["mean_class"], 100 * (2 / 3 + 1) / 2)
  assert values["top5"] == 100.0
  assert values["clips"] == 4


def test_top5_looks_at_five():
  scores = np.tile(np.linspace(1, 0, 7, dtype=np.float32), (7, 1))
  p = predictions_lib.Predictions(
    tuple("abcdefg"), np.arange(7), scores, tuple("abcdefg")
  )
  np.testing.assert_allclose(predictions_lib.metrics(p)["top5"], 100 * 5 / 7)


def test_files_come_back(tmp_path):
  made = predictions()
  predictions_lib.write(tmp_path, made)
  back = predictions_lib.read(tmp_path)
  assert back.names == made.names
  assert back.class_names == made.class_names
  np.testing.assert_array_equal(back.scores, made.scores)
  lines = (tmp_path / "predictions.csv").read_text().splitlines()
  assert lines[3] == "y,sit,walk,0.6000,walk; sit; eat"
  confusion = (tmp_path / "confusion.csv").read_text().splitlines()
  assert confusion[1] == "sit,2,1,0"


def test_message(tmp_path):
  with pytest.raises(FileNotFoundError, match="run --job=evaluate on that workdir"):
    predictions_lib.read(tmp_path)
