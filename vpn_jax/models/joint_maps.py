"""Joints in the frames on the grid of f: maps of where they are, and reads of f there.

The attention of the paper is computed from 3D poses that share no pixel with the
frames. Here the joints in the image are projected onto the [T, M, N] grid instead.
"""

import jax
import jax.numpy as jnp
import numpy as np


def gaussian_maps(
  frame_joints: jax.Array, grid: tuple[int, int, int], sigma: float
) -> tuple[jax.Array, jax.Array]:
  """A Gaussian around each joint on the grid of f.

  Args:
    frame_joints: float [B, F, J, 3], x and y as fractions of the frame and the score.
    grid: (T, M, N) of f.
    sigma: standard deviation, cells.
  Returns: maps float [B, T, J, M, N], the mean over the frames of each step weighted by
    the score, 1 where a joint rests in the centre of a cell and 0 where it was not
    seen; and the mean score of each step, float [B, T, J].
  """
  return _on_grid(frame_joints, grid, lambda d: jnp.exp(-(d**2) / (2 * sigma**2)))


def bilinear_maps(
  frame_joints: jax.Array, grid: tuple[int, int, int]
) -> tuple[jax.Array, jax.Array]:
  """Weights of the cells that read f at each joint by bilinear interpolation.

  Args and returns: as `gaussian_maps`; the cells of a joint inside the frame sum to 1.
    A joint outside reads the nearest cells at the edge.
  """

  def triangle(d: jax.Array) -> jax.Array:
    return jnp.maximum(0.0, 1.0 - jnp.abs(d))

  return _on_grid(frame_joints, grid, triangle, clip=True)


def _on_grid(frame_joints, grid, kernel, clip=False) -> tuple[jax.Array, jax.Array]:
  """Applies a separable kernel of the distance in cells, and averages over steps."""
  t, m, n = grid
  steps = _steps_of_frames(frame_joints.shape[1], t)  # [T, F]
  x, y, score = jnp.moveaxis(frame_joints, -1, 0)  # [B, F, J] each

  def along(at: jax.Array, cells: int) -> jax.Array:
    at = at * cells - 0.5  # the centre of cell i is i
    if clip:
      at = jnp.clip(at, 0.0, cells - 1.0)
    centres = jnp.arange(cells, dtype=at.dtype)[None, None, None]
    return kernel(at[..., None] - centres)

  rows, columns = along(y, m) * score[..., None], along(x, n)
  maps = jnp.einsum("tf,bfjm,bfjn->btjmn", steps, rows, columns)
  total = jnp.einsum("tf,bfj->btj", steps, score)
  maps = maps / jnp.maximum(total, 1e-6)[..., None, None]
  return maps, total / steps.sum(axis=1)[None, :, None]


def _steps_of_frames(frames: int, steps: int) -> np.ndarray:
  """Which frames belong to each step of f, float32 [T, F] of 0 and 1.

  Raises: ValueError for fewer frames than steps.
  """
  if frames < steps:
    raise ValueError(
      f"got joints of {frames} frames for {steps} steps of f, expected those of every "
      "frame: use the frame_joints of the same window."
    )
  step = np.arange(frames) * steps // frames
  return (step[None] == np.arange(steps)[:, None]).astype(np.float32)


def around_joints(
  spatial_attention: jax.Array, joint_weights: jax.Array, maps: jax.Array,
  seen: jax.Array,
) -> jax.Array:  # fmt: skip
  """Spatial attention that lies around the joints, step by step.

  Args:
    spatial_attention: A_S, float [B, M, N], which stays where no joint was seen.
    joint_weights: w, float [B, J], 0 to 1.
    maps, seen: G and its scores, of `gaussian_maps`.
  Returns: float [B, T, M, N]: v (1 - prod_j (1 - w_j G_j)) + (1 - v) A_S, where v is
    the score of the joint that is seen best. Joints that lie together do not add up.
  """
  weighted = joint_weights[:, None, :, None, None] * maps  # [B, T, J, M, N]
  around = 1.0 - jnp.prod(1.0 - weighted, axis=2)
  there = jnp.max(seen, axis=-1)[..., None, None]
  return there * around + (1.0 - there) * spatial_attention[:, None]


def read_parts(
  features: jax.Array, maps: jax.Array, seen: jax.Array,
  parts: tuple[tuple[int, ...], ...],
) -> jax.Array:  # fmt: skip
  """Reads f at the joints, and averages over the joints of each part and over time.

  Args:
    features: f or f', float [B, T, M, N, C].
    maps, seen: of `bilinear_maps`.
    parts: positions in J of the joints of each part.
  Returns: float [B, P, C], means weighted by the scores. A part that is never seen
    reads the mean of f.
  """
  joints = maps.shape[2]
  belongs = np.zeros((len(parts), joints), np.float32)
  for row, part in zip(belongs, parts):
    row[list(part)] = 1.0
  cells = jnp.einsum("pj,btj,btjmn->btpmn", belongs, seen, maps)
  total = jnp.einsum("pj,btj->bp", belongs, seen)
  read = jnp.einsum("btpmn,btmnc->bpc", cells, features)
  mean = features.mean(axis=(1, 2, 3))[:, None]
  total = total[..., None]
  return jnp.where(total > 1e-6, read / jnp.maximum(total, 1e-6), mean)
