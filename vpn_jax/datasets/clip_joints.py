"""The joints of one clip from one file or folder, by its kind.

`READERS` maps the end of a file name to a function that reads such files. Folders of
clips, indexes and the job "predict" accept every kind that is in it, and folders with a
file per frame.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from vpn_jax.datasets import joint_files, skeletons
from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.pose_files import reader

FPS = 30.0  # of joints without a video that do not say
MOST_TRIED = 20  # files that are opened to find one that can be read


@dataclasses.dataclass(frozen=True)
class Joints:
  """What a file holds of one clip.

  Attributes:
    world: float32 [F, persons, J, 3], metres; NaN where not found, all NaN in a file of
      image joints alone.
    image: float32 [F, persons, J, 2], pixels of the video; NaN where not found or not
      known.
    visibility: float32 [F, persons, J], 0 to 1, NaN where unknown; None where all is.
    fps: frames per second; None when the file does not say.
    open_ended: see `base.RawClip`.
  """

  world: np.ndarray
  image: np.ndarray
  visibility: np.ndarray | None = None
  fps: float | None = None
  open_ended: bool = False

  @property
  def coordinates(self) -> str:
    """ "world", or "image" for joints in the image alone."""
    return "world" if np.isfinite(self.world).any() else "image"


class Reader(Protocol):
  """A function that reads one kind of file."""

  def __call__(
    self,
    path: pathlib.Path,
    skeleton: skeletons.Skeleton,
    *,
    units: str,
    size: tuple[int, int] | None,
  ) -> Joints:
    """Reads the joints of a clip.

    Args:
      path: the file.
      skeleton: of the joints.
      units: of image joints that the format does not fix: "fraction" or "pixel".
      size: (W, H) of the video; None when there is no video.
    Raises: BadClip with the reason when the file cannot be used.
    """
    ...


def read_npz(
  path: pathlib.Path,
  skeleton: skeletons.Skeleton,
  *,
  units: str = "fraction",
  size: tuple[int, int] | None = None,
) -> Joints:
  """Reads an npz with the arrays `world`, `image`, or both; see `joint_files`.

  It may also hold `size` [2], width and height of the picture that the joints are of,
  and `fps` []. Fractions of it become pixels where there is no video; pixels of it are
  scaled to a video of another size, such as a smaller copy. Fractions of a size that is
  unknown are left out beside world joints, which do not need them.

  Args: as in `Reader`.
  Raises: BadClip for another kind of file, without either array, for `size` upright and
    a video that lies or the reverse, and as `joint_files.world` does.
  """
  name = path.name
  try:
    file = joint_files.Arrays(path)
    found = {k: file[k] for k in ("world", "image", "size", "fps") if k in file}
  except ValueError as e:
    raise BadClip(
      f"{name} cannot be read as npz; expected arrays `world` and `image`"
    ) from e
  if not {"world", "image"} & set(found):
    raise BadClip(
      f"{name} holds the arrays {list(file)[:8]}, expected `world`, `image` or both"
    )
  own = None
  if "size" in found:
    width, height = _numbers(found["size"], 2, f"`size` of {name}")
    own = int(width), int(height)
    size = size or own
    if (own[0] - own[1]) * (size[0] - size[1]) < 0:
      raise BadClip(
        f"{name} has joints of a picture of {own[0]}x{own[1]}, but its video is shown "
        f"as {size[0]}x{size[1]}: give those of the upright picture"
      )
  fps = _numbers(found["fps"], 1, f"`fps` of {name}")[0] if "fps" in found else None
  made = joint_files.pair(
    found.get("world"),
    found.get("image"),
    skeleton,
    (f"`world` of {name}", f"`image` of {name}"),
    units=units,
    size=own if units == "pixel" else size,
  )
  pose, image, visibility = made
  if own and units == "pixel":
    image = image * np.divide(size, own, dtype=np.float32)
  return Joints(pose, image, visibility, fps)


def packed_clips(path: str | pathlib.Path) -> list[str]:
  """Names of the clips in an npz that holds several; see `custom`.

  Returns: those of its arrays `world/<clip>` and `image/<clip>`, in their order; [] for
    an npz of one clip.
  Raises: ValueError when the file is damaged.
  """
  names = (name.partition("/") for name in joint_files.Arrays(path))
  return list(dict.fromkeys(n[2] for n in names if n[0] in ("world", "image") and n[2]))


def in_pack(path: str | pathlib.Path) -> tuple[pathlib.Path, str] | None:
  """The npz and the name of a clip in it, of a path as `clips.npz/<clip>`."""
  path = pathlib.Path(path)
  for parent in path.parents:
    if parent.suffix == ".npz" and parent.is_file():
      return parent, path.relative_to(parent).as_posix()
  return None


def read_packed(
  path: pathlib.Path,
  clip: str,
  skeleton: skeletons.Skeleton,
  *,
  units: str = "fraction",
  size: tuple[int, int] | None = None,
) -> Joints:
  """Reads one clip of an npz that holds several; otherwise as `Reader`."""
  what = tuple(f"{kind}/{clip}" for kind in ("world", "image"))
  try:
    file = joint_files.Arrays(path)
    arrays = [file[name] if name in file else None for name in what]
  except ValueError as e:
    raise BadClip(str(e)) from e
  what = tuple(f"{path.name}, array {name!r}" for name in what)
  return Joints(*joint_files.pair(*arrays, skeleton, what, units=units, size=size))


def _numbers(array: np.ndarray, count: int, what: str) -> list[float]:
  """Positive numbers of an npz; BadClip for anything else."""
  if array.dtype.kind in "fiu" and array.size == count and (array > 0).all():
    values = array.reshape(-1).astype(np.float64)
    if np.isfinite(values).all():
      return values.tolist()
  raise BadClip(
    f"{what} is {array.dtype} {list(array.shape)}, expected {count} positive number(s)"
  )


def read_estimated(
  path: pathlib.Path,
  skeleton: skeletons.Skeleton,
  *,
  units: str = "fraction",
  size: tuple[int, int] | None = None,
  pose_format: str = "",
) -> Joints:
  """Reads what a pose estimator has written; see `pose_files.reader`.

  Args: as in `Reader`; `units` is not used, since these files tell them.
    pose_format: one of `reader.KINDS`; "" to detect it.
  Raises: BadClip as `reader.read` does, and for fractions of an unknown size.
  """
  poses = reader.read(path, pose_format, skeleton.name)
  if poses.units == "metre":
    image = np.full((*poses.joints.shape[:-1], 2), np.nan, np.float32)
    return Joints(poses.joints, image, poses.scores, None, poses.open_ended)
  joints = poses.joints
  if poses.units == "fraction":
    if size is None:
      raise BadClip(
        f"{path.name} holds fractions of a video whose size is unknown: set "
        "config.data.image_size, such as 1920x1080"
      )
    joints = joints * np.float32(size)
  world = np.full((*joints.shape[:-1], 3), np.nan, np.float32)
  return Joints(world, joints, poses.scores, None, poses.open_ended)


READERS: dict[str, Reader] = {".npz": read_npz, reader.ENDING: read_estimated}


def ending(path: str | pathlib.Path) -> str:
  """The key of `READERS` for a file, by its name; "" for another kind of file."""
  name = pathlib.Path(path).name.lower()
  ends = [end for end in READERS if name.endswith(end) and len(name) > len(end)]
  return max(ends, key=len, default="")


def read(
  path: str | pathlib.Path,
  skeleton: skeletons.Skeleton,
  *,
  units: str = "fraction",
  size: tuple[int, int] | None = None,
  pose_format: str = "",
) -> Joints:
  """Reads the joints of one clip.

  Args: as in `Reader`. A file of another kind is an npz.
    pose_format: see `read_estimated`.
  """
  path = pathlib.Path(path)
  if packed := in_pack(path):
    return read_packed(*packed, skeleton, units=units, size=size)
  chosen = read_estimated if path.is_dir() else READERS.get(ending(path), read_npz)
  if chosen is read_estimated:
    return read_estimated(
      path, skeleton, units=units, size=size, pose_format=pose_format
    )
  return chosen(path, skeleton, units=units, size=size)


def coordinates(
  paths: Iterable[str | pathlib.Path],
  skeleton: skeletons.Skeleton,
  pose_format: str = "",
) -> str:
  """`Joints.coordinates` of the first of these files that can be read, or "world".

  Raises: ValueError with the reason when the first ones, from a pose estimator, all
    cannot be used: they may need another skeleton.
  """
  reasons = []
  for path in itertools.islice(paths, MOST_TRIED):
    try:
      found = read(path, skeleton, units="pixel", size=(1, 1), pose_format=pose_format)
      return found.coordinates
    except BadClip as e:
      if pathlib.Path(path).is_dir() or ending(path) == reader.ENDING:
        reasons.append(str(e))
  if len(reasons) > 1:
    raise ValueError(
      f"none of the first {len(reasons)} files of joints can be used; {reasons[0]}."
    )
  return "world"


def parse_size(text: str) -> tuple[int, int] | None:
  """Reads `config.data.image_size`, "1920x1080", as (W, H); None for ""."""
  if not text:
    return None
  width, cross, height = text.partition("x")
  digits = width + height
  if not (cross and width and height and digits.isascii() and digits.isdigit()):
    raise ValueError(
      f"config.data.image_size is {text!r}, expected width and height in pixels, such "
      "as '1920x1080'."
    )
  return int(width), int(height)
