"""Accuracy per class of one run over another (figures 6a, 7, 8a and 8b)."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis import classes
from vpn_jax.analysis import dynamicity as dynamicity_lib
from vpn_jax.figures import style
from vpn_jax.figures.runs import NotAvailableError, Runs
from vpn_jax.inputs import sampling

MAX_BARS = 20  # of gains.png on each side
MAX_LABELS = 20  # of dynamicity.png: the classes farthest from no gain
THIRDS = ("least moving", "middle", "most moving")


def _class_gain(runs: Runs) -> list[classes.Gain]:
  runs.need_two()
  return classes.class_gain(*runs.predictions)


def _rows(runs: Runs, gained: list[classes.Gain]) -> list[list]:
  rows = [["class", "clips", *runs.names, "gain"]]
  return rows + [
    [g.name, g.clips, *(round(v, 2) for v in (g.baseline, g.accuracy, g.gain))]
    for g in gained
  ]


def _title(runs: Runs) -> str:
  return f"accuracy per class: {runs.names[1]} minus {runs.names[0]}"


def _colors(gained: list[classes.Gain]) -> list[str]:
  return [style.GAIN if g.gain >= 0 else style.LOSS for g in gained]


def gains(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Accuracy of the second run over the first, class by class, largest gain first."""
  gained = shown = _class_gain(runs)
  if len(gained) > 2 * MAX_BARS:
    shown = gained[:MAX_BARS] + gained[-MAX_BARS:]
  figure = style.new_figure(1.2 + 0.24 * len(shown))
  axes = figure.subplots()
  values = [g.gain for g in shown]
  axes.barh(range(len(shown)), values, color=_colors(shown), height=0.72)
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
  axes.set_xlabel("percentage points")
  title = _title(runs)
  if shown is not gained:
    axes.axhline(MAX_BARS - 0.5, color=style.INK, linewidth=0.8, linestyle=":")
    title += f" ({MAX_BARS} largest and smallest of {len(gained)})"
  style.heading(figure, title)
  return figure, _rows(runs, gained)


def top_gains(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """The classes that gain most, with the accuracy under both runs."""
  shown = [g for g in _class_gain(runs) if g.gain > 0][: runs.settings.top]
  if not shown:
    raise NotAvailableError(f"no class gains from {runs.names[0]}")
  figure = style.new_figure(1.3 + 0.5 * len(shown))
  axes = figure.subplots()
  y = np.arange(len(shown))
  before, after = ([g.baseline for g in shown], [g.accuracy for g in shown])
  for shift, values, name, color in zip(
    (-0.19, 0.19), (before, after), runs.names, runs.colors
  ):
    axes.barh(y + shift, values, height=0.36, color=color, label=name)
  for i, g in enumerate(shown):
    axes.annotate(
      style.signed(g.gain), (g.accuracy, i + 0.19), (4, 0), textcoords="offset points",
      va="center", fontsize=9, fontweight="bold", color=style.GAIN,
    )  # fmt: skip
  style.plain(axes)
  axes.grid(visible=False, axis="y")
  axes.invert_yaxis()
  axes.set_xlim(0, 1.15 * max(after))
  names = [f"{style.short(g.name, 40)} ({g.clips} clips)" for g in shown]
  axes.set_yticks(y, names, fontsize=9)
  axes.set_xlabel("accuracy, % of the clips of the class")
  style.heading(figure, f"largest gains of {runs.names[1]} over {runs.names[0]}")
  style.legend_below(figure, axes, columns=2)
  return figure, _rows(runs, shown)


def class_dynamicity(runs: Runs) -> dict[str, tuple[int, float]]:
  """Class -> number of clips with poses, and the mean of their dynamicity.

  Reading: the poses are the t_p of section 4.1, uniformly from the whole clip; between
    neighbouring frames the noise of the sensor would count for more than the motion.
  """
  found = {}
  for label in np.unique([clip["label"] for clip in runs.part.clips]):
    values = []
    for name in runs.clips_of(label, runs.settings.clips_per_class):
      record = runs.record(name)
      pose = record.pose if np.isfinite(record.pose).any() else record.image_joints
      pose = pose[:, 0]
      steps = sampling.pose_indices(
        0, len(pose) - 1, runs.data.example.pose_steps, None
      )
      values.append(dynamicity_lib.dynamicity(pose[steps]))
    values = np.array(values)[np.isfinite(values)]
    if len(values):
      found[runs.part.class_names[label]] = len(values), float(values.mean())
  return found


def dynamicity(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Gain of each class against how much the pose changes in it, and means of thirds.

  Source: figure 6 (a).
  """
  gained, moved = _class_gain(runs), class_dynamicity(runs)
  shown = sorted((g for g in gained if g.name in moved), key=lambda g: moved[g.name][1])
  if len(shown) < len(THIRDS):
    raise NotAvailableError(f"{len(shown)} classes have poses, it takes {len(THIRDS)}")
  x = np.array([moved[g.name][1] for g in shown])
  y = np.array([g.gain for g in shown])

  figure = style.new_figure(4.4)
  axes = figure.subplots()
  style.plain(axes)
  axes.axhline(0, color=style.INK, linewidth=0.8)
  means, rows = [], [["class", "clips with poses", "dynamicity", "gain", "third"]]
  for third, name in zip(np.array_split(np.arange(len(x)), len(THIRDS)), THIRDS):
    mean = float(y[third].mean())
    ends = x[third[0]], x[third[-1]]
    axes.plot(ends, (mean, mean), color=style.INK, linewidth=1.6, linestyle=(0, (4, 2)))
    means.append(f"{name} third {style.signed(mean)}")
    rows += [
      [shown[i].name, moved[shown[i].name][0], f"{x[i]:.6g}", round(y[i], 2), name]
      for i in third
    ]
  axes.scatter(
    x, y, s=36, c=_colors(shown), edgecolors="white", linewidths=0.8, zorder=3
  )
  axes.margins(x=0.12, y=0.1)
  axes.set_xlabel("dynamicity: mean Procrustes distance of successive poses")
  axes.set_ylabel("gain, percentage points")
  style.heading(figure, _title(runs))
  figure.supxlabel(f"dashes: mean gain of the {', '.join(means)}", fontsize=9)
  farthest = np.argsort(-abs(y), kind="stable")[:MAX_LABELS]
  style.label_points(axes, [(x[i], y[i], style.short(shown[i].name)) for i in farthest])
  return figure, rows
