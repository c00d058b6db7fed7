"""Joints that come as arrays in npz files, checked and brought to one shape.

An array is [F, J, C] or [F, persons, J, C]. World joints are x, y, z in metres and,
optionally, the visibility from 0 to 1; image joints are x and y. Further numbers are
ignored. NaN marks what was not found.
"""

import io
import pathlib
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np

from vpn_jax.datasets import skeletons
from vpn_jax.datasets.base import BadClip

UNITS = ("fraction", "pixel")


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
  return _found(array[..., :3], what), visibility


def image(
  array: np.ndarray,
  skeleton: skeletons.Skeleton,
  what: str,
  *,
  units: str,
  width: int,
  height: int,
) -> np.ndarray:
  """Image joints in pixels, float32 [F, persons, J, 2].

  Args:
    array, skeleton, what: as in `world`, with at least 2 numbers.
    units: "fraction" (0 to 1 over width and height) or "pixel".
    width, height: of the video, pixels.
  Raises: BadClip as `world` does, and for fractions far outside 0 to 1.
  """
  joints = _found(_four_axes(array, skeleton, 2, what)[..., :2], what)
  if units == "pixel":
    return joints
  if np.nanmax(np.abs(joints)) > 10:
    raise BadClip(
      f"{what} reaches {np.nanmax(np.abs(joints)):.0f}, expected fractions of width "
      "and height: set image_units=pixel"
    )
  return joints * np.float32([width, height])


def check_units(units: str, field: str) -> str:
  """Returns `units`; ValueError that names the config's field when it is unknown."""
  if units not in UNITS:
    raise ValueError(f"{field} is {units!r}, expected 'fraction' or 'pixel'.")
  return units


def read_pair(
  path: str | pathlib.Path,
  skeleton: skeletons.Skeleton,
  *,
  units: str,
  width: int,
  height: int,
  needs_image: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Reads the joints of one clip from an npz with the arrays `world` and `image`.

  Args:
    path: the file.
    skeleton, units, width, height: see `image`.
    needs_image: whether `image` is required.
  Returns: world [F, persons, J, 3], image [F, persons, J, 2] (NaN when it is missing)
    and visibility [F, persons, J] or None; float32.
  Raises: BadClip for another kind of file, a missing array, and as `world` does.
  """
  name = pathlib.Path(path).name
  try:
    file = Arrays(path)
    found = {k: file[k] for k in ("world", "image") if k in file}
  except ValueError as e:
    raise BadClip(
      f"{name} cannot be read as npz; expected arrays `world` and `image`"
    ) from e
  needed = ("world", "image") if needs_image else ("world",)
  for key in needed:
    if key not in found:
      raise BadClip(f"{name} holds the arrays {list(file)}, expected {list(needed)}")
  pose, visibility = world(found["world"], skeleton, f"`world` of {name}")
  if "image" not in found:
    return pose, np.full((*pose.shape[:-1], 2), np.nan, np.float32), visibility
  image_joints = image(
    found["image"],
    skeleton,
    f"`image` of {name}",
    units=units,
    width=width,
    height=height,
  )
  check_pair(pose, image_joints, name)
  return pose, image_joints, visibility


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


def _found(joints: np.ndarray, what: str) -> np.ndarray:
  if np.isinf(joints).any():
    raise BadClip(f"{what} holds infinite numbers")
  found = np.isfinite(joints).all(axis=-1, keepdims=True)
  if not found.any():
    raise BadClip(f"{what} has nobody in any frame")
  return np.where(found, joints, np.float32(np.nan))
