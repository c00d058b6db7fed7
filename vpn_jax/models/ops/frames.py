"""Two-dimensional convolution of frames, which XLA compiles well for a CPU.

What the convolution over time is made of, and `grouped`, which has the same for groups.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from vpn_jax.models.ops import windows


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


def rows(x, size, strides, padding):
  """What each row of a kernel meets, for its gradient as matrix products with dy.

  Args:
    x: [..., M, N, C].
    size: (kh, kw).
    strides: steps along M and N.
    padding: a pair (before, after) for M and for N.
  Returns: kh arrays [..., M', N', kw * C], of shifted columns side by side.
  """
  kh, kw = size
  ends = [(0, 0, 0)] * (x.ndim - 3) + [(*pair, 0) for pair in padding] + [(0, 0, 0)]
  x = lax.pad(x, jnp.zeros((), x.dtype), ends)
  columns = jnp.concatenate(windows.shifts(x, kw, strides[1], x.ndim - 2), axis=-1)
  return windows.shifts(columns, kh, strides[0], x.ndim - 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(x, kernel, strides, padding):
  """`conv` with a faster gradient of the kernel."""
  return conv(x, kernel, strides, padding)


def _conv2d_forward(x, kernel, strides, padding):
  return conv2d(x, kernel, strides, padding), (x, kernel)


def _conv2d_backward(strides, padding, saved, dy):
  """The kernel's gradient is one matrix product per kernel row, not a convolution.

  In blocks, as for a kernel of one place, most would be slower: XLA joins the columns
  of a row and transposes them in one go.
  """
  x, kernel = saved
  dx = input_gradient(x, kernel, strides, padding, dy)
  dy = dy.reshape(-1, dy.shape[-1])
  contract = (((0,), (0,)), ((), ()))
  products = [
    lax.dot_general(row.reshape(-1, row.shape[-1]), dy, contract)
    for row in rows(x, kernel.shape[:2], strides, padding)
  ]
  return dx, jnp.stack(products).reshape(kernel.shape)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


@jax.custom_vjp
def product(x, kernel):
  """[..., Cin] times [Cin, Cout]: what a kernel of one place does."""
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def _product_forward(x, kernel):
  return product(x, kernel), (x, kernel)


def _product_backward(saved, dy):
  x, kernel = saved
  dx = lax.dot_general(dy, kernel, (((x.ndim - 1,), (1,)), ((), ())))
  return dx, _sum_over_places(x, dy)


product.defvjp(_product_forward, _product_backward)


# Places of a block at the least: so many of a transposed copy stay in the cache.
_PLACES = 1568


def _sum_over_places(x, dy):
  """The gradient of a kernel of one place: x.T @ dy over all axes but the last.

  XLA makes a transposed copy of the left factor. That is the narrower one here, and it
  is cut into blocks of places of one clip: a copy of all of them at once would fetch
  each line of the cache anew for every channel.

  Args:
    x: [B, ..., Cin].
    dy: [B, ..., Cout].
  Returns: [Cin, Cout].
  """
  if x.shape[-1] > dy.shape[-1]:
    return _sum_over_places(dy, x).T
  places = math.prod(x.shape[1:-1])
  cuts = (n for n in range(places // _PLACES, 0, -1) if places % n == 0)
  blocks = x.shape[0] * next(cuts, 0) or 1
  x, dy = (a.reshape(blocks, -1, a.shape[-1]) for a in (x, dy))
  return lax.dot_general(x, dy, (((1,), (1,)), ((0,), (0,)))).sum(0)
