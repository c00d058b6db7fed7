"""Max pooling; on a CPU without XLA's select-and-scatter."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from vpn_jax.ops import formulations, shifted_slices


def max_pool(x, window, strides, padding="SAME"):
  """Maximum over windows, any number of spatial axes.

  Args:
    x: float [B, *spatial, C].
    window: size along each spatial axis.
    strides: step along each spatial axis.
    padding: "SAME", or a pair (before, after) for each spatial axis, which never wins;
      each number less than the window.
  Returns: float [B, *spatial', C]; spatial' = ceil(spatial / strides) for "SAME". The
    gradient of a tie goes to the first maximum in row-major order.
  Raises: ValueError when the number of axes differs.
  """
  if not len(window) == len(strides) == x.ndim - 2:
    raise ValueError(
      f"max_pool got window {window} and strides {strides} for x {x.shape}: expected "
      f"{x.ndim - 2} numbers each, one per axis between batch and channels."
    )
  padding = shifted_slices.pairs(padding, x.shape[1:-1], window, strides)
  if formulations.formulation() == "plain":
    window, strides = (1, *window, 1), (1, *strides, 1)
    padding = ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)
  # Last axis first: then the first maximum of each axis is the first of the window.
  for axis in range(x.ndim - 2, 0, -1):
    if window[axis - 1] > 1 or strides[axis - 1] > 1:
      x = _max_pool_axis(x, axis, *(a[axis - 1] for a in (window, strides, padding)))
  return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool_axis(x, axis, window, stride, padding):
  """Maximum along one axis, as the maximum of shifted slices."""
  return functools.reduce(jnp.maximum, _shifted(x, axis, window, stride, padding))


def _shifted(x, axis, window, stride, padding):
  """The `window` slices of x whose element i is x[i * stride + k], padded by -inf."""
  ends = [(0, 0, 0)] * x.ndim
  ends[axis] = (*padding, 0)
  x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), ends)
  return shifted_slices.shifts(x, window, stride, axis)


def _max_pool_axis_forward(x, axis, window, stride, padding):
  """Keeps for the gradient one byte per output: which slice held the maximum."""
  best, *others = _shifted(x, axis, window, stride, padding)
  winner = jnp.zeros(best.shape, jnp.uint8)
  for k, other in enumerate(others, 1):
    winner = jnp.where(other > best, jnp.uint8(k), winner)
    best = jnp.maximum(other, best)
  # An empty array that carries the size of the axis.
  return best, (winner, jnp.zeros((x.shape[axis], 0), jnp.uint8))


def _max_pool_axis_backward(axis, window, stride, padding, saved, dy):
  """Each input gathers from the outputs that chose it; nothing is scattered."""
  winner, size = saved[0], saved[1].shape[0]
  edge = -(-window // stride) - 1
  length = dy.shape[axis] + edge
  # Padded once and sliced: sums of padded slices are several times slower.
  ends = [(0, 0, 0)] * dy.ndim
  ends[axis] = (edge, edge, 0)
  dy = lax.pad(dy, jnp.zeros((), dy.dtype), ends)
  winner = lax.pad(winner, jnp.uint8(window), ends)
  phases = []  # phase p holds the padded inputs p, p + stride, p + 2 * stride, ...
  for p in range(stride):
    total = jnp.zeros((*dy.shape[:axis], length, *dy.shape[axis + 1 :]), dy.dtype)
    for shift, k in enumerate(range(p, window, stride)):
      start = edge - shift
      chose, part = (
        lax.slice_in_dim(a, start, start + length, axis=axis) for a in (winner, dy)
      )
      total = total + jnp.where(chose == k, part, 0)
    phases.append(total)
  dx = jnp.stack(phases, axis + 1)
  dx = dx.reshape(*dy.shape[:axis], length * stride, *dy.shape[axis + 1 :])
  before = padding[0]
  ends[axis] = (-before, size + before - length * stride, 0)
  return (lax.pad(dx, jnp.zeros((), dx.dtype), ends),)


_max_pool_axis.defvjp(_max_pool_axis_forward, _max_pool_axis_backward)
