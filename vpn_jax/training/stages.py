"""The stages of a row: what is trained alone before the whole network.

VPN starts from a pose backbone and a visual backbone that were each trained alone on
the same clips (section 3.3, appendix 2). One command trains them all: each stage is a
run of its own in a folder below that of the whole, resumed when it was stopped and
skipped when it is finished.
"""

import dataclasses
import pathlib
import shlex
from collections.abc import Callable

import ml_collections

from vpn_jax.inputs import protocol_data, regions
from vpn_jax.models import vpn
from vpn_jax.training import (
  checkpoint,
  distillation,
  initialization,
  loop,
  run_summary,
  settings_check,
)
from vpn_jax.training.provenance import compare_settings

# config.model of a visual backbone alone, taken from that of the whole network.
_OF_VISUAL = (
  "backbone", "width", "endpoint", "bn_momentum", "bn_frozen", "remat", "dtype",
)  # fmt: skip
# Fixed views have features to keep, which poses alone have not.
OF_FIXED_VIEWS = ("data.example.views",)
# Flags of the whole network that a stage takes too, by how they begin.
_SHARED = ("seed", "on_mismatch", "data.", "inference.")
_FLAGS = {
  "pose": (*_SHARED, "model.pose."),
  "visual": (*_SHARED, "init.backbone", "init.kinetics.", "features.")
  + tuple(f"model.{name}" for name in _OF_VISUAL),
  "heads": (*_SHARED, "init.", "features.", "model.", "loss."),
}
# Those of them that the heads do not take, since their backbones are frozen.
_OF_MOVING = ("model.frozen_until", "model.bn_frozen", "model.pose.frozen")


@dataclasses.dataclass(frozen=True)
class Stage:
  """A run of a row: one that must be finished before the whole network, or the whole.

  Attributes:
    kind: "pose" or "visual", the backbone that it trains alone; "heads" for all but
      frozen backbones; "whole" for the run that starts from the others.
    workdir: of the run.
    config: of the run.
    command: that trains it by itself; "" when that of the whole is not known.
  """

  kind: str
  workdir: str
  config: ml_collections.ConfigDict
  command: str

  def title(self) -> str:
    """What it trains."""
    if self.kind == "heads":
      return "heads on frozen backbones"
    return f"{self.kind} backbone alone"

  def done(self) -> bool:
    return (pathlib.Path(self.workdir) / run_summary.SUMMARY_FILE).exists()

  def changes(self) -> list[str]:
    """Settings that differ from those that a finished stage was trained with."""
    with checkpoint.reading(self.workdir) as runs:
      trained = runs.about().config
    # What training reads from the records.
    read = (
      "model.num_classes", "data.skeleton", "model.pose.skeleton",
      "model.pose.coordinates", "data.example.coordinates", "model.pose_classifier",
    )  # fmt: skip
    changed = compare_settings(trained, self.config.to_dict())
    return [
      f"{name}: {old} -> {new}"
      for name, (old, new) in changed.items()
      if name not in read
    ]


def plan(
  config: ml_collections.ConfigDict, workdir: str, command: str = ""
) -> list[Stage]:
  """The stages of a row in order, without those that `config.init` has runs for.

  Args:
    config: of the whole network; `config.pretraining` has a block for each backbone
      that the row trains alone before. None is planned when `config.stages` is False,
      or when all starts from the run in `config.init.network`.
    workdir: of the whole network.
    command: that trains the whole network.
  """
  if not config.stages or config.init.network != "none":
    return []
  found, folder = [], pathlib.Path(workdir)
  if "pose" in config.pretraining and config.init.pose_backbone == "none":
    pose = config.model.pose
    named = pose.kind != "gcn" or "recipe=best" in command  # whose usual one is another
    words = ["model=pose", *([f"pose_backbone={pose.kind}"] if named else [])]
    words += [f"stream={pose.stream}"] if pose.stream != "joint" else []
    place = str(folder / "pose")
    command_of = stage_command(command, "pose", words, place)
    found.append(Stage("pose", place, _pose_config(config), command_of))
  if "visual" in config.pretraining and not _names_runs(config.init.backbone):
    backbone = config.model.backbone
    words = ["model=i3d", *([f"backbone={backbone}"] if backbone != "i3d" else [])]
    shown = config.data.example.region
    for region in regions.REGIONS if config.network == "p_i3d" else (shown,):
      place = str(folder / ("visual" if region == shown else f"visual_{region}"))
      made = _visual_config(config, region)
      command_of = stage_command(command, "visual", words, place)
      if region != shown and command_of:
        command_of += f" --config.data.example.region={region}"
      found.append(Stage("visual", place, made, command_of))
  if "heads" in config.pretraining:
    place, made = str(folder / "heads"), _heads_config(started_from(config, found))
    command_of = stage_command(command, "heads", [], place)
    if found and command_of:
      command_of += " " + shlex.quote(f"--config.init.pose_backbone={found[0].workdir}")
    found.append(Stage("heads", place, made, command_of))
  return found


