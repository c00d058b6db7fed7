"""The space in which a network tells classes apart (figure 6b)."""

from collections.abc import Iterable

import jax
import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis import projection
from vpn_jax.figures import style
from vpn_jax.figures.runs import Inputs, NotAvailableError

LOOK_ALIKES = 4


def tsne(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """t-SNE of what the classifier is given, of look-alike classes, a panel a run.

  The share of clips whose nearest neighbour, before the projection, is of their own
  class says in a number what the picture shows.
  Source: figure 6 (b). Reading: the features are those before the classifier.
  """
  labels = inputs.look_alikes(LOOK_ALIKES)[: len(style.CLASSES)]
  wanted = inputs.settings.clips_per_class
  clips = [(name, k) for k in labels for name in inputs.clips_of(k, wanted)]
  if len(labels) < 2 or len(clips) < 8:
    raise NotAvailableError(f"{len(clips)} clips of {len(labels)} classes are too few")
  of = np.array([k for _, k in clips])
  rows = [["run", "clip", "class", "x", "y"]]
  figure = style.new_figure(4.7)
  style.heading(figure, "t-SNE of the features before the classifier")
  panels = figure.subplots(1, len(inputs.workdirs), squeeze=False)[0]
  for run, (axes, run_name) in enumerate(zip(panels, inputs.names)):
    features = np.stack([
      jax.device_get(inputs.look(run, inputs.record(name))[1]["pooled"])
      for name, _ in clips
    ])  # fmt: skip
    places = projection.tsne(features)
    share = projection.neighbour_share(features, of)
    for i, k in enumerate(labels):
      axes.scatter(
        *places[of == k].T, s=30, color=style.CLASSES[i], marker=style.MARKERS[i],
        edgecolors="white", linewidths=0.5, label=style.short(inputs.class_names[k]),
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
      [run_name, name, inputs.class_names[k], f"{x:.5g}", f"{y:.5g}"]
      for (name, k), (x, y) in zip(clips, places)
    ]
  figure.legend(
    *panels[0].get_legend_handles_labels(), loc="outside lower center", frameon=False,
    ncols=min(len(labels), 4), fontsize=9,
  )  # fmt: skip
  return figure, rows
