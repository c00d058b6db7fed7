"""Plans the runs of whole tables, and works through those that are not done.

Any number of processes, on one machine or as an array job, may work on one folder: each
takes the next run that nobody holds and whose dependencies are finished. A run is its
own process, and done when its `summary.json` is there. SIGTERM or SIGINT stops the runs
under way in good order; the same command resumes them.
"""

import concurrent.futures
import dataclasses
import fcntl
import os
import pathlib
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from vpn_jax import interrupt, text
from vpn_jax.evaluation import fusion
from vpn_jax.results import paper
from vpn_jax.training import run_summary
from vpn_jax.training import stages as pretraining

SCRIPT_FILE = "sweep.sh"
NTU60_BACKBONE = ("configs/ntu60.py", "cs")  # what N-UCLA starts from, section 4.4


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


def slug(arg: str) -> str:
  """A row's argument as the name of a folder: "model=i3d" -> "i3d", "" -> "vpn"."""
  words = [word.removeprefix("model=").replace("=", "-") for word in arg.split(",")]
  return "_".join(filter(None, words)) or "vpn"


def _workdir(folder: str, file: str, protocol: str, name: str, seed: int) -> str:
  dataset = pathlib.Path(file).stem
  return str(pathlib.Path(folder) / dataset / protocol / name / f"seed{seed}")


# The plan.


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
      trained alone; with frozen=True among the words of `config`, the visual backbone
      keeps the published weights.
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
  def _frozen(self) -> bool:
    return "frozen=True" in self.words

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
    words = [w for w in self.words if not (pose_alone and w == "frozen=True")]
    arg = ",".join(filter(None, [protocol, what.arg, *words]))
    visual = self._visual_needs(file, protocol, what, seed)
    pose = []
    if what.pose_from and (self.stages or what.pose_from == paper.LSTM_ALONE):
      pose = [self.add(file, protocol, what.pose_from, seed)]
    command = ["launch.py", f"--config={file}:{arg}", f"--config.seed={seed}"]
    command += [f"--workdir={workdir}", *more]
    for backbone, needs in (("backbone", visual), ("pose_backbone", pose)):
      if needs:
        command.append(f"--config.init.{backbone}={','.join(needs)}")
    run = Run(workdir, (*command, *self._flags_of(what)), (*visual, *pose))
    self.runs.setdefault(workdir, run)
    return workdir

  def _visual_needs(
    self, file: str, protocol: str, row: paper.Row, seed: int
  ) -> list[str]:
    """Adds the runs that a row's visual backbone starts from; their workdirs."""
    if pathlib.Path(file).stem == "nucla" and "model=pose" not in row.arg:
      start = "RNX3D101" if "backbone=resnext3d" in row.arg else "I3D"
      return [self.add(*NTU60_BACKBONE, start, seed)]
    if not (self.stages and row.starts_from) or self._frozen:
      return []
    regions = [()]
    if "p_i3d" in row.arg:
      hands = ("left_hand", "right_hand")
      regions += [(f"--config.data.example.region={hand}",) for hand in hands]
    return [
      self.add(file, protocol, row.starts_from, seed, region) for region in regions
    ]

  def _flags_of(self, row: paper.Row) -> list[str]:
    """The flags of a row; of those of `config.pretraining`, only of its stages."""
    alone, found = _backbone_alone(row), []
    blocks = {"pose": row.pose_from, "visual": row.starts_from and not self._frozen}
    used = tuple(f"--config.pretraining.{name}." for name, has in blocks.items() if has)
    for flag in self.flags:
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


# The work.


def _claim(run: Run) -> IO | None:
  """Locks a run; None while another process holds it. Closing the file releases it."""
  folder = pathlib.Path(run.workdir)
  folder.mkdir(parents=True, exist_ok=True)
  file = (folder / "claim").open("w")
  try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError:
    file.close()
    return None
  return file


def _share(stream: int, streams: int) -> tuple[set[int], dict[str, str]]:
  """The cores and the environment of one stream: the machine's, divided evenly."""
  linux = hasattr(os, "sched_getaffinity")
  cores = sorted(os.sched_getaffinity(0)) if linux else range(os.cpu_count() or 1)
  devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
  environment = dict(os.environ)
  if len(devices) >= streams > 1:
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices[stream::streams])
  return set(cores[stream::streams] or cores), environment


