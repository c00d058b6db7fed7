"""Accuracy per class of one run over another (figures 6a, 7, 8a and 8b)."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis import classes
from vpn_jax.analysis import dynamicity as dynamicity_lib
from vpn_jax.figures import style
from vpn_jax.figures.runs import Inputs, NotAvailableError
from vpn_jax.inputs import sampling

MAX_BARS = 20  # of gains.png on each side
MAX_LABELS = 20  # of dynamicity.png: the classes farthest from no gain
THIRDS = ("least moving", "middle", "most moving")


def _rows(inputs: Inputs, found: list[classes.Gain]) -> list[list]:
  rows = [["class", "clips", *inputs.names, "gain"]]
  return rows + [
    [g.name, g.clips, *(round(v, 2) for v in (g.baseline, g.accuracy, g.gain))]
    for g in found
  ]


def gains(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Accuracy of the second run over the first, class by class, largest gain first."""
  inputs.need_two()
  found = classes.class_gain(*inputs.predictions)
  shown = found
  if len(found) > 2 * MAX_BARS:
    shown = found[:MAX_BARS] + found[-MAX_BARS:]
  figure = style.new_figure(1.2 + 0.24 * len(shown))
  axes = figure.subplots()
  values = np.array([g.gain for g in shown])
  colors = [style.GAIN if v >= 0 else style.LOSS for v in values]
  axes.barh(range(len(shown)), values, color=colors, height=0.72)
  for i, g in enumerate(shown):
    axes.annotate(
      style.signed(g.gain), (g.gain, i), (4 if g.gain >= 0 else -4, 0),
      textcoords="offset points", va="center", ha="left" if g.gain >= 0 else "right",
      fontsize=8, color=style.INK,
    )  # fmt: skip
  style.plain(axes)
  axes.grid(visible=False, axis="y")
  axes.axvline(0, color=style.INK, linewidth=0.8)
  axes.margins(x=0.15, y=0.01)
  axes.invert_yaxis()
  axes.set_yticks(
    range(len(shown)), [style.short(g.name, 48) for g in shown], fontsize=9
  )
  if shown is not found:
    axes.axhline(MAX_BARS - 0.5, color=style.INK, linewidth=0.8, linestyle=":")
  axes.set_xlabel("percentage points", color=style.INK)
  title = f"accuracy per class: {inputs.names[1]} minus {inputs.names[0]}"
  if shown is not found:
    title += f" ({MAX_BARS} largest and smallest of {len(found)})"
  style.heading(figure, title)
  return figure, _rows(inputs, found)


def top_gains(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """The classes that gain most, with the accuracy under both runs."""
  inputs.need_two()
  found = classes.class_gain(*inputs.predictions)
  shown = [g for g in found if g.gain > 0][: inputs.settings.top]
  if not shown:
    raise NotAvailableError(f"no class gains from {inputs.names[0]}")
  figure = style.new_figure(1.3 + 0.5 * len(shown))
  axes = figure.subplots()
  places = np.arange(len(shown))
  before, after = ([g.baseline for g in shown], [g.accuracy for g in shown])
  for shift, values, name, color in zip(
    (-0.19, 0.19), (before, after), inputs.names, inputs.colors
  ):
    axes.barh(places + shift, values, height=0.36, color=color, label=name)
  for i, g in enumerate(shown):
    axes.annotate(
      style.signed(g.gain), (g.accuracy, i + 0.19), (4, 0), textcoords="offset points",
      va="center", fontsize=9, fontweight="bold", color=style.GAIN,
    )  # fmt: skip
  style.plain(axes)
  axes.grid(visible=False, axis="y")
  axes.invert_yaxis()
  axes.set_xlim(0, 1.15 * max(g.accuracy for g in shown))
  names = [f"{style.short(g.name, 40)} ({g.clips} clips)" for g in shown]
  axes.set_yticks(places, names, fontsize=9)
  axes.set_xlabel("accuracy, % of the clips of the class", color=style.INK)
  style.heading(figure, f"largest gains of {inputs.names[1]} over {inputs.names[0]}")
  figure.legend(
    *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2,
    frameon=False, fontsize=9,
  )  # fmt: skip
  return figure, _rows(inputs, shown)


def class_dynamicity(inputs: Inputs) -> dict[str, tuple[int, float]]:
  """By class: number of clips with poses, and the mean of their dynamicity.

  Reading: the poses are the t_p of section 4.1, uniformly from the whole clip; between
    neighbouring frames the noise of the sensor would count for more than the motion.
  """
  steps = inputs.config.data.example.pose_steps
  found = {}
  for label in np.unique([clip["label"] for clip in inputs.part.clips]):
    values = []
    for name in inputs.clips_of(label, inputs.settings.clips_per_class):
      pose = inputs.record(name).pose[:, 0]
      shown = sampling.pose_indices(0, len(pose) - 1, steps, None)
      values.append(dynamicity_lib.dynamicity(pose[shown]))
    values = np.array(values)[np.isfinite(values)]
    if len(values):
      found[inputs.part.class_names[label]] = len(values), float(values.mean())
  return found


def dynamicity(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Gain of each class against how much the pose changes in it, and means of thirds.

  Source: figure 6 (a).
  """
  inputs.need_two()
  moved = class_dynamicity(inputs)
  found = [g for g in classes.class_gain(*inputs.predictions) if g.name in moved]
  if len(found) < len(THIRDS):
    raise NotAvailableError(f"{len(found)} classes have poses, it takes {len(THIRDS)}")
  found.sort(key=lambda g: moved[g.name][1])
  x = np.array([moved[g.name][1] for g in found])
  y = np.array([g.gain for g in found])
  thirds = np.array_split(np.arange(len(x)), len(THIRDS))

  figure = style.new_figure(4.4)
  axes = figure.subplots()
  style.plain(axes)
  axes.axhline(0, color=style.INK, linewidth=0.8)
  means = []
  for third, name in zip(thirds, THIRDS):
    mean = float(y[third].mean())
    ends = x[third[0]], x[third[-1]]
    axes.plot(ends, (mean, mean), color=style.INK, linewidth=1.6, linestyle=(0, (4, 2)))
    means.append(f"{name} third {style.signed(mean)}")
  colors = [style.GAIN if v >= 0 else style.LOSS for v in y]
  axes.scatter(x, y, s=36, c=colors, edgecolors="white", linewidths=0.8, zorder=3)
  axes.margins(x=0.12, y=0.1)
  axes.set_xlabel("dynamicity: mean Procrustes distance of successive poses",
                  color=style.INK)  # fmt: skip
  axes.set_ylabel("gain, percentage points", color=style.INK)
  style.heading(
    figure, f"accuracy per class: {inputs.names[1]} minus {inputs.names[0]}"
  )
  figure.supxlabel(f"dashes: mean gain of the {', '.join(means)}", fontsize=9)
  farthest = np.argsort(-abs(y), kind="stable")[:MAX_LABELS]
  style.label_points(axes, [(x[i], y[i], style.short(found[i].name)) for i in farthest])
  rows = [["class", "clips with poses", "dynamicity", "gain", "third"]]
  for third, name in zip(thirds, THIRDS):
    rows += [
      [found[i].name, moved[found[i].name][0], f"{x[i]:.6g}", round(y[i], 2), name]
      for i in third
    ]
  return figure, rows
