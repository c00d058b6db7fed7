"""A dataset of your own: an index that lists the clips, and their joints.

The csv has a header and one line per clip:

    clip,video,label,subject
    anna_wave_1,videos/anna/wave_1.mp4,wave,1

`video` is relative to the folder of the csv, and inside it. Every further column
becomes an attribute that a protocol can split by. The npz files have one array per
clip, under its name:

  - world joints, [F, J, 3 or more] or [F, persons, J, 3 or more]: x, y, z in metres.
    The axes are not changed: BlazePose's are x right, y down, z away from the camera,
    centred on the hips; Kinect's have y up.
  - image joints, [F, J, 2 or more] or [F, persons, J, 2 or more]: x, y in the video, as
    fractions of its width and height or in pixels, for the crop. Without world joints
    they are the poses; then a third number, if it is the last, is the score.

The fourth number of a world joint, if any, is its visibility; further numbers are
ignored. NaN marks what was not found; short gaps are interpolated later.

Without npz files for all clips, the column `pose` names the joints of each clip, like
`video`: an npz (`clip_joints.read_npz`), or the file or folder of a pose estimator
(`pose_files`).

Without frames (`config.data.frames=False`, as model=pose sets it), clips need no video:
the column may be empty or missing. The columns `fps`, and `width` and `height` in
pixels for image joints in fractions, then say what a video would.
"""

import csv
import functools
import hashlib
import os
import pathlib
import reprlib
import zipfile

import numpy as np

from vpn_jax.datasets import clip_joints, joint_files, protocols, skeletons, video
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.pose_files import reader

# Field -> possible names of its column; the first one in the csv counts.
COLUMNS = {
  "clip": ("clip", "clip_id"),
  "video": ("video",),
  "label": ("label",),
  "label_id": ("label_id",),
  "pose": ("pose",),
}


FPS = 30.0  # of a clip without a video whose line does not say


