"""Poses turned to face the camera."""

import jax
import jax.numpy as jnp

ALIGNMENTS = ("view", "body")
# Metres; a shorter hip line in the horizontal plane has no direction.
SHORTEST = 0.01


def align_pose(pose: jax.Array, left_hip: int, right_hip: int, how: str) -> jax.Array:
  """Turns poses about the vertical until the hip line lies in the image plane.

  Other cameras then see nearly the same poses. Heights, bone lengths and the angles
  between bones do not change.

  Args:
    pose: P, float [B, S, J, 3], metres, camera axes with y vertical; people one after
      the other along J. Joints that are not known are zeros.
    left_hip, right_hip: positions in J of the hips of the main actor.
    how: "view" turns the whole clip by the angle of the first step that shows both
      hips; "body" turns each step by its own angle, and one without hips like the step
      before. A clip without hips stays as it is.
  Returns: the same shape.
  Raises: ValueError for another `how`.
  Source: as the preprocessing of NTU RGB+D (Shahroudy et al., CVPR 2016, section 4),
    which also turns the trunk upright.
  Reading: the paper takes the pose in camera axes; this is not applied to its rows.
  """
  if how not in ALIGNMENTS:
    raise ValueError(
      f"config.model.pose.align is {how!r}, expected one of {('none', *ALIGNMENTS)}."
    )
  line = pose[:, :, left_hip] - pose[:, :, right_hip]  # [B, S, 3]
  length = jnp.hypot(line[..., 0], line[..., 2])
  seen = length > SHORTEST
  first = jnp.argmax(seen, axis=1)[:, None]  # [B, 1]
  if how == "view":
    step = jnp.broadcast_to(first, seen.shape)
  else:
    order = jnp.where(seen, jnp.arange(seen.shape[1])[None], -1)
    step = jnp.maximum(jax.lax.cummax(order, axis=1), first)
  x, z, length, seen = (
    jnp.take_along_axis(value, step, axis=1)[..., None]
    for value in (line[..., 0], line[..., 2], length, seen)
  )
  cos = jnp.where(seen, x / jnp.where(seen, length, 1.0), 1.0)
  sin = jnp.where(seen, z / jnp.where(seen, length, 1.0), 0.0)
  px, py, pz = pose[..., 0], pose[..., 1], pose[..., 2]
  return jnp.stack([cos * px + sin * pz, py, cos * pz - sin * px], axis=-1)
