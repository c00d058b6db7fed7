"""Accuracy of finished runs against damage of their poses."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

from vpn_jax.evaluation import fusion
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation.predictions import Predictions
from vpn_jax.inputs import pose_damage
from vpn_jax.training import run_summary

Levels = Mapping[str, tuple[float, ...]]  # by the kind of damage
Scores = Mapping[str, Predictions]  # by the poses, "own" among them


@dataclasses.dataclass(frozen=True)
class Point:
  """Accuracy in percent at one level of one kind of damage."""

  kind: str
  level: float
  top1: float
  mean_class: float
  clips: int


def damages(levels: Levels) -> tuple[pose_damage.Damage, ...]:
  """Every level as damage of one kind alone; ValueError for a value out of range."""
  return tuple(
    pose_damage.Damage(**{kind: level})
    for kind, some in levels.items()
    for level in some
  )


def curves(found: Scores, levels: Levels) -> list[Point]:
  """The points of each kind, the first of them without damage.

  Args:
    found: scores with the clips' own poses, "own", and with each of `damages(levels)`
      by its name; a network without a pose has only the former.
    levels: see `damages`.
  """
  points = []
  for kind, some in levels.items():
    for level in (0.0, *some):
      name = str(pose_damage.Damage(**{kind: level})) or "own"
      values = predictions_lib.metrics(found.get(name, found["own"]))
      points.append(
        Point(kind, level, values["top1"], values["mean_class"], values["clips"])
      )
  return points


def score(workdir: str, score_run: Callable[[str], Scores]) -> Scores:
  """The scores of a finished run; of a fused one those of its parts, fused.

  Args:
    workdir: of the run.
    score_run: workdir of a trained run -> its scores. A part without a pose keeps its
      own scores beside the damaged ones of the others.
  Raises: as `score_run` and `fusion.fuse`.
  """
  path = pathlib.Path(workdir) / run_summary.SUMMARY_FILE
  parts = run_summary.read_summary(path).get("parts") if path.is_file() else None
  if not parts:
    return score_run(workdir)
  sources = [part["workdir"] for part in parts]
  weights = [part["weight"] for part in parts]
  found = [score(source, score_run) for source in sources]
  return {
    name: fusion.fuse([one.get(name, one["own"]) for one in found], weights, sources)
    for name in dict.fromkeys(name for one in found for name in one)
  }
