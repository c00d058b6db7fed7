"""Groups of clips that are taken for another class than their labels say."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis import label_errors
from vpn_jax.figures import style
from vpn_jax.figures.runs import NotAvailableError, Runs

MAX_GROUPS = 12


def labels(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """How often a group's clips are taken for another class, and the rest of theirs."""
  attributes = {clip["name"]: clip["attributes"] for clip in runs.part.clips}
  lacking = [name for name in runs.predictions[-1].names if name not in attributes]
  if lacking:
    raise NotAvailableError(
      f"the records in {runs.data.records} have no test clip {lacking[0]!r}: point "
      "config.data.records at those of the runs"
    )
  groups = label_errors.suspected(runs.predictions, attributes)
  if not groups:
    raise NotAvailableError(
      "no person, camera or other group is taken for another class more often than "
      "chance allows"
    )
  shown = groups[:MAX_GROUPS]
  figure = style.new_figure(1.5 + 0.55 * len(shown))
  axes = figure.subplots()
  y = np.arange(len(shown))
  inside = [100.0 * g.taken / len(g.clips) for g in shown]
  outside = [100.0 * g.others_taken / g.others for g in shown]
  for shift, values, name, color in (
    (-0.19, inside, "this group", style.LOSS),
    (0.19, outside, "all other clips of the class", style.COLORS[0]),
  ):
    axes.barh(y + shift, values, height=0.36, color=color, label=name)
  for i, g in enumerate(shown):
    for shift, x, taken, clips in (
      (-0.19, inside[i], g.taken, len(g.clips)),
      (0.19, outside[i], g.others_taken, g.others),
    ):
      axes.annotate(
        f"{taken} of {clips}", (x, i + shift), (4, 0), textcoords="offset points",
        va="center", fontsize=8, color=style.INK,
      )  # fmt: skip
  style.plain(axes)
  axes.grid(visible=False, axis="y")
  axes.invert_yaxis()
  axes.set_xlim(0, 115)
  names = [
    f"{g.attribute} {g.value}: {style.short(g.name)}\nas {style.short(g.taken_for)}"
    for g in shown
  ]
  axes.set_yticks(y, names, fontsize=9)
  axes.set_xlabel("taken for the other class, % of the clips")
  title = "groups of clips that look like another class: are their labels right?"
  if len(groups) > len(shown):
    title += f" ({len(shown)} of {len(groups)})"
  style.heading(figure, title)
  style.legend_below(figure, axes, columns=2)
  return figure, _rows(groups)


def _rows(groups: list[label_errors.Group]) -> list[list]:
  rows = [
    ["attribute", "value", "class", "taken for", "clips", "taken", "other clips",
     "other clips taken", "p", "names"]
  ]  # fmt: skip
  return rows + [
    [g.attribute, g.value, g.name, g.taken_for, len(g.clips), g.taken, g.others,
     g.others_taken, f"{g.p_value:.2g}", "; ".join(g.clips)]
    for g in groups
  ]  # fmt: skip
