"""Where the time of a job goes: seconds by stage, though stages call one another."""

import contextlib
import time
import weakref
from collections.abc import Callable, Iterable, Iterator

import jax

STARTING = ("load", "compile")  # stages that a longer video does not make longer
_END = object()
_programs = weakref.WeakKeyDictionary()  # jitted function -> as it was compiled


class Clock:
  """Seconds by stage since it was made; a stage within another one interrupts that.

  So no second is counted twice, and what iterators pull out of one another is counted
  where it is made. What libraries do meanwhile in threads of their own, as libav that
  decodes ahead, counts only while this program waits for it.
  """

  def __init__(self, compiling: Callable[[], None] = lambda: None):
    """`compiling` is called before a program is compiled."""
    self.compiling = compiling
    self.seconds: dict[str, float] = {}
    self._running: list[str] = []
    self._began = self._since = time.perf_counter()

  @contextlib.contextmanager
  def stage(self, name: str) -> Iterator[None]:
    """For a `with` statement: what runs in it is of this stage."""
    self._count()
    self._running.append(name)
    try:
      yield
    finally:
      self._count()
      self._running.pop()

  def each(self, name: str, items: Iterable) -> Iterator:
    """The items; making them is of this stage, what is done with them is not."""
    items = iter(items)
    while True:
      with self.stage(name):
        item = next(items, _END)
      if item is _END:
        return
      yield item

  def _count(self) -> None:
    """Gives the time since the last change to the stage that ran."""
    now = time.perf_counter()
    if self._running:
      name = self._running[-1]
      self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
    self._since = now

  def summary(self, frames: int) -> dict:
    """Frames a second until now, of the whole and by stage, plain values for json.

    Args:
      frames: of the video.
    Returns: `seconds` and `frames_per_second` end to end, without `start_seconds` of
      the stages in `STARTING`; `stages`, the same two for each of the others.
    """
    start = sum(self.seconds.get(name, 0.0) for name in STARTING)
    whole = time.perf_counter() - self._began - start
    return {
      **_rate(frames, whole),
      "start_seconds": round(start, 3),
      "stages": {
        name: _rate(frames, seconds)
        for name, seconds in self.seconds.items()
        if name not in STARTING
      },
    }


def _rate(frames: int, seconds: float) -> dict:
  seconds = max(seconds, 1e-6)  # a clock may stand still
  return {
    "seconds": round(seconds, 3),
    "frames_per_second": round(frames / seconds, 2),
  }


def in_words(summary: dict, frames: int) -> str:
  """A `Clock.summary` as one line."""
  stages = ", ".join(
    f"{name} {rate['frames_per_second']:,.1f}"
    for name, rate in summary["stages"].items()
  )
  return (
    f"{summary['frames_per_second']:,.1f} frames/s end to end ({frames:,} frames in "
    f"{summary['seconds']:.1f} s, after {summary['start_seconds']:.1f} s to load and "
    f"compile); by stage: {stages}"
  )


def timed(forward: Callable, variables, clock: Clock) -> Callable:
  """A jitted function of (variables, batch) as one of the batch alone.

  The first batch compiles it, in a stage of its own, also for later calls with this
  function; all batches must be of the same shapes. Results come back to the host, so
  that the stage "network" ends when they are there.
  """

  def apply(batch):
    if forward not in _programs:
      clock.compiling()
      with clock.stage("compile"):
        _programs[forward] = forward.lower(variables, batch).compile()
    with clock.stage("network"):
      return jax.device_get(_programs[forward](variables, batch))

  return apply
