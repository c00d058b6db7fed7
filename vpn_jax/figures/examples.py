"""Clips that a run solves and clips where it fails (figures 10b, 11 and 12)."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis import classes
from vpn_jax.figures import pictures, style
from vpn_jax.figures.runs import Inputs, NotAvailableError

CLIPS, COLUMNS = 4, 6
MARGIN, TITLE, GAP = 0.1, 0.32, 0.16  # inches
FRAME = (style.WIDTH - 2 * MARGIN) / COLUMNS


def best(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Clips that the last run has right and the baseline wrong, with their poses."""
  names = classes.solved(inputs.predictions, CLIPS)
  if not names:
    against = f" and {inputs.names[0]} wrong" if len(inputs.names) > 1 else ""
    raise NotAvailableError(f"no test clip that {inputs.names[-1]} has right{against}")
  return _draw(inputs, names)


def worst(inputs: Inputs) -> tuple[Figure, Iterable[list]]:
  """Clips where the last run is most sure of a wrong class, with their poses."""
  names = classes.failed(inputs.predictions, CLIPS)
  if not names:
    raise NotAvailableError(f"{inputs.names[-1]} has every test clip right")
  return _draw(inputs, names)


def _draw(inputs: Inputs, names: list[str]) -> tuple[Figure, list[list]]:
  """A row of frames for each clip, over the whole of it, and what the runs said."""
  block = TITLE + FRAME + GAP
  figure = style.new_figure(block * len(names), None)
  rows = [["clip", "true", "run", "predicted", "score", "score of the true class"]]
  for i, name in enumerate(names):
    record, top = inputs.record(name), block * i
    frames = pictures.steps_at(pictures.moments(COLUMNS), len(record.frames))
    for column, frame in enumerate(frames):
      skeleton = inputs.part.skeleton
      picture = pictures.frame_picture(record, frame, skeleton=skeleton)
      left = MARGIN + column * FRAME + 0.02
      axes = style.axes_at(figure, left, top + TITLE + 0.02, FRAME - 0.04, FRAME - 0.04)
      pictures.show(axes, picture)
    said = _said(inputs, name)
    rows += said
    _write(figure, top + TITLE * 0.62, said)
  return figure, rows


def _said(inputs: Inputs, name: str) -> list[list]:
  """The csv's rows of a clip, one for each run."""
  rows = []
  for run, predictions in zip(inputs.names, inputs.predictions):
    place = predictions.names.index(name)
    scores, label = predictions.scores[place], predictions.labels[place]
    named = int(np.argmax(scores))
    rows.append([
      name, inputs.class_names[label], run, inputs.class_names[named],
      f"{scores[named]:.4f}", f"{scores[label]:.4f}",
    ])  # fmt: skip
  return rows


def _write(figure: Figure, top: float, said: list[list]) -> None:
  """The true class, then what each run said: blue where it is right."""
  true = said[0][1]
  style.text_at(
    figure, MARGIN + 0.02, top, style.short(true), fontsize=10, fontweight="bold"
  )
  column = (style.WIDTH - 2 * MARGIN) / 3
  for i, (_, _, run, named, score, _) in enumerate(reversed(said)):
    style.text_at(
      figure, style.WIDTH - MARGIN - 0.02 - i * column, top,
      f"{style.short(run, 12)}: {style.short(named, 20)} ({float(score):.2f})",
      fontsize=8.5, color=style.GAIN if named == true else style.LOSS, ha="right",
    )  # fmt: skip
