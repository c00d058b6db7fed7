"""Grouped convolution for XLA on a CPU, whose own of three dimensions is very slow.

Groups are merged into blocks of up to 32 channels with block-diagonal kernels. A few
blocks are dense convolutions of their own. Many would take too long to compile: for
them XLA's grouped convolution of frames makes the values and the gradient of x, and
matrix products over blocks make that of the kernel. `ops.conv3d` chooses.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

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
  frames = x.reshape(-1, *x.shape[2:])
  y = _frames(frames, kernel, strides, padding, groups)
  return y.reshape(*x.shape[:2], *y.shape[1:])


def _frames(x, kernel, strides, padding, groups):
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
  x, kernel = saved
  frames, dy = (a.reshape(-1, *a.shape[2:]) for a in (x, dy))
  dx = _gradient_of_frames(frames, kernel, strides, padding, groups, dy)
  dkernel = _gradient_of_kernel(frames, kernel, strides, padding, groups, dy)
  return dx.reshape(x.shape), dkernel


def _gradient_of_frames(x, kernel, strides, padding, groups, dy):
  """The convolution of dy with the turned kernel, of which each group is transposed."""
  kh, kw, cin, _ = kernel.shape
  # The outputs lie apart by the stride among zeros, and x begins before by the padding.
  gaps = [(0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)]
  dy = lax.pad(dy, jnp.zeros((), dy.dtype), gaps)
  ends = tuple(
    (k - 1 - before, size + before - apart)
    for k, (before, _), size, apart in zip(
      (kh, kw), padding, x.shape[1:3], dy.shape[1:3], strict=True
    )
  )
  turned = jnp.flip(kernel, (0, 1)).reshape(kh, kw, cin, groups, -1)
  turned = turned.transpose(0, 1, 4, 3, 2).reshape(kh, kw, -1, groups * cin)
  return _frames(dy, turned, (1, 1), ends, groups)


def _gradient_of_kernel(x, kernel, strides, padding, groups, dy):
  """Matrix products, one per row of the kernel, with the blocks as their batch."""
  kh, kw, cin, cout = kernel.shape
  blocks = block_count(groups, cin)
  x, dy = _split_channels(x, blocks), _split_channels(dy, blocks)
  dy = dy.reshape(blocks, -1, cout // blocks)
  ends = [(0, 0, 0)] * 2 + [(*pair, 0) for pair in padding] + [(0, 0, 0)]
  x = lax.pad(x, jnp.zeros((), x.dtype), ends)
  m, n = (
    (s - k) // q + 1 for s, k, q in zip(x.shape[2:4], (kh, kw), strides, strict=True)
  )
  stop = (n - 1) * strides[1] + 1
  columns = [lax.slice_in_dim(x, j, j + stop, strides[1], axis=3) for j in range(kw)]
  columns = jnp.concatenate(columns, axis=-1)
  stop = (m - 1) * strides[0] + 1
  rows = []
  for i in range(kh):
    row = lax.slice_in_dim(columns, i, i + stop, strides[0], axis=2)
    row = row.reshape(blocks, -1, columns.shape[-1])
    rows.append(lax.dot_general(row, dy, (((1,), (1,)), ((0,), (0,)))))
  merged = jnp.stack(rows, axis=1)  # blocks, kh, kw * Cin / blocks, Cout / blocks
  merged = merged.reshape(blocks, kh, kw, -1, cout // blocks)
  return _groups_of(merged, groups)


def _split_channels(x, blocks: int):
  """Maps [B, M, N, blocks * C] to [blocks, B, M, N, C]."""
  return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, -1), -2, 0)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)
