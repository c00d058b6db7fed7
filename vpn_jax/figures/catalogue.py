"""The figures by name, and the files they are written to.

A figure is a function of `runs.Runs` that returns a matplotlib figure and its numbers
as rows of a csv; `FIGURES` has it under the name of its files.
"""

import csv
import pathlib
from collections.abc import Callable, Iterable

from matplotlib.figure import Figure

from vpn_jax import text
from vpn_jax.figures import (
  attention,
  calibration,
  examples,
  features,
  gains,
  heatmaps,
  joints,
  labels,
  matrices,
  pairs,
  style,
  training,
)

# Name of the files -> the function; docs/figures.md has the figures of the paper.
FIGURES = {
  "curves": training.curves,
  "confusion": matrices.confusion,
  "zoom": matrices.zoom,
  "gains": gains.gains,
  "top_gains": gains.top_gains,
  "dynamicity": gains.dynamicity,
  "radar": pairs.radar,
  "calibration": calibration.calibration,
  "labels": labels.labels,
  "best": examples.best,
  "worst": examples.worst,
  "attention": attention.attention,
  "joints": joints.joints,
  "heatmaps": heatmaps.heatmaps,
  "tsne": features.tsne,
}


def save(
  folder: pathlib.Path, name: str, figure: Figure, rows: Iterable[list]
) -> tuple[pathlib.Path, pathlib.Path]:
  """Writes name.png and name.csv; returns their paths."""
  folder.mkdir(parents=True, exist_ok=True)
  picture, numbers = folder / f"{name}.png", folder / f"{name}.csv"
  figure.savefig(picture, dpi=style.DPI, facecolor="white")
  with numbers.open("w", newline="") as file:
    csv.writer(file).writerows(rows)
  return picture, numbers


def chosen(only: str) -> dict[str, Callable]:
  """The figures named in `config.figures.only`, separated by commas; "" for all."""
  names = text.split_words(only)
  unknown = [name for name in names if name not in FIGURES]
  if unknown:
    raise ValueError(
      f"config.figures.only names {unknown}, expected some of {', '.join(FIGURES)}."
    )
  return {name: FIGURES[name] for name in names or FIGURES}


def run_names(workdirs: tuple[str, ...]) -> tuple[str, ...]:
  """The last parts of the paths, as many as make the names differ.

  Without the ends that all of them share: a/vpn/seed0 and a/i3d/seed0 are vpn and i3d.
  """
  parts = [pathlib.Path(workdir).parts for workdir in workdirs]
  while len({p[-1] for p in parts}) == 1 < min(len(set(parts)), *map(len, parts)):
    parts = [p[:-1] for p in parts]
  for depth in range(1, max(map(len, parts)) + 1):
    names = tuple("/".join(p[-depth:]) for p in parts)
    if len(set(names)) == len(names):
      break
  return names
