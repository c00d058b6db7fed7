"""Regions of a frame: the body or a hand, as squares of pixels."""

import dataclasses

import cv2
import numpy as np

from vpn_jax.datasets import skeletons
from vpn_jax.records import record_format

HANDS = ("left_hand", "right_hand")
REGIONS = ("body", *HANDS)


class NoHandsError(ValueError):
  """A hand is requested from a record without image joints."""


@dataclasses.dataclass(frozen=True)
class Cut:
  """Squares to cut out of the frames of a clip.

  Attributes:
    squares: left, top and side in pixels of the record's frame, int [F, 3].
    size: side to which they are resized, pixels.
  """

  squares: np.ndarray
  size: int


def squares(
  record: record_format.Record,
  region: str,
  window: np.ndarray,
  *,
  frame_side: int,
  hand_size: float,
  skeleton: skeletons.Skeleton,
) -> np.ndarray:
  """Locates a region in the frames of a window, int [F, 3]: left, top, side.

  The body is the record's whole frame. A hand is a square around its 2D joint, shifted
  to stay inside the frame.

  Args:
    record: the hands are those of its first person.
    region: one of `REGIONS`.
    window: indices of the frames, int [F].
    frame_side: of the record, pixels.
    hand_size: side of a hand's square, as a fraction of `frame_side`.
    skeleton: names the joints of the hands.
  Raises: NoHandsError for a hand of a record without any image joints.
  Source: the hand streams of Das et al., WACV 2019.
  Reading: the side is not given. A joint is interpolated over the frames where it was
    not seen; a hand that was never seen gives the centre of the frame.
  """
  if region == "body":
    return np.tile([0, 0, frame_side], (len(window), 1))
  if not np.isfinite(record.image_joints).any():
    raise NoHandsError(
      f"{record.name} has no image joints, expected those of the hands for {region}: "
      "leave the hands out of config.data.example.inputs and region, or prepare "
      "records with 2D joints, such as --config.data.pose=mediapipe."
    )
  joint = skeleton.hands()[HANDS.index(region)]
  track = record.image_joints[:, 0, joint]  # [frames of the clip, 2]
  seen = np.flatnonzero(np.isfinite(track).all(axis=-1))
  center = np.full((len(window), 2), frame_side / 2)
  if len(seen):
    center = np.stack([np.interp(window, seen, xy) for xy in track[seen].T], axis=-1)
  side = max(1, round(frame_side * hand_size))
  corner = np.floor(center - side / 2 + 0.5)
  corner = np.clip(corner, 0, frame_side - side).astype(np.int64)
  return np.concatenate([corner, np.full((len(window), 1), side)], axis=-1)


def mirrored(region: str) -> str:
  """The region that appears as this one in a mirror."""
  return {"left_hand": "right_hand", "right_hand": "left_hand"}.get(region, region)


def inside(squares: np.ndarray, part: tuple[int, int, int]) -> np.ndarray:
  """The same part of all squares.

  Args:
    squares: left, top and side, int [F, 3].
    part: left, top and side relative to each square, pixels of the frame.
  Returns: int [F, 3], as `squares`.
  """
  left, top, side = part
  corners = squares[:, :2] + np.array([[left, top]])
  return np.concatenate([corners, np.full((len(squares), 1), side)], axis=1)


def decode(
  blobs: list[bytes], cuts: dict[str, Cut], flip: bool
) -> dict[str, np.ndarray]:
  """Decodes frames and cuts out regions.

  Args:
    blobs: JPEG of each frame; repeated frames are decoded once.
    cuts: by name; a frame is decoded once for all of them.
    flip: mirror left and right.
  Returns: uint8 RGB [F, size, size, 3] of each cut, by its name.
  """
  made = {
    name: np.empty((len(blobs), cut.size, cut.size, 3), np.uint8)
    for name, cut in cuts.items()
  }
  first: dict[tuple, int] = {}
  for i, blob in enumerate(blobs):
    key = blob, *(tuple(cut.squares[i].tolist()) for cut in cuts.values())
    if (j := first.setdefault(key, i)) != i:
      for frames in made.values():
        frames[i] = frames[j]
      continue
    frame = record_format.decode_frame(blob)
    for name, cut in cuts.items():
      left, top, side = cut.squares[i]
      _resize(frame[top : top + side, left : left + side], made[name][i])
  if flip:
    made = {name: np.ascontiguousarray(x[:, :, ::-1]) for name, x in made.items()}
  return made


def _resize(frame: np.ndarray, into: np.ndarray) -> None:
  """Resizes a square frame into another array."""
  if frame.shape == into.shape:
    into[:] = frame
    return
  # Area averaging takes several times as long as decoding, and where fewer than two
  # pixels become one, linear interpolation uses all of them, too.
  halves = frame.shape[0] >= 2 * into.shape[0]
  how = cv2.INTER_AREA if halves else cv2.INTER_LINEAR
  cv2.resize(frame, into.shape[:2], dst=into, interpolation=how)