class Custom:
  """A csv index with videos and joints; a `base.Dataset`."""

  name = "custom"

  def __init__(
    self,
    index: str | pathlib.Path,
    skeleton: str,
    world_joints: str | pathlib.Path | None = None,
    image_joints: str | pathlib.Path | None = None,
    *,
    image_units: str = "fraction",
    columns: dict[str, str] | None = None,
    allow_absolute: bool = False,
    poses: bool = True,
    frames: bool = True,
    pose_format: str = "",
    image_size: str = "",
  ):
    """Reads the csv; `read` opens videos and joints.

    Args:
      index: the csv, UTF-8.
      skeleton: name in `skeletons.SKELETONS`, or a JSON file.
      world_joints: npz of the poses, relative to the csv or to the working directory.
        None for image joints alone.
      image_joints: npz for the crop, and the poses without `world_joints`; None to crop
        to the full frame. Without both, the column `pose` names the file or folder of
        each clip; see `clip_joints`.
      image_units: "fraction" (0 to 1) or "pixel".
      columns: other names for the columns of `COLUMNS`, such as {"clip": "id"}; ""
        for no column. Without label_id, labels are numbered in sorted order.
      allow_absolute: accept videos outside the folder of the csv, by an absolute path,
        by ".." or through a link. By default such a line is left out, because an
        index may come from somebody else.
      poses: False when the poses come from elsewhere; then no file of joints is opened,
        and clips cannot be `read`.
      frames: False for joints alone: clips need no video. The header of one that is
        there gives the size of the image and the frame rate.
      pose_format: of the files of the column `pose` that are not npz, one of
        `pose_files.reader.KINDS`; "" to detect it.
      image_size: such as "1920x1080", for fractions without a video or columns `width`
        and `height`.
    Raises: FileNotFoundError for a missing file; ValueError for a csv without the
      columns, a name that appears twice, label ids that are not 0, 1, 2, ..., or a file
      that is not an npz.
    """
    self.index = pathlib.Path(index)
    if not self.index.is_file():
      raise FileNotFoundError(
        f"no file {index}: set config.data.index to a csv with the columns clip, video "
        "and label, one line per clip."
      )
    self.body = skeletons.find(skeleton)
    self.skeleton = self.body.name
    self.image_units = joint_files.check_units(image_units, "config.data.image_units")
    self.allow_absolute, self.frames = allow_absolute, frames
    self.world_joints = self.image_joints = None
    if poses and world_joints:
      self.world_joints = self._joint_file(world_joints, "world_joints")
    if poses and image_joints:
      self.image_joints = self._joint_file(image_joints, "image_joints")
    self.pose_column = poses and not (world_joints or image_joints)
    self.pose_format = reader.check_kind(pose_format)
    self.image_size = clip_joints.parse_size(image_size)
    self.only_image = self.image_joints is not None and self.world_joints is None
    self._open_files = {}
    self.source = {
      "image_units": image_units,
      "world_joints": _fingerprint(self.world_joints),
      "image_joints": _fingerprint(self.image_joints),
    }
    if self.pose_column:
      self.source |= {"pose_format": pose_format, "image_size": image_size}
    try:
      rows, self._left_out = self._read_index(columns or {})
    except (UnicodeDecodeError, csv.Error) as e:
      raise ValueError(
        f"{self.index} cannot be read as csv ({e}): write UTF-8, one line per clip."
      ) from e
    self.class_names, labels = _number_labels(rows, self.index.name)
    self._clips = [
      Clip(row["clip"], label, row["attributes"], row["video"], row["pose"])
      for row, label in zip(rows, labels)
    ]

  def _joint_file(self, path: str | pathlib.Path, field: str) -> pathlib.Path:
    beside = self.index.parent / path
    path = beside if beside.is_file() else pathlib.Path(path)
    if not path.is_file():
      raise FileNotFoundError(
        f"no file {path}, nor {beside}: set config.data.{field} to an npz with one "
        "array per clip name."
      )
    return path

  def _read_index(self, columns: dict[str, str]) -> tuple[list[dict], list]:
    """Returns the rows that can be used, and (name, reason) of the others."""
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
      raise ValueError(f"columns names {unknown}, expected among {list(COLUMNS)}.")
    rows, left_out, seen = [], [], {}
    with open(self.index, newline="", encoding="utf-8-sig") as file:
      table = csv.DictReader(file)
      header = table.fieldnames or []
      chosen = {
        field: next((c for c in ([columns[field]] if field in columns else usual)
                     if c in header), None)
        for field, usual in COLUMNS.items()
      }  # fmt: skip
      if not self.pose_column:  # then a column of that name is an attribute
        del chosen["pose"]
      elif not chosen["pose"]:
        raise FileNotFoundError(
          f"config.data.world_joints is not set, and {self.index.name} has no column "
          "pose: give the joints of all clips as npz, or name the file or folder of "
          "each clip in that column."
        )
      optional = ("label_id",) if self.frames else ("label_id", "video")
      lacking = [f for f in chosen if not chosen[f] and f not in optional]
      if lacking or (columns.get("label_id") and not chosen["label_id"]):
        raise ValueError(
          f"{self.index.name} has the columns {reprlib.repr(header)}, expected one for "
          f"each of {lacking or ['label_id']}: rename a column or name it in columns."
        )
      for row in table:
        name = (row[chosen["clip"]] or "").strip()
        where = f"line {table.line_num} of {self.index.name}"
        if name in seen and name:
          raise ValueError(
            f"{where} names {name!r} again (first on line {seen[name]}), expected each "
            "clip once: rename one of the two."
          )
        seen[name] = table.line_num
        entry, reason = self._entry(row, name, chosen)
        if reason:
          left_out.append((name or where, f"{where}: {reason}"))
        else:
          rows.append(entry)
    return rows, left_out

  def _entry(self, row: dict, name: str, chosen: dict) -> tuple[dict, str]:
    """Returns the fields of a clip, or the reason to leave it out."""
    if None in row or None in row.values():
      return {}, "another number of fields than the header has"
    words = {f: (row[c] or "").strip() for f, c in chosen.items() if c}
    for field in ("clip", "video", "label", "pose"):
      if field not in words or (field == "video" and not (self.frames or words[field])):
        continue
      if not words[field]:
        return {}, f"no {field}"
      if not words[field].isprintable():
        return {}, f"{field} {words[field]!r} has characters that cannot be printed"
    path, reason = self._inside(words.get("video") or "", "video")
    if reason and self.frames:
      return {}, reason
    pose = name
    if self.pose_column:
      pose, reason = self._inside(words["pose"], "pose")
      if reason:
        return {}, reason
    own = set(chosen.values())
    attributes = {
      k: protocols.parse_value(v) for k, v in row.items() if k and k not in own
    }
    label_id = words.get("label_id")
    return {
      "clip": name,
      "video": path,
      "pose": pose,
      "label": words["label"],
      "label_id": label_id if label_id is None else protocols.parse_value(label_id),
      "attributes": attributes,
    }, ""

  def _inside(self, name: str, what: str) -> tuple[str | None, str]:
    """Returns the path of a video or pose, or None and the reason not to open it."""
    path = self.index.parent / os.path.normpath(name)
    home = os.path.realpath(self.index.parent)
    inside = pathlib.Path(os.path.realpath(path)).is_relative_to(home)
    if not (inside or self.allow_absolute):
      return None, (
        f"{what} {name} leaves the folder of the csv, expected one inside it: move it "
        "there, or set config.data.allow_absolute=True"
      )
    if not (os.path.isfile(path) or (what == "pose" and os.path.isdir(path))):
      return None, f"no {what} {name}"
    return str(path), ""

  @functools.cached_property
  def coordinates(self) -> str:
    """See `base.coordinates`; those of the first file that can be read."""
    if self.pose_column:
      paths = [clip.pose for clip in self._clips]
      return clip_joints.coordinates(paths, self.body, self.pose_format)
    return "image" if self.only_image else "world"

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `base.Dataset`; in the order of the csv."""
    return list(self._clips), list(self._left_out)

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`."""
    if clip.video is not None:
      frames, fps, size = video.open_file(clip.video)
    else:
      frames, fps, size = None, *_from_columns(clip)
    size = size or self.image_size
    if self.pose_column:
      joints = clip_joints.read(
        clip.pose,
        self.body,
        units=self.image_units,
        size=size,
        pose_format=self.pose_format,
      )
      if clip.video is None:
        fps = joints.fps or fps
      frames = frames if self.frames else None
      return RawClip(
        joints.world,
        joints.image,
        frames,
        fps,
        joints.visibility,
        open_ended=joints.open_ended,
      )
    arrays, names = [], []
    for field in ("world_joints", "image_joints"):
      path = getattr(self, field)
      array, what = self._array(path, clip.pose) if path else (None, field)
      arrays.append(array)
      names.append(what)
    pose, image_joints, visibility = joint_files.pair(
      *arrays,
      self.body,
      tuple(names),
      units=self.image_units,
      size=size,
    )
    frames = frames if self.frames else None
    return RawClip(pose, image_joints, frames, fps, visibility)

  def _array(self, path: pathlib.Path, name: str) -> tuple[np.ndarray, str]:
    """Returns the array of one clip from an npz, and its origin for messages."""
    try:
      if path not in self._open_files:
        self._open_files[path] = joint_files.Arrays(path)
      return self._open_files[path][name], f"{path.name}, array {name!r}"
    except KeyError as e:
      raise BadClip(f"{path.name} has no array {name!r}") from e
    except ValueError as e:
      raise BadClip(str(e)) from e


