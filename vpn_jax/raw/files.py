"""What the readers of several datasets share: pairs of files, and skeletons in JSON."""

import json
import pathlib
import reprlib
from collections.abc import Callable

import numpy as np

from vpn_jax.raw import BadClip, Clip


def pair(
  videos: dict[str, str],
  skeletons: dict[str, str],
  parse_name: Callable[[str], tuple[int, dict]],
  *,
  no_video: str,
  no_skeleton: str | None,
) -> tuple[list[Clip], list[tuple[str, str]]]:
  """Videos and skeletons of one name -> clips, in the order of their names.

  Args:
    videos, skeletons: paths by name of the clip.
    parse_name: name -> label and attributes; its ValueError is the reason why a clip is
      left out.
    no_video, no_skeleton: reasons for a lone file, with {} for the name; None when
      poses come from elsewhere, and skeletons do not matter.
  Returns: as `raw.Dataset.clips`.
  """
  if no_skeleton is None:
    skeletons = {}
  clips, left_out = [], []
  for name in sorted(videos.keys() | skeletons.keys()):
    try:
      label, attributes = parse_name(name)
    except ValueError as e:
      left_out.append((name, str(e)))
      continue
    if name not in videos:
      left_out.append((name, no_video.format(name)))
    elif no_skeleton and name not in skeletons:
      left_out.append((name, no_skeleton.format(name)))
    else:
      clips.append(Clip(name, label, attributes, videos[name], skeletons.get(name)))
  return clips, left_out


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
