"""Tests of vpn_jax/analysis/classes.py, by values found by hand."""

import numpy as np
import pytest

from vpn_jax.analysis import classes as classes_lib
from vpn_jax.evaluation.predictions import Predictions


def predictions(labels, predicted, classes=("a", "b", "c", "d")):
  scores = np.full((len(labels), len(classes)), 0.1, np.float32)
  scores[np.arange(len(labels)), predicted] = 0.7
  names = tuple(f"clip{i}" for i in range(len(labels)))
  return Predictions(names, np.array(labels), scores, tuple(classes))


def test_confusion_in_percent():
  p = predictions([0, 0, 0, 0, 1, 3], [0, 0, 1, 2, 1, 0])
  percent = classes_lib.confusion_percent(p)
  np.testing.assert_array_equal(percent[0], [50, 25, 25, 0])
  np.testing.assert_array_equal(percent[1], [0, 100, 0, 0])
  assert np.isnan(percent[2]).all()  # no clip of c
  np.testing.assert_array_equal(percent[3], [100, 0, 0, 0])


def test_class_gain():
  labels = [0, 0, 0, 0, 1, 1, 3]
  before = predictions(labels, [0, 1, 1, 1, 1, 1, 0])  # a 25 %, b 100 %, d 0 %
  after = predictions(labels, [0, 0, 0, 1, 1, 0, 0])  # a 75 %, b 50 %, d 0 %
  gains = classes_lib.class_gain(before, after)
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
  assert classes_lib.class_gain(before, shuffled) == gains


def test_class_gain_of_other_clips_or_classes():
  p = predictions([0, 1], [0, 1])
  with pytest.raises(ValueError, match=r"the runs have the classes .*one dataset"):
    classes_lib.class_gain(p, predictions([0, 1], [0, 1], ("a", "b")))
  with pytest.raises(ValueError, match="on 2 and 3 clips, 'clip2' is not the same"):
    classes_lib.class_gain(p, predictions([0, 1, 1], [0, 1, 1]))
  with pytest.raises(ValueError, match="'clip1' is not the same in both: evaluate"):
    classes_lib.class_gain(p, predictions([0, 2], [0, 1]))


def test_spread_over_the_classes():
  labels = np.array([5, 5, 0, 2, 2, 7, 9])  # present: 0 2 5 7 9
  assert classes_lib.spread_over_classes(labels, 1) == [0]  # the middle one, 5
  assert classes_lib.spread_over_classes(labels, 2) == [3, 5]  # 2 and 7
  assert classes_lib.spread_over_classes(labels, 9) == [2, 3, 0, 5, 6]


# Predictions: 50 % of a as b and 25 % as c, 20 % of b as a, all of c right; no d.
MIXED = predictions([0, 0, 0, 0, 1, 1, 1, 1, 1, 2], [0, 1, 1, 2, 1, 0, 1, 1, 1, 2])


def test_mutual_confusion_is_the_mean_of_both_directions():
  score = classes_lib.mutual_confusion(classes_lib.confusion_percent(MIXED))
  assert score[0, 1] == score[1, 0] == (50 + 20) / 2
  assert score[0, 2] == score[2, 0] == 25 / 2
  assert score[1, 2] == 0
  np.testing.assert_array_equal(np.diag(score)[:3], 0)
  assert np.isnan(score[3]).all()
  assert np.isnan(score[:, 3]).all()


def test_pairs_of_one_run_and_of_two():
  # d has no clips and is in no pair.
  pairs = classes_lib.confused_pairs([MIXED])
  assert list(pairs.items()) == [((0, 1), 35), ((0, 2), 12.5), ((1, 2), 0)]
  # Another run takes every b for c: the means are 25 for (b, c), 17.5 for (a, b).
  other = predictions(MIXED.labels, np.where(MIXED.labels == 1, 2, MIXED.labels))
  assert next(iter(classes_lib.confused_pairs([MIXED, other]).items())) == ((1, 2), 25)


def test_look_alikes_come_in_pairs():
  # Pairs by score: (a, b) 75, (c, d) 50, the rest 0.
  p = predictions([0, 0, 1, 1, 2, 3], [1, 1, 0, 1, 3, 3])
  assert classes_lib.look_alikes([p], 2) == [0, 1]
  assert classes_lib.look_alikes([p], 3) == [0, 1]  # no half of a pair
  assert classes_lib.look_alikes([p], 4) == [0, 1, 2, 3]
  # A class in two pairs counts once: (a, b), (a, c).
  assert classes_lib.look_alikes([MIXED], 3) == [0, 1, 2]
  right = predictions([1, 2, 3], [1, 2, 3])
  assert classes_lib.look_alikes([right], 4) == [1, 2]
  assert classes_lib.look_alikes([predictions([3], [1])], 4) == [3]


def test_worst_block():
  percent = np.diag([90.0, 50.0, 50.0, 60.0, 90.0])
  percent[1, 2], percent[2, 1], percent[3, 0] = 40, 50, 99  # 99 is in no block of 2
  percent[4] = np.nan  # a class without clips
  assert classes_lib.worst_block(percent, 2) == 1
  assert classes_lib.worst_block(percent, 4) == 0  # 0 to 3 hold all three
  assert percent[1, 1] == 50  # its input is left as it was


def scored(scores, labels=(0, 0, 1, 2)):
  names = tuple(f"clip{i}" for i in range(len(labels)))
  return Predictions(
    names, np.array(labels), np.array(scores, np.float32), tuple("abc")
  )


def test_clips_that_a_run_solves_and_fails():
  before = scored([[0.4, 0.6, 0], [0.1, 0.9, 0], [0.7, 0.3, 0], [0.1, 0.1, 0.8]])
  after = scored([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.2, 0.8, 0], [0.5, 0.3, 0.2]])
  # Gains of the true class: clip0 0.5, clip1 0.7 (of the same class), clip2 0.5.
  assert classes_lib.solved([before, after], 4) == ["clip1", "clip2"]
  assert classes_lib.solved([before, after], 1) == ["clip1"]
  # Alone, by the score itself.
  assert classes_lib.solved([after], 4) == ["clip0", "clip2"]
  assert classes_lib.failed([before, after], 4) == ["clip3"]
  # Of before, clip1 leads wrongly by 0.8, clip2 by 0.4; clip0 is of clip1's class.
  assert classes_lib.failed([before], 4) == ["clip1", "clip2"]
  assert classes_lib.solved([after, after], 4) == []


def test_clips_in_another_order():
  before = scored([[0.4, 0.6, 0], [0.9, 0.1, 0], [0.3, 0.7, 0], [0, 0, 1]])
  after = scored([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.3, 0.7, 0], [0, 0, 1]])
  order = [3, 1, 0, 2]
  moved = Predictions(
    tuple(before.names[i] for i in order), before.labels[order], before.scores[order],
    before.class_names,
  )  # fmt: skip
  assert classes_lib.solved([moved, after], 4) == ["clip0"]
