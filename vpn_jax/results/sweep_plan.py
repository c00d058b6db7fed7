"""Plans the runs of whole tables: the rows, and all that they start from."""

import dataclasses
import pathlib
import shlex
from collections.abc import Sequence

from vpn_jax import text
from vpn_jax.evaluation import fusion
from vpn_jax.results import paper
from vpn_jax.training import run_summary
from vpn_jax.training import stages as pretraining

# Words of --config with which rows train heads on frozen backbones.
HEADS = {"frozen=True", "start=heads"}
NTU60_BACKBONE = ("configs/ntu60.py", "cs")  # what N-UCLA starts from, section 4.4
# Flags of the network that a pose backbone alone has, too.
OF_POSES = ("--config.model.pose.", "--config.model.dropout=")
# Flags that it does not have.
OF_FRAMES = (
  "--config.model.",
  "--config.features.",
  *(f"--config.{name}" for name in pretraining.OF_FIXED_VIEWS),
)


@dataclasses.dataclass(frozen=True)
class Run:
  """One training run.

  Attributes:
    workdir: its folder, which identifies it.
    words: its command, after the name of the Python program.
    needs: workdirs of the runs that it starts from.
  """

  workdir: str
  words: tuple[str, ...]
  needs: tuple[str, ...] = ()

  def done(self) -> bool:
    return (pathlib.Path(self.workdir) / run_summary.SUMMARY_FILE).exists()

  def command(self) -> str:
    return shlex.join(["python", *self.words])

  def changes(self) -> list[str]:
    """Settings of a finished run that its command has not, and the reverse."""
    path = pathlib.Path(self.workdir) / run_summary.SUMMARY_FILE
    trained = _settings(shlex.split(run_summary.read_summary(path)["command"]))
    wanted = _settings(self.words)
    return [
      *(f"trained with {word}" for word in sorted(trained - wanted)),
      *(f"now {word}" for word in sorted(wanted - trained)),
    ]


def _settings(words: Sequence[str]) -> set[str]:
  """The words of a command that change what is trained, other than where it starts."""
  found = set()
  for word in text.joined_flags(words):
    name, _, value = word.partition("=")
    if name == "--config":
      found.update(value.partition(":")[2].split(","))
    elif name.startswith("--config."):
      name = name.removeprefix("--config.")
      if not name.startswith(run_summary.NOT_SETTINGS):
        found.add(f"{name}={value}")
  return found - {""}


def slug(arg: str) -> str:
  """A row's argument as the name of a folder: "model=i3d" -> "i3d", "" -> "vpn"."""
  words = [word.removeprefix("model=").replace("=", "-") for word in arg.split(",")]
  return "_".join(filter(None, words)) or "vpn"


def _workdir(folder: str, file: str, protocol: str, name: str, seed: int) -> str:
  dataset = pathlib.Path(file).stem
  return str(pathlib.Path(folder) / dataset / protocol / name / f"seed{seed}")


def plan(
  config: str,
  folder: str,
  *,
  rows: tuple[str, ...],
  protocols: tuple[str, ...],
  seeds: tuple[int, ...],
  stages: bool = True,
  flags: tuple[str, ...] = (),
) -> list[Run]:
  """The runs of these rows and of all that they start from, dependencies first.

  Args:
    config: value of --config; its protocol is replaced, its other words are kept.
    folder: of all runs: <folder>/<dataset>/<protocol>/<row>/seed<n>.
    rows: names in `paper.ROWS`.
    protocols: () for that of `config`.
    seeds: one run each.
    stages: whether rows start from those that train their backbones alone
      (`Row.starts_from`, `Row.pose_from`), rather than from published weights and a new
      pose backbone. N-UCLA starts from NTU-60's in any case, and an LSTM from that
      trained alone; with frozen=True or start=heads among the words of `config`, the
      visual backbone has the published weights.
    flags: given to every run; rows that train a backbone alone get those of its block
      of `config.pretraining` as their own.
  Raises: ValueError that lists the known rows.
  """
  unknown = [row for row in rows if row not in paper.ROWS]
  if unknown:
    raise ValueError(f"unknown rows {unknown}, expected some of {tuple(paper.ROWS)}.")
  file, _, arg = config.partition(":")
  first, *words = arg.split(",")
  planner = _Planner(folder, tuple(words), stages, flags)
  for seed in seeds:
    for protocol in protocols or (first,):
      for row in rows:
        planner.add(file, protocol, row, seed)
  return list(planner.runs.values())


