"""The space in which a network separates classes (figure 6b)."""

from collections.abc import Iterable

import jax
import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis import projection
from vpn_jax.figures import style
from vpn_jax.figures.runs import NotAvailableError, Runs

LOOK_ALIKES = 4


def tsne(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """t-SNE of the features before the classifier, of look-alike classes, a panel a run.

  A number stands beside the picture: the share of clips whose nearest neighbour, before
  the projection, is of their own class.
  Source: figure 6 (b). Reading: the features are those before the classifier.
  """
  chosen = runs.look_alikes(LOOK_ALIKES)[: len(style.CLASSES)]
  limit = runs.settings.clips_per_class
  clips = [(name, k) for k in chosen for name in runs.clips_of(k, limit)]
  if len(chosen) < 2 or len(clips) < 8:
    raise NotAvailableError(f"{len(clips)} clips of {len(chosen)} classes are too few")
  labels = np.array([k for _, k in clips])
  rows = [["run", "clip", "class", "x", "y"]]
  figure = style.new_figure(4.7)
  style.heading(figure, "t-SNE of the features before the classifier")
  panels = figure.subplots(1, len(runs.workdirs), squeeze=False)[0]
  for run, (axes, run_name) in enumerate(zip(panels, runs.names)):
    features = np.stack([
      jax.device_get(runs.forward(run, runs.record(name))[1]["pooled"])
      for name, _ in clips
    ])  # fmt: skip
    points = projection.tsne(features)
    share = projection.neighbour_share(features, labels)
    for i, k in enumerate(chosen):
      axes.scatter(
        *points[labels == k].T, s=30, color=style.CLASSES[i], marker=style.MARKERS[i],
        edgecolors="white", linewidths=0.5, label=style.short(runs.class_names[k]),
      )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(style.FAINT)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_box_aspect(0.9)
    style.title(axes, run_name)
    axes.set_xlabel(
      f"nearest neighbour of the same class: {share:.0f} %", color=style.INK
    )
    rows += [
      [run_name, name, runs.class_names[k], f"{x:.5g}", f"{y:.5g}"]
      for (name, k), (x, y) in zip(clips, points)
    ]
  style.legend_below(figure, panels[0], columns=min(len(chosen), 4))
  return figure, rows
