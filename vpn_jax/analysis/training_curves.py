"""The scalars that a run logged during training, and their smoothing."""

import json
import pathlib

import numpy as np

from vpn_jax.training import metrics_writer

Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def read(workdir: str | pathlib.Path) -> Curves:
  """Reads metrics.jsonl of a run.

  A later line of the same step replaces an earlier one. A last line that was cut off is
  left out.

  Returns: scalar, such as "train/loss" -> steps int [n], values float [n], by step.
  Raises: FileNotFoundError without the file; ValueError for a line that is damaged.
  """
  path = pathlib.Path(workdir) / metrics_writer.METRICS_FILE
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
  """Mean over up to `window` values around each value; never shifted.

  Towards the ends the window shrinks on both sides.

  Args:
    values: float [n].
    window: odd; an even one counts as the next odd one.
  Returns: float [n].
  """
  half = window // 2
  total = np.concatenate([[0.0], np.cumsum(values)])
  center = np.arange(len(values))
  reach = np.minimum(np.minimum(half, center), len(values) - 1 - center)
  return (total[center + reach + 1] - total[center - reach]) / (2 * reach + 1)