class _Worker:
  """Takes runs that are ready, starts them, and stops them on request."""

  def __init__(
    self,
    runs: list[Run],
    requests: interrupt.Requests,
    program: Sequence[str],
    say: Callable[[str], None],
  ):
    self._runs = {run.workdir: run for run in runs}
    self._requests, self._program, self._say = requests, program, say
    self._lock = threading.Lock()
    self._mine: set[str] = set()  # a process may lock a file twice
    self._processes: set[subprocess.Popen] = set()
    self.failed: set[str] = set()

  def left(self) -> list[Run]:
    return [run for run in self._runs.values() if not run.done()]

  def _hopeless(self, run: Run) -> bool:
    """Whether it failed, or a run that it needs, directly or not."""
    return run.workdir in self.failed or any(
      self._hopeless(self._runs[need]) for need in run.needs
    )

  def _take(self) -> tuple[Run, IO] | None:
    """A run with its claim; None when none is ready."""
    with self._lock:
      for run in self.left():
        ready = all(self._runs[need].done() for need in run.needs)
        if run.workdir in self._mine or self._hopeless(run) or not ready:
          continue
        claim = _claim(run)
        if claim and run.done():  # it was finished in between
          claim.close()
        elif claim:
          self._mine.add(run.workdir)
          return run, claim
      return None

  def stream(self, number: int, streams: int, wait: float) -> None:
    """Executes runs until none is left, or a request to stop arrives."""
    cores, environment = _share(number, streams)
    while not self._requests.arrived():
      if taken := self._take():
        self._execute(*taken, cores, environment)
      elif all(map(self._hopeless, self.left())):
        return
      else:
        time.sleep(wait)

  def _execute(
    self, run: Run, claim: IO, cores: set[int], environment: dict[str, str]
  ) -> None:
    """Executes a run to its end, releases it and reports how it ended."""
    began = time.monotonic()
    log = pathlib.Path(run.workdir) / "log"
    command = [*self._program, *run.words]
    with claim, log.open("a") as out:
      process = subprocess.Popen(
        command, env=environment, stdout=out, stderr=subprocess.STDOUT
      )
      if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(process.pid, cores)
      self._processes.add(process)
      code = process.wait()
      self._processes.discard(process)
    outcome = "done" if code == 0 else f"failed with {code}, see {log}"
    with self._lock:
      self._mine.discard(run.workdir)
      if code != 0 and self._requests.arrived():
        outcome = "stopped"
      elif code != 0:
        self.failed.add(run.workdir)
    minutes = (time.monotonic() - began) / 60
    self._say(f"{run.workdir}: {outcome}, {minutes:.1f} min; {len(self.left())} left")

  def terminate(self) -> None:
    """Stops each run under way once; in a terminal they have the signal already."""
    for process in list(self._processes):
      self._processes.discard(process)
      process.terminate()


def work(
  runs: list[Run],
  *,
  streams: int = 1,
  wait: float = 5.0,
  program: Sequence[str] = (sys.executable,),
  say: Callable[[str], None] = lambda line: None,
) -> list[str]:
  """Runs what is not done.

  Args:
    runs: from `plan`.
    streams: runs at a time; they share the cores and the GPUs evenly.
    wait: seconds until it asks again for a run that another process has to finish.
    program: takes the words of a run.
    say: is given a line for each run that ends, from the thread of its stream.
  Returns: the workdirs of the runs that failed.
  Raises: interrupt.Interrupted on SIGTERM or SIGINT, when the runs under way stopped.
  """
  with (
    interrupt.Requests() as requests,
    concurrent.futures.ThreadPoolExecutor(streams) as pool,
  ):
    worker = _Worker(runs, requests, program, say)
    working = {pool.submit(worker.stream, n, streams, wait) for n in range(streams)}
    while working:
      finished, working = concurrent.futures.wait(working, timeout=0.5)
      for future in finished:
        future.result()
      if requests.arrived():
        worker.terminate()
  if requests.arrived():
    raise interrupt.Interrupted(
      f"asked to stop with {len(worker.left())} of {len(runs)} runs left: the same "
      "command goes on."
    )
  return sorted(worker.failed)
