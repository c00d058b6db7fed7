"""Where a run writes its numbers: metrics file, TensorBoard, progress bar, terminal."""

import json
import math
import pathlib
import re
import resource
import sys
import time
from collections.abc import Callable

import tensorboardX
import tqdm

from vpn_jax import files

METRICS_FILE = "metrics.jsonl"


def peak_memory_gib() -> float:
  """Largest resident size of this process so far, GiB."""
  status = pathlib.Path("/proc/self/status")
  if status.exists():  # getrusage of Linux starts from what the parent had
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
    if found:
      return int(found[1]) / 2**20
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / (2**30 if sys.platform == "darwin" else 2**20)


class MetricsWriter:
  """Scalars of one run, written as they come.

  `metrics.jsonl` has one object a line: step, seconds since the start, and the values.

  Args:
    workdir: of the run; it is made.
    after: the step that the run goes on from. What it wrote of later ones is dropped:
      they come again. What it wrote of this one is replaced if it comes again.
    tensorboard: whether to write the same for TensorBoard.
    silent: True writes and says nothing, for all processes of a run but one.
    say: receives the lines of `say`.
  """

  def __init__(
    self,
    workdir: str | pathlib.Path,
    *,
    after: int = 0,
    tensorboard: bool = True,
    silent: bool = False,
    say: Callable[[str], None] = lambda line: None,
  ):
    self.workdir = pathlib.Path(workdir)
    self.workdir.mkdir(parents=True, exist_ok=True)
    self._path = self.workdir / METRICS_FILE
    self._silent, self._after, self._say = silent, after, say
    if not silent:
      _keep(self._path, lambda line: line["step"] <= after)
    self._board = None
    if tensorboard and not silent:
      self._board = tensorboardX.SummaryWriter(
        str(self.workdir / "tensorboard"), purge_step=after + 1
      )
    self._start = time.monotonic()
    self._bar = None

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Writes values of a step; floats only."""
    if self._silent:
      return
    line = {"step": step, "seconds": round(time.monotonic() - self._start, 3), **values}
    if step == self._after:  # of an evaluation that was stopped before it was noted
      _keep(self._path, lambda old: old["step"] != step or old.keys() != line.keys())
    with self._path.open("a") as f:
      f.write(json.dumps(line) + "\n")
    if self._board is not None:
      for name, value in values.items():
        if math.isfinite(value):
          self._board.add_scalar(name, value, step)

  def progress(self, step: int, total: int, batch_size: int, loss: float) -> None:
    """Moves the bar: clips a second and time left come with it."""
    if self._bar is None:
      self._bar = tqdm.tqdm(
        total=total * batch_size,
        initial=(step - 1) * batch_size,
        unit="clip",
        desc="train",
        mininterval=1.0 if sys.stderr.isatty() else 15.0,
        dynamic_ncols=True,
        disable=self._silent,
      )
    if not math.isnan(loss):
      self._bar.set_postfix(step=step, loss=f"{loss:.4f}", refresh=False)
    self._bar.update(step * batch_size - self._bar.n)
    if step == total:  # or each later line would show it again
      self._bar.close()

  def say(self, line: str) -> None:
    """Hands on a line, which may be printed without breaking the bar."""
    if not self._silent:
      with tqdm.tqdm.external_write_mode():
        self._say(line)

  def close(self) -> None:
    if self._bar is not None:
      self._bar.close()
    if self._board is not None:
      self._board.close()


def _keep(path: pathlib.Path, wanted: Callable[[dict], bool]) -> None:
  """Removes unwanted lines from a metrics file, and lines cut short or damaged."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text(errors="replace").splitlines():
    try:
      found = wanted(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
      continue
    if found:
      kept.append(line + "\n")
  files.write_text(path, "".join(kept))
