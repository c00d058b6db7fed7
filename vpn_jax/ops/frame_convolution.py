"""Two-dimensional convolution of frames, which XLA compiles well for a CPU.

What the convolution over time is made of, and `grouped`, which has the same for groups.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from vpn_jax.ops import shifted_slices


def conv(x, kernel, strides, padding, groups=1):
  """lax's convolution of [B, M, N, Cin] by [kh, kw, Cin / groups, Cout]."""
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def input_gradient(x, kernel, strides, padding, dy, groups=1):
  """What `conv` hands back to x, given dy of the shape of its result."""
  transposed = jax.linear_transpose(
    lambda x: conv(x, kernel, strides, padding, groups), x
  )
  return transposed(dy)[0]


def kernel_gradient(x, dy, size, strides, padding):
  """What `conv` hands back to the kernel, one matrix product per row of it.

  Args:
    x: [blocks, B, M, N, Cin].
    dy: [blocks, B, M', N', Cout].
    size: (kh, kw).
    strides: steps along M and N.
    padding: a pair (before, after) for M and for N.
  Returns: [blocks, kh, kw, Cin, Cout], for every block on its own.
  """
  kh, kw = size
  ends = [(0, 0, 0)] * 2 + [(*pair, 0) for pair in padding] + [(0, 0, 0)]
  x = lax.pad(x, jnp.zeros((), x.dtype), ends)
  x = jnp.concatenate(shifted_slices.shifts(x, kw, strides[1], axis=3), axis=-1)
  dy = dy.reshape(len(dy), -1, dy.shape[-1])
  products = [
    _over_places(row.reshape(len(row), -1, row.shape[-1]), dy)
    for row in shifted_slices.shifts(x, kh, strides[0], axis=2)
  ]
  rows = jnp.stack(products, axis=1)  # blocks, kh, kw * Cin, Cout
  return rows.reshape(*rows.shape[:2], kw, -1, rows.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(x, kernel, strides, padding):
  """`conv` with a faster gradient of the kernel."""
  return conv(x, kernel, strides, padding)


def _conv2d_forward(x, kernel, strides, padding):
  return conv2d(x, kernel, strides, padding), (x, kernel)


def _conv2d_backward(strides, padding, saved, dy):
  """Not in blocks of places, as for a kernel of one place: most would be slower, since
  XLA joins the columns of a row and transposes them in one go."""
  x, kernel = saved
  dx = input_gradient(x, kernel, strides, padding, dy)
  size = kernel.shape[:2]
  dkernel = kernel_gradient(x[None], dy[None], size, strides, padding)
  return dx, dkernel[0]


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


@jax.custom_vjp
def product(x, kernel):
  """[..., Cin] times [Cin, Cout]: what a kernel of one place does."""
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def _product_forward(x, kernel):
  return product(x, kernel), (x, kernel)


def _product_backward(saved, dy):
  """Sums up blocks of places, of which XLA's transposed copies stay in the cache.

  One of all places at once would fetch each line of the cache anew for every channel.
  What is copied is the narrower factor.
  """
  x, kernel = saved
  dx = lax.dot_general(dy, kernel, (((x.ndim - 1,), (1,)), ((), ())))
  places = math.prod(x.shape[1:-1])
  cuts = (n for n in range(places // _PLACES, 0, -1) if places % n == 0)
  blocks = x.shape[0] * next(cuts, 0) or 1
  x, dy = (a.reshape(blocks, -1, a.shape[-1]) for a in (x, dy))
  if x.shape[-1] > dy.shape[-1]:
    return dx, _over_places(dy, x).sum(0).T
  return dx, _over_places(x, dy).sum(0)


product.defvjp(_product_forward, _product_backward)


# Places of a block at the least: so many of a transposed copy stay in the cache.
_PLACES = 1568


def _over_places(x, dy):
  """The gradient of a kernel of one place for each block: its x.T @ dy.

  XLA makes a transposed copy of x.

  Args:
    x: [blocks, places, Cin].
    dy: [blocks, places, Cout].
  Returns: [blocks, Cin, Cout].
  """
  return lax.dot_general(x, dy, (((1,), (1,)), ((0,), (0,))))
