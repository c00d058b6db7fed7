"""Deletion and insertion curves of explanations."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis.judgement import RANDOM
from vpn_jax.figures import style

PANELS = ("deletion", "insertion")  # in the order of the curves
LINES = dict(zip(dict.fromkeys(RANDOM.values()), ("--", ":")))  # of random orders


def curves(run: str, means: dict[str, np.ndarray]) -> tuple[Figure, Iterable[list]]:
  """How the score of the named class falls and rises as places go and come.

  Args:
    run: its name.
    means: explanation or random order -> mean over clips, float [2, n + 1].
  """
  figure = style.new_figure(3.6)
  rows = [["curve", "order", "share", "score"]]
  panels = figure.subplots(1, 2, sharey=True)
  for panel, (axes, kind) in enumerate(zip(panels, PANELS)):
    colors = iter(style.CLASSES)
    for name, values in means.items():
      y = values[panel]
      x = np.linspace(0, 1, len(y))
      color = style.INK if name in LINES else next(colors)
      axes.plot(x, y, LINES.get(name, "-"), color=color, linewidth=1.6, label=name)
      rows += [[kind, name, f"{a:.4g}", f"{b:.6g}"] for a, b in zip(x, y)]
    style.plain(axes)
    style.title(axes, kind)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the pixels, or of the joints", color=style.INK)
  panels[0].set_ylim(bottom=0)
  panels[0].set_ylabel("score of the named class", color=style.INK)
  style.heading(figure, f"{run}: the most relevant places first")
  figure.legend(
    *panels[0].get_legend_handles_labels(), loc="outside lower center", frameon=False,
    ncols=3, fontsize=9,
  )  # fmt: skip
  return figure, rows
