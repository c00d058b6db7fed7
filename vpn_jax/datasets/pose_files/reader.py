"""Poses of one clip from the files of a pose estimator, whichever it is."""

import dataclasses
import os
import pathlib
import re

import numpy as np

from vpn_jax.datasets import missing, skeletons
from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.paired_files import brief
from vpn_jax.datasets.pose_files import (
  alphapose,
  json_files,
  mmpose,
  openpose,
  people,
  ultralytics,
)
from vpn_jax.datasets.pose_files.people import Person

KINDS = ("openpose", "alphapose", "mmpose", "ultralytics")
ENDING = ".json"  # of a clip that is one file
_EXPECTED = f"expected poses of {', '.join(KINDS[:-1])} or {KINDS[-1]}"
_LABELS = re.compile(r".*_\d+\.txt", re.ASCII | re.DOTALL)
_MOST_EMPTY = 100  # frames that are opened to find somebody
# What reads a clip in one file, and what reads a file per frame.
_FILES = {"alphapose": alphapose, "mmpose": mmpose, "ultralytics": ultralytics}
_FOLDERS = {"openpose": openpose, "mmpose": mmpose, "ultralytics": ultralytics}
_LAYOUTS = {"openpose": openpose.LAYOUTS} | {k: m.LAYOUTS for k, m in _FILES.items()}
_LAYOUTS_3D = {"mmpose": mmpose.LAYOUTS_3D}
# Joints in the image of which none is beyond this are fractions, not pixels.
_MAX_FRACTION = 2.0


@dataclasses.dataclass(frozen=True)
class Poses:
  """The poses of a clip.

  Attributes:
    joints: float32 [F, persons, J, 2 or 3], the main actor first; NaN where not seen.
    scores: float32 [F, persons, J], from 0 to 1; NaN where not seen or unknown.
    skeleton: name in `skeletons.SKELETONS`.
    units: of the joints: "pixel" or "fraction" of the image, "metre" for three
      numbers.
    open_ended: whether the file leaves out frames without people, so that more may
      follow.
  """

  joints: np.ndarray
  scores: np.ndarray
  skeleton: str
  units: str
  open_ended: bool = False


def detect_kind(path: str | pathlib.Path) -> str:
  """Which of `KINDS` a file or folder is; BadClip when it is none of them."""
  path = pathlib.Path(path)
  if path.is_dir():
    folder, files = _listed(path)
    return (
      "ultralytics" if files[0].endswith(".txt") else _kind_of_frames(folder, files)
    )
  return _kind_of_file(json_files.load(path), path.name)


def read(path: str | pathlib.Path, kind: str = "", skeleton: str = "") -> Poses:
  """Reads a clip.

  Args:
    path: a JSON file, or a folder with a JSON or txt file per frame, possibly in a
      folder `labels` inside it.
    kind: one of `KINDS`; "" to detect it.
    skeleton: of the joints, name in `skeletons.SKELETONS`; "" for that of the tool by
      the number of joints.
  Raises: BadClip in one line when the file is damaged, of another kind, too large, or
    has nobody, or joints of another skeleton; ValueError for an unknown kind.
  Source: see the module of each kind; `people.arrange` for who is the main actor.
  """
  path = pathlib.Path(path)
  check_kind(kind)
  if path.is_dir():
    joints = skeletons.get(skeleton).num_joints if skeleton else None
    kind, frames, open_ended = _read_folder(path, kind, joints)
  else:
    content = json_files.load(path)
    kind = kind or _kind_of_file(content, path.name)
    if kind == "openpose":
      raise BadClip(
        f"{path.name} is one frame of OpenPose: name the folder of the clip"
      )
    frames = _FILES[kind].read_file(content, path.name)
    open_ended = kind == "alphapose"
  poses = _poses(frames, kind, skeleton, path.name)
  return dataclasses.replace(poses, open_ended=open_ended)


def is_clip_folder(path: pathlib.Path, files: list[str], subfolders: list[str]) -> bool:
  """Whether a folder holds the frames of a clip, rather than clips.

  Args:
    path: the folder.
    files, subfolders: names of what is in it.
  """
  frames = sorted(f for f in files if f.endswith(ENDING))[:_MOST_EMPTY]
  if any(f.endswith(f"_keypoints{ENDING}") for f in frames):
    return True
  for name in frames:
    try:
      content = json_files.load(path / name)
    except BadClip:
      return False
    if content != []:  # nobody in this frame
      return any(module.is_frame(content) for module in _FOLDERS.values())
  labels = files
  if "labels" in subfolders and os.path.isdir(path / "labels"):
    labels = [*files, *os.listdir(path / "labels")]
  return any(map(_LABELS.fullmatch, labels))


