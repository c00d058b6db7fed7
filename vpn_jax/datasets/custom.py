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

Or the index itself is an npz that holds everything: its arrays without a "/" in their
names are the columns, [clips] each, and the joints of a clip are the arrays
`world/<clip>`, `image/<clip>` or both:

    joints = {f"world/{name}": array for name, array in arrays.items()}
    np.savez("clips.npz", clip=list(arrays), label=labels, subject=people, **joints)

There is a pose for every frame of the video. Where there are more or fewer, and a
column `fps`, or the npz of a clip, gives their rate, they are resampled by time.

Without frames (`config.data.frames=False`, as model=pose sets it), clips need no video:
the column may be empty or missing. The columns `fps`, and `width` and `height` in
pixels for image joints in fractions, then say what a video would.
"""

import functools
import hashlib
import pathlib
import zipfile

import numpy as np

from vpn_jax.datasets import (
  alignment,
  clip_index,
  clip_joints,
  joint_files,
  skeleton_files,
  video,
)
from vpn_jax.datasets.base import BadClip, Clip, Origin, RawClip
from vpn_jax.datasets.pose_files import reader


class Custom:
  """An index with videos and joints; a `base.Dataset`."""

  name = "custom"
  noted_by_clip = ("world_joints", "image_joints", "index")  # see `base.origin`

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
    """Reads the index; `read` opens videos and joints.

    Args:
      index: the csv, UTF-8, or an npz.
      skeleton: name in `skeletons.SKELETONS`, or a JSON file.
      world_joints: npz of the poses, relative to the csv or to the working directory.
        None for image joints alone.
      image_joints: npz for the crop, and the poses without `world_joints`; None to crop
        to the full frame. Without both, an npz index holds the joints, and the column
        `pose` of a csv names the file or folder of each clip; see `clip_joints`.
      image_units: "fraction" (0 to 1) or "pixel".
      columns: other names for those of `clip_index.COLUMNS`, such as {"clip": "id"};
        "" for no column. Without label_id, labels are numbered in sorted order.
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
    Raises: FileNotFoundError for a missing file; ValueError as `clip_index.read` does,
      or for a file that is not an npz.
    """
    self.index = pathlib.Path(index)
    if not self.index.is_file():
      raise FileNotFoundError(
        f"no file {index}: set config.data.index to a csv with the columns clip, video "
        "and label, one line per clip."
      )
    self.body = skeleton_files.find(skeleton)
    self.skeleton = self.body.name
    self.image_units = joint_files.check_units(image_units, "config.data.image_units")
    self.frames = frames
    self.world_joints = self.image_joints = None
    if poses and world_joints:
      self.world_joints = self._joint_file(world_joints, "world_joints")
    if poses and image_joints:
      self.image_joints = self._joint_file(image_joints, "image_joints")
    named = bool(world_joints or image_joints)
    self.packed = poses and not named and self.index.suffix == ".npz"
    self.pose_column = poses and not named and not self.packed
    self.pose_format = reader.check_kind(pose_format)
    self.image_size = clip_joints.parse_size(image_size)
    self._open_files = {}
    self.source = {
      "image_units": image_units,
      "world_joints": _fingerprint(self.world_joints),
      "image_joints": _fingerprint(self.image_joints),
    }
    if self.pose_column:
      self.source |= {"pose_format": pose_format, "image_size": image_size}
    if self.packed:
      self.source["index"] = _fingerprint(self.index)
    rules = clip_index.Rules(
      columns=columns or {},
      needs_video=frames,
      pose_column=self.pose_column,
      allow_absolute=allow_absolute,
    )
    found = clip_index.read(self.index, rules)
    self.class_names, self._clips, self._left_out, self.notes = found

  def check(self) -> None:
    """See `base.check`; ValueError when an npz of joints has none of the clips."""
    names = [clip.pose for clip in self._clips]
    for path in filter(None, (self.world_joints, self.image_joints)):
      arrays = self._arrays(path)
      if names and not any(name in arrays for name in names):
        there = ", ".join(map(repr, list(arrays)[:3])) or "no array"
        raise ValueError(
          f"{path} has joints of none of the {len(names):,} clips: it holds {there}, "
          f"the clips are {', '.join(map(repr, names[:3]))}; name one array after each "
          "clip."
        )

  def _joint_file(self, path: str | pathlib.Path, field: str) -> pathlib.Path:
    beside = self.index.parent / path
    path = beside if beside.is_file() else pathlib.Path(path)
    if not path.is_file():
      raise FileNotFoundError(
        f"no file {path}, nor {beside}: set config.data.{field} to an npz with one "
        "array per clip name."
      )
    return path

  @functools.cached_property
  def coordinates(self) -> str:
    """See `base.coordinates`; those of the first file that can be read."""
    if self.pose_column:
      paths = [clip.pose for clip in self._clips]
      return clip_joints.coordinates(paths, self.body, self.pose_format)
    if self.packed:
      in_world = any(name.startswith("world/") for name in self._arrays(self.index))
      return "world" if in_world else "image"
    only_image = self.image_joints is not None and self.world_joints is None
    return "image" if only_image else "world"

  @property
  def joints_in_image(self) -> bool:
    """See `base.joints_in_image`."""
    if self.packed:
      return any(name.startswith("image/") for name in self._arrays(self.index))
    return self.pose_column or self.image_joints is not None

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
    pose_fps = _from_columns(clip)[0] if clip.attributes.get("fps", "") != "" else None
    if self.pose_column:
      joints = clip_joints.read(
        clip.pose,
        self.body,
        units=self.image_units,
        size=size,
        pose_format=self.pose_format,
      )
      pose_fps = joints.fps or pose_fps
      if not self.frames:
        frames, fps = None, pose_fps or fps
      opened = RawClip(
        joints.world,
        joints.image,
        frames,
        fps,
        joints.visibility,
        open_ended=joints.open_ended,
      )
      return alignment.to_video(opened, pose_fps)
    arrays, names = [], []
    for kind in ("world", "image"):
      array, what = self._array(kind, clip.pose)
      arrays.append(array)
      names.append(what)
    pose, image_joints, visibility = joint_files.pair(
      *arrays,
      self.body,
      tuple(names),
      units=self.image_units,
      size=size,
    )
    if not self.frames:
      frames, fps = None, pose_fps or fps
    opened = RawClip(pose, image_joints, frames, fps, visibility)
    return alignment.to_video(opened, pose_fps)

  def origin(self, clip: Clip) -> Origin:
    """See `base.origin`; of files with the joints of all clips, the clip's arrays."""
    files = {"video": clip.video, "pose": clip.pose if self.pose_column else None}
    values = {}
    for kind in ("world", "image"):
      path = self.world_joints if kind == "world" else self.image_joints
      name = clip.pose
      if self.packed:
        path, name = self.index, f"{kind}/{clip.pose}"
      if path is not None:
        values[f"{kind}_joints"] = self._arrays(path).checksum(name)
    if clip.video is None:
      values |= {k: str(clip.attributes.get(k, "")) for k in ("fps", "width", "height")}
    return Origin({k: path for k, path in files.items() if path is not None}, values)

  def _array(self, kind: str, name: str) -> tuple[np.ndarray | None, str]:
    """Returns one kind of joints of a clip or None, and its origin for messages."""
    path = self.world_joints if kind == "world" else self.image_joints
    if self.packed:
      path, name = self.index, f"{kind}/{name}"
    if path is None:
      return None, f"config.data.{kind}_joints"
    what = f"{path.name}, array {name!r}"
    try:
      return self._arrays(path)[name], what
    except KeyError as e:
      if self.packed:  # may hold the other kind alone
        return None, what
      raise BadClip(f"{path.name} has no array {name!r}") from e
    except ValueError as e:
      raise BadClip(str(e)) from e

  def _arrays(self, path: pathlib.Path) -> joint_files.Arrays:
    """An npz, opened once."""
    if path not in self._open_files:
      self._open_files[path] = joint_files.Arrays(path)
    return self._open_files[path]


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
  return found.get("fps", clip_joints.FPS), size


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
