"""Two-dimensional convolution of frames, which XLA compiles well for a CPU.

The convolution over time is made of it. XLA's own gradient of the kernel is slow, and
very slow in groups; here it is made of matrix products.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from vpn_jax.ops import shifted_slices

# Channels to which the kernels of groups are widened for their gradient: with fewer,
# the matrix products are too thin; with more, most of what they compute is dropped.
_BLOCK = 32


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv2d(x, kernel, strides, padding, groups=1):
  """Convolves frames; only the gradient of the kernel is not XLA's.

  Args:
    x: float [B, M, N, Cin].
    kernel: float [kh, kw, Cin / groups, Cout].
    strides: steps along M and N.
    padding: a pair (before, after) for M and for N.
    groups: parts of the channels that do not mix.
  Returns: float [B, M', N', Cout].
  """
  return _conv(x, kernel, strides, padding, groups)


def _conv(x, kernel, strides, padding, groups):
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def _conv2d_forward(x, kernel, strides, padding, groups):
  return conv2d(x, kernel, strides, padding, groups), (x, kernel)


def _conv2d_backward(strides, padding, groups, saved, dy):
  """The gradient of the kernel is one matrix product per row of it and block."""
  x, kernel = saved
  transposed = jax.linear_transpose(
    lambda x: _conv(x, kernel, strides, padding, groups), x
  )
  (dx,) = transposed(dy)
  kh, kw, cin, cout = kernel.shape
  blocks = _block_count(groups, cin)
  x, dy = _split_channels(x, blocks), _split_channels(dy, blocks)
  ends = [(0, 0, 0)] * 2 + [(*pair, 0) for pair in padding] + [(0, 0, 0)]
  x = lax.pad(x, jnp.zeros((), x.dtype), ends)
  x = jnp.concatenate(shifted_slices.shifts(x, kw, strides[1], axis=3), axis=-1)
  dy = dy.reshape(blocks, -1, dy.shape[-1])
  products = [
    jnp.einsum("bpi,bpo->bio", row.reshape(blocks, -1, row.shape[-1]), dy)
    for row in shifted_slices.shifts(x, kh, strides[0], axis=2)
  ]
  rows = jnp.stack(products, axis=1)  # blocks, kh, kw * Cin / blocks, Cout / blocks
  rows = rows.reshape(blocks, kh, kw, groups // blocks * cin, cout // blocks)
  return dx, _diagonal_groups(rows, groups)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _block_count(groups: int, cin: int) -> int:
  """How many blocks the groups of cin channels each are merged into."""
  fits = [m for m in range(1, groups + 1) if groups % m == 0 and m * cin <= _BLOCK]
  return groups // max(fits, default=1)


def _split_channels(x, blocks: int):
  """Maps [B, M, N, blocks * C] to [blocks, B, M, N, C]."""
  return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, -1), -2, 0)


def _diagonal_groups(merged, groups: int):
  """Takes the kernels of groups out of those of blocks, in which all channels mix.

  Args:
    merged: [blocks, kh, kw, Cin / blocks, Cout / blocks].
  Returns: [kh, kw, Cin / groups, Cout].
  """
  blocks, kh, kw, cin, cout = merged.shape
  m = groups // blocks
  parts = merged.reshape(blocks, kh, kw, m, cin // m, m, cout // m)
  return jnp.einsum("bhwgigo->hwibgo", parts).reshape(kh, kw, cin // m, blocks * cout)
