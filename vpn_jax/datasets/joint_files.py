"""Joints that come as arrays in npz files, checked and brought to one shape.

An array is [F, J, C] or [F, persons, J, C]. World joints are x, y, z in metres and,
optionally, the visibility from 0 to 1; image joints are x and y and, where there are no
world joints, optionally the score from 0 to 1. Further numbers are ignored. What was
not found is NaN, 0, -1, or has a visibility or score of 0; see `missing`.
"""

import io
import pathlib
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np

from vpn_jax.datasets import missing, skeletons, tracking
from vpn_jax.datasets.base import BadClip

UNITS = ("fraction", "pixel")
# Pixels of which none is beyond this are fractions. Our own number.
_MAX_FRACTION = 2.0


class Arrays(Mapping[str, np.ndarray]):
  """The arrays of an npz by name, read on demand; pickles are never executed.

  An array is read to its end, so that its checksum is verified whatever its header
  says; `numpy.load` stops where the header ends it. The file stays open, and another
  process opens it anew.
  """

  def __init__(self, path: str | pathlib.Path):
    """Reads the names; ValueError when the file is not an npz."""
    self._path = pathlib.Path(path)
    try:
      self._file = zipfile.ZipFile(path)
    except Exception as e:  # zipfile raises many kinds on a damaged file
      raise ValueError(_unreadable(str(path), e)) from e

  def __getitem__(self, name: str) -> np.ndarray:
    """KeyError when there is no such array, ValueError when it is damaged."""
    member = self._file.getinfo(f"{name}.npy")
    try:
      array = np.load(io.BytesIO(self._file.read(member)), allow_pickle=False)
      if not isinstance(array, np.ndarray):
        raise ValueError("not an array")
      return array
    except Exception as e:  # and so do its members
      raise ValueError(_unreadable(f"{self._path.name}, array {name!r}", e)) from e

  def checksum(self, name: str) -> str:
    """Checksum and size of an array by the npz, "" when there is no such array."""
    member = self._file.NameToInfo.get(f"{name}.npy")
    return f"{member.CRC:08x} {member.file_size}" if member else ""

  def __contains__(self, name) -> bool:
    return f"{name}.npy" in self._file.NameToInfo

  def __iter__(self) -> Iterator[str]:
    return (name.removesuffix(".npy") for name in self._file.namelist())

  def __len__(self) -> int:
    return len(self._file.namelist())

  def __reduce__(self):
    return Arrays, (self._path,)


def _unreadable(what: str, error: Exception) -> str:
  reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
  return f"{what} cannot be read as npz ({reason}): write it with numpy.savez"


def world(
  array: np.ndarray, skeleton: skeletons.Skeleton, what: str
) -> tuple[np.ndarray, np.ndarray | None]:
  """World joints and their visibility.

  Args:
    array: float [F, J, 3 or more] or [F, persons, J, 3 or more].
    skeleton: of the joints.
    what: names the array in messages.
  Returns: float32 [F, persons, J, 3], a joint is all NaN unless it is finite; and
    float32 [F, persons, J] in 0 to 1, None without a fourth number.
  Raises: BadClip for another type or shape, infinite numbers, or nobody in any frame.
  """
  array = _four_axes(array, skeleton, 3, what)
  visibility = np.clip(array[..., 3], 0, 1) if array.shape[-1] > 3 else None
  return _found(array[..., :3], visibility, skeleton, what), visibility


def image(
  array: np.ndarray,
  skeleton: skeletons.Skeleton,
  what: str,
  *,
  units: str,
  size: tuple[int, int] | None,
  scores: np.ndarray | None = None,
) -> np.ndarray:
  """Image joints in pixels, float32 [F, persons, J, 2].

  Args:
    array, skeleton, what: as in `world`, with at least 2 numbers.
    units: "fraction" (0 to 1 over width and height) or "pixel".
    size: (W, H) of the video; None when it is unknown.
    scores: of the joints, [F, persons, J]; None where unknown.
  Raises: BadClip as `world` does, for fractions far outside 0 to 1, pixels that are
    fractions, and for fractions of an unknown size.
  """
  array = _four_axes(array, skeleton, 2, what)[..., :2]
  if scores is not None and scores.shape != array.shape[:-1]:
    scores = None  # `check_pair` refuses the two
  joints = _found(array, scores, skeleton, what)
  if units == "pixel":
    if size and min(size) > 10 * _MAX_FRACTION and np.nanmax(joints) <= _MAX_FRACTION:
      raise BadClip(
        f"{what} reaches {np.nanmax(joints):.2f} in a picture of {size[0]}x{size[1]}, "
        "expected pixels: set image_units=fraction"
      )
    return joints
  if size is None:
    raise BadClip(
      f"{what} holds fractions of a video whose size is unknown: give pixels "
      "(image_units=pixel), or its width and height"
    )
  if np.nanmax(np.abs(joints)) > 10:
    raise BadClip(
      f"{what} reaches {np.nanmax(np.abs(joints)):.0f}, expected fractions of width "
      "and height: set image_units=pixel"
    )
  return joints * np.float32(size)


