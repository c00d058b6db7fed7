"""The person crop: a square around the person, from joints or detections.

By default a clip has one box, so that all motion in the crop is the person's. The box
may follow the person instead. Two people share a box.
"""

import cv2
import numpy as np
import scipy.ndimage

from vpn_jax.datasets.base import BadClip

VERSION = 2  # raised when the same recipe gives another crop
KINDS = ("joints", "boxes", "full", "none")
Box = tuple[float, float, float, float]  # left, top, right, bottom, pixels of the video


def recipe(
  kind: str = "joints",
  *,
  size: int = 256,
  slack: float = 0.1,
  head_room: float = 0.1,
  moving: int = 0,
) -> dict:
  """The settings of a crop as plain values, which the index stores.

  Args:
    kind: "joints" for the box around the joints of the person; "boxes" for the box
      around detections; "full" for the whole frame, padded to a square; "none" for
      records without frames, to which the other settings do not apply.
    size: side of the crop in pixels.
    slack: margin on each side, as a fraction of the person's extent.
    head_room: further margin at the top, because skeletons end at the middle of the
      head. Detections include the head, so theirs is 0.
    moving: 0 for one box per clip; else the box follows the person, smoothed over this
      many frames.
  Raises: ValueError for an unknown kind or a number out of range.
  Source: "human crop" in section 4.1 of the paper.
  Reading: a square box with slack; the paper does not say how much.
  """
  if kind not in KINDS:
    raise ValueError(f"crop is {kind!r}, expected one of {KINDS}.")
  if kind == "none":
    return {"kind": kind, "version": VERSION}
  if size < 8:
    raise ValueError(f"crop size is {size} pixels, expected 8 or more.")
  if slack < 0 or head_room < 0 or moving < 0:
    raise ValueError(
      f"slack {slack}, head_room {head_room} and moving {moving} must not be negative."
    )
  return {
    "kind": kind,
    "size": int(size),
    "slack": float(slack),
    "head_room": float(head_room) if kind == "joints" else 0.0,
    "moving": int(moving),
    "padding": "edge",
    "version": VERSION,
  }


def clip_boxes(recipe: dict, points: np.ndarray, width: int, height: int) -> np.ndarray:
  """The crop of every frame of a clip.

  Args:
    recipe: as `recipe` returns it.
    points: float [F, people, K, 2], pixels of the video: joints, or the corners of
      detected boxes; NaN where unknown. With kind "full" only F matters.
    width, height: of the video, pixels.
  Returns: float32 [F, 4], integers; equal rows unless the crop moves.
  Raises: BadClip when nobody is inside the image.
  """
  if recipe["kind"] == "full":
    return np.tile(np.float32(full_box(width, height)), (len(points), 1))
  about = {"slack": recipe["slack"], "head_room": recipe["head_room"]}
  if recipe["moving"]:
    return moving_boxes(points, width, height, window=recipe["moving"], **about)
  box = joint_box(points, width, height, **about)
  return np.tile(np.float32(box), (len(points), 1))


