"""Sums over clips, of which the gradients of kernels are."""

import jax
import jax.numpy as jnp
from jax import lax


def sum_over_sets(gradient, x, dy, count):
  """Sum of gradient(x, dy) over sets of `count` clips, one after the other.

  What a set is transformed to is in use while it is in the cache, and takes the memory
  of one set. Not for several devices, which have the clips shared out.

  Args:
    gradient: gives the sum over the clips of its arguments, 0 of clips of zeros.
    x, dy: [B, ...]; clips of zeros are added if count does not divide B.
    count: the number of clips of a set.
  Returns: what gradient(x, dy) does; the sum is kept in float32.
  """
  x, dy = (
    jnp.pad(a, [(0, -len(a) % count)] + [(0, 0)] * (a.ndim - 1)) for a in (x, dy)
  )
  if len(x) == count:
    return gradient(x, dy)

  def add(total, clips):
    return total + gradient(*clips).astype(jnp.float32), None

  like = jax.eval_shape(gradient, x, dy)
  sets = [a.reshape(-1, count, *a.shape[1:]) for a in (x, dy)]
  return lax.scan(add, jnp.zeros(like.shape), tuple(sets))[0].astype(like.dtype)
