"""How often look-alike actions are confused with each other (figure 8c)."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax import text
from vpn_jax.analysis import classes
from vpn_jax.figures import style
from vpn_jax.figures.runs import NotAvailableError, Runs

MAX_PAIRS = 8
SHORTEST_AXIS = 10.0  # percent


def chosen_pairs(runs: Runs) -> list[tuple[int, int]]:
  """`config.figures.pairs`, or those that all runs together confuse most."""
  asked = text.split_words(runs.settings.pairs, ";")
  if not asked:
    return list(classes.confused_pairs(runs.predictions))[:MAX_PAIRS]
  pairs = []
  for word in asked:
    pair = runs.class_indices(word.replace("|", ";"), "pairs")
    if len(pair) != 2:
      raise ValueError(
        f"config.figures.pairs has {word!r}, expected two classes separated by '|', "
        "and pairs separated by ';'."
      )
    pairs.append((pair[0], pair[1]))
  return pairs


def radar(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Mis-classification score of pairs of actions, one axis a pair; small is good."""
  pairs = chosen_pairs(runs)
  if len(pairs) < 3:
    raise NotAvailableError(f"{len(pairs)} pairs of classes, it takes 3")
  names = runs.class_names
  rows = [["run", "class", "other class", "as the other", "the other as it", "score"]]
  figure = style.new_figure(5.4)
  axes = figure.subplots(subplot_kw={"projection": "polar"})
  angles = 2 * np.pi * np.arange(len(pairs)) / len(pairs)
  highest = SHORTEST_AXIS
  for name, predictions, color in zip(runs.names, runs.predictions, runs.colors):
    percent = classes.confusion_percent(predictions)
    score = classes.mutual_confusion(percent)
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
  style.legend_below(figure, axes, columns=2)
  style.heading(
    figure, "confusion within pairs of actions, % of their clips; smaller is better"
  )
  return figure, rows
