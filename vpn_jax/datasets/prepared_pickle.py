"""The prepared pickles of pyskl: NTU RGB+D in 2D and 3D, GYM, HMDB51, UCF101, ...

A file is `{"split": {"xsub_train": [names], ...}, "annotations": [{"frame_dir": name,
"label": 0, "keypoint": [M, T, V, C], "keypoint_score": [M, T, V], "total_frames": T,
"img_shape": (h, w)}, ...]}`: M people, T frames, V joints; C is 2 for pixels, with
scores, or 3 for metres. A list of annotations alone has no split.

The pickle is not executed, and its arrays stay in the file until their clip is read.

Source: tools/data/README.md of kennymckormick/pyskl.
"""

import pathlib
import re

import numpy as np

from vpn_jax import pickled_arrays
from vpn_jax.datasets import ntu, prepared
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.pose_files import people

_SPLIT = re.compile(r"(?:(\w+?)_)?(train|val|test)(\d*)", re.ASCII)
_MAX_CLASSES = 10_000


class PreparedPickle(prepared.Prepared):
  """A pickle of pyskl; a `base.Dataset`.

  Clips of NTU have the attributes of their names, so that its protocols apply. Each
  split of the file is an attribute, too: "xsub", or "split" if it has no name, with
  the values train and test ("val" counts as test where there is no test).
  """

  def __init__(
    self,
    path: str | pathlib.Path,
    dataset: str,
    skeleton: str = "",
    class_names: str = "",
  ):
    """Reads the file but for its arrays.

    Args:
      path: the file.
      dataset: "ntu60", "ntu120" or "custom".
      skeleton: of the joints, name or JSON file; "" for the usual one of so many.
      class_names: see `prepared.Prepared`.
    Raises: FileNotFoundError without the file; ValueError when it names anything but
      containers and arrays, is damaged, or holds something else.
    """
    super().__init__(path, dataset, class_names)
    content = self._load()
    if isinstance(content, list):
      content = {"annotations": content}
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not (isinstance(annotations, list) and annotations):
      got = sorted(map(str, content))[:5] if isinstance(content, dict) else content
      raise ValueError(
        f"{path} holds {pickled_arrays.one_line(got)}, expected `split` and a list of "
        "`annotations`, as pyskl prepares them."
      )
    self._arrays: dict[str, tuple] = {}
    parts = self._parts(content.get("split", {}))
    shape = None
    for i, fields in enumerate(annotations):
      name, reason = self._add(fields, parts)
      if reason:
        self._left_out.append((name or f"annotation {i}", reason))
      elif shape is None:
        shape = self._arrays[name][0].shape
    if shape is None:
      name, reason = self._left_out[0]
      raise ValueError(f"{path} has no clip that can be used: {name}: {reason}.")
    self._set_layout(*shape[2:], skeleton)
    labels = [clip.label for clip in self._clips]
    self.class_names = self._name_classes(max(labels) + 1)

  def _load(self):
    try:
      return pickled_arrays.read(self.path)
    except pickled_arrays.Refused as e:
      raise ValueError(
        f"{self.path} names {pickled_arrays.one_line(e)}, which is refused: skeletons "
        "need containers, text, numbers and numpy arrays only; the file may be another "
        "one, or harmful."
      ) from None
    except OSError:
      raise
    except Exception as e:  # whatever a damaged pickle makes of it
      reason = pickled_arrays.one_line(f"{type(e).__name__}: {e}")
      raise ValueError(
        f"{self.path} is not a readable pickle ({reason}): fetch it again."
      ) from e

  def _parts(self, splits) -> dict[str, dict[str, str]]:
    """Name of a clip -> {attribute: part} by the splits of the file."""
    if not isinstance(splits, dict):
      raise ValueError(
        f"{self.path}: split is a {type(splits).__name__}, expected dict."
      )
    found: dict[str, dict[str, list]] = {}
    for title, names in splits.items():
      match = _SPLIT.fullmatch(title) if isinstance(title, str) else None
      if match and isinstance(names, list):
        attribute = f"{match[1] or 'split'}{match[3]}"
        found.setdefault(attribute, {})[match[2]] = names
    parts: dict[str, dict[str, str]] = {}
    for attribute, lists in found.items():
      for part, names in lists.items():
        value = "test" if part == "val" and "test" not in lists else part
        for name in filter(lambda n: isinstance(n, str), names):
          parts.setdefault(name, {})[attribute] = value
    return parts

  def _add(self, fields, parts: dict[str, dict[str, str]]) -> tuple[str, str]:
    """Adds a clip; returns its name, and the reason if it cannot be used."""
    if not isinstance(fields, dict):
      return "", f"it is a {type(fields).__name__}, expected a dict"
    name = fields.get("frame_dir")
    if not (isinstance(name, str) and name and name.isprintable()):
      return "", "its frame_dir is not a printable name"
    label = fields.get("label")
    if type(label) is not int or not 0 <= label < _MAX_CLASSES:
      return name, f"its label is {str(label)[:40]}, expected a class number from 0"
    keypoint, score = fields.get("keypoint"), fields.get("keypoint_score")
    if keypoint is None:
      return name, "it has no keypoint; those of Kinetics are in other files"
    if not _is_floats(keypoint, 4) or 0 in keypoint.shape:
      return name, "its keypoint is not a float array [M, T, V, C]"
    if score is not None and not (
      _is_floats(score, 3) and score.shape == keypoint.shape[:3]
    ):
      return name, "its keypoint_score is not a float array [M, T, V] like its keypoint"
    people_, frames, joints, channels = keypoint.shape
    if people_ > people.MAX_PEOPLE or frames > people.MAX_FRAMES:
      return name, f"it has {people_} people in {frames} frames, too many for a clip"
    if self._arrays:
      first = next(iter(self._arrays.values()))[0].shape[2:]
      if (joints, channels) != first:
        return name, f"it has {joints} x {channels} numbers, others {first}"
    if name in self._arrays:
      return name, "another clip has the same name"
    attributes: dict[str, int | str] = {}
    if self.which is not None:
      try:
        named, attributes = ntu.parse_name(name)
      except ValueError as e:
        return name, str(e)
      if named != label:
        return name, f"its label is {label}, its name says {named}"
      if named >= self.which or (self.which == 60 and attributes["setup"] > 17):
        return name, f"it is not in {self.name}"
      if name in ntu.missing_skeletons(self.which):
        return name, "on the official list of missing skeletons"
    attributes |= parts.get(name, {})
    self._arrays[name] = keypoint, score
    self._clips.append(Clip(name, label, attributes, None, name))
    return name, ""

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; image joints are all NaN in 3D, and the pose is in 2D."""
    keypoint, score = self._arrays[clip.pose]
    try:
      joints = np.moveaxis(keypoint.load(), 1, 0)  # [T, M, V, C]
      scores = None if score is None else np.moveaxis(score.load(), 1, 0)
    except (OSError, ValueError) as e:
      reason = pickled_arrays.one_line(e)
      raise BadClip(f"{self.path.name} cannot be read: {reason}") from e
    return prepared.raw_clip(joints, scores, clip.name, self.body)


def _is_floats(value, axes: int) -> bool:
  return (
    isinstance(value, pickled_arrays.Array)
    and value.dtype.kind == "f"
    and len(value.shape) == axes
  )