def check_units(units: str, field: str) -> str:
  """Returns `units`; ValueError that names the config's field when it is unknown."""
  if units not in UNITS:
    raise ValueError(f"{field} is {units!r}, expected 'fraction' or 'pixel'.")
  return units


def pair(
  world_array: np.ndarray | None,
  image_array: np.ndarray | None,
  skeleton: skeletons.Skeleton,
  what: tuple[str, str],
  *,
  units: str,
  size: tuple[int, int] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """The joints of one clip in both kinds of coordinates.

  Args:
    world_array: see `world`; None for image joints alone.
    image_array: see `image`; None where they are not known. Beside world joints,
      fractions are left out when `size` is unknown. Without them, an array of exactly
      three numbers a joint is x, y and the score, which becomes the visibility.
    skeleton: of the joints.
    what: names both arrays in messages.
    units: of `image_array`: "fraction" or "pixel".
    size: (W, H) of the video; None when it is unknown.
  Returns: world [F, persons, J, 3], image [F, persons, J, 2], NaN where they are
    missing, and visibility [F, persons, J] or None; float32.
    People whom the file has in another order from frame to frame are put in one; see
    `tracking.in_order`.
  Raises: BadClip when both are missing or differ in shape, for fractions of an unknown
    size, and as `world` does.
  """
  made = _pair(world_array, image_array, skeleton, what, units=units, size=size)
  known = made[1] if np.isfinite(made[1]).any() else made[0]
  order = tracking.in_order(known)
  pose, joints, scores = (a if a is None else tracking.take(a, order) for a in made)
  return pose, joints, scores


def _pair(world_array, image_array, skeleton, what, *, units, size):
  """`pair` with people in the order of the file."""
  if world_array is None and image_array is None:
    raise BadClip(f"neither {what[0]} nor {what[1]} is there, expected one of them")
  if world_array is None:
    score = None
    if image_array.shape[-1:] == (3,):
      score = np.clip(_four_axes(image_array, skeleton, 3, what[1])[..., 2], 0, 1)
    joints = image(image_array, skeleton, what[1], units=units, size=size, scores=score)
    pose = np.full((*joints.shape[:-1], 3), np.nan, np.float32)
    return pose, joints, score
  pose, visibility = world(world_array, skeleton, what[0])
  if image_array is None or (size is None and units == "fraction"):
    return pose, np.full((*pose.shape[:-1], 2), np.nan, np.float32), visibility
  scores = visibility
  if scores is not None:  # those of lost world joints do not count for the image
    scores = np.where(np.isnan(scores), np.float32(1), scores)
  joints = image(image_array, skeleton, what[1], units=units, size=size, scores=scores)
  check_pair(pose, joints, " and ".join(what))
  return pose, joints, visibility


def check_pair(pose: np.ndarray, image_joints: np.ndarray, what: str) -> None:
  """Raises BadClip when the two differ in frames, persons or joints."""
  if image_joints.shape[:-1] != pose.shape[:-1]:
    raise BadClip(
      f"{what}: world joints {list(pose.shape[:-1])} and image joints "
      f"{list(image_joints.shape[:-1])} differ in frames, persons or joints"
    )


def _four_axes(array, skeleton: skeletons.Skeleton, channels: int, what: str):
  if (
    array.dtype.kind != "f"
    or array.ndim not in (3, 4)
    or array.shape[-2] != skeleton.num_joints
    or array.shape[-1] < channels
    or 0 in array.shape
  ):
    raise BadClip(
      f"{what} is {array.dtype} {list(array.shape)}, expected float "
      f"[F, {skeleton.num_joints}, {channels} or more], the joints of {skeleton.name} "
      "in their order"
    )
  array = array if array.ndim == 4 else array[:, None]
  with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite
    return array.astype(np.float32)


def _found(
  joints: np.ndarray,
  scores: np.ndarray | None,
  skeleton: skeletons.Skeleton,
  what: str,
) -> np.ndarray:
  """The joints with NaN for those that were not seen; BadClip when none was."""
  if np.isinf(joints).any():
    raise BadClip(f"{what} holds infinite numbers")
  found = missing.seen(joints, scores, skeleton)
  if not found.any():
    raise BadClip(
      f"{what} has nobody in any frame: all joints are NaN, 0 or -1, or have a score "
      "or visibility of 0"
    )
  return missing.clear(joints, found)
