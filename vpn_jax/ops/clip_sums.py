"""Sums over clips and pieces of them, which the gradients of kernels are."""

import jax
import jax.numpy as jnp
from jax import lax


def cut(x, dy, size, strides, padding, pieces):
  """Makes shorter clips, of which the gradient of a kernel is the same.

  Args:
    x: [B, T, ..., Cin].
    dy: [B, T', ..., Cout], the gradient of what a convolution makes of x.
    size, strides, padding: of this convolution, of its kernel (kt, ...).
    pieces: how many to make of a clip; fewer where T' are too few.
  Returns: x [B * pieces, ...], with what a piece needs of its neighbours and of the
    padding of time; dy [B * pieces, ...], the last piece filled up with zeros; and the
    padding that is left.
  """
  frames, (before, _) = dy.shape[1], padding[0]
  length = -(-frames // pieces)
  pieces = -(-frames // length)
  if pieces == 1:
    return x, dy, padding
  needed = (length - 1) * strides[0] + size[0]
  starts = [i * length * strides[0] - before for i in range(pieces)]
  x = jnp.stack([_frames(x, i, i + needed) for i in starts], axis=1)
  dy = _frames(dy, 0, pieces * length)
  dy = dy.reshape(-1, length, *dy.shape[2:])
  return x.reshape(len(dy), needed, *x.shape[3:]), dy, ((0, 0), *padding[1:])


def _frames(x, start, stop):
  """x[:, start:stop], with zeros for the frames that x does not have."""
  ends = [(0, 0, 0)] * x.ndim
  ends[1] = (-start, stop - x.shape[1], 0)  # negative ones drop
  return lax.pad(x, jnp.zeros((), x.dtype), ends)


def sum_over_clips(gradient, x, dy):
  """Sum of gradient(x, dy) over clips, one after the other.

  What a clip is transformed to is used while it is in the cache, and takes the memory
  of one clip. Not for several devices, which have the clips shared out.

  Args:
    gradient: of one clip, [1, ...] and [1, ...].
    x, dy: [B, ...].
  Returns: what gradient(x, dy) does; the sum is kept in float32.
  """
  if len(x) == 1:
    return gradient(x, dy)

  def add(total, clip):
    return total + gradient(*clip).astype(jnp.float32), None

  like = jax.eval_shape(gradient, x[:1], dy[:1])
  each = tuple(a.reshape(-1, 1, *a.shape[1:]) for a in (x, dy))
  return lax.scan(add, jnp.zeros(like.shape), each)[0].astype(like.dtype)
