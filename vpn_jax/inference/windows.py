"""A video as windows, however long it is: never more than two of them in memory."""

import collections
import dataclasses
import itertools
import math
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from vpn_jax.records import record_format


class Stretch(NamedTuple):
  """A run of neighbouring items.

  Attributes:
    first: number of the first one.
    items: in order, at least one.
    alone: whether these are known to be all that there are.
  """

  first: int
  items: list
  alone: bool = False


@dataclasses.dataclass(frozen=True)
class Segment:
  """A stretch of a video that the network scores as one clip.

  Attributes:
    first, end: its frames in the video, end exclusive.
    shown: the first and the last frame that the network sees, both inclusive.
    batch: the network's inputs; None when it cannot be scored.
    reason: why not, as when nobody was seen.
    record: the segment as a prepared clip; None where networks take frames alone.
    positions: the frame of the video at each position of the network's clip, int [F];
      None for all frames of `shown`, once each.
  """

  first: int
  end: int
  shown: tuple[int, int]
  batch: Any
  reason: str = ""
  record: record_format.Record | None = None
  positions: np.ndarray | None = None

  def steps_at(self, frame: int, steps: int) -> list[int]:
    """The steps of T in which the network sees a frame, or the nearest that it sees.

    They are several where a short clip repeats.
    """
    seen = self.positions
    if seen is None:
      seen = np.arange(self.shown[0], self.shown[1] + 1)
    apart = np.abs(seen - frame)
    at = np.flatnonzero(apart == apart.min())
    return sorted(set((at * steps // len(seen)).tolist()))


def check_stride(stride: int, length: int, workdir: str) -> int:
  """The frames from one window to the next; ValueError for more than a window.

  Args:
    stride: `config.predict.window_stride`; 0 for no overlap.
    length: frames of a window.
    workdir: of the network.
  """
  if stride > length:
    raise ValueError(
      f"config.predict.window_stride is {stride}, expected at most {length}, the "
      f"frames of a window of {workdir}."
    )
  return stride or length


def slide(items: Iterable, length: int, stride: int) -> Iterator[Stretch]:
  """Windows over a stream, each as soon as it is full; holds no more than one.

  Every item is in a window: the last one ends with the stream, and overlaps the one
  before where the rest is too short. A stream shorter than a window is one window.

  Args:
    items: in order; none gives no window.
    length: items of a window.
    stride: from one start to the next, 1 to `length`.
  """
  latest, count, fresh = collections.deque(maxlen=length), 0, 0
  for item in items:
    latest.append(item)
    count, fresh = count + 1, fresh + 1
    if count == length or (count > length and fresh == stride):
      yield Stretch(count - length, list(latest))
      fresh = 0
  if fresh:
    yield Stretch(count - len(latest), list(latest), alone=count < length)


def divide(items: Iterable, length: int, stride: int) -> Iterator[Stretch]:
  """As `slide`, but a stream with less than two windows is one stretch, whole.

  So a short video is seen as evaluation sees a clip. Holds a window and a stride.
  """
  items = iter(items)
  head = list(itertools.islice(items, length + stride))
  if len(head) == length + stride:
    yield from slide(itertools.chain(head, items), length, stride)
  elif head:
    yield Stretch(0, head, alone=True)


class FrameBuffer:
  """The latest frames of a video: in memory while they are small, else in a file.

  The file has no name and is gone with the process, however it ends. For a `with`
  statement.
  """

  def __init__(self, capacity: int, *, memory: int = 2**27):
    """Keeps `capacity` frames; `memory` in bytes."""
    self.capacity, self.count = capacity, 0
    self._file = tempfile.SpooledTemporaryFile(memory)
    self._shape: tuple[int, ...] = ()

  def __enter__(self) -> "FrameBuffer":
    return self

  def __exit__(self, *_) -> None:
    self._file.close()

  def append(self, frame: np.ndarray) -> None:
    """Replaces the oldest frame by the next one: uint8 [H, W, 3], all of one size."""
    self._shape = frame.shape
    self._file.seek(self.count % self.capacity * frame.nbytes)
    self._file.write(frame.tobytes())
    self.count += 1

  def __getitem__(self, i: int) -> np.ndarray:
    """The i-th frame of the video; IndexError for one that is not here."""
    if not max(0, self.count - self.capacity) <= i < self.count:
      raise IndexError(
        f"frame {i} is not among the latest {self.capacity} of {self.count}."
      )
    size = math.prod(self._shape)
    self._file.seek(i % self.capacity * size)
    return np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape)
