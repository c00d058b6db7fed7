"""Room on a disk, and quiet where a library reports a full one in its own way."""

import contextlib
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from absl import logging

# Of the bytes in memory, what a checkpoint takes at least: weights hardly compress.
_SMALLEST = 0.8


def check_room(folder: Path, num_bytes: int) -> None:
  """Raises OSError when so many bytes of arrays cannot fit on the disk of a folder."""
  free = shutil.disk_usage(folder).free
  if free < _SMALLEST * num_bytes:
    raise OSError(f"it takes {num_bytes / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free")


class _WithoutThreads:
  """A stream that drops what other threads than the main one write to it."""

  def __init__(self, stream):
    self._stream, self.ended = stream, False

  def write(self, words: str) -> int:
    """Once `ended`, threads that Python has started are heard again."""
    thread = threading.current_thread()
    started_here = not isinstance(thread, threading._DummyThread)
    if thread is threading.main_thread() or (self.ended and started_here):
      return self._stream.write(words)
    return len(words)

  def __getattr__(self, name: str):
    return getattr(self._stream, name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Keeps threads of Orbax and TensorStore from printing tracebacks of their own.

  What goes wrong in them is also raised in the thread that waits for them. Where it is,
  threads of TensorStore stay unheard, because they go on to complain until the end.
  """
  stream, verbosity = sys.stderr, logging.get_verbosity()
  sys.stderr = filtered = _WithoutThreads(stream)
  logging.set_verbosity(logging.FATAL)
  try:
    yield
    sys.stderr = stream
  finally:
    filtered.ended = True
    logging.set_verbosity(verbosity)
