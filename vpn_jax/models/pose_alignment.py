"""Poses turned to face the camera."""

import jax
import jax.numpy as jnp

ALIGNMENTS = ("view", "body", "upright")
BY = ("first", "mean")
# Metres; a shorter hip line in the horizontal plane, or trunk, has no direction.
SHORTEST = 0.01


def align_pose(
  pose: jax.Array,
  left_hip: int,
  right_hip: int,
  how: str,
  shoulders: tuple[int, int] = (),
  by: str = "first",
) -> jax.Array:
  """Turns poses about the vertical until the hip line lies in the image plane.

  Other cameras then see nearly the same poses. Bone lengths and the angles between
  bones do not change, nor do heights, but for "upright".

  Args:
    pose: P, float [B, S, J, 3], metres, camera axes with y vertical; people one after
      the other along J. Joints that are not known are zeros.
    left_hip, right_hip: positions in J of the hips of the main actor.
    how: "view" turns the whole clip by one angle, as `by` says; "body" turns each step
      by its own angle, and one without hips like the step before; "upright" turns the
      whole clip until the trunk of the first step that shows hips and shoulders is
      vertical and its hips are in the image plane. A clip without hips stays as it is.
    shoulders: positions of the left and the right one, for "upright".
    by: the angle of "view": "first" for that of the first step that shows both hips,
      "mean" for that of the mean hip line over all such steps, which noise moves less.
  Returns: the same shape.
  Raises: ValueError for another `how`, or "upright" without shoulders.
  Source: as the preprocessing of NTU RGB+D (Shahroudy et al., CVPR 2016, section 4),
    which also turns the trunk upright.
  Reading: the paper takes the pose in camera axes; this is not applied to its rows.
  """
  if how not in ALIGNMENTS:
    raise ValueError(
      f"config.model.pose.align is {how!r}, expected one of "
      f"{('none', 'auto', *ALIGNMENTS)}."
    )
  if by not in BY:
    raise ValueError(f"config.model.pose.align_by is {by!r}, expected one of {BY}.")
  if how == "upright":
    if len(shoulders) != 2:
      raise ValueError(
        f"align_pose got shoulders {shoulders}, expected a left and a right one: "
        "'upright' needs them."
      )
    return _upright(pose, (left_hip, right_hip), shoulders)
  line = pose[:, :, left_hip] - pose[:, :, right_hip]  # [B, S, 3]
  length = jnp.hypot(line[..., 0], line[..., 2])
  known = [(pose[:, :, hip] != 0).any(axis=-1) for hip in (left_hip, right_hip)]
  seen = (length > SHORTEST) & known[0] & known[1]
  if how == "view" and by == "mean":
    shown = seen[..., None].astype(line.dtype)
    mean = (line * shown).sum(axis=1, keepdims=True)  # [B, 1, 3]
    mean = mean / jnp.maximum(shown.sum(axis=1, keepdims=True), 1.0)
    directed = jnp.hypot(mean[..., 0], mean[..., 2]) > SHORTEST  # [B, 1]
    line = jnp.where(directed[..., None], mean, line)
    length = jnp.hypot(line[..., 0], line[..., 2])
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


def _upright(pose: jax.Array, hips: tuple, shoulders: tuple) -> jax.Array:
  """The whole clip in the axes of a trunk: across the hips, up, and out of both.

  Up keeps the sign that it has in the camera's axes, where y may point down.
  """
  across = pose[:, :, hips[0]] - pose[:, :, hips[1]]  # [B, S, 3]
  low, high = (pose[:, :, jnp.array(pair)] for pair in (hips, shoulders))
  up = high.mean(axis=2) - low.mean(axis=2)
  up = up * jnp.where(up[..., 1:2] < 0, -1.0, 1.0)
  height = jnp.linalg.norm(up, axis=-1, keepdims=True)
  y = up / jnp.maximum(height, SHORTEST)
  across = across - (across * y).sum(axis=-1, keepdims=True) * y
  width = jnp.linalg.norm(across, axis=-1, keepdims=True)
  x = across / jnp.maximum(width, SHORTEST)
  axes = jnp.stack([x, y, jnp.cross(x, y)], axis=-2)  # [B, S, 3, 3]
  known = [(joints != 0).any(axis=-1).all(axis=-1) for joints in (low, high)]
  seen = jnp.minimum(height, width)[..., 0] > SHORTEST  # [B, S]
  seen = seen & known[0] & known[1]
  first = jnp.argmax(seen, axis=1)[:, None]
  turn = jnp.take_along_axis(axes, first[..., None, None], axis=1)
  same = jnp.eye(3, dtype=pose.dtype)[None, None]
  turn = jnp.where(seen.any(axis=1)[:, None, None, None], turn, same)
  return jnp.einsum("bsjx,byx->bsjy", pose, turn[:, 0])
