"""Late fusion: the weighted mean of the scores of finished runs on the same clips."""

import dataclasses
import math
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence

import numpy as np

from vpn_jax import evaluate, tables
from vpn_jax.evaluate import Predictions

JOIN = " + "  # between the rows of the parts
_SEED = re.compile(r"seed\d+")


def fuse(
  predictions: Sequence[Predictions],
  weights: Sequence[float],
  sources: Sequence[str] = (),
) -> Predictions:
  """The weighted mean of the scores of several networks on the same clips.

  The scores of a clip are first divided by their sum, network by network: a maximum
  over views need not sum to 1, and a network that is unsure in different ways from view
  to view would weigh more than the others.

  Args:
    predictions: of the same clips, which may come in any order; two or more.
    weights: one a network, not negative; only their ratios matter.
    sources: what messages call each of the predictions; by default their numbers.
  Returns: the clips in the order of the first, with scores that sum to 1.
  Raises: ValueError when the clips, labels or class names differ, or for weights that
    give no mean.
  """
  sources = sources or [f"predictions {i + 1}" for i in range(len(predictions))]
  if len(predictions) < 2:
    raise ValueError(
      f"got {len(predictions)} run(s) to fuse, expected two or more: name finished "
      "runs as --workdir=A,B."
    )
  if len(weights) != len(predictions):
    raise ValueError(
      f"got {len(weights)} weights {tuple(weights)}, expected {len(predictions)}: give "
      "one for each run."
    )
  total = math.fsum(weights)
  if not (np.isfinite(weights).all() and min(weights) >= 0 and total > 0):
    raise ValueError(
      f"weights are {tuple(weights)}, expected numbers that are not negative, with one "
      "above 0: give such as 1,1."
    )
  first = predictions[0]
  fused = np.zeros(first.scores.shape, np.float64)
  for found, weight, source in zip(predictions, weights, sources, strict=True):
    places = _matched(first, found, sources[0], source)
    scores = found.scores[places].astype(np.float64)
    sums = scores.sum(axis=1, keepdims=True)
    if not (np.isfinite(scores).all() and scores.min() >= 0 and sums.min() > 0):
      raise ValueError(
        f"{source} has scores of {scores.min()} to {scores.max()}, expected a softmax: "
        "run --job=evaluate on it again."
      )
    fused += weight / total * (scores / sums)
  return dataclasses.replace(first, scores=fused.astype(np.float32))


def _matched(
  first: Predictions, other: Predictions, first_source: str, source: str
) -> np.ndarray:
  """The places in `other` of the clips of `first`, int [n]; ValueError without."""
  remedy = "evaluate both on the same records and protocol."
  if other.class_names != first.class_names:
    differ = sorted({*first.class_names} ^ {*other.class_names})
    difference = (
      f"{', '.join(differ[:3])} are not in both" if differ else "in another order"
    )
    raise ValueError(
      f"{source} has {len(other.class_names)} classes, expected the "
      f"{len(first.class_names)} of {first_source} ({difference}): {remedy}"
    )
  place = {name: i for i, name in enumerate(other.names)}
  differ = sorted({*first.names} ^ set(place))
  if differ or len(other.names) != len(first.names):
    difference = f"{', '.join(differ[:3])} are not in both" if differ else "some twice"
    raise ValueError(
      f"{source} has {len(other.names)} clips, expected the {len(first.names)} of "
      f"{first_source} ({difference}): {remedy}"
    )
  places = np.array([place[name] for name in first.names])
  wrong = np.flatnonzero(other.labels[places] != first.labels)
  if len(wrong):
    i = wrong[0]
    got, expected = (
      first.class_names[k] for k in (other.labels[places[i]], first.labels[i])
    )
    raise ValueError(
      f"{source} has {first.names[i]} as {got}, expected {expected} as in "
      f"{first_source}, and so for {len(wrong)} clips: {remedy}"
    )
  return places


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
  """The fields of `tables.save_summary` for the fusion of these runs.

  Parameters and seconds are sums; clips a second are those of running one network after
  the other. The seed is the first's.
  """
  results = [summary["result"] for summary in summaries]

  def rate(name: str) -> float:
    rates = [float(result[name]) for result in results]
    return 1 / sum(1 / r for r in rates) if min(rates) > 0 else 0.0

  result = {
    **evaluate.metrics(predictions),
    "parameters": sum(result["parameters"] for result in results),
    "seconds": math.fsum(result["seconds"] for result in results),
    "train_clips_per_second": rate("train_clips_per_second"),
    "eval_clips_per_second": rate("eval_clips_per_second"),
  }
  return {
    "row": JOIN.join(summary["row"] for summary in summaries),
    "dataset": summaries[0]["dataset"],
    "protocol": summaries[0]["protocol"],
    "seed": summaries[0]["seed"],
    "result": result,
  }


