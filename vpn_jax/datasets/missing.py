"""Which joints of a file were seen: one rule for all readers.

Programs mark what they did not find in different ways: NaN, a score or a visibility of
0 or less, coordinates that are all 0, or all -1.
"""

import numpy as np

from vpn_jax.datasets import skeletons


def seen(
  joints: np.ndarray,
  scores: np.ndarray | None = None,
  skeleton: skeletons.Skeleton | None = None,
) -> np.ndarray:
  """Whether each joint was seen.

  Args:
    joints: float [..., J, 2 or 3], pixels, fractions or metres; [F, persons, J, 3] with
      a skeleton.
    scores: float [..., J], scores or visibilities; None, or all NaN, where unknown.
    skeleton: of joints in metres, where (0, 0, 0) may be the centre of the body: a
      middle joint stays if it is the only one at 0 where a person is first seen, as in
      files whose poses are centred on it. Without it, joints in metres at 0 are missing
      only where the whole body is.
  Returns: bool [..., J].
  """
  found = np.isfinite(joints).all(axis=-1) & (joints != -1).any(axis=-1)
  if scores is not None and not np.isnan(scores).all():
    found &= np.nan_to_num(scores, nan=0.0) > 0
  zero = (joints == 0).all(axis=-1)
  if joints.shape[-1] == 3 and skeleton is None:
    zero &= zero.all(axis=-1, keepdims=True)
  elif joints.shape[-1] == 3:
    zero &= ~_centres(zero, found, skeleton)
  return found & ~zero


def clear(joints: np.ndarray, found: np.ndarray) -> np.ndarray:
  """float32 [..., J, C] with NaN for joints that were not seen, as `found` says."""
  return np.where(found[..., None], joints, np.float32(np.nan)).astype(np.float32)


def _centres(
  zero: np.ndarray, found: np.ndarray, skeleton: skeletons.Skeleton
) -> np.ndarray:
  """Joints at 0 since their file puts the centre there, bool [F, persons, J].

  Args:
    zero: joints at (0, 0, 0), bool [F, persons, J].
    found: joints that are not missing for another reason, of the same shape.
    skeleton: its middle joints are those that a flip leaves in their place.
  """
  middle = skeleton.mirror() == np.arange(skeleton.num_joints)
  there = (found & ~zero).any(axis=-1)  # [F, persons]
  first = there.argmax(axis=0)
  at_first = zero[first, np.arange(zero.shape[1])]  # [persons, J]
  alone = there.any(axis=0) & (at_first.sum(axis=-1) == 1)
  return (at_first & middle & alone[:, None]) & there[..., None]
