"""The job "fuse": late fusion of finished runs."""

import dataclasses
import math
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence

from vpn_jax import text
from vpn_jax.evaluation import fusion
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation.predictions import Predictions
from vpn_jax.jobs import evaluate
from vpn_jax.results import paper, tables
from vpn_jax.training import run_summary

_SEED = re.compile(r"seed\d+")


def default_output(workdirs: Sequence[str | pathlib.Path]) -> pathlib.Path:
  """A sibling of the first part, named after all: runs/vpn,runs/pose -> runs/vpn+pose.

  Folders that are named after seeds, as in a sweep, keep that level:
  runs/vpn/seed0,runs/pose/seed0 -> runs/vpn+pose/seed0.
  """
  folders = [pathlib.Path(workdir) for workdir in workdirs]
  joined = "+".join(dict.fromkeys(folder.name for folder in folders))
  if not all(_SEED.fullmatch(folder.name) for folder in folders):
    return folders[0].parent / "+".join(folder.name for folder in folders)
  rows = "+".join(folder.parent.name for folder in folders)
  return folders[0].parent.parent / rows / joined


def fused_summary(summaries: Sequence[dict], predictions: Predictions) -> dict:
  """The fields of `run_summary.save_summary` for the fusion of these runs.

  Parameters and seconds are sums; clips a second are those of running one network after
  the other. The seed is the first's.
  """
  results = [summary["result"] for summary in summaries]
  rows = [summary["row"] for summary in summaries]

  def rate(name: str) -> float:
    rates = [float(result[name]) for result in results]
    return 1 / sum(1 / r for r in rates) if min(rates) > 0 else 0.0

  result = {
    **predictions_lib.metrics(predictions),
    "parameters": sum(result["parameters"] for result in results),
    "seconds": math.fsum(result["seconds"] for result in results),
    "train_clips_per_second": rate("train_clips_per_second"),
    "eval_clips_per_second": rate("eval_clips_per_second"),
  }
  return {
    "row": paper.fusion_name(rows, joined=fusion.JOIN.join(rows)),
    "dataset": summaries[0]["dataset"],
    "protocol": summaries[0]["protocol"],
    "seed": summaries[0]["seed"],
    "result": result,
  }


def fuse_runs(
  workdirs: Sequence[str],
  weights: Sequence[float] = (),
  output: str = "",
  command: str = "",
) -> tuple[pathlib.Path, dict]:
  """Fuses the test scores of finished runs and leaves the result as a run of its own.

  Args:
    workdirs: finished runs, each with summary.json and test/scores.npz; fused runs may
      be parts as well.
    weights: one a run; () for equal ones.
    output: where it goes; "" for `default_output`.
    command: that asked for it, for the summary.
  Returns: that folder, with the files of `predictions.write` in test, a summary.json,
    and the summary.
  Raises: FileNotFoundError for a run that is not finished, ValueError for runs that
    cannot be fused or a folder that holds another run.
  """
  workdirs = [str(pathlib.Path(workdir)) for workdir in workdirs]
  weights = tuple(weights) or (1.0,) * len(workdirs)
  summaries = []
  for workdir in workdirs:
    path = pathlib.Path(workdir) / run_summary.SUMMARY_FILE
    if not path.is_file():
      raise FileNotFoundError(
        f"no {path}: finished runs are fused, so train with --workdir={workdir} first."
      )
    summaries.append(run_summary.read_summary(path))
  for workdir, summary in zip(workdirs, summaries):
    got, expected = (f"{s['dataset']} {s['protocol']}" for s in (summary, summaries[0]))
    if got != expected:
      raise ValueError(
        f"{workdir} is of {got}, expected {expected} as {workdirs[0]}: fuse runs of "
        "one dataset and protocol."
      )
  tests = [pathlib.Path(workdir) / "test" for workdir in workdirs]
  found = [predictions_lib.read(test) for test in tests]
  fused = fusion.fuse(found, weights, workdirs)
  folder = pathlib.Path(output) if output else default_output(workdirs)
  path = folder / run_summary.SUMMARY_FILE
  if path.exists() and "parts" not in run_summary.read_summary(path):
    raise ValueError(
      f"{folder} holds a trained run, expected a folder for the fused one: set "
      "--config.fuse.output."
    )
  if str(folder) in workdirs:
    raise ValueError(
      f"{folder} is one of the runs to fuse, expected a folder for the fused one: set "
      "--config.fuse.output."
    )
  parts = [
    {
      "workdir": workdir,
      "row": summary["row"],
      "seed": summary["seed"],
      "variant": tables.variant(summary),
      "started_from": summary.get("started_from", {}),
      "weight": float(weight),
      "top1": predictions_lib.metrics(scores)["top1"],
      "inference": dataclasses.asdict(predictions_lib.read_inference(test)),
    }
    for workdir, summary, weight, test, scores in zip(
      workdirs, summaries, weights, tests, found, strict=True
    )
  ]
  predictions_lib.write(folder / "test", fused, about={"parts": parts})
  fields = fused_summary(summaries, fused)
  run_summary.save_summary(folder, command, **fields, parts=parts)
  return folder, fields


def run(config, workdir: str) -> None:
  """The job "fuse": prints one line of the fused run and its parts.

  Args:
    config: its `fuse`; None for equal weights and the default folder.
    workdir: finished runs separated by commas.
  """
  workdirs = list(text.split_paths(workdir))
  weights, output = (), ""
  if config is not None:
    output, words = config.fuse.output, str(config.fuse.weights)
    try:
      weights = tuple(float(word) for word in words.split(",") if word.strip())
    except ValueError:
      raise ValueError(
        f"config.fuse.weights is {words!r}, expected a number for each run, such as "
        "1,1, or nothing for equal ones."
      ) from None
  command = shlex.join(["python", *text.joined_flags(sys.argv)])
  folder, fields = fuse_runs(workdirs, weights, output, command)
  print(
    f"{folder}, {fields['row']}: {evaluate.in_words(fields['result'])}; predictions in "
    f"{folder / 'test'}"
  )
