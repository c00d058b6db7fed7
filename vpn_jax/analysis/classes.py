"""Confusion and gain of classes, and the clips that show them best."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vpn_jax.evaluation import metrics as metrics_lib
from vpn_jax.evaluation.predictions import Predictions


def confusion_percent(predictions: Predictions) -> np.ndarray:
  """The confusion matrix in percent of the true class, float [K, K]; see `metrics`."""
  matrix = metrics_lib.confusion(predictions.labels, predictions.scores)
  return metrics_lib.row_percent(matrix)


@dataclasses.dataclass(frozen=True)
class ClassResult:
  """How a run does on one class.

  Attributes:
    name: of the class.
    clips: of the class.
    accuracy: percent of the clips.
    taken_for: the class that the most other clips were given; "" when all are right.
    taken: how many clips were given that class.
  """

  name: str
  clips: int
  accuracy: float
  taken_for: str
  taken: int


def class_results(predictions: Predictions) -> list[ClassResult]:
  """The results of all classes with clips, in the order of the classes."""
  names, results = predictions.class_names, []
  matrix = metrics_lib.confusion(predictions.labels, predictions.scores)
  for k, counts in enumerate(matrix):
    clips, correct = int(counts.sum()), int(counts[k])
    if clips:
      counts[k] = 0
      taken = int(counts.max())
      other = names[int(counts.argmax())] if taken else ""
      results.append(
        ClassResult(names[k], clips, 100.0 * correct / clips, other, taken)
      )
  return results


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


def class_gain(baseline: Predictions, predictions: Predictions) -> list[Gain]:
  """Accuracy per class of one network over another, largest gain first.

  Leaves out classes without clips; ties stay in the order of the classes.

  Raises: ValueError unless both are of the same clips, labels and classes.
  """
  check_comparable(baseline, predictions)
  pairs = zip(class_results(baseline), class_results(predictions), strict=True)
  gains = [
    Gain(now.name, now.clips, before.accuracy, now.accuracy) for before, now in pairs
  ]
  return sorted(gains, key=lambda g: -g.gain)


def check_comparable(baseline: Predictions, predictions: Predictions) -> None:
  """Raises ValueError unless both are of the same clips, labels and classes."""
  if baseline.class_names != predictions.class_names:
    raise ValueError(
      f"the runs have the classes {baseline.class_names} and "
      f"{predictions.class_names}: compare runs of one dataset and protocol."
    )
  before, after = (
    dict(zip(p.names, p.labels.tolist())) for p in (baseline, predictions)
  )  # the order does not matter
  if before != after:
    name = next(n for n in {**before, **after} if before.get(n) != after.get(n))
    raise ValueError(
      f"the runs were tested on {len(before)} and {len(after)} clips, {name!r} is not "
      "the same in both: evaluate both on the same records."
    )


def spread_over_classes(labels: np.ndarray, number: int) -> list[int]:
  """Positions of one clip each of `number` classes, evenly over the classes present.

  Takes the first clip of a class, so that nobody chooses the pretty ones.
  """
  present = np.unique(labels)
  number = min(number, len(present))
  chosen = present[((np.arange(number) + 0.5) * len(present) // number).astype(int)]
  return [int(np.argmax(labels == label)) for label in chosen]


# Pairs of classes that are confused with each other.


def mutual_confusion(percent: np.ndarray) -> np.ndarray:
  """How often two classes are confused: the mean of both directions.

  Args:
    percent: from `confusion_percent`, float [K, K].
  Returns: percent, float [K, K], symmetric, 0 on the diagonal; NaN for a class without
    clips.
  Source: the mis-classification score of figure 8 (c). Reading: the share of one
    class's clips that are given the other class, averaged over both.
  """
  scores = (percent + percent.T) / 2
  np.fill_diagonal(scores, np.where(np.isnan(np.diag(percent)), np.nan, 0.0))
  return scores


def confused_pairs(runs: Sequence[Predictions]) -> dict[tuple[int, int], float]:
  """All pairs of classes with clips -> `mutual_confusion`, most confused first.

  The mean over all runs decides, so that no run is judged on the mistakes of another.
  Ties stay in the order of the classes.
  """
  scores = np.mean([mutual_confusion(confusion_percent(p)) for p in runs], axis=0)
  first, second = np.triu_indices(len(scores), 1)
  values = scores[first, second]
  first, second, values = (x[np.isfinite(values)] for x in (first, second, values))
  order = np.argsort(-values, kind="stable")
  return {(int(first[i]), int(second[i])): float(values[i]) for i in order}


def look_alikes(runs: Sequence[Predictions], number: int) -> list[int]:
  """Up to `number` classes: those of the most confused pairs, pair by pair.

  Where nothing is confused, the first two classes with clips, or the only one.
  """
  chosen: list[int] = []
  for pair, score in confused_pairs(runs).items():
    new = [k for k in pair if k not in chosen]
    if len(chosen) + len(new) <= number and (score or not chosen):
      chosen += new
  return chosen or [int(k) for k in np.unique(runs[0].labels)[:number]]


def worst_block(percent: np.ndarray, size: int) -> int:
  """First of the `size` neighbouring classes that are confused most with each other.

  Args:
    percent: from `confusion_percent`, float [K, K].
    size: of the block on the diagonal, 1 to K.
  """
  wrong = np.nan_to_num(percent)
  np.fill_diagonal(wrong, 0.0)
  starts = range(len(wrong) - size + 1)
  return int(np.argmax([wrong[i : i + size, i : i + size].sum() for i in starts]))


# Clips that say most about a run.


def solved(runs: Sequence[Predictions], number: int) -> list[str]:
  """Names of clips that the last run gets right, one per class, best first.

  With a baseline before it, only clips that the baseline gets wrong, ordered by how
  much higher the last run scores the true class; alone, ordered by that score.
  """
  last = _true_scores(runs[-1])
  baseline = _true_scores(runs[0]) if len(runs) > 1 else {}
  found = {}
  for name, (score, label, correct) in last.items():
    before, _, was_correct = baseline.get(name, (0.0, label, False))
    if correct and not was_correct:
      found[name] = score - before, label
  return _one_per_class(found, number)


def failed(runs: Sequence[Predictions], number: int) -> list[str]:
  """Names of clips that the last run gets wrong, one per class, worst first.

  The worst is where the predicted class leads the true one by most.
  """
  scores, labels = runs[-1].scores, runs[-1].labels
  lead = scores.max(axis=1) - scores[np.arange(len(labels)), labels]
  wrong = np.flatnonzero(np.argmax(scores, axis=1) != labels)
  found = {runs[-1].names[i]: (float(lead[i]), int(labels[i])) for i in wrong}
  return _one_per_class(found, number)


def _true_scores(p: Predictions) -> dict[str, tuple[float, int, bool]]:
  """Clip -> score of its true class, that class, whether it is the predicted one."""
  scores = p.scores[np.arange(len(p.labels)), p.labels]
  correct = np.argmax(p.scores, axis=1) == p.labels
  values = zip(scores.tolist(), p.labels.tolist(), correct.tolist())
  return dict(zip(p.names, values))


def _one_per_class(found: dict[str, tuple[float, int]], number: int) -> list[str]:
  """Names of the highest values, at most one of each label.

  Args:
    found: clip -> value, label.
  """
  chosen: dict[int, str] = {}
  for name, (_, label) in sorted(found.items(), key=lambda item: -item[1][0]):
    chosen.setdefault(label, name)
  return list(chosen.values())[:number]
