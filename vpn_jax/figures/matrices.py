"""Confusion matrices, whole and near (figures 9 and 10a)."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vpn_jax.analysis import classes
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import style
from vpn_jax.figures.runs import Inputs, NotAvailableError

MAX_NAMES = 40  # classes; above, axes have numbers instead of names
MAX_VALUES = 20  # classes; above, cells have no numbers


def _draw(axes, percent: np.ndarray, names, font: float):
  """A matrix in percent of its rows; returns its image.

  Args:
    names: of the classes, or None for numbers.
    font: size of the names, points.
  """
  image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
  style.bare(axes)
  axes.tick_params(labelsize=font)
  count = len(percent)
  if names is None:
    numbers = [1, *range(20, count + 1, 20)]
    axes.set_xticks([n - 1 for n in numbers], numbers)
    axes.set_yticks([n - 1 for n in numbers], numbers)
  else:
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), names)
  if names is not None and count <= MAX_VALUES:
    for i, j in zip(*np.nonzero(np.nan_to_num(percent))):
      axes.text(
        j, i, f"{percent[i, j]:.0f}", ha="center", va="center", fontsize=font * 0.8,
        color="white" if percent[i, j] > 55 else style.INK,
      )  # fmt: skip
  return image


def confusion(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Row-normalised confusion matrices side by side, percent of the true class."""
  names, runs = inputs.class_names, len(inputs.workdirs)
  named = len(names) <= MAX_NAMES
  font = float(np.clip(200 / len(names) / runs, 3.5, 9)) if named else 8
  figure = style.new_figure((4.5 if named else 3.9) if runs == 2 else 6.2, "compressed")
  panels = figure.subplots(1, runs, squeeze=False, sharey=True)[0]
  rows = [["run", "true", *names]]
  for axes, name, predictions in zip(panels, inputs.names, inputs.predictions):
    percent = classes.percent_confused(predictions)
    image = _draw(axes, percent, names if named else None, font=font)
    top1 = predictions_lib.metrics(predictions)["top1"]
    style.title(axes, f"{name}: top-1 {top1:.1f} %")
    axes.set_xlabel("predicted", color=style.INK)
    rows += [[name, names[i], *np.round(row, 2)] for i, row in enumerate(percent)]
  panels[0].set_ylabel("true", color=style.INK)
  bar = figure.colorbar(image, ax=panels, shrink=0.6, pad=0.02)
  bar.set_label("% of the true class", color=style.INK)
  bar.outline.set_visible(False)
  return figure, rows


def zoom(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """The block of neighbouring classes that the last run mixes up most, for every run.

  The whole matrix of the last run shows beside it where the block is.
  """
  names = inputs.class_names
  size = min(inputs.settings.zoom_size, len(names) // 2)
  if size < 2:
    raise NotAvailableError(f"{len(names)} classes are too few for a part of them")
  matrices = [classes.percent_confused(p) for p in inputs.predictions]
  chosen = inputs.class_places(inputs.settings.zoom, "zoom")
  first = chosen[0] if chosen else classes.worst_block(matrices[-1], size)
  first = min(first, len(names) - size)
  block = slice(first, first + size)

  runs = len(matrices)
  figure = style.new_figure(6.6 if runs == 2 else 4.2)
  layout = [[f"zoom{i}", "whole"] for i in range(runs)]
  panels = figure.subplot_mosaic(layout, width_ratios=(1, 1.15))
  rows = [["run", "true", *names[block]]]
  font = float(np.clip(60 / size, 5, 9))
  shown = [style.short(name, 30) for name in names[block]]
  for i, (name, percent) in enumerate(zip(inputs.names, matrices)):
    axes = panels[f"zoom{i}"]
    image = _draw(axes, percent[block, block], shown, font=font)
    style.title(axes, name)
    axes.spines[:].set(visible=True, color=style.LOSS, linewidth=1.5)
    axes.set_ylabel("true", color=style.INK)
    if i < runs - 1:
      axes.set_xticklabels([])
    rows += [
      [name, names[k], *np.round(percent[k, block], 2)]
      for k in range(first, first + size)
    ]
  axes.set_xlabel("predicted", color=style.INK)
  whole = panels["whole"]
  whole.set_anchor("N")
  whole.imshow(matrices[-1], cmap="Blues", vmin=0, vmax=100)
  style.bare(whole)
  near = max(1, len(names) // 12)  # classes; closer numbers would touch
  ticks = [first, first + size - 1]
  ticks += [0] if first > near else []
  ticks += [len(names) - 1] if ticks[1] + near < len(names) - 1 else []
  whole.set_xticks(ticks, [k + 1 for k in ticks], fontsize=8)
  whole.set_yticks(ticks, [k + 1 for k in ticks], fontsize=8)
  whole.add_patch(
    Rectangle((first - 0.5, first - 0.5), size, size, fill=False, edgecolor=style.LOSS,
              linewidth=1.5, clip_on=False)
  )  # fmt: skip
  style.title(whole, f"{inputs.names[-1]}, all {len(names)} classes")
  whole.set_xlabel("predicted, by number of the class", color=style.INK)
  below = whole.inset_axes((0.1, -0.24, 0.8, 0.035))
  bar = figure.colorbar(image, cax=below, orientation="horizontal")
  bar.set_label("% of the true class", color=style.INK)
  bar.outline.set_visible(False)
  return figure, rows