def full_box(width: int, height: int) -> Box:
  """The square around the whole frame, with the same centre."""
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

  A joint beyond the border counts as on the border, where its last pixels are; the
  square may still reach beyond the border, so that the person stays in its middle.
  NaN is ignored, and so is a joint that leaps by more than the person's size for one
  frame and returns, which trackers do and limbs do not.

  Args:
    image_joints: float [F, persons, J, 2], pixels of the video.
    width, height: of the video, pixels.
    slack, head_room: see `recipe`.
  Returns: left, top, right, bottom; integers, right - left == bottom - top.
  Raises: BadClip when no joint lies inside the image.
  """
  low, high = _extents(image_joints, width, height)
  low, high = np.nanmin(low, axis=0), np.nanmax(high, axis=0)
  return tuple(_square(*_add_slack(low, high, slack, head_room)).tolist())


def moving_boxes(
  image_joints: np.ndarray,
  width: int,
  height: int,
  *,
  window: int,
  slack: float = 0.1,
  head_room: float = 0.1,
) -> np.ndarray:
  """A square for each frame that follows everybody smoothly.

  Each square contains the people of its own frame: the smallest and largest coordinates
  are taken over the `window` frames around it and then averaged over as many, so that
  the average never cuts into the extent of the frame itself. Frames without anybody are
  interpolated.

  Args: as `joint_box`; `window` in frames, rounded up to an odd number.
  Returns: float32 [F, 4], integers.
  Raises: BadClip when no joint lies inside the image.
  """
  low, high = _extents(image_joints, width, height)
  low, high = _add_slack(low, high, slack, head_room)
  frames, seen = np.arange(len(low)), np.isfinite(low[:, 0])
  sides = []
  for side, filter_ in (
    (low, scipy.ndimage.minimum_filter1d),
    (high, scipy.ndimage.maximum_filter1d),
  ):
    side = np.stack([np.interp(frames, frames[seen], x[seen]) for x in side.T], axis=-1)
    wide = filter_(side, window | 1, axis=0, mode="nearest")
    sides.append(scipy.ndimage.uniform_filter1d(wide, window | 1, 0, mode="nearest"))
  return _square(*sides).astype(np.float32)


def _extents(image_joints: np.ndarray, width: int, height: int):
  """The smallest and largest coordinates in each frame, float64 [F, 2]; NaN if none."""
  joints = np.where(_leaps(image_joints)[..., None], np.nan, image_joints)
  joints = joints.reshape(len(joints), -1, 2).astype(np.float64)
  seen = np.isfinite(joints).all(axis=-1, keepdims=True)
  limit = np.array([width, height], np.float64)
  if not (seen[..., 0] & ((joints >= 0) & (joints <= limit)).all(axis=-1)).any():
    raise BadClip(f"no joint lies inside the {width}x{height} image")
  joints = np.clip(joints, 0.0, limit)
  nobody = ~seen.any(axis=1)
  low = np.where(seen, joints, np.inf).min(axis=1)
  high = np.where(seen, joints, -np.inf).max(axis=1)
  return np.where(nobody, np.nan, low), np.where(nobody, np.nan, high)


def _add_slack(low, high, slack: float, head_room: float):
  extent = (high - low).max(axis=-1, keepdims=True)
  above = np.array([0.0, head_room])
  return low - (slack + above) * extent, high + slack * extent


def _square(low: np.ndarray, high: np.ndarray) -> np.ndarray:
  """Corners [..., 2] -> the square around them [..., 4], integers."""
  side = np.maximum(np.ceil((high - low).max(axis=-1, keepdims=True)), 16.0)
  corner = np.floor((low + high - side) / 2)
  return np.concatenate([corner, corner + side], axis=-1)


def _leaps(image_joints: np.ndarray) -> np.ndarray:
  """Finds joints that leap away for a single frame, bool [F, persons, J].

  Such a joint is farther from its positions in the frames before and after than the
  size of the person (median over the clip), while these two differ by less than a
  quarter of that size.
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
  """Cuts a square out of a frame and resizes it.

  Args:
    frame: uint8 [H, W, 3].
    box: integers; where it reaches beyond the frame, the edge is repeated.
    size: side of the result, pixels.
  Returns: uint8 [size, size, 3]; area averaging shrinks it, linear
    interpolation enlarges it.
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


def to_crop(image_joints: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
  """Maps joints from pixels of the video to pixels of the crop.

  Args:
    image_joints: float [F, persons, J, 2].
    boxes: float [F, 4], or [4] for all frames.
    size: side of the crop, pixels.
  Returns: float32 of the same shape.
  """
  corner, scale = _placement(boxes, size)
  return ((np.asarray(image_joints, np.float64) - corner) * scale).astype(np.float32)


def from_crop(image_joints: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
  """Maps joints from pixels of the crop to pixels of the video."""
  corner, scale = _placement(boxes, size)
  return (np.asarray(image_joints, np.float64) / scale + corner).astype(np.float32)


def _placement(boxes, size: int) -> tuple[np.ndarray, np.ndarray]:
  boxes = np.atleast_2d(np.asarray(boxes, np.float64))[:, None, None]
  return boxes[..., :2], size / (boxes[..., 2:] - boxes[..., :2])
