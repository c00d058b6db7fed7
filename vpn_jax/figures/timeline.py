"""The classes of a video over time; the job "predict" draws them."""

import pathlib

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from vpn_jax.figures import style

TOP = 3  # a class that is ever among the best of a window has a row
MAX_ROWS = 40  # of more classes, those that reach the highest scores


def rows(scores: np.ndarray) -> np.ndarray:
  """The classes to show, ordered by the time of their peak, int [rows].

  Args:
    scores: float [windows, K].
  """
  best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
  chosen = np.unique(best)
  if len(chosen) > MAX_ROWS:
    order = np.argsort(-scores[:, chosen].max(axis=0), kind="stable")[:MAX_ROWS]
    chosen = np.sort(chosen[order])
  return chosen[np.argsort(scores[:, chosen].argmax(axis=0), kind="stable")]


def cells(parts: np.ndarray) -> np.ndarray:
  """First frame and end of the cell in which each window is drawn, float [windows, 2].

  Windows may overlap, cells do not: a cell ends halfway to the middle of the next
  window, but not beyond the frames of its own.

  Args:
    parts: first frame and end of each window, int [windows, 2].
  """
  middles = parts.mean(axis=1)
  between = (middles[:-1] + middles[1:]) / 2
  left = np.maximum(parts[:, 0], np.concatenate([[-np.inf], between]))
  right = np.minimum(parts[:, 1], np.concatenate([between, [np.inf]]))
  return np.stack([left, right], axis=-1)


def timeline(result) -> Figure:
  """Scores over seconds of the classes that are ever among the best, one row each.

  A line marks the best class of each window; grey is time in which nobody was seen.

  Args:
    result: a `video_scores.Result`.
  """
  scores = np.stack([w.scores for w in result.windows])
  bounds = cells(np.array([w.span for w in result.windows]))
  chosen = rows(scores)
  edges, columns = [0.0], []
  for (left, right), values in zip(bounds, scores[:, chosen]):
    if left > edges[-1]:
      columns.append(np.full(len(chosen), np.nan))
      edges.append(left)
    columns.append(values)
    edges.append(right)

  figure = style.new_figure(1.3 + 0.24 * max(4, len(chosen)))
  axes = figure.subplots()
  seconds = [result.seconds(edge) for edge in edges]
  image = axes.pcolormesh(
    seconds, np.arange(len(chosen) + 1) - 0.5, np.ma.masked_invalid(columns).T,
    cmap="Blues", vmin=0, vmax=float(scores[:, chosen].max()),
  )  # fmt: skip
  row_of = {k: row for row, k in enumerate(chosen.tolist())}
  best = [row_of.get(k) for k in scores.argmax(axis=1).tolist()]
  marked = [
    (row, *map(result.seconds, cell))
    for row, cell in zip(best, bounds.tolist())
    if row is not None
  ]
  row, left, right = np.array(marked, float).T
  axes.hlines(row, left, right, colors=style.LOSS, lw=2.5)

  style.bare(axes)
  axes.set_facecolor(style.FAINT)
  axes.set_xlim(0, result.seconds(result.num_frames))
  axes.set_ylim(len(chosen) - 0.5, -0.5)
  names = [style.short(result.class_names[k], 30) for k in chosen]
  axes.set_yticks(range(len(chosen)), names, fontsize=9)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(8))
  axes.set_xlabel("seconds")
  title = f"{pathlib.Path(result.video).name}: top {TOP} of each window, line: the best"
  style.heading(figure, title + ", grey: nobody seen" * bool(result.left_out))
  style.colorbar(figure, image, "score", ax=axes, pad=0.02, aspect=12)
  return figure
