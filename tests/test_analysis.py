"""Tests of vpn_jax/analysis.py, by values found by hand."""

import json

import numpy as np
import pytest

from vpn_jax import analysis
from vpn_jax.evaluate import Predictions


def predictions(labels, predicted, classes=("a", "b", "c", "d")):
  scores = np.full((len(labels), len(classes)), 0.1, np.float32)
  scores[np.arange(len(labels)), predicted] = 0.7
  names = tuple(f"clip{i}" for i in range(len(labels)))
  return Predictions(names, np.array(labels), scores, tuple(classes))


def test_curves_of_a_resumed_run(tmp_path):
  lines = [
    {"step": 1, "seconds": 0.1, "train/loss": 3.0, "train/accuracy": 10},
    {"step": 2, "seconds": 0.2, "train/loss": 2.0},
    {"step": 3, "seconds": 0.3, "train/loss": 1.5},  # lost with the machine
    {"step": 2, "seconds": 0.1, "train/loss": 2.5},  # resumed from step 1
    {"step": 2, "seconds": 0.1, "test/top1": 40.0},
  ]
  text = "\n".join(map(json.dumps, lines)) + '\n{"step": 3, "tra'  # cut off
  (tmp_path / "metrics.jsonl").write_text(text)
  curves = analysis.read_curves(tmp_path)
  assert set(curves) == {"train/loss", "train/accuracy", "test/top1"}
  np.testing.assert_array_equal(curves["train/loss"][0], [1, 2, 3])
  np.testing.assert_array_equal(curves["train/loss"][1], [3.0, 2.5, 1.5])
  np.testing.assert_array_equal(curves["test/top1"], [[2], [40.0]])


def test_curves_that_cannot_be_read(tmp_path):
  with pytest.raises(FileNotFoundError, match="train first with --workdir="):
    analysis.read_curves(tmp_path)
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"loss": 2}\n{"step": 3}\n')
  with pytest.raises(ValueError, match=r"line 2 is .*expected an object with `step`"):
    analysis.read_curves(tmp_path)


def test_running_mean_is_not_shifted():
  values = np.array([0.0, 3.0, 6.0, 0.0, 9.0])
  # Ends alone; then (0+3+6)/3, (3+6+0)/3, (6+0+9)/3.
  np.testing.assert_allclose(analysis.running_mean(values, 3), [0, 3, 3, 5, 9])
  np.testing.assert_allclose(analysis.running_mean(values, 1), values)
  line = np.arange(9.0)
  np.testing.assert_allclose(analysis.running_mean(line, 5), line)


def test_confusion_in_percent():
  p = predictions([0, 0, 0, 0, 1, 3], [0, 0, 1, 2, 1, 0])
  percent = analysis.row_percent(analysis.confusion(p))
  np.testing.assert_array_equal(percent[0], [50, 25, 25, 0])
  np.testing.assert_array_equal(percent[1], [0, 100, 0, 0])
  assert np.isnan(percent[2]).all()  # no clip of c
  np.testing.assert_array_equal(percent[3], [100, 0, 0, 0])


def test_class_gain():
  labels = [0, 0, 0, 0, 1, 1, 3]
  before = predictions(labels, [0, 1, 1, 1, 1, 1, 0])  # a 25 %, b 100 %, d 0 %
  after = predictions(labels, [0, 0, 0, 1, 1, 0, 0])  # a 75 %, b 50 %, d 0 %
  gains = analysis.class_gain(before, after)
  assert [(g.name, g.clips, g.baseline, g.accuracy, g.gain) for g in gains] == [
    ("a", 4, 25.0, 75.0, 50.0),
    ("d", 1, 0.0, 0.0, 0.0),
    ("b", 2, 100.0, 50.0, -50.0),
  ]
  order = [6, 5, 4, 3, 2, 1, 0]
  shuffled = Predictions(
    tuple(after.names[i] for i in order), after.labels[order], after.scores[order],
    after.class_names,
  )  # fmt: skip
  assert analysis.class_gain(before, shuffled) == gains


def test_class_gain_of_other_clips_or_classes():
  p = predictions([0, 1], [0, 1])
  with pytest.raises(ValueError, match=r"the runs have the classes .*one dataset"):
    analysis.class_gain(p, predictions([0, 1], [0, 1], ("a", "b")))
  with pytest.raises(ValueError, match="on 2 and 3 clips, 'clip2' is not the same"):
    analysis.class_gain(p, predictions([0, 1, 1], [0, 1, 1]))
  with pytest.raises(ValueError, match="'clip1' is not the same in both: evaluate"):
    analysis.class_gain(p, predictions([0, 2], [0, 1]))


def test_spread_over_the_classes():
  labels = np.array([5, 5, 0, 2, 2, 7, 9])  # present: 0 2 5 7 9
  assert analysis.spread(labels, 1) == [0]  # the middle one, 5
  assert analysis.spread(labels, 2) == [3, 5]  # 2 and 7
  assert analysis.spread(labels, 9) == [2, 3, 0, 5, 6]