def started_from(
  config: ml_collections.ConfigDict, stages: list[Stage]
) -> ml_collections.ConfigDict:
  """The configuration of the whole network, started from its stages."""
  config = config.copy_and_resolve_references()
  fields = {"pose": "pose_backbone", "visual": "backbone", "heads": "network"}
  for kind, field in fields.items():
    runs = [stage.workdir for stage in stages if stage.kind == kind]
    if runs:
      config.init[field] = ",".join(runs)
  return config


def train(
  config: ml_collections.ConfigDict,
  workdir: str,
  command: str = "",
  *,
  say: Callable[[str], None] = lambda line: None,
  finished: Callable[[Stage, dict], None] = lambda stage, result: None,
) -> dict[str, float]:
  """Trains a row: the stages that are not finished yet, then the whole network.

  A run that was stopped is resumed; a finished one is only tested.

  >>> metrics = vpn_jax.train(config, "runs/new")
  >>> 0 <= metrics["top1"] <= 100
  True

  Args:
    config: of the row, such as `configs.synthetic.get_config("cs")`.
    workdir: of the whole network; the stages have folders in it.
    command: that asked for it, for the summaries.
    say: receives lines on how it goes.
    finished: called with each run that was trained here, and its `loop.train` result.
  Returns: of the whole network, top1, top5, mean_class (percent) and clips of the test
    part, where there is one, loss, steps, seconds, seconds_per_step, peak_memory_gib
    and more; the same as in its summary.json.
  Raises: as `loop.train`.
  """
  planned = plan(config, workdir, command)
  number_of_runs = len(planned) + 1
  if planned:
    _check(config, workdir, planned)
  for number, stage in enumerate(planned, start=1):
    line = f"stage {number} of {number_of_runs}, {stage.title()}"
    if stage.done():
      say(f"{line}: finished in {stage.workdir}")
      if changes := stage.changes():
        say(f"with other settings than now: {'; '.join(changes)}")
      continue
    say(f"{line}: {stage.workdir}")
    finished(stage, loop.train(stage.config, stage.workdir, stage.command, say))
  if planned:
    say(f"stage {number_of_runs} of {number_of_runs}, the whole: {workdir}")
  whole = Stage("whole", workdir, started_from(config, planned), command)
  result = loop.train(whole.config, workdir, command, say)
  finished(whole, result)
  return result


def _check(
  config: ml_collections.ConfigDict, workdir: str, planned: list[Stage]
) -> None:
  """Refuses what the whole cannot use before a stage is trained."""
  settings_check.check_folder_of_runs(workdir)
  for c in (config, *(stage.config for stage in planned)):
    settings_check.check(c)
  protocol_data.open_parts(config.data, ())
  if {"visual", "heads"} & {*config.pretraining}:
    initialization.check_visual(config.init, config.model.backbone)
  whole = Stage("whole", workdir, config, "")
  if config.model.get("guide") == "features" and not whole.done():
    distillation.check_named(config.init.teacher)


def _names_runs(sources: str) -> bool:
  """Whether all of these sources of weights are folders of runs."""
  paths = [pathlib.Path(source.strip()) for source in sources.split(",")]
  return all((path / checkpoint.FOLDER).is_dir() for path in paths)


