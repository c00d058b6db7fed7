"""Grouped convolution for XLA on a CPU, whose own is far slower than a dense one.

Groups are merged into blocks of up to 32 channels with block-diagonal kernels; the
blocks are dense convolutions of their own. `ops.conv3d` treats time and calls this.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

# Channels of a block: with fewer, the matrix products are too thin; with more, the
# zeros of the kernel cost more than they save (measured at 4 to 32 per group).
_BLOCK = 32
# With more blocks than this a loop over them compiles too slowly (20 s for one layer
# of 16 blocks), so that they become one batched matrix product per kernel row.
_LOOPED = 8


def split_channels(x, blocks: int):
  """Maps [B, T, M, N, blocks * C] to [blocks * B, T, M, N, C]."""
  x = x.reshape(*x.shape[:-1], blocks, -1)
  x = jnp.moveaxis(x, -2, 0)
  return x.reshape(-1, *x.shape[2:])


def join_channels(x, blocks: int):
  """Maps [blocks * B, T, M, N, C] to [B, T, M, N, blocks * C]."""
  x = x.reshape(blocks, -1, *x.shape[1:])
  x = jnp.moveaxis(x, 0, -2)
  return x.reshape(*x.shape[:-2], -1)


def merge_groups(kernel, groups: int):
  """Makes of a grouped kernel the block-diagonal kernels of fewer, wider groups.

  Args:
    kernel: float [kt, kh, kw, Cin / groups, Cout]; the outputs of a group are adjacent.
    groups: the number of groups.
  Returns: float [kt, blocks, kh, kw, Cin / blocks, Cout / blocks].
  """
  cin, cout = kernel.shape[3], kernel.shape[4] // groups
  fits = [m for m in range(1, groups + 1) if groups % m == 0 and m * cin <= _BLOCK]
  m = max(fits, default=1)
  kernel = kernel.reshape(*kernel.shape[:4], groups // m, m, cout)
  kernel = kernel.transpose(0, 4, 1, 2, 5, 3, 6)  # [kt, blocks, kh, kw, m, cin, cout]
  diagonal = jnp.eye(m, dtype=kernel.dtype).reshape(1, 1, 1, 1, m, 1, m, 1)
  kernel = kernel[..., None, :] * diagonal
  return kernel.reshape(*kernel.shape[:4], m * cin, m * cout)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(x, kernel, strides, padding):
  """Convolves each block of channels with its own kernel, frame by frame.

  Args:
    x: float [blocks * B, T, M, N, Cin] as given by `split_channels`.
    kernel: float [blocks, kh, kw, Cin, Cout].
    strides: steps along M and N.
    padding: a pair (before, after) for M and for N; negative drops.
  Returns: float [blocks * B, T, M', N', Cout].
  """
  frames = x.reshape(len(kernel), -1, *x.shape[2:])
  product = _loop if len(kernel) <= _LOOPED else _batched
  y = product(frames, kernel, strides, padding)
  return y.reshape(*x.shape[:2], *y.shape[2:])


def _loop(x, kernel, strides, padding):
  dims = ("NHWC", "HWIO", "NHWC")
  conv = functools.partial(lax.conv_general_dilated, dimension_numbers=dims)
  pairs = zip(x, kernel, strict=True)
  return jnp.stack([conv(frames, k, strides, padding) for frames, k in pairs])


def _batched(x, kernel, strides, padding):
  blocks, kh, kw, _, cout = kernel.shape
  kernel = kernel.reshape(blocks, kh, -1, cout)
  contract = (((4,), (1,)), ((0,), (0,)))
  rows = _rows(x, (kh, kw), strides, padding)
  products = [
    lax.dot_general(row, kernel[:, i], contract) for i, row in enumerate(rows)
  ]
  return functools.reduce(jnp.add, products)


def _rows(x, size, strides, padding):
  """What each row of the kernel meets: kh arrays [blocks, frames, M', N', kw * Cin]."""
  kh, kw = size
  ends = [(0, 0, 0)] * 2 + [(*pair, 0) for pair in padding] + [(0, 0, 0)]
  x = lax.pad(x, jnp.zeros((), x.dtype), ends)
  m, n = ((s - k) // q + 1 for s, k, q in zip(x.shape[2:4], size, strides, strict=True))
  stop = (n - 1) * strides[1] + 1
  columns = [lax.slice_in_dim(x, j, j + stop, strides[1], axis=3) for j in range(kw)]
  columns = jnp.concatenate(columns, axis=-1)
  stop = (m - 1) * strides[0] + 1
  return [lax.slice_in_dim(columns, i, i + stop, strides[0], axis=2) for i in range(kh)]


def _conv2d_forward(x, kernel, strides, padding):
  return conv2d(x, kernel, strides, padding), (x, kernel)


def _conv2d_backward(strides, padding, saved, dy):
  """For x the convolution with the turned kernel; for the kernel, matrix products."""
  x, kernel = saved
  blocks, kh, kw, cin, cout = kernel.shape
  contract = (((1,), (1,)), ((0,), (0,)))
  frames, flat = x.reshape(blocks, -1, *x.shape[2:]), dy.reshape(blocks, -1, cout)
  rows = _rows(frames, (kh, kw), strides, padding)
  products = [
    lax.dot_general(row.reshape(blocks, -1, kw * cin), flat, contract) for row in rows
  ]
  dkernel = jnp.stack(products, axis=1).reshape(kernel.shape)
  # The outputs lie apart by the stride among zeros, and x begins before by the padding.
  gaps = [(0, 0, 0)] * 2 + [(0, 0, s - 1) for s in strides] + [(0, 0, 0)]
  dy = lax.pad(dy, jnp.zeros((), dy.dtype), gaps)
  ends = tuple(
    (k - 1 - before, size + before - apart)
    for k, (before, _), size, apart in zip(
      (kh, kw), padding, x.shape[2:4], dy.shape[2:4], strict=True
    )
  )
  turned = jnp.flip(kernel, (1, 2)).swapaxes(3, 4)
  return conv2d(dy, turned, (1, 1), ends), dkernel


conv2d.defvjp(_conv2d_forward, _conv2d_backward)
