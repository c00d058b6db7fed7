"""Raw datasets: one file each, from its names and files to `Clip` and `RawClip`.

A dataset is an object with the members of `Dataset`; `prepare.py` needs no more.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np


class BadClip(Exception):
  """A clip that cannot be used; the message is the reason in `skipped.tsv`."""


@dataclasses.dataclass(frozen=True)
class Clip:
  """One clip by name, before any file is opened.

  Attributes:
    name: unique in its dataset; no path.
    label: class, 0-based.
    attributes: what protocols split by, such as subject, camera, setup.
    video: path of the video file, or None for a made-up clip.
    pose: path (or key) of the poses; None when there are none.
  """

  name: str
  label: int
  attributes: dict[str, int | str]
  video: str | None = None
  pose: str | None = None


@dataclasses.dataclass(frozen=True)
class RawClip:
  """A clip opened for reading.

  Attributes:
    pose: float32 [F, persons, J, 3], metres, camera axes; NaN where nobody was seen.
    image_joints: float32 [F, persons, J, 2], x and y in pixels of the video; NaN where
      unknown. The number of frames may differ from the video's by a few.
    frames: call it for an iterator over uint8 RGB frames [H, W, 3] in order.
    fps: frames a second.
  """

  pose: np.ndarray
  image_joints: np.ndarray
  frames: Callable[[], Iterator[np.ndarray]]
  fps: float


class Dataset(Protocol):
  """What `prepare.py` asks of a raw dataset; instances are picklable.

  Attributes:
    name: such as "ntu60".
    class_names: in label order.
    skeleton: name in `skeletons.SKELETONS`.
  """

  name: str
  class_names: tuple[str, ...]
  skeleton: str

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """Clips in a fixed order, and (name, reason) of those left out by name."""
    ...

  def read(self, clip: Clip) -> RawClip:
    """Opens one clip; raises `BadClip` with the reason when it is damaged."""
    ...