def fuse_runs(
  workdirs: Sequence[str], weights: Sequence[float] = (), output: str = ""
) -> tuple[pathlib.Path, dict]:
  """Fuses the test scores of finished runs and leaves the result as a run of its own.

  Args:
    workdirs: finished runs, each with summary.json and test/scores.npz; fused runs may
      be parts as well.
    weights: one a run; () for equal ones.
    output: where it goes; "" for `default_output`.
  Returns: that folder, with the files of `evaluate.write` in test and a summary.json,
    and the summary.
  Raises: FileNotFoundError for a run that is not finished, ValueError for runs that
    cannot be fused or a folder that holds another run.
  """
  workdirs = [str(pathlib.Path(workdir)) for workdir in workdirs]
  weights = tuple(weights) or (1.0,) * len(workdirs)
  summaries = []
  for workdir in workdirs:
    path = pathlib.Path(workdir) / tables.SUMMARY_FILE
    if not path.is_file():
      raise FileNotFoundError(
        f"no {path}: finished runs are fused, so train with --workdir={workdir} first."
      )
    summaries.append(tables.read_summary(path))
  for workdir, summary in zip(workdirs, summaries):
    got, expected = (f"{s['dataset']} {s['protocol']}" for s in (summary, summaries[0]))
    if got != expected:
      raise ValueError(
        f"{workdir} is of {got}, expected {expected} as {workdirs[0]}: fuse runs of "
        "one dataset and protocol."
      )
  tests = [pathlib.Path(workdir) / "test" for workdir in workdirs]
  fused = fuse([evaluate.read(test) for test in tests], weights, workdirs)
  folder = pathlib.Path(output) if output else default_output(workdirs)
  path = folder / tables.SUMMARY_FILE
  if path.exists() and "parts" not in tables.read_summary(path):
    raise ValueError(
      f"{folder} holds a trained run, expected a folder for the fused one: set "
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
      "top1": summary["result"]["top1"],
      "inference": dataclasses.asdict(evaluate.read_inference(test)),
    }
    for workdir, summary, weight, test in zip(workdirs, summaries, weights, tests)
  ]
  evaluate.write(folder / "test", fused, about={"parts": parts})
  fields = fused_summary(summaries, fused)
  command = shlex.join(["python", *sys.argv])
  tables.save_summary(folder, command, **fields, parts=parts)
  return folder, fields


def run(config, workdir: str) -> None:
  """The job "fuse": prints one line of the fused run and its parts.

  Args:
    config: its `fuse`; None for equal weights and the default folder.
    workdir: finished runs separated by commas.
  """
  workdirs = [word.strip() for word in workdir.split(",") if word.strip()]
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
  folder, fields = fuse_runs(workdirs, weights, output)
  result = fields["result"]
  print(
    f"{folder}, {fields['row']}: top-1 {result['top1']:.1f}, top-5 "
    f"{result['top5']:.1f}, mean class {result['mean_class']:.1f} on "
    f"{result['clips']} test clips; predictions in {folder / 'test'}"
  )
