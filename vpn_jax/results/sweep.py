"""Works through the runs of a sweep that are not done.

Any number of processes, on one machine or as an array job, may work on one folder: each
takes the next run that nobody holds and whose dependencies are finished. A run is its
own process, and done when its `summary.json` is there. SIGTERM or SIGINT stops the runs
under way in good order; the same command resumes them.
"""

import concurrent.futures
import fcntl
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from vpn_jax import cores as cores_lib
from vpn_jax import interrupt
from vpn_jax.results.sweep_plan import Run


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


def _share(lane: int, lanes: int) -> tuple[set[int], dict[str, str]]:
  """The cores and the environment of one lane: the machine's, divided evenly."""
  all_cores = cores_lib.usable()
  devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
  environment = dict(os.environ)
  if len(devices) >= lanes > 1:
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices[lane::lanes])
  return set(all_cores[lane::lanes] or all_cores), environment


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

  def work(self, lane: int, lanes: int, wait: float) -> None:
    """Executes runs until none is left, or a request to stop arrives."""
    cores, environment = _share(lane, lanes)
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
    outcome = ""
    if code != 0:
      outcome = f"failed with {code}, see {log}"
    elif not run.done():
      outcome = f"failed: it ended without a result, as without test clips; see {log}"
    with self._lock:
      self._mine.discard(run.workdir)
      if code != 0 and self._requests.arrived():
        outcome = "stopped"
      elif outcome:
        self.failed.add(run.workdir)
    outcome = outcome or "done"
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
  parallel: int = 1,
  wait: float = 5.0,
  program: Sequence[str] = (sys.executable,),
  say: Callable[[str], None] = lambda line: None,
) -> list[str]:
  """Runs what is not done.

  Args:
    runs: from `sweep_plan.plan`.
    parallel: runs at a time; they share the cores and the GPUs evenly.
    wait: seconds until it asks again for a run that another process has to finish.
    program: takes the words of a run.
    say: is given a line for each run that ends, from the thread of its lane.
  Returns: the workdirs of the runs that failed.
  Raises: interrupt.Interrupted on SIGTERM or SIGINT, when the runs under way stopped.
  """
  with (
    interrupt.Requests() as requests,
    concurrent.futures.ThreadPoolExecutor(parallel) as pool,
  ):
    worker = _Worker(runs, requests, program, say)
    working = {pool.submit(worker.work, n, parallel, wait) for n in range(parallel)}
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
