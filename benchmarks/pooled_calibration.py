"""Calibration of a row whose test parts are pooled, as of each person in turn.

  python -m benchmarks.pooled_calibration runs/vpn/1,runs/vpn/5,runs/vpn/8
  python -m benchmarks.pooled_calibration runs/vpn/1,runs/vpn/5 runs/pose/1,runs/pose/5

An argument has the finished runs of a row, one for each fold; the scores of several
rows are averaged, fold by fold. With two folds or more also at the temperature that
fits the clips of the other folds, each scored by a network that was not trained on
them.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from vpn_jax.evaluation import fusion, metrics, predictions


def folds(rows: Sequence[str]) -> list[predictions.Predictions]:
  """The predictions of each fold, averaged over the rows.

  Args:
    rows: workdirs separated by commas, in the same order of folds.
  Raises: ValueError for rows of other numbers of folds, or folds of other clips.
  """
  workdirs = [row.split(",") for row in rows]
  if len({len(row) for row in workdirs}) != 1:
    raise ValueError(
      f"the rows have {[len(row) for row in workdirs]} runs, expected as many each: "
      "name the runs of the same folds in the same order."
    )
  found = []
  for fold in zip(*workdirs):
    each = [predictions.read(f"{workdir}/test") for workdir in fold]
    one = len(each) == 1
    found.append(each[0] if one else fusion.fuse(each, [1.0] * len(each), fold))
  return found


def pooled(parts: Sequence[predictions.Predictions]) -> tuple[np.ndarray, np.ndarray]:
  """Labels int [n] and scores float32 [n, K] of all folds, one after the other."""
  labels, scores = zip(*((part.labels, part.scores) for part in parts))
  return np.concatenate(labels), np.concatenate(scores)


def at_temperatures_of_others(
  parts: Sequence[predictions.Predictions],
) -> tuple[np.ndarray, np.ndarray, list[float]]:
  """As `pooled`, each fold at the temperature of the others; and these."""
  temperatures, scores = [], []
  for i, part in enumerate(parts):
    others = pooled([*parts[:i], *parts[i + 1 :]])
    temperatures.append(metrics.best_temperature(*others))
    scores.append(metrics.tempered(part.scores, temperatures[-1]))
  return pooled(parts)[0], np.concatenate(scores), temperatures


def in_words(labels: np.ndarray, scores: np.ndarray) -> str:
  """Accuracy, calibration error and the accuracy of the surer half, in percent."""
  kept = metrics.accuracy_by_coverage(labels, scores)
  return (
    f"top-1 {kept[-1]:.1f}, calibration error "
    f"{metrics.calibration_error(labels, scores):.1f}, surer half "
    f"{kept[len(kept) // 2 - 1]:.1f}, {len(kept)} clips"
  )


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("rows", nargs="+", help="workdirs of the folds, with commas")
  parts = folds(parser.parse_args().rows)
  print(in_words(*pooled(parts)))
  if len(parts) > 1:
    labels, scores, found = at_temperatures_of_others(parts)
    shown = ", ".join(f"{value:.2f}" for value in found)
    print(f"at temperatures of the other folds ({shown}): {in_words(labels, scores)}")


if __name__ == "__main__":
  main()
