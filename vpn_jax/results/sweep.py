"""The rows of whole tables: their commands in order, and those not yet done, run.

Any number of processes, on one machine or as an array job, may work on one folder: each
takes the next run that nobody holds and whose needs are finished. A run is its own
process, done when its `summary.json` is there. SIGTERM or SIGINT stops the runs under
way in good order; the same command takes them up again.
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
from collections.abc import Sequence

from vpn_jax import interrupt
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
    workdir: where it goes; what identifies it.
    words: its command, behind the name of the Python program.
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
  """The runs of these rows and of all that they start from, needs first.

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
    flags: given to every run; those of `config.pretraining` become the own ones of the
      rows that train a backbone alone.
  Raises: ValueError that lists the known rows.
  """
  unknown = [row for row in rows if row not in paper.ROWS]
  if unknown:
    raise ValueError(f"unknown rows {unknown}, expected some of {tuple(paper.ROWS)}.")
  file, _, arg = config.partition(":")
  first, *extra = arg.split(",")
  frozen = "frozen=True" in extra
  runs: dict[str, Run] = {}

  def flags_of(row: paper.Row) -> list[str]:
    """The flags of a row; of `config.pretraining` those of its own stages."""
    kind, found = _stage_of(row), []
    blocks = {"pose": row.pose_from, "visual": row.starts_from and not frozen}
    taken = [f"--config.pretraining.{name}." for name, has in blocks.items() if has]
    for flag in flags:
      if not flag.startswith("--config.pretraining."):
        found.append(flag)
      elif kind and (own := pretraining.own_flag(flag, kind)):
        found.append(own)
      elif flag.startswith(tuple(taken)):
        found.append(flag)
    return found

  def add(file: str, protocol: str, row: str, seed: int, more: tuple = ()) -> str:
    """Puts a run behind its needs; returns its workdir."""
    what = paper.ROWS[row]
    name = "_".join([slug(what.arg), *(flag.rpartition("=")[2] for flag in more)])
    dataset = pathlib.Path(file).stem
    workdir = str(pathlib.Path(folder) / dataset / protocol / name / f"seed{seed}")
    words = ["launch.py", f"--config={file}:"]
    of_pose = _stage_of(what) == "pose"  # which has no frozen form
    others = [word for word in extra if not (of_pose and word == "frozen=True")]
    words[1] += ",".join(filter(None, [protocol, what.arg, *others]))
    words += [f"--config.seed={seed}", f"--workdir={workdir}", *more]
    needs = []
    if dataset == "nucla" and "model=pose" not in what.arg:
      start = "RNX3D101" if "backbone=resnext3d" in what.arg else "I3D"
      needs.append(add(*NTU60_BACKBONE, start, seed))
      words.append(f"--config.init.backbone={needs[0]}")
    elif stages and what.starts_from and not frozen:
      parts = ("body", "left_hand", "right_hand") if "p_i3d" in what.arg else ("body",)
      for part in parts:
        region = () if part == "body" else (f"--config.data.example.region={part}",)
        needs.append(add(file, protocol, what.starts_from, seed, region))
      words.append(f"--config.init.backbone={','.join(needs)}")
    if what.pose_from and (stages or what.pose_from == paper.LSTM_ALONE):
      needs.append(add(file, protocol, what.pose_from, seed))
      words.append(f"--config.init.pose_backbone={needs[-1]}")
    runs.setdefault(workdir, Run(workdir, (*words, *flags_of(what)), tuple(needs)))
    return workdir

  for seed in seeds:
    for protocol in protocols or (first,):
      for row in rows:
        add(file, protocol, row, seed)
  return list(runs.values())


def _stage_of(row: paper.Row) -> str:
  """Which backbone a row trains alone: "pose", "visual", or "" for neither."""
  words = row.arg.split(",")
  return {"model=pose": "pose", "model=i3d": "visual"}.get(words[0], "")


def _claim(run: Run):
  """An open file while nobody else holds this run, else None; closing it lets go."""
  folder = pathlib.Path(run.workdir)
  folder.mkdir(parents=True, exist_ok=True)
  file = (folder / "claim").open("w")
  try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError:
    file.close()
    return None
  return file


class _Queue:
  """The runs that are left, shared by the streams of this process."""

  def __init__(self, runs: list[Run]):
    self._runs, self._lock = runs, threading.Lock()
    self._mine: set[str] = set()  # a process may lock a file twice
    self.failed: set[str] = set()

  def _hopeless(self, run: Run) -> bool:
    known = {r.workdir: r for r in self._runs}
    return run.workdir in self.failed or any(
      self._hopeless(known[need]) for need in run.needs
    )

  def take(self):
    """(run, claim); (None, True) when one may come later; (None, False) at the end."""
    with self._lock:
      later = False
      for run in self._runs:
        if run.done() or self._hopeless(run):
          continue
        later = True
        ready = all(r.done() for r in self._runs if r.workdir in run.needs)
        if run.workdir in self._mine or not ready:
          continue
        claim = _claim(run)
        if claim and run.done():  # it was finished in between
          claim.close()
        elif claim:
          self._mine.add(run.workdir)
          return run, claim
      return None, later

  def give_back(self, run: Run, failed: bool) -> None:
    with self._lock:
      self._mine.discard(run.workdir)
      if failed:
        self.failed.add(run.workdir)


def _share(stream: int, streams: int) -> tuple[set[int], dict[str, str]]:
  """The cores and the environment of one stream: what is here, divided evenly."""
  linux = hasattr(os, "sched_getaffinity")
  cores = sorted(os.sched_getaffinity(0)) if linux else range(os.cpu_count() or 1)
  devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
  environment = dict(os.environ)
  if len(devices) >= streams > 1:
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices[stream::streams])
  return set(cores[stream::streams] or cores), environment


def work(
  runs: list[Run],
  *,
  streams: int = 1,
  wait: float = 5.0,
  program: Sequence[str] = (sys.executable,),
) -> list[str]:
  """Runs what is not done.

  Args:
    runs: from `plan`.
    streams: runs at a time; they share the cores and the GPUs evenly.
    wait: seconds between looks for a run that another process is to finish.
    program: what takes the words of a run.
  Returns: the workdirs of the runs that failed.
  Raises: interrupt.Interrupted on SIGTERM or SIGINT, when the runs under way stopped.
  """
  queue = _Queue(runs)
  under_way: set[subprocess.Popen] = set()

  def stream(number: int) -> None:
    cores, environment = _share(number, streams)
    while not requests.arrived():
      run, claim = queue.take()
      if run is None:
        if not claim:
          return
        time.sleep(wait)
        continue
      began = time.monotonic()
      log = pathlib.Path(run.workdir) / "log"
      with claim, log.open("a") as out:
        process = subprocess.Popen(
          [*program, *run.words], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
        if hasattr(os, "sched_setaffinity"):  # Linux
          os.sched_setaffinity(process.pid, cores)
        under_way.add(process)
        code = process.wait()
        under_way.discard(process)
      stopped = requests.arrived() and code != 0
      queue.give_back(run, failed=code != 0 and not stopped)
      said = "done" if code == 0 else f"failed with {code}, see {log}"
      said = "stopped" if stopped else said
      minutes = (time.monotonic() - began) / 60
      left = sum(not r.done() for r in runs)
      print(f"{run.workdir}: {said}, {minutes:.1f} min; {left} left", flush=True)

  with (
    interrupt.Requests() as requests,
    concurrent.futures.ThreadPoolExecutor(streams) as pool,
  ):
    working = {pool.submit(stream, number) for number in range(streams)}
    told = set()
    while working:
      finished, working = concurrent.futures.wait(working, timeout=0.5)
      for future in finished:
        future.result()
      if requests.arrived():
        for process in under_way - told:  # in a terminal they got the signal as well
          process.terminate()
          told.add(process)
  if requests.arrived():
    left = sum(not r.done() for r in runs)
    raise interrupt.Interrupted(
      f"asked to stop with {left} of {len(runs)} runs left: the same command goes on."
    )
  return sorted(queue.failed)


def fusions(
  text: str, config: str, folder: str, protocols: tuple[str, ...], seeds: tuple
) -> list[list[str]]:
  """The workdirs to fuse, for each protocol and seed.

  Args:
    text: rows joined by " + ", groups separated by ";".
    config, folder, protocols, seeds: as in `plan`.
  Raises: ValueError for an unknown row, or a single one.
  """
  groups = [group.split(fusion.JOIN) for group in split_words(text, ";")]
  for group in groups:
    unknown = [row for row in group if row not in paper.ROWS]
    if unknown or len(group) < 2:
      raise ValueError(
        f"config.sweep.fuse is {text!r}, expected rows joined by {fusion.JOIN!r}, such "
        f"as 'VPN + pose alone', of {tuple(paper.ROWS)}."
      )
  file, _, arg = config.partition(":")
  place = pathlib.Path(folder) / pathlib.Path(file).stem
  return [
    [str(place / protocol / slug(paper.ROWS[row].arg) / f"seed{seed}") for row in group]
    for group in groups
    for protocol in protocols or (arg.split(",")[0],)
    for seed in seeds
  ]


def split_words(text: str, mark: str = ",") -> tuple[str, ...]:
  return tuple(word.strip() for word in str(text).split(mark) if word.strip())
