"""Locks on files, which the system releases when the process ends, however it ends."""

import contextlib
import errno
import fcntl
import pathlib
from collections.abc import Iterator

NAME = ".lock"
_HELD = (errno.EACCES, errno.EAGAIN)


class Held(ValueError):
  """Another process holds the lock."""


class FileLock:
  """A lock on bytes of a file in a folder, for a `with` statement.

  On a file system without locks, everybody gets them. Locks belong to the process: it
  gets those again that it has.
  """

  def __init__(self, folder: str | pathlib.Path, message: str):
    """Locks nothing yet.

    Args:
      folder: of the file `NAME`, which is made and stays.
      message: of `Held`.
    """
    self._path, self._message = pathlib.Path(folder) / NAME, message

  def __enter__(self) -> "FileLock":
    self._file = open(self._path, "a")
    return self

  def __exit__(self, *_) -> None:
    self._file.close()  # and with it all locks

  def hold(self, span: range) -> None:
    """Locks these bytes until the end; `Held` when another process has one."""
    if span:  # a length of 0 would lock all
      self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, span)

  @contextlib.contextmanager
  def held(self, span: range, *, wait: bool = False) -> Iterator[None]:
    """Locks bytes for a while.

    Args:
      span: which.
      wait: until they are free; otherwise raises `Held`.
    """
    self._lock(fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), span)
    yield
    self._lock(fcntl.LOCK_UN, span)

  def _lock(self, how: int, span: range) -> None:
    try:
      fcntl.lockf(self._file, how, len(span), span.start)
    except OSError as e:
      if e.errno in _HELD:
        raise Held(self._message) from e
