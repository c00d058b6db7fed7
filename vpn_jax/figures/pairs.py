"""How often look-alike actions are taken for each other (figure 8c)."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis import classes
from vpn_jax.figures import style
from vpn_jax.figures.runs import Inputs, NotAvailableError

MAX_PAIRS = 8
SHORTEST_AXIS = 10.0  # percent


def chosen_pairs(inputs: Inputs) -> list[tuple[int, int]]:
  """`config.figures.pairs`, or those that all runs together mix up most."""
  asked = [word for word in inputs.settings.pairs.split(";") if word.strip()]
  if not asked:
    return list(classes.confused_pairs(inputs.predictions))[:MAX_PAIRS]
  pairs = []
  for word in asked:
    places = inputs.class_places(word.replace("|", ";"), "pairs")
    if len(places) != 2:
      raise ValueError(
        f"config.figures.pairs has {word.strip()!r}, expected two classes parted by "
        "'|', and pairs parted by ';'."
      )
    pairs.append((places[0], places[1]))
  return pairs


def radar(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Mis-classification score of pairs of actions, one axis a pair; small is good."""
  pairs = chosen_pairs(inputs)
  if len(pairs) < 3:
    raise NotAvailableError(f"{len(pairs)} pairs of classes, it takes 3")
  names = inputs.class_names
  rows = [["run", "class", "other class", "as the other", "the other as it", "score"]]
  figure = style.new_figure(5.4)
  axes = figure.subplots(subplot_kw={"projection": "polar"})
  angles = 2 * np.pi * np.arange(len(pairs)) / len(pairs)
  highest = SHORTEST_AXIS
  for name, predictions, color in zip(inputs.names, inputs.predictions, inputs.colors):
    percent = classes.percent_confused(predictions)
    score = classes.mixed_up(percent)
    values = np.array([score[a, b] for a, b in pairs])
    if np.isnan(values).any():
      raise NotAvailableError("a class of config.figures.pairs has no test clips")
    highest = max(highest, float(values.max()))
    axes.fill(angles, values, color=color, alpha=0.15)
    axes.plot(
      np.append(angles, angles[0]), np.append(values, values[0]), "-o", color=color,
      markersize=4, linewidth=1.8, label=f"{name}, mean {values.mean():.1f} %",
    )  # fmt: skip
    rows += [
      [name, names[a], names[b],
       *(round(float(v), 2) for v in (percent[a, b], percent[b, a], score[a, b]))]
      for a, b in pairs
    ]  # fmt: skip
  axes.set_theta_zero_location("N")
  axes.set_theta_direction(-1)
  axes.set_ylim(0, 1.05 * highest)
  axes.set_xticks(
    angles,
    [f"{style.short(names[a])}\n{style.short(names[b])}" for a, b in pairs],
    fontsize=8,
  )
  for angle, label in zip(angles, axes.get_xticklabels()):
    side = np.sin(angle)
    label.set_ha("center" if abs(side) < 0.1 else "left" if side > 0 else "right")
  axes.tick_params(axis="x", pad=4, colors=style.INK)
  axes.tick_params(axis="y", labelsize=7, colors=style.INK)
  axes.set_rlabel_position(180 / len(pairs))
  axes.grid(color=style.FAINT, linewidth=0.8)
  axes.spines["polar"].set_color(style.FAINT)
  figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2,
                frameon=False, fontsize=9)  # fmt: skip
  style.heading(
    figure,
    "pairs of actions taken for each other, % of their clips; smaller is better",
  )
  return figure, rows
