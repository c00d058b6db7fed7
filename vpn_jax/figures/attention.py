"""Where and when the last run looks: its attention over frames."""

from collections.abc import Iterable

import jax
import numpy as np
from matplotlib.figure import Figure

from vpn_jax import drawing
from vpn_jax.analysis import classes
from vpn_jax.figures import pictures, style
from vpn_jax.figures.runs import NotAvailableError, Runs
from vpn_jax.inputs import sampling

CLIPS, COLUMNS = 4, 8
MARGIN, TITLE, BARS, GAP = 0.5, 0.3, 0.3, 0.05  # inches
FRAME = (style.WIDTH - 1.25 * MARGIN) / COLUMNS


def attention(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Where and when the last run looks: A_ST over frames of test clips, A_T below.

  The clips are `config.figures.clips`, or of classes spread evenly over all.
  """
  if not runs.network(-1).has_attention:
    raise NotAvailableError("the network has no attention")
  if runs.settings.clips:
    names = runs.clips(CLIPS)
  else:
    clips = runs.part.clips
    labels = np.array([clip["label"] for clip in clips])
    names = [clips[i]["name"] for i in classes.spread_over_classes(labels, CLIPS)]
  block = TITLE + FRAME + BARS + GAP
  figure = style.new_figure(block * len(names), None)
  rows = [["clip", "true", "predicted", "score", "t", "m", "n", "A_T", "A_ST"]]
  for i, name in enumerate(names):
    rows += _draw_clip(figure, block * i, runs, name)
  return figure, rows


def _draw_clip(figure: Figure, top: float, runs: Runs, name: str) -> list[list]:
  """Draws one clip below `top`, in inches from the top; returns its rows.

  The time of the window runs from left to right: a bar of A_T is as wide as its step.
  """
  network, record, label = runs.network(-1), runs.record(name), runs.label(name)
  scores, out, _ = runs.forward(-1, record)
  scores = jax.device_get(scores)
  best = int(np.argmax(scores))
  predicted = runs.class_names[best]
  heat = jax.device_get(out["attention"])  # [T, M, N]
  span = drawing.heat_range(heat)

  window = sampling.frame_window(record.num_frames, network.settings.num_frames, None)
  moments = pictures.moments(COLUMNS)
  indices = (pictures.steps_at(moments, length) for length in (len(window), len(heat)))
  for column, (frame, step) in enumerate(zip(*indices)):
    picture = pictures.frame_picture(
      record, window[frame], heat=heat[step], span=span, skeleton=network.skeleton
    )
    left = MARGIN + column * FRAME + 0.02
    pictures.show(figure, left, top + TITLE + 0.02, FRAME - 0.04, picture)
  a_t = out.get("temporal_attention")
  if a_t is not None:
    a_t = jax.device_get(a_t)
    _draw_bars(figure, top + TITLE + FRAME + 0.04, a_t)

  correct = predicted == label
  answer = "recognized" if correct else f"predicted {style.short(predicted, 40)}"
  line = f"{style.short(label, 40)}, {answer} ({scores[best]:.2f})"
  color = style.GAIN if correct else style.LOSS
  style.text_at(figure, MARGIN, top + 0.6 * TITLE, line, fontsize=10, color=color)
  style.text_at(
    figure, style.WIDTH - MARGIN / 4, top + 0.6 * TITLE,
    f"$A_{{ST}}$ {span[0]:.3f} to {span[1]:.3f}", fontsize=8, ha="right",
  )  # fmt: skip
  start = [name, label, predicted, f"{scores[best]:.4f}"]
  return [
    [*start, t, m, n, "" if a_t is None else f"{a_t[t]:.6g}", f"{value:.6g}"]
    for (t, m, n), value in np.ndenumerate(heat)
  ]


def _draw_bars(figure: Figure, top: float, a_t: np.ndarray) -> None:
  """A_T [T] as bars under the frames; a dotted line is the mean, 1/T."""
  steps, width = len(a_t), COLUMNS * FRAME - 0.04
  axes = style.axes_at(figure, MARGIN + 0.02, top, width, BARS - 0.04)
  axes.bar(np.arange(steps) + 0.5, a_t, color=style.COLORS[1], width=0.9)
  axes.axhline(1 / steps, color=style.INK, linewidth=0.6, linestyle=":")
  axes.set_xlim(0, steps)
  axes.set_ylim(0, max(a_t.max() * 1.1, 2 / steps))
  axes.set_xticks([])
  axes.set_yticks([1 / steps], ["1/T"], fontsize=7)
  axes.set_ylabel("$A_T$", fontsize=9, rotation=0, ha="right", va="center")
  axes.tick_params(length=0, pad=1)
  axes.spines[["top", "right", "left"]].set_visible(False)
  axes.spines["bottom"].set_color(style.FAINT)