def check_kind(kind: str) -> str:
  """Returns a kind; ValueError when it is neither one of `KINDS` nor empty."""
  if kind not in ("", *KINDS):
    raise ValueError(
      f"config.data.pose_format is {kind!r}, expected one of {KINDS}, or '' to detect "
      "it."
    )
  return kind


def _read_folder(
  path: pathlib.Path, kind: str, joints: int | None
) -> tuple[str, list[list[Person]], bool]:
  """The kind of a folder, its frames, and whether frames without people are missing."""
  folder, files = _listed(path)
  if files[0].endswith(".txt"):
    if kind not in ("", "ultralytics"):
      raise BadClip(f"{path.name} has txt files, expected the JSON files of {kind}")
    (usual,) = ultralytics.LAYOUTS
    frames = ultralytics.read_labels(folder, files, joints or usual)
    return "ultralytics", frames, True
  kind = kind or _kind_of_frames(folder, files)
  if kind not in _FOLDERS:
    raise BadClip(f"{path.name} is a folder, expected one JSON file of {kind}")
  named = {}
  for name in files:
    content = json_files.load(folder / name)
    people_of_frame = _FOLDERS[kind].read_frame(content, f"{path.name}/{name}")
    named[pathlib.Path(name).stem] = people_of_frame
  return kind, json_files.by_frame(named, path.name), False


def _listed(path: pathlib.Path) -> tuple[pathlib.Path, list[str]]:
  """The folder of the frames and its files, all .json or all .txt; at least one."""
  for folder in (path, path / "labels"):
    try:
      files = sorted(os.listdir(folder)) if folder.is_dir() else []
      files = [f for f in files if f.isprintable() and not f.startswith(".")]
      for ending in (ENDING, ".txt"):
        chosen = [f for f in files if f.endswith(ending)]
        if chosen:
          people.check_length(len(chosen), path.name)
          total = sum((folder / name).stat().st_size for name in chosen)
          json_files.check_size(total, path.name)
          return folder, chosen
    except OSError as e:
      raise BadClip(f"{path.name} cannot be listed: {e.strerror}") from e
  raise BadClip(f"{path.name} has no .json or .txt file, expected one per frame")


def _kind_of_frames(folder: pathlib.Path, files: list[str]) -> str:
  """The kind of a folder of JSON files, by the first that has somebody."""
  for name in files:
    content = json_files.load(folder / name)
    for kind, module in _FOLDERS.items():
      if module.is_frame(content):
        return kind
    if content != []:
      raise BadClip(f"{folder.name}/{name} is {brief(content)}, {_EXPECTED}")
  raise BadClip(f"{folder.name} has nobody in any of {len(files)} frames")


def _kind_of_file(content, what: str) -> str:
  if openpose.is_frame(content):
    return "openpose"
  for kind, module in _FILES.items():
    if module.is_file(content):
      return kind
  if mmpose.is_frame(content):
    return "mmpose"
  if content in ([], {}):
    raise BadClip(f"{what} is empty: nobody was found in any frame")
  raise BadClip(f"{what} is {brief(content)}, {_EXPECTED}")


def _poses(frames: list[list[Person]], kind: str, skeleton: str, what: str) -> Poses:
  """The people of a clip as arrays, once their joints are known."""
  joints, scores = people.arrange(frames, what)
  num_joints, channels = joints.shape[-2:]
  layouts = _LAYOUTS_3D.get(kind, {}) if channels == 3 else _LAYOUTS[kind]
  usual = layouts.get(num_joints, "")
  if not (skeleton or usual):
    raise BadClip(
      f"{what} has {num_joints} joints, expected {sorted(layouts)} of {kind}: "
      "describe them in a JSON file and name it as config.data.skeleton"
    )
  if skeleton and skeletons.get(skeleton).num_joints != num_joints:
    those = f", those of {usual}" if usual else ""
    raise BadClip(
      f"{what} has {num_joints} joints{those}, expected "
      f"{skeletons.get(skeleton).num_joints} of {skeleton}: set config.data.skeleton="
      f"{usual or 'a JSON file that describes them'}"
    )
  units = "metre"
  if channels == 3:  # known only now: which joint may be at the centre
    body = skeletons.get(skeleton or usual)
    joints = missing.clear(joints, missing.seen(joints, scores, body))
  if channels == 2:
    units = "fraction" if np.nanmax(joints) <= _MAX_FRACTION else "pixel"
  return Poses(joints, scores, skeleton or usual, units)
