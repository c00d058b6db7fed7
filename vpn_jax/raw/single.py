"""One video and its poses, read as a clip of a dataset is: for `predict.py`."""

import pathlib
import zipfile
import zlib

import numpy as np

from vpn_jax import skeletons, video
from vpn_jax.raw import BadClip, Clip, RawClip, ntu

_DAMAGED = (zipfile.BadZipFile, zlib.error)


class Single:
  """As much of a `raw.Dataset` as `prepare.make_record` needs.

  The poses are an NTU .skeleton file, or an npz with the arrays `world` [T, J, 3 or
  more], metres, and `image` [T, J, 2 or more], which only a crop around the person
  needs; [T, persons, J, ...] for several people, NaN where nobody was found.
  """

  def __init__(
    self, skeleton: skeletons.Skeleton, image_units: str, *, needs_image: bool
  ):
    """`image_units` is "fraction" (0 to 1) or "pixel"; of `image` in an npz."""
    if image_units not in ("fraction", "pixel"):
      raise ValueError(
        f"config.predict.image_units is {image_units!r}, expected 'fraction' or "
        "'pixel'."
      )
    self.body = skeleton
    self.skeleton = skeleton.name
    self.image_units = image_units
    self.needs_image = needs_image

  def read(self, clip: Clip) -> RawClip:
    """See `raw.Dataset`; a clip without `pose` stands at the origin."""
    header = video.probe(clip.video)
    if clip.pose and clip.pose.endswith(".skeleton"):
      if self.skeleton != ntu.NTU.skeleton:
        raise BadClip(
          f"its joints are those of {ntu.NTU.skeleton}, expected {self.skeleton}, "
          "which the network was trained on"
        )
      return ntu.NTU(pathlib.Path(clip.pose).parent).read(clip)
    if clip.pose:
      pose, image_joints = self._arrays(clip.pose, header)
    else:
      count = sum(1 for _ in video.read_frames(clip.video))
      shape = (count, 1, self.body.num_joints)
      pose = np.zeros((*shape, 3), np.float32)
      image_joints = np.full((*shape, 2), np.nan, np.float32)
    return RawClip(
      pose, image_joints, lambda: video.read_frames(clip.video), header.fps
    )

  def _arrays(self, path: str, header: video.Probe) -> tuple[np.ndarray, np.ndarray]:
    """World and image joints of an npz, [T, persons, J, 3] and [T, persons, J, 2]."""
    try:
      with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        found = {k: file[k] for k in ("world", "image") if k in file}
        listed = list(file)
    except (OSError, ValueError, EOFError, TypeError, *_DAMAGED) as e:
      raise BadClip(
        "it cannot be read as npz; expected arrays `world` and `image`, or a file "
        "whose name ends in .skeleton"
      ) from e
    needed = ("world", "image") if self.needs_image else ("world",)
    for name in needed:
      if name not in found:
        raise BadClip(f"it holds the arrays {listed}, expected {list(needed)}")
    pose = self._joints("world", found["world"], 3)
    if "image" not in found:
      return pose, np.full((*pose.shape[:-1], 2), np.nan, np.float32)
    image_joints = self._joints("image", found["image"], 2)
    if image_joints.shape[:-1] != pose.shape[:-1]:
      raise BadClip(
        f"`world` {list(found['world'].shape)} and `image` "
        f"{list(found['image'].shape)} differ in frames, persons or joints"
      )
    if self.image_units == "fraction":
      if np.nanmax(np.abs(image_joints)) > 10:
        raise BadClip(
          f"`image` reaches {np.nanmax(image_joints):.0f}, expected fractions of the "
          "width and height: set config.predict.image_units=pixel"
        )
      image_joints = image_joints * np.float32([header.width, header.height])
    return pose, image_joints

  def _joints(self, name: str, joints: np.ndarray, channels: int) -> np.ndarray:
    count = self.body.num_joints
    if (
      joints.dtype.kind != "f"
      or joints.ndim not in (3, 4)
      or joints.shape[-2] != count
      or joints.shape[-1] < channels
      or 0 in joints.shape
    ):
      raise BadClip(
        f"`{name}` is {joints.dtype} {list(joints.shape)}, expected float "
        f"[T, {count}, {channels}], the joints of {self.skeleton} in their order"
      )
    joints = joints[..., :channels].astype(np.float32)
    joints = joints if joints.ndim == 4 else joints[:, None]
    found = np.isfinite(joints).all(axis=-1, keepdims=True)
    if not found.any():
      raise BadClip(f"`{name}` has nobody in any frame")
    return np.where(found, joints, np.float32(np.nan))
