"""The coordinates of a pose: in the world or in the image, relative to the body."""

import numpy as np

from vpn_jax.datasets import skeletons
from vpn_jax.records import record_format

COORDINATES = ("world", "image")


class NoJointsError(ValueError):
  """A record lacks joints in the coordinates that the network takes."""


def choose_coordinates(record: record_format.Record, asked: str = "") -> str:
  """The coordinates of a record's pose, "world" or "image".

  Args:
    record: the clip.
    asked: one of them, or "" for "world" where the record has it, else "image".
  Raises: NoJointsError when the record has no joints in those.
  """
  known = {
    "world": np.isfinite(record.pose).any(),
    "image": np.isfinite(record.image_joints).any(),
  }
  asked = asked or ("world" if known["world"] else "image")
  if not known[asked]:
    other = next((name for name in COORDINATES if name != asked and known[name]), "")
    remedy = f"set config.data.example.coordinates={other}" if other else "leave it out"
    raise NoJointsError(
      f"{record.name} has no joints in {asked} coordinates, which this network takes: "
      f"{remedy}, or prepare records that have them."
    )
  return asked


def center_pose(pose: np.ndarray, skeleton: skeletons.Skeleton) -> np.ndarray:
  """Moves the origin to the main actor's body in the first frame where it was seen.

  Args:
    pose: float [F, persons, J, 3], metres; NaN where a joint was not seen.
  Returns: float32 of the same shape; NaN becomes zero.
  Source: the released loaders; nothing else is normalized.
  Reading: of somebody whose origin is never seen, as of a person behind a desk, the
    middle of the joints that are.
  """
  origins = pose[:, 0, skeleton.origin_indices()].mean(axis=1)  # [F, 3]
  valid = np.isfinite(origins).all(axis=-1)
  origin = np.zeros(3, pose.dtype)
  if valid.any():
    origin = origins[np.argmax(valid)]
  elif (seen := np.isfinite(pose[:, 0]).all(axis=-1)).any():  # [F, J]
    first = np.argmax(seen.any(axis=-1))
    origin = pose[first, 0, seen[first]].mean(axis=0)
  return np.nan_to_num(pose - origin, nan=0.0).astype(np.float32)


def image_pose(
  joints: np.ndarray,
  visibility: np.ndarray,
  span: tuple[int, int],
  filled: np.ndarray | None = None,
) -> np.ndarray:
  """Poses in the image, relative to the box of the main actor over a window.

  Args:
    joints: float [F, persons, J, 2], pixels, x to the right and y down; NaN where not
      seen.
    visibility: float [F, persons, J], 0 to 1; NaN where unknown.
    span: first and last frame of the window, both inclusive.
    filled: positions, also of joints that were not seen, whose score stays 0; None for
      `joints`.
  Returns: float32 [F, persons, J, 3]: x and y from the middle of the box, in halves of
    its larger side, so that the main actor's are within -1 and 1; and the score, the
    visibility or, where it is unknown, 1. All three are 0 without a position, and
    without the main actor in the window.
  """
  seen = np.isfinite(joints).all(axis=-1)
  first, last = span
  actor = joints[first : last + 1, 0][seen[first : last + 1, 0]]
  if not len(actor):
    return np.zeros((*joints.shape[:-1], 3), np.float32)
  low, high = actor.min(axis=0), actor.max(axis=0)
  half = max(float((high - low).max()) / 2, 1.0)  # a point has no size
  score = np.where(np.isfinite(visibility), visibility, 1.0) * seen
  at = joints if filled is None else filled
  made = np.concatenate([(at - (low + high) / 2) / half, score[..., None]], axis=-1)
  known = np.isfinite(at).all(axis=-1)
  return np.where(known[..., None], made, 0.0).astype(np.float32)


def mirror_pose(pose: np.ndarray, skeleton: skeletons.Skeleton) -> np.ndarray:
  """Mirrors poses [S, persons, J, 3]: negates x, swaps left and right joints."""
  return pose[:, :, skeleton.mirror()] * np.array([-1, 1, 1], np.float32)