@dataclasses.dataclass(frozen=True)
class _Planner:
  """Collects runs with their dependencies.

  Attributes:
    folder, stages, flags: as for `plan`.
    words: of --config after the protocol, for all runs.
    runs: workdir -> run, dependencies first.
  """

  folder: str
  words: tuple[str, ...]
  stages: bool
  flags: tuple[str, ...]
  runs: dict[str, Run] = dataclasses.field(default_factory=dict)

  @property
  def _heads(self) -> bool:
    """Whether heads train on published weights, alone or before the rest."""
    return not HEADS.isdisjoint(self.words)

  def add(
    self, file: str, protocol: str, row: str, seed: int, more: tuple[str, ...] = ()
  ) -> str:
    """Adds a run after its dependencies; returns its workdir.

    Args:
      file: of the dataset's config.
      more: flags of this run alone, whose values are part of its name.
    """
    what = paper.ROWS[row]
    name = "_".join([slug(what.arg), *(flag.rpartition("=")[2] for flag in more)])
    workdir = _workdir(self.folder, file, protocol, name, seed)
    pose_alone = _backbone_alone(what) == "pose"  # which has no frozen form
    words = [w for w in self.words if not (pose_alone and w in HEADS)]
    arg = ",".join(filter(None, [protocol, what.arg, *words]))
    visual = self._visual_needs(file, protocol, what, seed)
    pose = []
    if what.pose_from and (self.stages or what.pose_from == paper.LSTM_ALONE):
      pose = [self.add(file, protocol, what.pose_from, seed)]
    command = ["launch.py", f"--config={file}:{arg}", f"--config.seed={seed}"]
    command += [f"--workdir={workdir}", *more]
    teacher = []
    if what.teacher:
      teacher = [self.add(file, protocol, what.teacher, seed)]
    starts = {"backbone": visual, "pose_backbone": pose, "teacher": teacher}
    for field, needs in starts.items():
      if needs:
        command.append(f"--config.init.{field}={','.join(needs)}")
    needs = (*visual, *pose, *teacher)
    run = Run(workdir, (*command, *self._flags_of(what)), needs)
    self.runs.setdefault(workdir, run)
    return workdir

  def _visual_needs(
    self, file: str, protocol: str, row: paper.Row, seed: int
  ) -> list[str]:
    """Adds the runs that a row's visual backbone starts from; their workdirs."""
    if pathlib.Path(file).stem == "nucla" and "model=pose" not in row.arg:
      start = "RNX3D101" if "backbone=resnext3d" in row.arg else "I3D"
      return [self.add(*NTU60_BACKBONE, start, seed)]
    if not (self.stages and row.starts_from) or self._heads:
      return []
    regions = [()]
    if "p_i3d" in row.arg:
      hands = ("left_hand", "right_hand")
      regions += [(f"--config.data.example.region={hand}",) for hand in hands]
    return [
      self.add(file, protocol, row.starts_from, seed, region) for region in regions
    ]

  def _flags_of(self, row: paper.Row) -> list[str]:
    """The flags of a row; of those of `config.pretraining`, only of its stages.

    A pose backbone alone has no part of the network behind the frames to set.
    """
    alone, found = _backbone_alone(row), []
    blocks = {"pose": row.pose_from, "visual": row.starts_from and not self._heads}
    blocks["heads"] = "start=heads" in self.words and alone != "pose"
    used = tuple(f"--config.pretraining.{name}." for name, has in blocks.items() if has)
    for flag in self.flags:
      of_frames = flag.startswith(OF_FRAMES) and not flag.startswith(OF_POSES)
      if alone == "pose" and of_frames:
        continue
      if not flag.startswith("--config.pretraining."):
        found.append(flag)
      elif alone and (own := pretraining.own_flag(flag, alone)):
        found.append(own)
      elif flag.startswith(used):
        found.append(flag)
    return found


def _backbone_alone(row: paper.Row) -> str:
  """Which backbone a row trains alone: "pose", "visual", or "" for neither."""
  word, *_ = row.arg.split(",")
  return {"model=pose": "pose", "model=i3d": "visual"}.get(word, "")


def fusions(
  rows: str, config: str, folder: str, protocols: tuple[str, ...], seeds: tuple
) -> list[list[str]]:
  """The workdirs to fuse, for each protocol and seed.

  Args:
    rows: joined by " + ", groups separated by ";".
    config, folder, protocols, seeds: as for `plan`.
  Raises: ValueError for an unknown row, or a single one.
  """
  groups = [group.split(fusion.JOIN) for group in text.split_words(rows, ";")]
  for group in groups:
    unknown = [row for row in group if row not in paper.ROWS]
    if unknown or len(group) < 2:
      raise ValueError(
        f"config.sweep.fuse is {rows!r}, expected rows joined by {fusion.JOIN!r}, such "
        f"as 'VPN + pose alone', of {tuple(paper.ROWS)}."
      )
  file, _, arg = config.partition(":")
  return [
    [_workdir(folder, file, protocol, slug(paper.ROWS[row].arg), seed) for row in group]
    for group in groups
    for protocol in protocols or (arg.split(",")[0],)
    for seed in seeds
  ]
