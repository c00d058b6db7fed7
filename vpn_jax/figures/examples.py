"""Clips that a run recognizes and clips where it fails (figures 10b, 11 and 12)."""

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from vpn_jax.analysis import classes
from vpn_jax.figures import pictures, style
from vpn_jax.figures.runs import NotAvailableError, Runs

CLIPS, COLUMNS = 4, 6
MARGIN, TITLE, GAP = 0.1, 0.32, 0.16  # inches
FRAME = (style.WIDTH - 2 * MARGIN) / COLUMNS


def best(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Clips that the last run has right and the baseline wrong, with their poses."""
  names = classes.solved(runs.predictions, CLIPS)
  if not names:
    against = f" and {runs.names[0]} wrong" if len(runs.names) > 1 else ""
    raise NotAvailableError(f"no test clip that {runs.names[-1]} has right{against}")
  return _draw(runs, names)


def worst(runs: Runs) -> tuple[Figure, Iterable[list]]:
  """Clips where the last run is most sure of a wrong class, with their poses."""
  names = classes.failed(runs.predictions, CLIPS)
  if not names:
    raise NotAvailableError(f"{runs.names[-1]} has every test clip right")
  return _draw(runs, names)


def _draw(runs: Runs, names: list[str]) -> tuple[Figure, list[list]]:
  """A row of frames for each clip, over all of it, and the answers of the runs."""
  block = TITLE + FRAME + GAP
  figure = style.new_figure(block * len(names), None)
  rows = [["clip", "true", "run", "predicted", "score", "score of the true class"]]
  for i, name in enumerate(names):
    record, top = runs.record(name), block * i
    frames = pictures.steps_at(pictures.moments(COLUMNS), record.num_frames)
    for column, frame in enumerate(frames):
      picture = pictures.frame_picture(record, frame, skeleton=runs.part.skeleton)
      left = MARGIN + column * FRAME + 0.02
      pictures.show(figure, left, top + TITLE + 0.02, FRAME - 0.04, picture)
    answers = _answers(runs, name)
    rows += answers
    _write_answers(figure, top + TITLE * 0.62, answers)
  return figure, rows


def _answers(runs: Runs, name: str) -> list[list]:
  """The csv's rows of a clip, one for each run."""
  rows = []
  for run, predictions in zip(runs.names, runs.predictions):
    i = predictions.names.index(name)
    scores, label = predictions.scores[i], predictions.labels[i]
    predicted = int(np.argmax(scores))
    rows.append([
      name, runs.class_names[label], run, runs.class_names[predicted],
      f"{scores[predicted]:.4f}", f"{scores[label]:.4f}",
    ])  # fmt: skip
  return rows


def _write_answers(figure: Figure, top: float, answers: list[list]) -> None:
  """The true class, then the answer of each run: blue where it is right."""
  true = answers[0][1]
  style.text_at(
    figure, MARGIN + 0.02, top, style.short(true), fontsize=10, fontweight="bold"
  )
  column = (style.WIDTH - 2 * MARGIN) / 3
  for i, (_, _, run, predicted, score, _) in enumerate(reversed(answers)):
    style.text_at(
      figure, style.WIDTH - MARGIN - 0.02 - i * column, top,
      f"{style.short(run, 12)}: {style.short(predicted, 20)} ({float(score):.2f})",
      fontsize=8.5, color=style.GAIN if predicted == true else style.LOSS, ha="right",
    )  # fmt: skip