def _alone(config, kind: str) -> ml_collections.ConfigDict:
  """A configuration with the schedule of a stage, which has no stages itself."""
  c = config.copy_and_resolve_references()
  block = c.pretraining[kind]
  with c.unlocked():
    c.train, c.optimizer = block.train, block.optimizer
    c.model = {"num_classes": 0, "dropout": block.dropout, "pose": c.model.pose}
    if kind == "visual":
      usual = {f.name: f.default for f in dataclasses.fields(vpn.VPN) if f.init}
      unset = {"parent", "name", "from_features", "features_of", *c.model}
      c.model.update({k: v for k, v in usual.items() if k not in unset})
      c.model.update({name: config.model[name] for name in _OF_VISUAL})
      c.model.update(attention="none", embedding=False)
      c.model.frozen_until = block.frozen_until
    # Checkpoints from before have no smoothing here.
    c.loss.label_smoothing = block.get("label_smoothing", 0.0)
    c.row = block.row
    c.pretraining = {}
  c.stages = False
  c.features.cached = False
  c.data.example.views = 0
  return c


def _pose_config(config) -> ml_collections.ConfigDict:
  """The configuration of the pose backbone alone."""
  c = _alone(config, "pose")
  c.network = "pose"
  c.model.pose.update(frozen=False, recurrent_output="steps", block_output="mean")
  c.data.example.inputs = ("pose",)
  c.data.frames = False
  return c


def _visual_config(config, region: str) -> ml_collections.ConfigDict:
  """The configuration of the visual backbone alone, on one region of the frames."""
  c = _alone(config, "visual")
  c.network = "vpn"
  c.data.example.update(inputs=("frames", "pose"), region=region)
  c.data.example.views = config.data.example.views
  if config.network == "vpn" and config.features.cached and c.model.frozen_until:
    c.features.cached = True
  c.init.update(pose_backbone="none", teacher="")
  return c


def _heads_config(config) -> ml_collections.ConfigDict:
  """The configuration of the heads on frozen backbones, the row with frozen=True.

  Args:
    config: of the whole network, with the pose backbone that it starts from.
  """
  c = config.copy_and_resolve_references()
  block = c.pretraining.heads
  with c.unlocked():
    c.train, c.optimizer, c.row = block.train, block.optimizer, block.row
    c.pretraining = {}
  c.stages = False
  c.model.update(frozen_until=c.model.endpoint, bn_frozen=False)
  c.model.pose.frozen = True
  c.features.cached = True
  c.data.example.views = max(1, c.data.example.views)
  return c


def stage_command(command: str, kind: str, words: list[str], workdir: str) -> str:
  """The command that trains a stage by itself.

  Args:
    command: of the whole network.
    kind: of the stage.
    words: what stands behind the protocol in its --config.
    workdir: of the stage.
  Returns: the command with the flags that the stage takes; those of
    `config.pretraining.<kind>` without that prefix.
  """
  made = []
  for word in shlex.split(command):
    name, _, value = word.partition("=")
    if name == "--workdir":
      made.append(f"--workdir={workdir}")
    elif name == "--config":
      file, _, arg = value.partition(":")
      protocol, *others = arg.split(",")
      if kind == "heads":
        kept = ["frozen=True" if word == "start=heads" else word for word in others]
      else:
        kept = [word for word in others if word.startswith(("size=", "recipe="))]
      made.append(f"{name}={file}:{','.join([protocol, *words, *kept])}")
    elif name.startswith("--config."):
      made += flags_of_stage([word], kind)
    else:
      made.append(word)
  return shlex.join(made)


def own_flag(flag: str, kind: str) -> str:
  """A flag of `config.pretraining.<kind>` as that of the stage itself; "" for others.

  Such as --config.pretraining.pose.train.epochs=9 -> --config.train.epochs=9.
  """
  own = f"--config.pretraining.{kind}."
  if not flag.startswith(own):
    return ""
  name = flag.removeprefix(own)
  is_block = name.startswith(("train.", "optimizer."))
  block = "" if is_block else "loss." if name.startswith("label_") else "model."
  return f"--config.{block}{name}"


def flags_of_stage(flags: list[str], kind: str) -> list[str]:
  """The --config flags of a whole network that a stage takes."""
  found = []
  for flag in flags:
    if own := own_flag(flag, kind):
      found.append(own)
    else:
      name = flag.removeprefix("--config.")
      lacks = kind == "pose" and name.startswith(OF_FIXED_VIEWS)
      lacks |= kind == "heads" and name.startswith(_OF_MOVING)
      if name.startswith(_FLAGS[kind]) and not lacks:
        found.append(flag)
  return found
