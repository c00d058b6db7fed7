"""Predictions and metrics -> numbers for figures and tables, without pictures."""

import dataclasses
import json
import pathlib

import numpy as np

from vpn_jax import evaluate

Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def read_curves(workdir: str | pathlib.Path) -> Curves:
  """The scalars of a run by name, such as "train/loss": (steps, values), by step.

  A resumed run writes the steps again that it repeats; the later line counts. A last
  line that was cut off is left out.

  Raises: FileNotFoundError without metrics.jsonl, ValueError for a line that is none.
  """
  path = pathlib.Path(workdir) / "metrics.jsonl"
  if not path.exists():
    raise FileNotFoundError(f"no {path}: train first with --workdir={workdir}.")
  lines = path.read_text(errors="replace").splitlines()
  found: dict[str, dict[int, float]] = {}
  for number, line in enumerate(lines, 1):
    try:
      values = json.loads(line)
      step = int(values.pop("step"))
      values.pop("seconds", None)
      values = {name: float(value) for name, value in values.items()}
    except (
      ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
    ) as e:  # fmt: skip
      if number == len(lines):
        break
      raise ValueError(
        f"{path}, line {number} is {line[:40]!r}, expected an object with `step` "
        "and numbers: remove the line."
      ) from e
    for name, value in values.items():
      found.setdefault(name, {})[step] = value
  return {
    name: (np.array(sorted(by_step)), np.array([by_step[s] for s in sorted(by_step)]))
    for name, by_step in found.items()
  }


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
  """Mean over up to `window` values around each; fewer at the ends, never shifted.

  Args:
    values: float [n].
    window: odd; an even one counts as the next odd one.
  """
  half = window // 2
  total = np.concatenate([[0.0], np.cumsum(values)])
  place = np.arange(len(values))
  reach = np.minimum(np.minimum(half, place), len(values) - 1 - place)
  return (total[place + reach + 1] - total[place - reach]) / (2 * reach + 1)


def confusion(predictions: evaluate.Predictions) -> np.ndarray:
  """Counts, int [K, K]: row = true class, column = predicted one."""
  predicted = np.argmax(predictions.scores, axis=1)
  return evaluate.confusion(predictions.labels, predicted, len(predictions.class_names))


def row_percent(matrix: np.ndarray) -> np.ndarray:
  """Rows of counts as percent of their sum; NaN for a class without clips."""
  total = matrix.sum(axis=1, keepdims=True)
  with np.errstate(invalid="ignore"):
    return np.where(total > 0, 100.0 * matrix / np.maximum(total, 1), np.nan)


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
  baseline: evaluate.Predictions, predictions: evaluate.Predictions
) -> list[Gain]:
  """Accuracy per class of one network over another, largest gain first.

  Classes without clips are left out; ties stay in the order of the classes.

  Raises: ValueError unless both saw the same clips with the same labels and classes.
  """
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
  before, after = row_percent(confusion(baseline)), row_percent(confusion(predictions))
  count = confusion(predictions).sum(axis=1)
  gains = [
    Gain(name, int(count[k]), float(before[k, k]), float(after[k, k]))
    for k, name in enumerate(predictions.class_names)
    if count[k]
  ]
  return sorted(gains, key=lambda g: -g.gain)


def spread(labels: np.ndarray, number: int) -> list[int]:
  """Positions of `number` clips of as many classes, evenly over the classes present.

  The first clip of a class stands for it, so that nobody chose the pretty ones.
  """
  present = np.unique(labels)
  number = min(number, len(present))
  chosen = present[((np.arange(number) + 0.5) * len(present) // number).astype(int)]
  return [int(np.argmax(labels == label)) for label in chosen]
