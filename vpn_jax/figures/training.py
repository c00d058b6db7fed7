"""Curves of training."""

from collections.abc import Iterable

from matplotlib import ticker
from matplotlib.figure import Figure

from vpn_jax.analysis import training_curves
from vpn_jax.figures import style
from vpn_jax.figures.runs import Runs


def curves(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Loss and accuracy over the steps of training, one colour a run."""
  figure = style.new_figure(3.2)
  left, right = figure.subplots(1, 2)
  rows = [["run", "scalar", "step", "value"]]
  for workdir, name, color in zip(runs.workdirs, runs.names, runs.colors):
    scalars = training_curves.read(workdir)
    for axes, scalar, label in (
      (left, "train/classification_loss", name),
      (right, "train/accuracy", f"{name}, training"),
    ):
      if scalar not in scalars:
        continue
      steps, values = scalars[scalar]
      axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.3)
      smooth = training_curves.running_mean(values, max(1, len(values) // 20))
      axes.plot(steps, smooth, color=color, linewidth=1.8, label=label)
    for part, line in (("validation", "--s"), ("test", "-o")):
      if f"{part}/top1" in scalars:
        steps, values = scalars[f"{part}/top1"]
        right.plot(
          steps, values, line, color=color, markersize=5, linewidth=1.2,
          markeredgecolor="white", label=f"{name}, {part}",
        )  # fmt: skip
    rows += [
      [name, scalar, int(step), float(value)]
      for scalar, (steps, values) in sorted(scalars.items())
      for step, value in zip(steps, values)
    ]
  for axes, title in ((left, "classification loss"), (right, "accuracy, %")):
    style.plain(axes)
    style.title(axes, title)
    axes.set_xlabel("step")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    if axes.lines:
      axes.legend(frameon=False, fontsize=9)
  return figure, rows
