"""Two-dimensional convolution of frames, which XLA compiles well for a CPU, in parts.

What the convolution over time in `ops` and the grouped one in `grouped` are made of.
"""

import jax
import jax.numpy as jnp
from jax import lax


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
  columns = jnp.concatenate(_shifts(x, kw, strides[1], x.ndim - 2), axis=-1)
  return _shifts(columns, kh, strides[0], x.ndim - 3)


def _shifts(x, window, stride, axis):
  """The `window` slices of x along an axis whose element i is x[i * stride + k]."""
  stop = (x.shape[axis] - window) // stride * stride + 1
  return [lax.slice_in_dim(x, k, k + stop, stride, axis) for k in range(window)]
