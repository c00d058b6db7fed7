"""Joints in the frames that the network sees, to place attention on them."""

import numpy as np

from vpn_jax.datasets import skeletons


def frame_joints(
  joints: np.ndarray,
  visibility: np.ndarray,
  squares: np.ndarray,
  flip: bool,
  skeleton: skeletons.Skeleton,
) -> np.ndarray:
  """Joints as fractions of the square that each frame shows.

  Args:
    joints: float [F, persons, J, 2], pixels of the record's frames, x to the right and
      y down; NaN where not seen.
    visibility: float [F, persons, J], 0 to 1; NaN where unknown.
    squares: left, top and side of what is shown of each frame, int [F, 3]
      (`regions.Cut`).
    flip: whether the frames are mirrored: x and the sides of the body follow.
    skeleton: of the joints.
  Returns: float32 [F, persons, J, 3]: x and y, 0 to 1 inside the square, and the score,
    the visibility or, where it is unknown, 1. All three are 0 where a joint was not
    seen.
  """
  seen = np.isfinite(joints).all(axis=-1)
  corner, side = squares[:, None, None, :2], squares[:, None, None, 2:]
  at = (joints - corner) / side
  score = np.where(np.isfinite(visibility), visibility, 1.0)
  made = np.concatenate([at, score[..., None]], axis=-1)
  made = np.where(seen[..., None], made, 0.0).astype(np.float32)
  if not flip:
    return made
  made = made[:, :, skeleton.mirror()]
  made[..., 0] = np.where(made[..., 2] > 0, 1.0 - made[..., 0], 0.0)
  return made
