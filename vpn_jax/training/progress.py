"""What a run costs: seconds, steps and memory, added up over all of its parts."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

from vpn_jax.training import metrics_writer


@dataclasses.dataclass(frozen=True)
class Progress:
  """Where a run stands at a step, whatever interrupted it on the way.

  Attributes:
    seconds: it took, evaluations on the way included.
    steady_steps, steady_seconds: of the steps alone, without evaluations and saves, and
      without the first step of each part, which compiles.
    peak_memory_gib: of the process.
    loss: the last one that was reported.
  """

  seconds: float = 0.0
  steady_steps: int = 0
  steady_seconds: float = 0.0
  peak_memory_gib: float = 0.0
  loss: float = float("nan")

  def summary(self, total_steps: int, batch_size: int) -> dict[str, float]:
    """What a summary says of the cost, in seconds and clips a second."""
    seconds_per_step = self.steady_seconds / max(self.steady_steps, 1)
    return {
      "loss": self.loss,
      "steps": total_steps,
      "seconds": self.seconds,
      "seconds_per_step": seconds_per_step,
      "train_clips_per_second": batch_size / max(seconds_per_step, 1e-9),
    }


class Stopwatch:
  """Adds up what a run costs, from where an earlier part of it left off.

  Attributes:
    loss: the last one that was reported; the loop sets it.
  """

  def __init__(self, before: Progress):
    self._before, self._began = before, time.monotonic()
    self._steady_from, self._steps = None, 0
    self._paused_at, self._paused = None, 0.0  # of the steady seconds
    self.loss = before.loss

  def step(self) -> None:
    """Counts a step that was given to the devices; the first one also compiled."""
    if self._steady_from is None:
      self._steady_from = time.monotonic()
    else:
      self._steps += 1

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    """Leaves out of the seconds of steps what happens in the `with` statement."""
    self._paused_at = time.monotonic()
    try:
      yield
    finally:
      self._paused += time.monotonic() - self._paused_at
      self._paused_at = None

  def _steady_seconds(self, now: float) -> float:
    if self._steady_from is None:
      return 0.0
    return (self._paused_at or now) - self._steady_from - self._paused

  def progress(self) -> Progress:
    """The cost until now."""
    now = time.monotonic()
    return Progress(
      seconds=self._before.seconds + now - self._began,
      steady_steps=self._before.steady_steps + self._steps,
      steady_seconds=self._before.steady_seconds + self._steady_seconds(now),
      peak_memory_gib=max(
        self._before.peak_memory_gib, metrics_writer.peak_memory_gib()
      ),
      loss=self.loss,
    )
