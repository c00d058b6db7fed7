"""Stopping in good order: a signal is noted, and the run stops between two steps."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator

# EX_TEMPFAIL of sysexits.h: nothing is lost, the same command goes on from here.
EXIT_CODE = 75
# Seconds. A terminal or a scheduler may signal a process twice, once by its parent.
AGAIN = 3.0


class Interrupted(Exception):
  """A job was asked to stop and did, its state saved; the message says where."""


class Requests:
  """Notes SIGTERM and SIGINT instead of their usual effect, for a `with` statement.

  The previous handlers are restored at the end, and when a signal comes more than AGAIN
  seconds after the first, which then takes effect at once. Outside the main thread,
  where Python takes no signals, nothing is noted.

  Args:
    processes: of this run. When JAX has connected several, a signal to one stops all of
      them, after the same step.
  """

  def __init__(self, processes: int = 1):
    self._several = processes > 1
    self._noted: float | None = None  # when
    self._asked = 0
    self._before = {}

  def __enter__(self) -> "Requests":
    if threading.current_thread() is not threading.main_thread():
      return self
    handlers = {signal.SIGINT: self._note, signal.SIGTERM: self._note}
    if self._several:  # JAX handles SIGTERM itself and informs the others
      handlers = {signal.SIGINT: lambda *_: os.kill(os.getpid(), signal.SIGTERM)}
    for number, handler in handlers.items():
      self._before[number] = signal.signal(number, handler)
    return self

  def _note(self, number, frame) -> None:
    if self._noted is None:
      self._noted = time.monotonic()
    elif time.monotonic() > self._noted + AGAIN:
      self._restore()
      signal.raise_signal(number)

  def _restore(self) -> None:
    while self._before:
      signal.signal(*self._before.popitem())

  def __exit__(self, *_) -> None:
    self._restore()

  def arrived(self) -> bool:
    """Whether to stop now.

    With several processes, all must ask equally often; all get the same answer.
    """
    if not self._several:
      return self._noted is not None
    from jax.experimental import multihost_utils

    self._asked += 1
    return multihost_utils.reached_preemption_sync_point(self._asked)

  def watch(self, items: Iterable, stop: Callable[[], None]) -> Iterator:
    """The items, one after the other; on a request calls `stop`, which raises."""
    for item in items:
      if self.arrived():
        stop()
      yield item
