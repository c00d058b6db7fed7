"""Reproducible damage to files, for tests with bad input."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import hypothesis
from hypothesis import strategies as st

# More examples of every property: VPN_JAX_FUZZ=1000 pytest tests/fuzz
EXAMPLES = int(os.environ.get("VPN_JAX_FUZZ", "30"))
ONE_LINE_ERRORS = (ValueError, OSError, FloatingPointError)  # of launch.py
LONGEST = 700  # characters of a message
SECONDS = 180  # for all examples of a test; busy machines are slow


def damaged(data: bytes, kind: str, place: int, size: int) -> bytes:
  """Damages bytes at a position.

  Args:
    data: not changed.
    kind: "cut" (drops the rest), "flip" (one bit), "set" (one byte), "insert",
      "delete", "repeat" or "zero" (a slice).
    place: of the byte, any number modulo the length.
    size: of the slice, 1 or more; the bit of "flip", the byte of "set" and "insert".
  """
  place %= len(data)
  before, there, after = data[:place], data[place : place + size], data[place + size :]
  match kind:
    case "cut":
      return before
    case "flip":
      return before + bytes([data[place] ^ 1 << size % 8]) + data[place + 1 :]
    case "set":
      return before + bytes([size % 256]) + data[place + 1 :]
    case "insert":
      return before + bytes([size % 256]) + data[place:]
    case "delete":
      return before + after
    case "repeat":
      return before + there + there + after
    case "zero":
      return before + bytes(len(there)) + after
  raise ValueError(f"unknown kind {kind!r}")


KINDS = ("cut", "flip", "set", "insert", "delete", "repeat", "zero")

# One to three kinds of damage: (kind, place, size).
damages = st.lists(
  st.tuples(st.sampled_from(KINDS), st.integers(0, 2**20), st.integers(1, 255)),
  min_size=1,
  max_size=3,
)


def trees(*keys: str):
  """Any small content of a JSON file, with objects of these keys."""
  leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
  return st.recursive(
    leaves,
    lambda inner: (
      st.lists(inner, max_size=3)
      | st.dictionaries(st.sampled_from(keys), inner, max_size=3)
    ),
  )


def apply(data: bytes, steps) -> bytes:
  """The bytes after all steps of damage, or until none are left."""
  for step in steps:
    data = damaged(data, *step) if data else data
  return data


def fuzz(share: float = 1.0, **strategies) -> Callable:
  """Decorator that runs a test with many examples, the same in every run.

  Args:
    share: of `EXAMPLES`; below 1 where one example takes long.
    **strategies: of the arguments; `steps=damages` when there are none.
  """

  def decorate(test):
    chosen = hypothesis.settings(
      max_examples=max(2, round(share * EXAMPLES)),
      deadline=None,
      derandomize=True,
      database=None,
      suppress_health_check=list(hypothesis.HealthCheck),
    )
    return chosen(hypothesis.given(**(strategies or {"steps": damages}))(test))

  return decorate


class TooLong(BaseException):
  """Not an `Exception`, so that no reader takes it for damage."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
  """Raises TooLong in the main thread after this many seconds."""

  def stop(*_):
    raise TooLong(f"hangs: not done after {seconds:g} seconds")

  before = signal.signal(signal.SIGALRM, stop)
  signal.setitimer(signal.ITIMER_REAL, seconds)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def value_or_none(read: Callable, *words: str, errors=ONE_LINE_ERRORS):
  """The result of `read()`; None when it raises one of `errors` with one line.

  The line holds one of the words, such as the name of the file, and no traceback of
  its own. Anything else that is raised passes, and fails the test.
  """
  try:
    return read()
  except errors as e:
    text = str(e)
    assert any(word in text for word in words), text
    assert text.isprintable(), text
    assert len(text) <= LONGEST, text
    return None
