"""Datasets of paired files, a video and a skeleton; skeletons in JSON."""

import json
import os
import pathlib
import reprlib
from collections.abc import Iterator

import numpy as np

from vpn_jax.datasets import text_files
from vpn_jax.datasets.base import BadClip, Clip
from vpn_jax.datasets.instructions import how_to_prepare


class PairedFiles:
  """The part of a `base.Dataset` that finds a video and a skeleton file by their name.

  Attributes of a subclass:
    name: of the dataset.
    example: of its file names.
    fps: nominal frames per second, for skeletons without their videos.
    no_video, no_skeleton: reasons to leave a lone file out, with {} for the clip's
      name; see `base.Dataset`.
  """

  name: str
  example: str
  fps: float
  no_video: str
  no_skeleton: str

  def __init__(
    self, root: str | pathlib.Path, *, poses: bool = True, frames: bool = True
  ):
    """Opens no file.

    Args:
      root: folder of the dataset; FileNotFoundError when it does not exist.
      poses: False when the poses come from elsewhere; then clips need no skeleton file
        and cannot be `read`.
      frames: False for skeletons alone: clips need no video, and none is opened.
    """
    self.root = pathlib.Path(root)
    self.poses, self.frames = poses, frames
    if not self.root.is_dir():
      raise FileNotFoundError(f"no folder {root}. {how_to_prepare(self.name)}")

  def _find(self) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the paths of videos and of skeletons by clip name, at any depth."""
    raise NotImplementedError

  def _parse_name(self, name: str) -> tuple[int, dict[str, int]]:
    """Returns label and attributes; ValueError with the reason to leave a clip out."""
    raise NotImplementedError

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `base.Dataset`; in order of the names. Files with other names are ignored.

    Raises: FileNotFoundError when no file below the root has a name of this dataset.
    """
    videos, skeletons = self._find()
    if not self.poses:
      skeletons = {}
    if not self.frames:
      videos = {}
    clips, left_out = [], []
    for name in sorted(videos.keys() | skeletons.keys()):
      try:
        label, attributes = self._parse_name(name)
      except ValueError as e:
        left_out.append((name, str(e)))
        continue
      if self.frames and name not in videos:
        left_out.append((name, self.no_video.format(name)))
      elif self.poses and name not in skeletons:
        left_out.append((name, self.no_skeleton.format(name)))
      else:
        paths = videos.get(name), skeletons.get(name)
        clips.append(Clip(name, label, attributes, *paths))
    if not clips and not left_out:
      raise FileNotFoundError(
        f"no {self.name} file, such as {self.example}, anywhere below {self.root}. "
        f"{how_to_prepare(self.name)}"
      )
    return clips, left_out


def walk(root: str | pathlib.Path) -> Iterator[tuple[str, list[str]]]:
  """Yields the folders below a root with the names of their files; see `walk_all`."""
  return ((folder, listed) for folder, _, listed in walk_all(root))


def walk_all(
  root: str | pathlib.Path,
) -> Iterator[tuple[str, list[str], list[str]]]:
  """Yields the folders below a root, the names of their folders and files, in order.

  Links are followed, since a dataset may be spread over several disks, unless they lead
  back to a folder above. A folder that the caller takes out of the list of names is not
  entered, as with `os.walk`.
  """
  above: dict[str, frozenset] = {}  # folder still to come -> the folders above it
  for folder, subfolders, listed in os.walk(root, followlinks=True):
    stat, parents = os.stat(folder), above.pop(folder, frozenset())
    this = stat.st_dev, stat.st_ino
    if this in parents:
      subfolders.clear()
      continue
    subfolders.sort()
    below = [os.path.join(folder, s) for s in subfolders]
    above |= dict.fromkeys(below, parents | {this})
    yield folder, subfolders, sorted(listed)


def load_frames(path: pathlib.Path, key: str) -> tuple[dict, list]:
  """Reads a JSON object and the list of frames in it.

  Args:
    path: the file.
    key: of the list, which must not be empty.
  Returns: the object and the list.
  Raises: BadClip, which names the file without its folder.
  """
  try:
    content = json.loads(text_files.decode(path.read_bytes()))
  except OSError as e:
    raise BadClip(f"skeleton {path.name} cannot be read: {e.strerror}") from e
  except ValueError as e:
    raise BadClip(f"skeleton {path.name} is damaged or not JSON: {e}") from e
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
  """Any value from a JSON file in at most 60 characters, for messages."""
  return reprlib.repr(value)[:60]


def numbers(values, count: int, what: str) -> np.ndarray:
  """A list from a JSON file as float32 [count]; BadClip that names `what` otherwise."""
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
