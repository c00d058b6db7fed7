"""Tests of vpn_jax/analysis/label_errors.py, by values found by hand."""

import math

import numpy as np
import pytest

from vpn_jax.analysis import label_errors
from vpn_jax.evaluation.predictions import Predictions

SIT, STAND, WALK = 0, 1, 2
CLASSES = ("sit", "stand", "walk")


def predictions(labels, predicted, sure=0.7):
  scores = np.full((len(labels), 3), (1 - sure) / 2, np.float32)
  scores[np.arange(len(labels)), predicted] = sure
  names = tuple(f"clip{i}" for i in range(len(labels)))
  return Predictions(names, np.array(labels), scores, CLASSES)


def people(swapped=()):
  """5 people, 5 clips of each class; sit and stand of some people are swapped."""
  labels, predicted, attributes = [], [], {}
  for subject in range(1, 6):
    for label in (SIT, STAND, WALK):
      for episode in range(5):
        attributes[f"clip{len(labels)}"] = {
          "subject": subject, "episode": episode, "camera": 2,
        }  # fmt: skip
        labels.append(label)
        other = {SIT: STAND, STAND: SIT}.get(label, label)
        predicted.append(other if subject in swapped else label)
  return labels, predicted, attributes


def test_swapped_labels_of_one_person():
  labels, predicted, attributes = people(swapped=(4,))
  found = label_errors.suspected([predictions(labels, predicted)], attributes)
  assert [(g.attribute, g.value, g.name, g.taken_for) for g in found] == [
    ("subject", 4, "sit", "stand"),
    ("subject", 4, "stand", "sit"),
  ]
  first = found[0]
  assert first.clips == ("clip45", "clip46", "clip47", "clip48", "clip49")
  assert (first.taken, first.others, first.others_taken) == (5, 20, 0)
  # The 5 among 25 clips; 5 people and 5 episodes, 3 classes, 2 others for each.
  expected = 1 / math.comb(25, 5) * (5 + 5) * 3 * 2
  assert first.p_value == pytest.approx(expected)  # 0.0011


def test_what_everybody_confuses_is_not_suspected():
  labels, predicted, attributes = people(swapped=(1, 2, 3, 4, 5))
  assert label_errors.suspected([predictions(labels, predicted)], attributes) == []


def test_a_few_errors_are_not_suspected():
  labels, predicted, attributes = people()
  predicted[:3] = [STAND] * 3  # of 5 clips: 10 / comb(25, 3) * 60 = 0.26
  assert label_errors.suspected([predictions(labels, predicted)], attributes) == []


def test_small_groups_and_groups_of_all_clips_are_not_tested():
  labels, predicted, attributes = people(swapped=(4,))
  two = {name: {"subject": a["subject"]} for name, a in attributes.items()}
  for name, values in two.items():
    if values["subject"] == 4 and int(name[4:]) % 5 > 1:
      values["subject"] = 9  # 2 clips and 3
  # Of 3 clips all are taken, 3 of 5: comb(5, 3) / comb(25, 3) for each of 36 tests.
  assert label_errors.suspected([predictions(labels, predicted)], two) == []
  # Two of 300 clips would be significant, 2 / comb(300, 2), and are too few to say so.
  pair = predictions([SIT] * 300, [STAND] * 2 + [SIT] * 298)
  who = {name: {"subject": 1 + (int(name[4:]) < 2)} for name in pair.names}
  assert label_errors.suspected([pair], who) == []
  one = {name: {"camera": 2} for name in attributes}
  assert label_errors.suspected([predictions(labels, predicted)], one) == []


def test_the_mean_of_the_runs_decides():
  labels, predicted, attributes = people(swapped=(4,))
  alone = {name: {"subject": a["subject"]} for name, a in attributes.items()}
  wrong, right = predictions(labels, predicted, 0.6), predictions(labels, labels, 0.9)
  order = np.arange(len(labels))[::-1]
  right = Predictions(
    tuple(right.names[i] for i in order), right.labels[order], right.scores[order],
    CLASSES,
  )  # fmt: skip
  assert len(label_errors.suspected([wrong], alone)) == 2
  assert label_errors.suspected([wrong, right], alone) == []
  assert len(label_errors.suspected([wrong, wrong], alone)) == 2


def test_runs_of_other_clips():
  labels, predicted, attributes = people()
  two = [predictions(labels, predicted), predictions(labels[:-1], predicted[:-1])]
  with pytest.raises(ValueError, match="tested on 75 and 74 clips"):
    label_errors.suspected(two, attributes)
