"""The job "robustness": how accurate finished runs are when poses are bad."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

from vpn_jax import text
from vpn_jax.analysis import robustness
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import catalogue
from vpn_jax.figures import robustness as robustness_figure
from vpn_jax.inputs import multi_view, pose_damage
from vpn_jax.jobs import evaluate as evaluate_job
from vpn_jax.training import evaluate

NAME = "robustness"  # of the files


def levels(settings) -> dict[str, tuple[float, ...]]:
  """The levels of `config.robustness`, without kinds that have none.

  Raises: ValueError for anything but different numbers above 0, and without any.
  """
  found = {}
  for kind in pose_damage.KINDS:
    asked = settings[kind]
    try:
      values = tuple(float(word) for word in text.split_words(str(asked)))
    except ValueError:
      values = (0.0,)
    if len(set(values)) < len(values) or not all(value > 0 for value in values):
      raise ValueError(
        f"config.robustness.{kind} is {asked!r}, expected different numbers above 0 "
        "separated by commas, such as 0.1,0.2, or nothing to leave it out."
      )
    if values:
      found[kind] = values
  if not found:
    raise ValueError(
      "config.robustness has no level of any kind, expected some of one: give such as "
      "--config.robustness.noise=0.02,0.05."
    )
  return found


def table(
  runs: Mapping[str, Sequence[robustness.Point]],
) -> list[list[list[str]]]:
  """Top-1 in cells, a block of rows for each kind, a row for each run."""
  blocks = []
  kinds = dict.fromkeys(p.kind for points in runs.values() for p in points)
  for kind in kinds:
    shown = {name: [p for p in runs[name] if p.kind == kind] for name in runs}
    title, unit = robustness_figure.KINDS[kind]
    first = next(iter(shown.values()))
    head = [f"{title}, {unit}", *(f"{p.level:g}" for p in first)]
    rows = [[name, *(f"{p.top1:.1f}" for p in shown[name])] for name in shown]
    blocks.append([head, *rows])
  return blocks


def run(config, workdir: str) -> None:
  """Prints a line for each run and top-1 by level; writes robustness.png and .csv.

  They go to `config.output`, or to the last workdir.

  Args:
    workdir: finished runs separated by commas, which may be fused.
  """
  workdirs = text.split_paths(workdir)
  if not workdirs:
    raise ValueError("--workdir is empty, expected finished runs separated by commas.")
  inferred = multi_view.Inference(**config.inference)
  if inferred.poses != "own":
    raise ValueError(
      f"config.inference has {inferred.poses} poses, expected the clips' own: leave "
      "that out, and give the levels in config.robustness."
    )
  asked = levels(config.robustness)
  damages = robustness.damages(asked)

  @functools.cache  # a run may also be a part of fused ones
  def score_run(workdir: str) -> robustness.Scores:
    step, found = evaluate.score(config, workdir, inferred, damages)
    values = predictions_lib.metrics(found["own"])
    print(f"{workdir}, step {step}: {evaluate_job.in_words(values)}", flush=True)
    return found

  runs = {
    name: robustness.curves(robustness.score(folder, score_run), asked)
    for name, folder in zip(catalogue.run_names(workdirs), workdirs)
  }
  for block in table(runs):
    for row in text.padded(block):
      print("  ".join(row).rstrip())
    print()
  folder = pathlib.Path(config.output or workdirs[-1])
  picture, numbers = catalogue.save(folder, NAME, *robustness_figure.curves(runs))
  print(f"wrote {picture} and {numbers.name}")
