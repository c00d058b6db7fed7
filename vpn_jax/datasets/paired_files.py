"""What the readers of several datasets share: pairs of files, and skeletons in JSON."""

import json
import os
import pathlib
import reprlib
from collections.abc import Iterator

import numpy as np

from vpn_jax.datasets.base import BadClip, Clip
from vpn_jax.datasets.instructions import how_to_prepare


class PairedFiles:
  """The part of a `raw.Dataset` that finds a video and a skeleton file by one name.

  A subclass says `name`, and in words an `example` of its files and the reasons
  `no_video` and `no_skeleton` for a lone file, with {} for the clip's name.
  """

  name: str
  example: str
  no_video: str
  no_skeleton: str

  def __init__(self, root: str | pathlib.Path, *, poses: bool = True):
    """Looks at no file yet.

    Args:
      root: folder of the dataset; FileNotFoundError when it is not there.
      poses: False when the poses come from elsewhere: then clips need no skeleton file
        and cannot be `read`.
    """
    self.root = pathlib.Path(root)
    self.poses = poses
    if not self.root.is_dir():
      raise FileNotFoundError(f"no folder {root}. {how_to_prepare(self.name)}")

  def _find(self) -> tuple[dict[str, str], dict[str, str]]:
    """Paths of videos and of skeletons by clip name, at any depth below the root."""
    raise NotImplementedError

  def _parse_name(self, name: str) -> tuple[int, dict[str, int]]:
    """Label and attributes; ValueError with the reason to leave a clip out."""
    raise NotImplementedError

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `raw.Dataset`; names in order. Files of other names are not looked at.

    Raises: FileNotFoundError when no file below the root has a name of this dataset.
    """
    videos, skeletons = self._find()
    if not self.poses:
      skeletons = {}
    clips, left_out = [], []
    for name in sorted(videos.keys() | skeletons.keys()):
      try:
        label, attributes = self._parse_name(name)
      except ValueError as e:
        left_out.append((name, str(e)))
        continue
      if name not in videos:
        left_out.append((name, self.no_video.format(name)))
      elif self.poses and name not in skeletons:
        left_out.append((name, self.no_skeleton.format(name)))
      else:
        clips.append(Clip(name, label, attributes, videos[name], skeletons.get(name)))
    if not clips and not left_out:
      raise FileNotFoundError(
        f"no {self.name} file, such as {self.example}, anywhere below {self.root}. "
        f"{how_to_prepare(self.name)}"
      )
    return clips, left_out


def walk(root: str | pathlib.Path) -> Iterator[tuple[str, list[str]]]:
  """Folders below a root with the names of their files, both in order.

  Links are followed, since a dataset may be spread over disks, but none that leads back
  to a folder above it.
  """
  above: dict[str, frozenset] = {}  # of folders still to come: those on the way to it
  for folder, subfolders, listed in os.walk(root, followlinks=True):
    found, way = os.stat(folder), above.pop(folder, frozenset())
    place = found.st_dev, found.st_ino
    if place in way:
      subfolders.clear()
      continue
    subfolders.sort()
    above |= dict.fromkeys([os.path.join(folder, s) for s in subfolders], way | {place})
    yield folder, sorted(listed)


def load_frames(path: pathlib.Path, key: str) -> tuple[dict, list]:
  """Reads a JSON object and the list of frames in it; for all datasets of this kind.

  Args:
    path: the file.
    key: of the list, which must not be empty.
  Returns: the object and its list.
  Raises: BadClip, without the path of the file's folder.
  """
  try:
    content = json.loads(path.read_bytes())
  except OSError as e:
    raise BadClip(f"skeleton {path.name} cannot be read: {e.strerror}") from e
  except ValueError as e:
    raise BadClip(f"skeleton {path.name} is damaged or no JSON: {e}") from e
  except RecursionError as e:
    raise BadClip(f"skeleton {path.name} is nested too deeply to be a skeleton") from e
  if not isinstance(content, dict) or key not in content:
    raise BadClip(
      f"skeleton {path.name} is {brief(content)}, expected an object with {key}"
    )
  frames = content[key]
  if not isinstance(frames, list):
    raise BadClip(f"skeleton {path.name}: {key} is {brief(frames)}, expected a list")
  if not frames:
    raise BadClip(f"skeleton {path.name} has 0 frames, expected at least 1")
  return content, frames


def brief(value) -> str:
  """Any value out of a JSON file in at most 60 letters, for messages."""
  return reprlib.repr(value)[:60]


def numbers(values, count: int, what: str) -> np.ndarray:
  """A list out of a JSON file as float32 [count]; BadClip names `what` if it is not."""
  if not isinstance(values, list):
    raise BadClip(f"{what} is {brief(values)}, expected {count} numbers")
  if len(values) != count:
    raise BadClip(f"{what} has {len(values)} numbers, expected {count}")
  for value in values:
    if type(value) not in (int, float):  # a bool is an int, too
      raise BadClip(f"{what} holds {brief(value)}, expected a number")
  try:
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite
      array = np.array(values, np.float32)
  except OverflowError:  # an integer beyond float64
    array = np.array([np.inf])
  if not np.isfinite(array).all():
    raise BadClip(f"{what} holds a number that is not finite or beyond float32")
  return array
