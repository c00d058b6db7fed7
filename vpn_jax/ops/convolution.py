"""Convolution over time; on a CPU as two-dimensional convolutions of frames."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from vpn_jax.ops import (
  clip_sums,
  cook_toom,
  formulations,
  frame_convolution,
  grouped_convolution,
  shifted_slices,
)


def conv3d(x, kernel, strides=(1, 1, 1), padding="SAME", groups=1):
  """Three-dimensional convolution (correlation, as everywhere in deep learning).

  Args:
    x: float [B, T, M, N, Cin].
    kernel: float [kt, kh, kw, Cin / groups, Cout], of the type of x.
    strides: steps along T, M and N.
    padding: "SAME", or a pair (before, after) for each of T, M and N.
    groups: parts of the channels that do not mix; each part is adjacent channels.
  Returns: float [B, T', M', N', Cout]; T' = ceil(T / strides[0]) for "SAME".
  Raises: ValueError when the channels or the groups do not fit (at trace time).
  """
  if x.ndim != 5 or kernel.ndim != 5 or x.shape[-1] != groups * kernel.shape[-2]:
    raise ValueError(
      f"conv3d got x {x.shape} and kernel {kernel.shape}, expected [B, T, M, N, Cin] "
      f"and [kt, kh, kw, Cin / {groups}, Cout]: give the kernel as many input channels "
      "as each group of x has."
    )
  if kernel.shape[-1] % groups:
    raise ValueError(
      f"conv3d got {kernel.shape[-1]} output channels in {groups} groups, expected a "
      "multiple: give every group as many."
    )
  strides = tuple(strides)
  padding = shifted_slices.pairs(padding, x.shape[1:4], kernel.shape[:3], strides)
  if formulations.formulation() == "plain":
    return lax.conv_general_dilated(
      x,
      kernel,
      strides,
      padding,
      dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
      feature_group_count=groups,
    )
  if kernel.shape[:3] == (1, 1, 1) and groups == 1:
    return _conv_of_frames(x, kernel, strides, padding, groups)  # nothing to transform
  return _conv(x, kernel, strides, padding, groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, strides, padding, groups):
  """`conv3d` on a CPU; all that the gradients need of it is x and the kernel."""
  return _conv_of_frames(x, kernel, strides, padding, groups)


def _conv_forward(x, kernel, strides, padding, groups):
  return _conv(x, kernel, strides, padding, groups), (x, kernel)


def _conv_backward(strides, padding, groups, saved, dy):
  """Transforms x once more for the gradient of the kernel.

  XLA sees that it is done twice and keeps the first result, but not in a loop.
  """
  x, kernel = saved

  def kernel_gradient(x, dy, padding=padding):
    conv = lambda k: _conv_of_frames(x, k, strides, padding, groups)  # noqa: E731
    return jax.vjp(conv, kernel)[1](dy)[0]

  conv = lambda x: _conv_of_frames(x, kernel, strides, padding, groups)  # noqa: E731
  dx = jax.vjp(conv, x)[1](dy)[0]
  if not _is_large(dy, groups):
    return dx, kernel_gradient(x, dy)
  pieces = dy.shape[1] // max(_PIECE // math.prod(dy.shape[2:-1]), _SHORTEST)
  x, dy, left = clip_sums.cut(x, dy, kernel.shape[:3], strides, padding, max(pieces, 1))
  gradient = functools.partial(kernel_gradient, padding=left)
  return dx, clip_sums.sum_over_clips(gradient, x, dy)


_conv.defvjp(_conv_forward, _conv_backward)

# Places of a clip's result from which on the gradient of a kernel is faster clip by
# clip: of one with groups (3,136 are enough), and of a dense one (12,544 of I3D's 2c
# are too few, 50,176 of its stem enough). Longer clips are cut into pieces of so many
# places and at least so many frames, a tile of Cook-Toom.
_GROUPED_PLACES = 2048
_DENSE_PLACES = 1 << 15
_PIECE = 12544
_SHORTEST = 4


def _is_large(dy, groups):
  """Whether the gradient of the kernel is to be computed piece by piece."""
  least = _DENSE_PLACES if groups == 1 else _GROUPED_PLACES
  return jax.device_count() == 1 and math.prod(dy.shape[1:-1]) >= least


def _conv_of_frames(x, kernel, strides, padding, groups):
  """As `conv3d`, by two-dimensional convolutions."""
  if groups == 1:
    return _conv_over_time(_conv2d, x, kernel, strides, padding)
  blocks = grouped_convolution.block_count(groups, kernel.shape[-2])
  if blocks > grouped_convolution.LOOPED:
    conv2d = functools.partial(grouped_convolution.conv2d, groups=groups)
    return _conv_over_time(conv2d, x, kernel, strides, padding, groups)
  conv2d = functools.partial(_conv2d, rows=_GROUPED_ROWS)
  kernels = grouped_convolution.merge_groups(kernel, groups, blocks)
  parts = zip(jnp.split(x, blocks, axis=-1), kernels, strict=True)
  convs = [_conv_over_time(conv2d, *part, strides, padding) for part in parts]
  return jnp.concatenate(convs, axis=-1)


def _conv_over_time(conv2d, x, kernel, strides, padding, groups=1):
  """A 3D convolution as 2D convolutions of frames and kernel[0], kernel[1], ..."""
  x, kernel, first, last, steps = _fold_time(x, kernel, strides[0], padding[0], groups)
  if len(kernel) > _LONGEST:
    x, kernel = _fold_taps(x, kernel, steps, groups)
    first, last = 0, x.shape[1]
  conv = lambda x, tap: conv2d(x, tap, strides[1:], padding[1:])  # noqa: E731
  outputs = _tile_length(len(kernel), steps, last - first, x.dtype)
  if outputs == 1:
    return _sum_of_taps(conv, x, kernel, first, last, steps)
  return _cook_toom_time(conv, x, kernel, steps, outputs)


def _fold_time(x, kernel, stride, padding, groups):
  """Pads time and folds its stride phases into channels, which leaves stride 1.

  Returns: x [B, steps + taps - 1, M, N, phases * Cin], kernel [taps, ..., phases *
    Cin / groups, Cout], the first and the last + 1 frame of x that is not padding, and
    steps, the number of output frames. The phases are those that the kernel meets.
  """
  t, c = x.shape[1], x.shape[-1]
  before, after = padding
  steps = (t + before + after - kernel.shape[0]) // stride + 1
  taps = -(-kernel.shape[0] // stride)
  length = (steps + taps - 1) * stride
  ends = (before, length - before - t, 0)  # a negative end drops unused frames
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), ends] + [(0, 0, 0)] * 3)
  first, last = before // stride, min(-(-(before + t) // stride), length // stride)
  if stride > 1:
    phases = min(stride, kernel.shape[0])
    x = _join_channels([x[:, p::stride] for p in range(phases)], groups)
    rest = taps * phases - kernel.shape[0]
    kernel = jnp.pad(kernel, ((0, rest),) + ((0, 0),) * (kernel.ndim - 1))
    kernel = kernel.reshape(taps, phases, *kernel.shape[1:])
    kernel = jnp.moveaxis(kernel, 1, -3)
    kernel = kernel.reshape(*kernel.shape[:-3], phases * (c // groups), -1)
  return x, kernel, first, last, steps


def _join_channels(parts, groups):
  """Makes one array of several, the channels of each group side by side."""
  if groups == 1:
    return jnp.concatenate(parts, axis=-1)
  parts = [x.reshape(*x.shape[:-1], groups, -1) for x in parts]
  x = jnp.concatenate(parts, axis=-1)
  return x.reshape(*x.shape[:-2], -1)


# Taps in time for which there are Cook-Toom tiles of 4 outputs.
_LONGEST = 4


def _fold_taps(x, kernel, steps, groups):
  """Folds the taps of a long kernel into channels, at most _LONGEST of them stay.

  Frame t gets the channels of the frames t, t + taps, t + 2 * taps, ... beside its own.

  Args:
    x: [B, steps + K - 1, M, N, Cin], padded, of stride 1.
    kernel: [K, ..., Cin / groups, Cout].
    steps: the number of output frames.
    groups: parts of the channels that do not mix.
  Returns: x [B, steps + taps - 1, M, N, parts * Cin], kernel [taps, ..., parts * Cin
    / groups, Cout]; parts * taps is at least K.
  """
  parts = -(-len(kernel) // _LONGEST)
  taps = -(-len(kernel) // parts)
  rest = parts * taps - len(kernel)
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, rest, 0)] + [(0, 0, 0)] * 3)
  length = steps + taps - 1
  shifted = [x[:, i * taps :][:, :length] for i in range(parts)]
  x = _join_channels(shifted, groups)
  kernel = jnp.pad(kernel, ((0, rest),) + ((0, 0),) * (kernel.ndim - 1))
  kernel = jnp.concatenate(jnp.split(kernel, parts), axis=-2)
  return x, kernel


def _tile_length(taps, steps, filled, dtype):
  """How many outputs a Cook-Toom tile gives, for the fewest 2D convolutions.

  1 stands for the plain sum over taps, also where the transforms would lose accuracy.
  `filled` is the number of frames that are not padding.
  """
  if taps == 1 or jnp.finfo(dtype).bits < 32:
    return 1
  sizes = [m for m in (2, 3, 4) if m + taps - 2 <= len(cook_toom.POINTS)]
  cost = {m: (m + taps - 1) * -(-steps // m) for m in sizes}
  cost[1] = taps * min(filled, steps) - (taps - 1)  # taps on padding cost nothing
  return min(sorted(cost), key=cost.get)


def _sum_of_taps(conv, x, kernel, first, last, steps):
  """Adds up one 2D convolution per tap, leaving out the frames of padding."""
  total = None
  for k, tap in enumerate(kernel):
    start, stop = max(first - k, 0), min(last - k, steps)  # the outputs it reaches
    if start >= stop:
      continue
    y = conv(x[:, start + k : stop + k], tap)
    ends = (start, steps - stop, 0)
    zero = jnp.zeros((), y.dtype)
    y = lax.pad(y, zero, [(0, 0, 0), ends] + [(0, 0, 0)] * 3)
    total = y if total is None else total + y
  return total


def _cook_toom_time(conv, x, kernel, steps, outputs):
  """Convolves over time with fewer multiplications: Cook-Toom F(outputs, taps).

  A tile of `outputs` frames costs outputs + taps - 1 two-dimensional convolutions
  in place of outputs * taps. The gradient is the transposed algorithm, by autodiff.
  """
  taps = len(kernel)
  tiles = -(-steps // outputs)
  data, weight, result = cook_toom.matrices(outputs, taps)
  blocks = tiles + -(-(taps - 1) // outputs)
  ends = (0, blocks * outputs - x.shape[1], 0)
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), ends] + [(0, 0, 0)] * 3)
  x = x.reshape(x.shape[0], blocks, outputs, *x.shape[2:])
  phases = [jnp.squeeze(p, 2) for p in lax.split(x, (1,) * outputs, axis=2)]
  shifted = [
    phases[i % outputs][:, i // outputs : i // outputs + tiles]
    for i in range(outputs + taps - 1)
  ]
  # Split, not sliced: the gradient of slices is a slow sum of padded ones.
  kernel = [jnp.squeeze(tap, 0) for tap in lax.split(kernel, (1,) * taps)]
  products = [
    conv(cook_toom.combine(on_data, shifted), cook_toom.combine(on_weight, kernel))
    for on_data, on_weight in zip(data, weight, strict=True)
  ]
  y = jnp.stack([cook_toom.combine(row, products) for row in result], axis=2)
  return y.reshape(y.shape[0], tiles * outputs, *y.shape[3:])[:, :steps]


# Frames of as many rows are convolved over rows as over time; smaller ones gain too
# little for what it takes to compile them.
_ROWS = 14
_GROUPED_ROWS = 28  # in blocks of groups, of which there are several


def _saves_over_rows(kernel, stride):
  """Whether Cook-Toom over rows saves two in five of the multiplications by kernel
  [kh, ...]: it does for 3 taps of stride 1 and 7 of stride 2, not for 3 of stride 2."""
  taps = -(-len(kernel) // stride)  # those left by _fold_time, and by _fold_taps
  taps = -(-taps // -(-taps // _LONGEST))
  folded = -(-len(kernel) // taps)
  return folded * (4 + taps - 1) / 4 <= 0.6 * len(kernel)


def _conv2d(x, kernel, strides, padding, rows=_ROWS):
  """Convolves each frame: [B, T, M, N, Cin], [kh, kw, Cin, Cout]."""
  if kernel.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)):
    x = x[:, :, :: strides[0], :: strides[1]]
    return frame_convolution.product(x, kernel[0, 0])
  whole = jnp.finfo(x.dtype).bits >= 32
  if x.shape[2] >= rows and whole and _saves_over_rows(kernel, strides[0]):
    y = _conv_over_time(
      _conv2d,
      x.reshape(-1, x.shape[2], 1, *x.shape[3:]),  # rows in place of T, M
      kernel[:, None],
      (strides[0], 1, strides[1]),
      (padding[0], (0, 0), padding[1]),
    )
    return y.reshape(*x.shape[:2], y.shape[1], *y.shape[3:])
  y = frame_convolution.conv2d(x.reshape(-1, *x.shape[2:]), kernel, strides, padding)
  return y.reshape(*x.shape[:2], *y.shape[1:])
