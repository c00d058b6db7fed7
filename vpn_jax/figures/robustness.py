"""Curves of accuracy against damage of the poses."""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from vpn_jax.analysis.robustness import Point
from vpn_jax.figures import style

# Kind of damage -> title, and what its levels are.
KINDS = {
  "noise": ("noisy joints", "standard deviation, m"),
  "joint_drop": ("joints not seen", "probability"),
  "frame_drop": ("frames without a pose", "probability"),
  "shift": ("late poses", "seconds"),
}
DASHES = ("-", "--", ":")  # when there are more runs than colours
LETTERS = 120  # that fit side by side


def curves(runs: Mapping[str, Sequence[Point]]) -> tuple[Figure, Iterable[list]]:
  """Top-1 against the level of each kind of damage, one colour a run.

  Args:
    runs: name -> its points, by kind and level, the same ones for all runs.
  """
  kinds = list(dict.fromkeys(p.kind for points in runs.values() for p in points))
  down, across = (len(kinds) + 1) // 2, min(len(kinds), 2)
  figure = style.new_figure(0.6 + 2.4 * down)
  panels = figure.subplots(down, across, sharey=True, squeeze=False)
  rows = [["run", "damage", "level", "top1", "mean_class", "clips"]]
  for axes, kind in zip(panels.flat, kinds):
    for i, (name, points) in enumerate(runs.items()):
      shown = [p for p in points if p.kind == kind]
      axes.plot(
        [p.level for p in shown], [p.top1 for p in shown],
        DASHES[i // len(style.CLASSES) % len(DASHES)],
        marker=style.MARKERS[i % len(style.MARKERS)],
        color=style.CLASSES[i % len(style.CLASSES)], linewidth=1.6, markersize=5,
        markeredgecolor="white", label=name,
      )  # fmt: skip
      rows += [
        [name, kind, f"{p.level:g}", p.top1, p.mean_class, p.clips] for p in shown
      ]
    style.plain(axes)
    heading, unit = KINDS[kind]
    style.title(axes, heading)
    axes.set_xlabel(unit)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
  for axes in panels[:, 0]:
    axes.set_ylabel("top-1, %")
  for axes in panels.flat[len(kinds) :]:
    axes.set_visible(False)
  letters = max(map(len, runs)) + 8  # with the line
  style.legend_below(figure, panels[0, 0], columns=max(1, min(4, LETTERS // letters)))
  return figure, rows
