"""Grouped convolution for XLA on a CPU, whose own of three dimensions is very slow.

Groups are merged into blocks of up to 32 channels with block-diagonal kernels. A few
blocks are dense convolutions of their own. Many would take too long to compile: for
them XLA's grouped convolution of frames makes the values and the gradient of x, and
matrix products over blocks make that of the kernel. `ops.conv3d` chooses.
"""

import functools
import math

import jax
import jax.numpy as jnp

from vpn_jax.ops import frame_convolution

# Channels of a block: with fewer, the matrix products are too thin; with more, the
# zeros of the kernel cost more than they save (measured at 4 to 32 per group).
_BLOCK = 32
# More blocks than this take too long to compile as convolutions of their own (20 s for
# one layer of 16).
LOOPED = 8


def block_count(groups: int, cin: int) -> int:
  """How many blocks the groups of cin channels each are merged into."""
  fits = [m for m in range(1, groups + 1) if groups % m == 0 and m * cin <= _BLOCK]
  return groups // max(fits, default=1)


def merge_groups(kernel, groups: int, blocks: int):
  """Makes of a grouped kernel the block-diagonal kernels of fewer, wider groups.

  Args:
    kernel: float [..., Cin / groups, Cout]; the outputs of a group are adjacent.
    groups: the number of groups.
    blocks: the number of blocks, a divisor of groups.
  Returns: float [blocks, ..., Cin / blocks, Cout / blocks].
  """
  m, cin, cout = groups // blocks, kernel.shape[-2], kernel.shape[-1] // groups
  kernel = jnp.moveaxis(kernel.reshape(*kernel.shape[:-1], blocks, m, cout), -3, 0)
  kernel = jnp.moveaxis(kernel, -2, -3)  # blocks, ..., m, cin, cout
  diagonal = jnp.eye(m, dtype=kernel.dtype)
  diagonal = diagonal.reshape((1,) * (kernel.ndim - 3) + (m, 1, m, 1))
  kernel = kernel[..., None, :] * diagonal
  return kernel.reshape(*kernel.shape[:-4], m * cin, m * cout)


def _groups_of(merged, groups: int):
  """The transpose of `merge_groups`: takes the groups out of the blocks' diagonals."""
  blocks, cin, cout = len(merged), *merged.shape[-2:]
  m = groups // blocks
  parts = merged.reshape(*merged.shape[:-2], m, cin // m, m, cout // m)
  parts = jnp.diagonal(parts, axis1=-4, axis2=-2)  # blocks, ..., cin, cout, m
  parts = jnp.moveaxis(jnp.moveaxis(parts, -1, -2), 0, -3)
  return parts.reshape(*parts.shape[:-3], blocks * cout)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv2d(x, kernel, strides, padding, groups):
  """Convolves the channels of each group with their own kernel, frame by frame.

  Args:
    x: float [B, T, M, N, Cin].
    kernel: float [kh, kw, Cin / groups, Cout].
    strides: steps along M and N.
    padding: a pair (before, after) for M and for N; negative drops.
    groups: the number of groups.
  Returns: float [B, T, M', N', Cout].
  """

  def conv(x, kernel, groups):
    return frame_convolution.conv(x, kernel, strides, padding, groups)

  y = _by_halves(conv, groups, x.reshape(-1, *x.shape[2:]), kernel)
  return y.reshape(*x.shape[:2], *y.shape[1:])


def _conv2d_forward(x, kernel, strides, padding, groups):
  return conv2d(x, kernel, strides, padding, groups), (x, kernel)


def _conv2d_backward(strides, padding, groups, saved, dy):
  x, kernel = saved
  flat, dy = (a.reshape(-1, *a.shape[2:]) for a in (x, dy))

  def input_gradient(x, kernel, dy, groups):
    return frame_convolution.input_gradient(x, kernel, strides, padding, dy, groups)

  dx = _by_halves(input_gradient, groups, flat, kernel, dy)
  blocks = block_count(groups, kernel.shape[2])
  merged = frame_convolution.kernel_gradient(
    _split_channels(flat, blocks),
    _split_channels(dy, blocks),
    kernel.shape[:2],
    strides,
    padding,
  )
  return dx.reshape(x.shape), _groups_of(merged, groups)


def _by_halves(function, groups, *arrays):
  """function(*arrays, groups), computed for each half of the channels.

  XLA's grouped convolution uses one core. Of a program that has more than eight
  operations to do at once XLA gives half to another core: the six convolutions of a
  Cook-Toom tile are too few, twice six are enough.
  """
  count = math.gcd(groups, 2)
  parts = zip(*(jnp.split(a, count, axis=-1) for a in arrays), strict=True)
  return jnp.concatenate([function(*part, groups // count) for part in parts], axis=-1)


def _split_channels(x, blocks: int):
  """Maps [B, M, N, blocks * C] to [blocks, B, M, N, C]."""
  return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, -1), -2, 0)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)
