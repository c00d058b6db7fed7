"""The interface of a raw dataset: its clips by name, and a clip opened for reading.

`records.prepare` works with any object that has the members of `Dataset`.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np


class BadClip(Exception):
  """A clip cannot be used; the message is the reason in `skipped.tsv`."""


@dataclasses.dataclass(frozen=True)
class Clip:
  """One clip by name, before any file is opened.

  Attributes:
    name: unique in its dataset; not a path.
    label: class, 0-based.
    attributes: subject, camera, setup and the like; protocols split by them.
    video: path of the video file; None for a synthetic clip, or a skeleton alone.
    pose: path or key of the poses; None when there are none.
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
    pose: float32 [F, persons, J, 3], metres, camera axes; NaN where nobody was seen,
      and everywhere in a dataset of image joints alone.
    image_joints: float32 [F, persons, J, 2], x and y in pixels of the video; NaN where
      unknown. There are as many as frames of the video, but for what `open_ended`
      and `drops_frames` say.
    frames: returns an iterator over the frames, uint8 RGB [H, W, 3]; None for a
      skeleton alone.
    fps: frames per second; without a video, the rate at which the dataset was recorded.
    visibility: float32 [F, persons, J], from 0 for a guess to 1 for a visible joint;
      NaN where it is unknown, None where all of it is.
    boxes: float32 [F, people, 4], left, top, right, bottom in pixels of the video; NaN
      where nobody was detected. None to crop around `image_joints`.
    open_ended: whether frames in which nobody was seen may follow, up to the end of the
      video, because the file of the poses leaves them out.
    drops_frames: whether the sensor may lose poses or frames, so that their numbers may
      differ a little.
    note: what happened to the clip that a user should know; "" for nothing.
  """

  pose: np.ndarray
  image_joints: np.ndarray
  frames: Callable[[], Iterator[np.ndarray]] | None
  fps: float
  visibility: np.ndarray | None = None
  boxes: np.ndarray | None = None
  open_ended: bool = False
  drops_frames: bool = False
  note: str = ""

  def extended(self, length: int) -> "RawClip":
    """The clip with frames without anybody at its end, up to a length in frames."""
    more = length - len(self.pose)
    if more <= 0:
      return self
    longer = {}
    for name in ("pose", "image_joints", "visibility"):
      array = getattr(self, name)
      if array is not None:
        nobody = np.full((more, *array.shape[1:]), np.nan, np.float32)
        longer[name] = np.concatenate([array, nobody])
    return dataclasses.replace(self, **longer)


class Dataset(Protocol):
  """The interface of a raw dataset; instances can be pickled.

  It may also have `check`, `coordinates`, `joints_in_image`, `notes`, `origin` and
  `noted_by_clip`: see the functions of these names, and `origin` for the last.

  Attributes:
    name: such as "ntu60".
    class_names: in label order.
    skeleton: name in `skeletons.SKELETONS`.
    source: values for JSON on which the content of the clips depends, beside their
      list and their files. They belong to the plan of a folder of records: a folder is
      continued only while they stay the same.
  """

  name: str
  class_names: tuple[str, ...]
  skeleton: str
  source: dict

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """Clips in a fixed order, and (name, reason) of those left out by name."""
    ...

  def read(self, clip: Clip) -> RawClip:
    """Opens a clip; raises `BadClip` with the reason when it is damaged."""
    ...


def coordinates(dataset: Dataset) -> str:
  """ "world" for poses in metres, "image" for a dataset of image joints alone.

  The attribute `coordinates` of the dataset; "world" where it has none.
  """
  return getattr(dataset, "coordinates", "world")


def joints_in_image(dataset: Dataset) -> bool:
  """Whether its clips may have joints in the image, to crop by.

  The attribute of this name, which a dataset has that knows before it reads a clip.
  """
  return getattr(dataset, "joints_in_image", True)


def check(dataset: Dataset) -> None:
  """Raises what is known to be wrong before the first clip is read, as ValueError.

  The method `check` of the dataset, and of the one inside it.
  """
  while dataset is not None:
    if hasattr(dataset, "check"):
      dataset.check()
    dataset = getattr(dataset, "inner", None)


def notes(dataset: Dataset) -> list[str]:
  """What a dataset has to say about what it found, a line each.

  The attribute `notes` of the dataset, or of the one inside it.
  """
  while dataset is not None:
    if found := getattr(dataset, "notes", None):
      return list(found)
    dataset = getattr(dataset, "inner", None)
  return []


@dataclasses.dataclass(frozen=True)
class Origin:
  """What one clip is made from.

  Attributes:
    files: such as "video" -> path of a file or folder.
    values: such as "boxes" -> a digest, of what is not a file of its own.
  """

  files: dict[str, str]
  values: dict[str, str] = dataclasses.field(default_factory=dict)


def origin(dataset: Dataset, clip: Clip) -> Origin:
  """What a clip is made from, to see whether it changed.

  The method `origin` of the dataset; the video and the pose of the clip where it has
  none. What it covers of `Dataset.source` is in the attribute `noted_by_clip`, the
  names of these values: when they change, only the clips concerned are made again.
  """
  if hasattr(dataset, "origin"):
    return dataset.origin(clip)
  inner = getattr(dataset, "inner", None)
  if inner is not None:
    return origin(inner, clip)
  files = {"video": clip.video, "pose": clip.pose}
  return Origin({what: path for what, path in files.items() if path is not None})
