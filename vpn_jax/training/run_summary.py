"""The summary that a finished run leaves in its workdir."""

import hashlib
import json
import math
import pathlib
import shlex

from flax import traverse_util

from vpn_jax.training import provenance

SUMMARY_FILE = "summary.json"
# Settings of paths, logging and speed, not of what is trained; `started_from` has those
# of "init.".
NOT_SETTINGS = (
  "seed", "data.records", "data.raw", "data.threads", "data.workers", "init.",
  "features.folder", "train.tensorboard", "train.log_every", "train.save_every",
  "train.eval_batch_size",
)  # fmt: skip
# The blocks that train; the others are of other jobs.
_TRAIN = (
  "network", "model.", "data.", "loss.", "optimizer.", "train.", "pretraining.",
  "distillation.", "features.", "inference.", "stages",
)  # fmt: skip
# What a line of a table takes from a summary, and from its result.
_WORDS = ("command", "commit", "row", "dataset", "protocol")
_NUMBERS = (
  "top1", "mean_class", "parameters", "seconds", "train_clips_per_second",
  "eval_clips_per_second",
)  # fmt: skip
# Accuracies with poses that are not the clip's own (`controls`), of rows with a pose;
# column -> name of the control.
CONTROLS = {"shuffled": "shuffled", "at rest": "rest"}


def write_summary(
  workdir: str | pathlib.Path, config: dict, result: dict, command: str
) -> None:
  """Leaves what a table needs of a finished run in its workdir.

  Args:
    command: that trained it.
  """
  save_summary(
    workdir,
    command,
    row=config["row"],
    dataset=config["data"]["dataset"],
    protocol=config["data"]["protocol"],
    seed=config["seed"],
    started_from=started_from(config),
    settings=digest(config),
    result=result,
  )


def save_summary(workdir: str | pathlib.Path, command: str, **fields) -> None:
  """`write_summary` for a run without one configuration.

  Args:
    workdir: of the run.
    command: that made it.
    fields: row, dataset, protocol, seed and result; and of a fused run its parts.
  """
  content = {
    "command": command,
    "commit": provenance.code_commit(),
    **fields,
  }
  path = pathlib.Path(workdir) / SUMMARY_FILE
  path.write_text(json.dumps(content, indent=1) + "\n")


def digest(config: dict) -> str:
  """Eight digits that differ between configurations that train differently."""
  flat = traverse_util.flatten_dict(json.loads(json.dumps(config)), sep=".")
  kept = {
    name: value
    for name, value in flat.items()
    if name.startswith(_TRAIN) and not name.startswith(NOT_SETTINGS)
  }
  text = json.dumps(kept, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def started_from(config: dict) -> dict[str, str]:
  """Where the weights of each backbone of a run came from, by its name.

  Returns: "<row> in <workdir>" for a finished run, else the source as `config.init`
    names it, and for published weights the file or package; "none" for random ones.
    `network` alone where all came from one run.
  """
  init, found = config["init"], {}
  if init["network"] != "none":
    return {"network": _described(init["network"])}
  if config["network"] != "pose":
    sources = []
    for source in map(str.strip, init["backbone"].split(",")):
      if source == "kinetics":
        source = f"kinetics ({init['kinetics'][config['model']['backbone']]})"
      sources.append(_described(source))
    found["backbone"] = ", ".join(sources)
  model = config["model"]
  if model.get("guide", "pose") == "features":
    found["teacher"] = _described(init["teacher"])
  elif config["network"] != "pose" and model.get("attention") != "none":
    found["pose_backbone"] = _described(init["pose_backbone"])
  return found


def _described(source: str) -> str:
  row = row_of(source)
  return source if row == source else f"{row} in {source}"


def read_summaries(folder: str | pathlib.Path) -> list[dict]:
  """Summaries of all runs at any depth below `folder`.

  Raises: FileNotFoundError when there is none, ValueError when one is damaged.
  """
  paths = sorted(pathlib.Path(folder).rglob(SUMMARY_FILE))
  if not paths:
    raise FileNotFoundError(
      f"no finished run below {folder!r}: train with --workdir={folder}/<name> first."
    )
  return [{**read_summary(path), "workdir": str(path.parent)} for path in paths]


def read_summary(path: pathlib.Path) -> dict:
  """One summary, with the fields that a table needs; ValueError without them."""
  try:
    summary = json.loads(path.read_text())
    words = {name: summary[name] for name in _WORDS}
    numbers = {name: float(summary["result"][name]) for name in _NUMBERS}
    wrong = [name for name, value in words.items() if not isinstance(value, str)]
    wrong += [name for name, value in numbers.items() if not math.isfinite(value)]
    for name in (f"{c}_{m}" for c in CONTROLS.values() for m in ("top1", "mean_class")):
      if not math.isfinite(float(summary["result"].get(name, 0.0))):
        wrong.append(name)
    for part in summary.get("parts", ()):  # of a fused run
      names = ("row", "variant")
      wrong += [
        f"{name} of a part" for name in names if not isinstance(part[name], str)
      ]
      if not math.isfinite(float(part["weight"])):
        wrong.append("weight of a part")
    if wrong:
      raise ValueError(f"{', '.join(wrong)} cannot be what it is")
    shlex.split(summary["command"])
  except (ValueError, KeyError, TypeError, RecursionError) as e:
    raise ValueError(
      f"{path} is damaged ({type(e).__name__}: {e}): remove it, or run again."
    ) from e
  return summary


def row_of(source: str) -> str:
  """The row of the run in a workdir, else the source as it was given."""
  path = pathlib.Path(source) / SUMMARY_FILE
  return read_summary(path)["row"] if path.is_file() else source
