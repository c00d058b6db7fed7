"""What a raw dataset is: its clips by name, and a clip opened for reading.

A dataset is an object with the members of `Dataset`; `records.prepare` needs no more.
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
    visibility: float32 [F, persons, J], 0 for a guess to 1 for a joint in plain sight;
      NaN, or None for all of it, where the source does not say.
    boxes: float32 [F, people, 4], left, top, right, bottom in pixels of the video; NaN
      where nobody was detected. None: the crop follows `image_joints`.
  """

  pose: np.ndarray
  image_joints: np.ndarray
  frames: Callable[[], Iterator[np.ndarray]]
  fps: float
  visibility: np.ndarray | None = None
  boxes: np.ndarray | None = None


class Dataset(Protocol):
  """What `prepare.py` asks of a raw dataset; instances are picklable.

  Attributes:
    name: such as "ntu60".
    class_names: in label order.
    skeleton: name in `skeletons.SKELETONS`.
    source: plain values for json that the content of its clips depends on, beside
      their list; a folder of records is only gone on with while they are the same.
  """

  name: str
  class_names: tuple[str, ...]
  skeleton: str
  source: dict

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """Clips in a fixed order, and (name, reason) of those left out by name."""
    ...

  def read(self, clip: Clip) -> RawClip:
    """Opens one clip; raises `BadClip` with the reason when it is damaged."""
    ...
