"""Sets of skeletons that other projects have prepared: all clips in one file, no video.

Where the file divides the clips, each has an attribute with its part, "train" or
"test"; `protocols.get` splits by it where clips have no better one.
"""

import hashlib
import pathlib

import numpy as np

from vpn_jax.datasets import (
  missing,
  ntu,
  skeleton_files,
  skeletons,
  text_files,
  tracking,
)
from vpn_jax.datasets.base import BadClip, Clip, Origin, RawClip
from vpn_jax.datasets.pose_files import people

ENDINGS = (".pkl", ".pickle", ".npz")
FPS = 30.0  # of the Kinect v2, and usual for videos; the files do not say
# (joints, numbers of each) -> skeleton
LAYOUTS = {
  (25, 3): "kinect_v2", (17, 2): "coco_17", (18, 2): "openpose_18",
  (25, 2): "openpose_25", (26, 2): "halpe_26", (17, 3): "h36m_17", (24, 3): "smpl_24",
}  # fmt: skip
_SAMPLE = 1 << 20  # bytes at each end of a file that its fingerprint covers


class Prepared:
  """The part of a `base.Dataset` that is the same for all such files.

  Attributes:
    path: of the file.
    name, class_names, skeleton, source: see `base.Dataset`.
    coordinates: "world" for joints in metres, "image" for joints in pixels.
  """

  def __init__(self, path: str | pathlib.Path, dataset: str, names: str = ""):
    """`dataset` is "ntu60", "ntu120" or "custom"; the file must exist.

    `names` is a text file with the name of each class on a line, in their order; ""
    for the names of NTU, or numbers.
    """
    self.path = pathlib.Path(path)
    if not self.path.is_file():
      raise FileNotFoundError(
        f"no file {path}: set config.data.raw to a prepared set of skeletons "
        f"({', '.join(ENDINGS)}), or to a folder."
      )
    self.name = dataset
    self.which = {"ntu60": 60, "ntu120": 120}.get(dataset)
    self.source = {"file": fingerprint(self.path)}
    self._names, self._names_file = (), names
    if names:
      self._names = _read_names(pathlib.Path(names))
      self.source["class_names"] = list(self._names)
    self._clips: list[Clip] = []
    self._left_out: list[tuple[str, str]] = []

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `base.Dataset`; in the order of the file."""
    return list(self._clips), list(self._left_out)

  def origin(self, clip: Clip) -> Origin:
    """See `base.origin`; the file, also where its ends, and `source`, stay the same."""
    del clip
    return Origin({"file": str(self.path)})

  def _name_classes(self, num_labels: int) -> tuple[str, ...]:
    """NTU's names, those of the user's file, or numbers, which the set itself has."""
    if self.which is not None:
      return ntu.class_names(self.which)
    if self._names:
      if len(self._names) < num_labels:
        raise ValueError(
          f"{self._names_file} has {len(self._names)} names and {self.path} "
          f"{num_labels} classes, expected a name for each, one on a line."
        )
      return self._names
    return tuple(map(str, range(num_labels)))

  def _set_layout(self, joints: int, channels: int, skeleton: str) -> None:
    """Sets the skeleton and the coordinates by what the file holds.

    Args:
      joints, channels: V and C of its arrays.
      skeleton: that of the configuration; "" for the usual one.
    """
    usual = LAYOUTS.get((joints, channels), "")
    chosen = skeleton or usual
    if not chosen:
      raise ValueError(
        f"{self.path} has poses of {joints} joints with {channels} numbers, expected "
        f"one of {list(LAYOUTS)}: describe other joints in a JSON file and name it as "
        "config.data.skeleton."
      )
    self.body = skeleton_files.find(chosen)
    if self.body.num_joints != joints:
      raise ValueError(
        f"{self.path} has poses of {joints} joints, expected {self.body.num_joints} of "
        f"{self.body.name}: set config.data.skeleton="
        f"{usual or 'a JSON file that describes them'}."
      )
    self.skeleton = self.body.name
    self.coordinates = "world" if channels == 3 else "image"


def _read_names(path: pathlib.Path) -> tuple[str, ...]:
  """The lines of a text file; ValueError for blank ones between them, or doubles."""
  if not path.is_file():
    raise FileNotFoundError(
      f"no file {path}: set config.data.class_names to a text file with the name of "
      "each class on a line."
    )
  try:
    lines = text_files.decode(path.read_bytes()).strip().splitlines()
  except UnicodeDecodeError as e:
    raise ValueError(f"{path} is not text ({e.reason}): save it as UTF-8.") from e
  names = tuple(" ".join(line.split()) for line in lines)
  wrong = next((i for i, n in enumerate(names) if not n or n in names[:i]), None)
  if wrong is not None or not names:
    got = repr(names[wrong]) if names else "nothing"
    raise ValueError(
      f"{path}, line {(wrong or 0) + 1} has {got}, expected the name of a class that "
      "no other line has."
    )
  return names


def raw_clip(
  joints: np.ndarray,
  scores: np.ndarray | None,
  what: str,
  body: skeletons.Skeleton | None = None,
) -> RawClip:
  """A clip without a video.

  Args:
    joints: float [F, persons, J, 2 or 3], pixels or metres. Of more than
      `people.PERSONS`, the largest stay.
    scores: float [F, persons, J]; None where the file has none.
    what: names the clip in messages.
    body: the skeleton of joints in metres; see `missing.seen`.
  Raises: BadClip when nobody is in any frame, or for infinite numbers.
  """
  joints = np.array(joints, np.float32)
  people.check_length(len(joints), what)
  if np.isinf(joints).any():
    raise BadClip(f"{what} holds infinite numbers")
  seen = missing.seen(joints, scores, body)
  if not seen.any():
    raise BadClip(f"{what} has nobody in any of {len(joints)} frames")
  joints[~seen] = np.nan
  order = tracking.in_order(joints)
  joints, seen = tracking.take(joints, order), tracking.take(seen, order)
  if scores is not None:
    scores = tracking.take(scores, order)
  kept = people.largest(joints)
  joints, seen = joints[:, kept], seen[:, kept]
  if scores is not None:
    scores = np.where(seen, np.clip(scores[:, kept], 0, 1), np.nan).astype(np.float32)
  pose = np.full((*joints.shape[:-1], 3), np.nan, np.float32)
  image = np.full((*joints.shape[:-1], 2), np.nan, np.float32)
  if joints.shape[-1] == 3:
    return RawClip(joints, image, None, FPS, scores)
  return RawClip(pose, joints, None, FPS, scores)


def fingerprint(path: pathlib.Path) -> str:
  """12 hex digits over the size of a file, its beginning and its end."""
  size = path.stat().st_size
  with open(path, "rb") as file:
    start = file.read(_SAMPLE)
    file.seek(max(size - _SAMPLE, 0))
    end = file.read()
  return hashlib.sha256(b"%d" % size + start + end).hexdigest()[:12]
