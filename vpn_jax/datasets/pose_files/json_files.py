"""JSON that comes from outside: sizes limited, numbers checked, one-line reasons."""

import json
import pathlib
import re
from typing import TypeVar

import numpy as np

from vpn_jax.datasets import text_files
from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.paired_files import brief
from vpn_jax.datasets.pose_files import people

MAX_BYTES = 64 << 20  # of a clip
MAX_NUMBER = 1e9  # larger ones are no pixels, and their squares overflow

Value = TypeVar("Value")


def load(path: pathlib.Path):
  """The content of a JSON file; BadClip when it is large, damaged or not JSON."""
  try:
    check_size(path.stat().st_size, path.name)
    if not path.is_file():  # a pipe would never end
      raise BadClip(f"{path.name} is not a file")
    return json.loads(text_files.decode(path.read_bytes()))
  except OSError as e:
    raise BadClip(f"{path.name} cannot be read: {e.strerror}") from e
  except ValueError as e:
    raise BadClip(f"{path.name} is damaged or not JSON: {brief(str(e))}") from e
  except RecursionError as e:
    raise BadClip(f"{path.name} is nested too deeply to hold poses") from e


def check_size(num_bytes: int, what: str) -> None:
  """Raises BadClip for more than `MAX_BYTES`, before anything is read."""
  if num_bytes > MAX_BYTES:
    raise BadClip(
      f"{what} has {num_bytes >> 20} MiB, expected at most {MAX_BYTES >> 20} for a "
      "clip: cut it"
    )


def floats(values, what: str) -> np.ndarray:
  """A list of numbers as float64 [n], NaN included; BadClip that names `what`."""
  if not isinstance(values, list):
    raise BadClip(f"{what} is {brief(values)}, expected a list of numbers")
  wrong = next((v for v in values if type(v) not in (int, float)), None)
  if wrong is not None or None in values:
    raise BadClip(f"{what} holds {brief(wrong)}, expected a number")
  try:
    array = np.array(values, np.float64)
  except OverflowError:
    array = np.array([np.inf])
  return check_range(array, what)


def check_range(array: np.ndarray, what: str) -> np.ndarray:
  """Returns numbers; BadClip for those beyond `MAX_NUMBER`, infinity included."""
  if (np.abs(array) > MAX_NUMBER).any():
    raise BadClip(f"{what} holds a number beyond {MAX_NUMBER:g}, expected pixels")
  return array


def points(values, what: str) -> np.ndarray:
  """A list of points [[x, y], ...] or [[x, y, z], ...] as float64 [J, 2 or 3]."""
  if not isinstance(values, list) or not values:
    raise BadClip(f"{what} is {brief(values)}, expected a list of points")
  rows = [floats(row, what) for row in values]
  lengths = {len(row) for row in rows}
  if lengths not in ({2}, {3}):
    raise BadClip(f"{what} has points of {sorted(lengths)} numbers, expected 2 or 3")
  return np.stack(rows)


def triples(values, what: str) -> tuple[np.ndarray, np.ndarray]:
  """A flat list x, y, score, x, y, score, ... as [J, 2] and [J]."""
  array = floats(values, what)
  if len(array) == 0 or len(array) % 3:
    raise BadClip(f"{what} has {len(array)} numbers, expected x, y and score by joint")
  array = array.reshape(-1, 3)
  return array[:, :2], array[:, 2]


def whole(value) -> int | None:
  """A number of a person: the integer in a value, or first in a list; else None."""
  while isinstance(value, list) and value:  # of merged people, too
    value = value[0]
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  is_number = type(value) is int and 0 <= value < 1 << 53
  return value if is_number else None


def entries(values, what: str) -> list[dict]:
  """A list of objects; BadClip that names `what`."""
  if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
    raise BadClip(f"{what} is {brief(values)}, expected a list of people")
  return values


_NUMBERED = re.compile(r"(.*?)(\d+)(?:_keypoints)?", re.ASCII | re.DOTALL)


def by_frame(
  named: dict[str, list[Value]], what: str, first: int | None = None
) -> list[list[Value]]:
  """Puts what is named by frames, `clip_000000000012_keypoints`, in their order.

  Args:
    named: stem of a file -> its people. Names end with the number of the frame; if none
      of them does, their order counts.
    what: names the folder or file in messages.
    first: number of the first frame; None for the lowest that there is.
  Returns: a list for each frame; frames that are not named have nobody.
  Raises: BadClip when the names begin in different ways, or numbers are repeated or too
    large.
  """
  matches = {name: _NUMBERED.fullmatch(name) for name in named}
  if not any(matches.values()):
    return [named[name] for name in sorted(named)]
  without = [name for name, match in matches.items() if not match]
  if without:
    raise BadClip(f"{what}: {brief(without[0])} has no number of a frame, others have")
  starts = sorted({match[1] for match in matches.values()})
  if len(starts) > 1:
    raise BadClip(
      f"{what} has frames of several clips, {brief(starts[0])} and {brief(starts[1])}: "
      "one folder per clip"
    )
  if max(len(match[2]) for match in matches.values()) > 18:
    raise BadClip(f"{what} has frames with numbers of more than 18 digits")
  numbers = {int(match[2]): name for name, match in matches.items()}
  if len(numbers) < len(named):
    raise BadClip(f"{what} has a frame twice")
  lowest = min(numbers)
  first = lowest if first is None else min(first, lowest)
  people.check_length(max(numbers) - first + 1, what)
  span = range(first, max(numbers) + 1)
  return [named[numbers[n]] if n in numbers else [] for n in span]
