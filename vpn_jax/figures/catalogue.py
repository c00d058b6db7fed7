"""The figures by name, and the files they go to.

A figure is a function of `Inputs` that returns a matplotlib figure and its numbers as
rows of a csv; it stands in `FIGURES` under the name of its files.
"""

import csv
import pathlib
from collections.abc import Iterable

from matplotlib.figure import Figure

from vpn_jax.figures import (
  attention,
  examples,
  features,
  gains,
  heatmaps,
  joints,
  matrices,
  pairs,
  style,
  training,
)

# Name of the files -> the function; which figure of the paper each is: docs/figures.md.
FIGURES = {
  "curves": training.curves,
  "confusion": matrices.confusion,
  "zoom": matrices.zoom,
  "gains": gains.gains,
  "top_gains": gains.top_gains,
  "dynamicity": gains.dynamicity,
  "radar": pairs.radar,
  "best": examples.best,
  "worst": examples.worst,
  "attention": attention.attention,
  "joints": joints.joints,
  "heatmaps": heatmaps.heatmaps,
  "tsne": features.tsne,
}


def save(folder: pathlib.Path, name: str, figure: Figure, rows: Iterable[list]):
  """Writes name.png and name.csv; returns their paths."""
  folder.mkdir(parents=True, exist_ok=True)
  picture, numbers = folder / f"{name}.png", folder / f"{name}.csv"
  figure.savefig(picture, dpi=style.DPI, facecolor="white")
  with numbers.open("w", newline="") as file:
    csv.writer(file).writerows(rows)
  return picture, numbers


def chosen(only: str) -> dict:
  """Those of `FIGURES` named in `config.figures.only`, parted by commas; all of ""."""
  names = [name.strip() for name in only.split(",") if name.strip()]
  unknown = [name for name in names if name not in FIGURES]
  if unknown:
    raise ValueError(
      f"config.figures.only names {unknown}, expected some of {', '.join(FIGURES)}."
    )
  return {name: FIGURES[name] for name in names or FIGURES}


def run_names(workdirs: tuple[str, ...]) -> tuple[str, ...]:
  """As many last parts of the paths as tell the runs apart, such as vpn/seed0."""
  parts = [pathlib.Path(workdir).parts for workdir in workdirs]
  for depth in range(1, max(map(len, parts)) + 1):
    names = tuple("/".join(p[-depth:]) for p in parts)
    if len(set(names)) == len(names):
      break
  return names
