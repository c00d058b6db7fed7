"""Deletion and insertion curves of explanations."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis.explanations import CURVES, RANDOM
from vpn_jax.figures import style

LINES = dict(zip(dict.fromkeys(RANDOM.values()), ("--", ":")))  # of random orders


def curves(run: str, means: dict[str, np.ndarray]) -> tuple[Figure, Iterable[list]]:
  """The score of the predicted class, as relevant pixels or joints go and come.

  Args:
    run: its name.
    means: explanation or random order -> mean over clips, float [2, n + 1], in the
      order of `CURVES`.
  """
  figure = style.new_figure(3.6)
  rows = [["curve", "order", "share", "score"]]
  panels = figure.subplots(1, 2, sharey=True)
  for panel, (axes, curve) in enumerate(zip(panels, CURVES)):
    colors = iter(style.CLASSES)
    for name, values in means.items():
      y = values[panel]
      x = np.linspace(0, 1, len(y))
      color = style.INK if name in LINES else next(colors)
      axes.plot(x, y, LINES.get(name, "-"), color=color, linewidth=1.6, label=name)
      rows += [[curve, name, f"{a:.4g}", f"{b:.6g}"] for a, b in zip(x, y)]
    style.plain(axes)
    style.title(axes, curve)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the pixels, or of the joints")
  panels[0].set_ylim(bottom=0)
  panels[0].set_ylabel("score of the predicted class")
  style.heading(figure, f"{run}: the most relevant first")
  style.legend_below(figure, panels[0], columns=3)
  return figure, rows
