"""Joints that were not seen: a plausible position instead of none.

A network that takes 0 for a joint that was not seen finds it at the body's centre, far
from where it is (docs/results.md has what that costs). Records have short gaps filled
along a line already (`make_record.fill_gaps`); here is what is left.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.datasets import skeletons

CHOICES = ("zero", "fill")

Array = np.ndarray | jax.Array


def fill(joints: Array, skeleton: skeletons.Skeleton) -> Array:
  """Fills in what was not seen from the nearest frame, then from the nearest joint.

  A joint that is seen in some frame of the clip has in the others its position in the
  nearest of these, the earlier one of two. One that is never seen is where the nearest
  joint along the bones is: its parent, else in the middle of its children, and so on.

  Args:
    joints: float [..., F, persons, J, C], NaN where not seen; NumPy or JAX, where it
      can be traced.
    skeleton: of the joints.
  Returns: the same shape and type; a person who is never seen stays NaN.
  """
  xp = np if isinstance(joints, np.ndarray) else jnp
  seen = xp.isfinite(joints).all(axis=-1)  # [..., F, persons, J]
  if xp is np and seen.all():
    return joints
  over_time = _from_nearest_frame(joints, seen, xp)
  known = seen.any(axis=-3, keepdims=True)
  return _from_nearest_joint(over_time, known, skeleton, xp)


def _from_nearest_frame(joints: Array, seen: Array, xp: ModuleType) -> Array:
  frames = joints.shape[-4]
  t = xp.arange(frames).reshape((1,) * (seen.ndim - 3) + (frames, 1, 1))
  before = _running_max(xp.where(seen, t, -1))
  mirrored = xp.where(seen, frames - 1 - t, -1)[..., ::-1, :, :]
  after = frames - 1 - _running_max(mirrored)[..., ::-1, :, :]  # `frames` for none
  earlier = (before >= 0) & ((after == frames) | (t - before <= after - t))
  nearest = xp.clip(xp.where(earlier, before, after), 0, frames - 1)
  return xp.take_along_axis(joints, nearest[..., None], axis=-4)


def _running_max(x: Array) -> Array:
  """The maximum up to each frame, of [..., F, persons, J]."""
  axis = x.ndim - 3
  if isinstance(x, np.ndarray):
    return np.maximum.accumulate(x, axis=axis)
  return jax.lax.cummax(x, axis=axis)


def _from_nearest_joint(
  joints: Array, known: Array, skeleton: skeletons.Skeleton, xp: ModuleType
) -> Array:
  """Spreads the joints that are known, bool [..., 1, persons, J], along the bones."""
  parents = skeleton.parents()
  own = np.arange(skeleton.num_joints)
  children = ((parents[None] == own[:, None]) & (own[None] != own[:, None])).astype(
    np.float32
  )
  joints = xp.where(known[..., None], joints, 0.0)
  for _ in range(2 * int(skeleton.hops().max()) + 1):  # the longest way in the tree
    if xp is np and known.all():
      break
    count = known.astype(np.float32) @ children.T
    middle = xp.einsum("jk,...kc->...jc", children, joints)
    middle = middle / xp.maximum(count, 1.0)[..., None]
    of_parent = known[..., parents]
    value = xp.where(of_parent[..., None], joints[..., parents, :], middle)
    found = ~known & (of_parent | (count > 0))
    joints = xp.where(found[..., None], value, joints)
    known = known | found
  return xp.where(known[..., None], joints, np.nan).astype(np.float32)