def _from_columns(clip: Clip) -> tuple[float, tuple[int, int] | None]:
  """Frames per second, and (W, H) or None, of a clip without a video."""
  found = {}
  for name in ("fps", "width", "height"):
    value = clip.attributes.get(name, "")
    if value == "":
      continue
    try:
      found[name] = float(value)
    except ValueError:
      found[name] = float("nan")
    if not 0 < found[name] < float("inf"):
      raise BadClip(f"its {name} is {value!r}, expected a positive number")
  size = None
  if "width" in found and "height" in found:
    size = int(found["width"]), int(found["height"])
  return found.get("fps", FPS), size


def _fingerprint(path: pathlib.Path | None) -> str:
  """12 hex digits over the names and checksums of the arrays in an npz."""
  if path is None:
    return ""
  try:
    with zipfile.ZipFile(path) as file:
      content = sorted((i.filename, i.CRC, i.file_size) for i in file.infolist())
  except Exception as e:  # zipfile raises many kinds on a damaged file
    raise ValueError(
      f"{path} cannot be read as npz ({e}): write it with numpy.savez."
    ) from e
  return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


def _number_labels(rows: list[dict], file: str) -> tuple[tuple[str, ...], list[int]]:
  """Class names in label order and the label of each row."""
  if not rows:
    return (), []
  if rows[0]["label_id"] is None:
    names = sorted({row["label"] for row in rows})
    return tuple(names), [names.index(row["label"]) for row in rows]
  pairs = sorted({(row["label_id"], row["label"]) for row in rows}, key=str)
  ids = [i for i, _ in pairs]
  if len(set(label for _, label in pairs)) != len(pairs) or set(ids) != set(
    range(len(pairs))
  ):
    raise ValueError(
      f"{file}: the column label_id pairs ids and labels as {pairs[:8]}, expected one "
      f"id per label, 0 to {len(set(label for _, label in pairs)) - 1}: correct it, or "
      "rename the column to number the sorted labels."
    )
  names = dict(pairs)
  return tuple(names[i] for i in range(len(names))), [row["label_id"] for row in rows]
