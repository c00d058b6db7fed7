"""Ultralytics pose models: labels by `save_txt`, or `Results.to_json()`.

`save_txt` writes a file per frame with somebody, `labels/clip_12.txt`, numbered from 1,
a line per person: class, box x, y, w, h, then x, y, confidence of each keypoint, all
as fractions of the image; with `save_conf` the confidence of the box, with tracking
the number of the person.

`to_json()` gives a list of people per frame, `{"name": "person", "class": 0,
"confidence": 0.9, "box": {...}, "track_id": 1, "keypoints": {"x": [...], "y": [...],
"visible": [...]}}`. A file holds the list of these lists, or each file of a folder one
of them.

Keypoints of less than 0.5 are (0, 0): not seen. 17 joints, COCO's.

Source: ultralytics/engine/results.py of ultralytics/ultralytics.
"""

import json
import pathlib

import numpy as np

from vpn_jax.datasets import text_files
from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.paired_files import brief
from vpn_jax.datasets.pose_files import json_files
from vpn_jax.datasets.pose_files.people import Person, person

LAYOUTS = {17: "coco_17"}
_BOX = 5  # numbers of a line before the keypoints: class, x, y, w, h


def is_frame(content) -> bool:
  """Whether a list holds people by `to_json()`."""
  first = content[0] if isinstance(content, list) and content else None
  return isinstance(first, dict) and isinstance(first.get("keypoints"), dict)


def is_file(content) -> bool:
  """Whether the content of a JSON file is a list of frames by `to_json()`."""
  if not isinstance(content, list):
    return False
  some = next((frame for frame in content if frame), None)
  return is_frame(_decoded(some)) or is_frame(content)


def _decoded(frame):
  """A frame; the strings of `to_json()` may be in the list as they are."""
  if isinstance(frame, str):
    try:
      return json.loads(frame)
    except (ValueError, RecursionError):
      return None
  return frame


def read_file(content, what: str) -> list[list[Person]]:
  """The people in each frame; BadClip, which names `what`, for another content."""
  if is_frame(content):
    return [read_frame(content, what)]
  if not isinstance(content, list):
    raise BadClip(f"{what} is {brief(content)}, expected a list of frames")
  return [
    read_frame(_decoded(frame), f"{what}, frame {i}") for i, frame in enumerate(content)
  ]


def read_frame(content, what: str) -> list[Person]:
  """The people in a list of `to_json()`; BadClip, which names `what`, otherwise."""
  found = []
  for i, fields in enumerate(json_files.entries(content, what)):
    where = f"{what}, person {i}"
    keypoints = fields.get("keypoints")
    if not isinstance(keypoints, dict):
      raise BadClip(f"{where} has keypoints {brief(keypoints)}, expected x and y")
    x, y = (json_files.floats(keypoints.get(k), f"{where}, {k}") for k in "xy")
    scores = keypoints.get("visible")
    if scores is not None:
      scores = json_files.floats(scores, f"{where}, visible")
    lengths = [len(v) for v in (x, y, scores) if v is not None]
    if len(set(lengths)) > 1 or not lengths[0]:
      raise BadClip(f"{where} has {lengths} numbers of x, y and visible")
    track = json_files.whole(fields.get("track_id"))
    found.append(person(np.stack([x, y], axis=1), scores, track))
  return [p for p in found if p is not None]


def read_labels(
  folder: pathlib.Path, files: list[str], joints: int
) -> list[list[Person]]:
  """The people of all frames by `save_txt`, in fractions of the image.

  Args:
    folder: of the files.
    files: their names, at least one.
    joints: number of keypoints of the model.
  Raises: BadClip with file and line for another number of values.
  """
  rows = {name: _rows(folder / name) for name in files}
  lengths = {len(row) for lines in rows.values() for row in lines}
  what = folder.name
  if len(lengths) > 1:
    raise BadClip(f"{what} has lines of {sorted(lengths)} values, expected one length")
  length = lengths.pop() if lengths else 0
  per_joint = next(
    (n for n in (3, 2) if 0 <= length - _BOX - n * joints <= 2), 0 if length else 3
  )
  if not per_joint:
    raise BadClip(
      f"{what} has lines of {length} values, expected {_BOX} and {joints} keypoints of "
      "2 or 3: a box alone is not a pose, and for another number of keypoints give "
      "their skeleton"
    )
  end = _BOX + per_joint * joints
  rest = [row[end:] for lines in rows.values() for row in lines]
  # After the keypoints: nothing, confidence, person, or both; a person is an integer.
  numbered = bool(rest) and all(len(r) and r[-1].is_integer() for r in rest)
  named = {}
  for name, lines in rows.items():
    found = []
    for row in lines:
      keypoints = row[_BOX:end].reshape(joints, per_joint)
      found.append(
        person(
          keypoints[:, :2],
          keypoints[:, 2] if per_joint == 3 else None,
          json_files.whole(float(row[-1])) if numbered else None,
        )
      )
    named[pathlib.Path(name).stem] = [p for p in found if p is not None]
  return json_files.by_frame(named, what, first=1)


def _rows(path: pathlib.Path) -> list[np.ndarray]:
  """The lines of a file of labels, as numbers."""
  try:
    json_files.check_size(path.stat().st_size, path.name)
    if not path.is_file():
      raise BadClip(f"{path.name} is not a file")
    lines = text_files.decode(path.read_bytes(), errors="replace").splitlines()
    rows = [np.array([float(w) for w in line.split()]) for line in lines]
  except OSError as e:
    raise BadClip(f"{path.name} cannot be read: {e.strerror}") from e
  except ValueError as e:
    raise BadClip(f"{path.name} holds a word that is not a number") from e
  return [json_files.check_range(row, path.name) for row in rows if len(row)]
