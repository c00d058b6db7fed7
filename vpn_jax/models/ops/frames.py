"""Two-dimensional convolution of frames, which XLA compiles well for a CPU.

What the convolution over time is made of, and `grouped`, which has the same for groups.
"""

import functools

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
  """The kernel's gradient is one matrix product per kernel row, not a convolution."""
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


# With as many outputs the gradient of a kernel is worth a transposed copy of x, which
# XLA makes for it, computing again what x is made of.
_WIDE = 256


def product(x, kernel):
  """[..., Cin] times [Cin, Cout]: what a kernel of one place does."""
  if kernel.shape[-1] >= _WIDE:
    return _wide_product(x, kernel)
  return _product(x, kernel)


def _product(x, kernel):
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


@jax.custom_vjp
def _wide_product(x, kernel):
  """`_product` whose kernel gradient is x.T @ dy; autodiff makes (dy.T @ x).T."""
  return _product(x, kernel)


def _wide_product_forward(x, kernel):
  return _product(x, kernel), (x, kernel)


def _wide_product_backward(saved, dy):
  x, kernel = saved
  places = tuple(range(x.ndim - 1))
  dx = lax.dot_general(dy, kernel, (((x.ndim - 1,), (1,)), ((), ())))
  return dx, lax.dot_general(x, dy, ((places, places), ((), ())))


_wide_product.defvjp(_wide_product_forward, _wide_product_backward)
