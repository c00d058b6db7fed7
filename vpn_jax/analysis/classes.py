"""Predictions of one run or two -> which classes gain, and which are mixed up."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vpn_jax.evaluation import metrics as metrics_lib
from vpn_jax.evaluation import predictions as predictions_lib


def percent_confused(predictions: predictions_lib.Predictions) -> np.ndarray:
  """The confusion matrix in percent of the true class, float [K, K]; see `metrics`."""
  matrix = metrics_lib.confusion(predictions.labels, predictions.scores)
  return metrics_lib.row_percent(matrix)


@dataclasses.dataclass(frozen=True)
class Gain:
  """A class under two networks; accuracies in percent of its `clips`."""

  name: str
  clips: int
  baseline: float
  accuracy: float

  @property
  def gain(self) -> float:
    """Percentage points."""
    return self.accuracy - self.baseline


def class_gain(
  baseline: predictions_lib.Predictions, predictions: predictions_lib.Predictions
) -> list[Gain]:
  """Accuracy per class of one network over another, largest gain first.

  Classes without clips are left out; ties stay in the order of the classes.

  Raises: ValueError unless both saw the same clips with the same labels and classes.
  """
  check_comparable(baseline, predictions)
  before, after = percent_confused(baseline), percent_confused(predictions)
  count = np.bincount(predictions.labels, minlength=len(predictions.class_names))
  gains = [
    Gain(name, int(count[k]), float(before[k, k]), float(after[k, k]))
    for k, name in enumerate(predictions.class_names)
    if count[k]
  ]
  return sorted(gains, key=lambda g: -g.gain)


def check_comparable(
  baseline: predictions_lib.Predictions, predictions: predictions_lib.Predictions
) -> None:
  """ValueError unless both saw the same clips with the same labels and classes."""
  if baseline.class_names != predictions.class_names:
    raise ValueError(
      f"the runs have the classes {baseline.class_names} and "
      f"{predictions.class_names}: compare runs of one dataset and protocol."
    )
  labels = [
    dict(zip(p.names, p.labels.tolist())) for p in (baseline, predictions)
  ]  # order does not matter
  if labels[0] != labels[1]:
    differing = [n for n in {**labels[0], **labels[1]}
                 if labels[0].get(n) != labels[1].get(n)]  # fmt: skip
    raise ValueError(
      f"the runs were tested on {len(labels[0])} and {len(labels[1])} clips, "
      f"{differing[0]!r} is not the same in both: evaluate both on the same records."
    )


def spread(labels: np.ndarray, number: int) -> list[int]:
  """Positions of `number` clips of as many classes, evenly over the classes present.

  The first clip of a class stands for it, so that nobody chose the pretty ones.
  """
  present = np.unique(labels)
  number = min(number, len(present))
  chosen = present[((np.arange(number) + 0.5) * len(present) // number).astype(int)]
  return [int(np.argmax(labels == label)) for label in chosen]


# Pairs of classes that are taken for one another.


def mixed_up(percent: np.ndarray) -> np.ndarray:
  """How much two classes are taken for each other: the mean of both directions.

  Args:
    percent: from `percent_confused`, float [K, K].
  Returns: percent, float [K, K], symmetric, 0 on the diagonal; NaN for a class without
    clips.
  Source: the mis-classification score of figure 8 (c). Reading: the share of one
    class's clips that got the other's name, averaged over both.
  """
  scores = (percent + percent.T) / 2
  np.fill_diagonal(scores, np.where(np.isnan(np.diag(percent)), np.nan, 0.0))
  return scores


def confused_pairs(
  runs: Sequence[predictions_lib.Predictions],
) -> dict[tuple[int, int], float]:
  """All pairs of classes with clips and their score, the most mixed up first.

  The mean over all runs decides, so that no run is judged on the faults of another.
  Ties stay in the order of the classes.
  """
  scores = np.mean([mixed_up(percent_confused(p)) for p in runs], axis=0)
  first, second = np.triu_indices(len(scores), 1)
  values = scores[first, second]
  first, second, values = (x[np.isfinite(values)] for x in (first, second, values))
  order = np.argsort(-values, kind="stable")
  return {(int(first[i]), int(second[i])): float(values[i]) for i in order}


def look_alikes(runs: Sequence[predictions_lib.Predictions], number: int) -> list[int]:
  """Up to `number` classes, those of the most mixed up pairs, pair by pair.

  Where nothing is mixed up, the first two classes with clips.
  """
  chosen = []
  for pair, score in confused_pairs(runs).items():
    new = [k for k in pair if k not in chosen]
    if len(chosen) + len(new) <= number and (score or not chosen):
      chosen += new
  return chosen


def worst_block(percent: np.ndarray, size: int) -> int:
  """First class of the `size` neighbours that are mixed up most among themselves.

  Args:
    percent: from `percent_confused`, float [K, K].
    size: of the block on the diagonal, 1 to K.
  """
  wrong = np.nan_to_num(percent)
  np.fill_diagonal(wrong, 0.0)
  starts = range(len(wrong) - size + 1)
  return int(np.argmax([wrong[i : i + size, i : i + size].sum() for i in starts]))


# Clips that say most about a run.


def solved(runs: Sequence[predictions_lib.Predictions], number: int) -> list[str]:
  """Names of clips that the last run has right, one a class, best first.

  With a baseline before it, those that the baseline has wrong, by how much higher the
  last run scores the true class; alone, by its score.
  """
  right = [_true_scores(p) for p in runs]
  found = {
    name: (score - (right[0][name][0] if len(runs) > 1 else 0.0), label)
    for name, (score, label, is_right) in right[-1].items()
    if is_right and (len(runs) == 1 or not right[0][name][2])
  }
  return _one_a_class(found, number)


def failed(runs: Sequence[predictions_lib.Predictions], number: int) -> list[str]:
  """Names of clips that the last run has wrong, one a class, worst first.

  The worst is where the class it names leads the true one by most.
  """
  scores, labels = runs[-1].scores, runs[-1].labels
  lead = scores.max(axis=1) - scores[np.arange(len(labels)), labels]
  wrong = np.argmax(scores, axis=1) != labels
  found = {
    runs[-1].names[i]: (float(lead[i]), int(labels[i])) for i in np.flatnonzero(wrong)
  }
  return _one_a_class(found, number)


def _true_scores(p: predictions_lib.Predictions) -> dict[str, tuple[float, int, bool]]:
  """By clip: score of its true class, that class, whether it was named."""
  scores = p.scores[np.arange(len(p.labels)), p.labels]
  right = np.argmax(p.scores, axis=1) == p.labels
  values = zip(scores.tolist(), p.labels.tolist(), right.tolist())
  return dict(zip(p.names, values))


def _one_a_class(found: dict[str, tuple[float, int]], number: int) -> list[str]:
  """The names of highest value, at most one of each label."""
  chosen: dict[int, str] = {}
  for name, (_, label) in sorted(found.items(), key=lambda item: -item[1][0]):
    chosen.setdefault(label, name)
  return list(chosen.values())[:number]
