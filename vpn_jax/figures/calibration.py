"""How far the confidence of a network can be trusted (not in the paper)."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.evaluation import metrics
from vpn_jax.figures import style
from vpn_jax.figures.runs import Runs

BINS = 10


def calibration(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Accuracy against confidence, and of the most confident clips alone."""
  figure = style.new_figure(4.2)
  reliable, selective = figure.subplots(1, 2)
  reliable.plot((0, 100), (0, 100), color=style.INK, linewidth=0.8, linestyle=":")
  rows = [["run", "confidence", "accuracy", "clips"]]
  for name, color, found in zip(runs.names, runs.colors, runs.predictions):
    given = found.labels, found.scores
    count, said, right = metrics.reliability(*given, BINS)
    there = count > 0
    error = metrics.calibration_error(*given)
    look = {"color": color, "label": f"{name}: calibration error {error:.1f} %"}
    reliable.plot(said[there], right[there], linewidth=1.2, **look)
    sizes = 12 + 240 * count[there] / count.sum()
    reliable.scatter(said[there], right[there], sizes, color=color, clip_on=False)
    rows += [
      [name, round(a, 2), round(b, 2), n]
      for a, b, n in zip(said[there], right[there], count[there].tolist())
    ]
    kept = metrics.accuracy_by_coverage(*given)
    share = 100.0 * np.arange(1, len(kept) + 1) / len(kept)
    selective.plot(share, kept, color=color, linewidth=1.6)
  for axes in (reliable, selective):
    style.plain(axes)
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 103)
    axes.set_ylabel("accuracy, %")
  style.title(reliable, "reliability diagram")
  reliable.set_xlabel("confidence: the score of the predicted class, %")
  style.title(selective, "accuracy against coverage")
  selective.set_xlabel("coverage: % of the clips, the most confident first")
  style.legend_below(figure, reliable, 2)
  return figure, rows
