"""The scalars that a run wrote while it trained."""

import json
import pathlib

import numpy as np

from vpn_jax.training import metrics_writer

Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def read_curves(workdir: str | pathlib.Path) -> Curves:
  """The scalars of a run by name, such as "train/loss": (steps, values), by step.

  Of two lines of one step the later one counts. A last line that was cut off is left
  out.

  Raises: FileNotFoundError without metrics.jsonl, ValueError for a line that is none.
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
