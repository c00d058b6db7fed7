"""The person crop: one square box per clip, from the joints in the image. Numpy, cv2.

One box for the whole clip, not one per frame: the crop does not move, so motion in it
is the person's. With two people it holds both.
"""

import cv2
import numpy as np

from vpn_jax.raw import BadClip

VERSION = 1  # raised when the same recipe would give another crop
Box = tuple[float, float, float, float]  # left, top, right, bottom, pixels of the video


def recipe(
  kind: str = "joints", *, size: int = 256, slack: float = 0.1, head_room: float = 0.1
) -> dict:
  """The settings of a crop as plain values; they go to the index and are compared.

  Args:
    kind: "joints" for the box around the person; "full" for the whole frame, made
      square as every box is (the shorter side is padded).
    size: side of the crop in pixels.
    slack: part of the joints' extent added on each side.
    head_room: part of their height added above that, because skeletons end at the
      middle of the head.
  Raises: ValueError for a kind or a number that makes no crop.
  Source: a box with slack around the person: the paper's section 4.1 ("human crop");
    how much slack is not given.
  """
  if kind not in ("joints", "full"):
    raise ValueError(f"crop is {kind!r}, expected 'joints' or 'full'.")
  if size < 8:
    raise ValueError(f"crop size is {size} pixels, expected 8 or more.")
  if slack < 0 or head_room < 0:
    raise ValueError(f"slack {slack} and head_room {head_room} must not be negative.")
  return {
    "kind": kind,
    "size": int(size),
    "slack": float(slack),
    "head_room": float(head_room),
    "padding": "edge",
    "version": VERSION,
  }


def full_box(width: int, height: int) -> Box:
  """The square around the whole frame, centred on it."""
  side = max(width, height)
  left, top = -((side - width) // 2), -((side - height) // 2)
  return float(left), float(top), float(left + side), float(top + side)


def joint_box(
  image_joints: np.ndarray,
  width: int,
  height: int,
  *,
  slack: float = 0.1,
  head_room: float = 0.1,
) -> Box:
  """The square around everybody over the whole clip.

  A joint beyond the border counts as on the border, since no pixel of it is there; the
  square may still reach beyond the border, so that the person stays in its middle.
  NaN is ignored, and so is a joint that leaps by more than the person's size for one
  frame and comes back: no limb does that, trackers do.

  Args:
    image_joints: float [F, persons, J, 2], pixels of the video.
    width: of the video, pixels.
    height: of the video, pixels.
    slack: see `recipe`.
    head_room: see `recipe`.
  Returns: left, top, right, bottom; whole numbers, right - left == bottom - top.
  Raises: BadClip when no joint lies inside the image.
  """
  joints = np.where(_leaps(image_joints)[..., None], np.nan, image_joints)
  joints = joints.reshape(-1, 2).astype(np.float64)
  joints = joints[np.isfinite(joints).all(axis=-1)]
  limit = np.array([width, height], np.float64)
  if not ((joints >= 0) & (joints <= limit)).all(axis=-1).any():
    raise BadClip(f"no joint lies inside the {width}x{height} image")
  joints = np.clip(joints, 0.0, limit)
  low, high = joints.min(axis=0), joints.max(axis=0)
  extent = (high - low).max()
  low, high = low - slack * extent, high + slack * extent
  low[1] -= head_room * extent
  side = max(np.ceil((high - low).max()), 16.0)  # at least 16 pixels of video
  left, top = np.floor((low + high - side) / 2)
  return float(left), float(top), float(left + side), float(top + side)


def _leaps(image_joints: np.ndarray) -> np.ndarray:
  """Joints out of place for one frame: bool [F, persons, J].

  Out of place: farther from both the frame before and the one after than the person
  is large (median over the clip), while these two agree within a quarter of that.
  """
  out = np.zeros(image_joints.shape[:-1], bool)
  if len(image_joints) < 3:
    return out
  joints = np.asarray(image_joints, np.float64)
  seen = np.isfinite(joints).all(axis=-1, keepdims=True)
  low = np.where(seen, joints, np.inf).min(axis=2)  # [F, persons, 2]
  high = np.where(seen, joints, -np.inf).max(axis=2)
  for person in range(joints.shape[1]):
    there = seen[:, person].any(axis=(1, 2))
    if not there.any():
      continue
    size = np.median((high - low)[there, person].max(axis=-1))
    x = joints[:, person]
    before = np.linalg.norm(x[1:-1] - x[:-2], axis=-1)
    after = np.linalg.norm(x[1:-1] - x[2:], axis=-1)
    across = np.linalg.norm(x[2:] - x[:-2], axis=-1)
    leap = (before > size) & (after > size) & (across < size / 4)
    out[1:-1, person] = leap
  return out


def crop_and_resize(frame: np.ndarray, box: Box, size: int) -> np.ndarray:
  """Cuts a square out of a frame and scales it.

  Args:
    frame: uint8 [H, W, 3].
    box: whole numbers; where it reaches beyond the frame, the frame's edge is repeated.
    size: side of the result, pixels.
  Returns: uint8 [size, size, 3]; shrunk by area averaging, enlarged linearly.
  """
  height, width = frame.shape[:2]
  left, top, right, bottom = (int(v) for v in box)
  x0, x1 = max(left, 0), min(right, width)
  y0, y1 = max(top, 0), min(bottom, height)
  if x0 >= x1 or y0 >= y1:
    raise ValueError(f"box {box} lies outside the {width}x{height} frame.")
  cut = frame[y0:y1, x0:x1]
  margins = (y0 - top, bottom - y1, x0 - left, right - x1)
  if any(margins):
    cut = cv2.copyMakeBorder(cut, *margins, cv2.BORDER_REPLICATE)
  shrink = cut.shape[0] > size
  return cv2.resize(
    cut, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
  )


def to_crop(image_joints: np.ndarray, box: Box, size: int) -> np.ndarray:
  """Pixels of the video -> pixels of the crop, float32 of the same shape [..., 2]."""
  left, top, right, bottom = box
  scale = np.array([size / (right - left), size / (bottom - top)])
  joints = np.asarray(image_joints, np.float64)
  return ((joints - np.array([left, top])) * scale).astype(np.float32)
