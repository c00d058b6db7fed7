"""Convolution over time; on a CPU as two-dimensional convolutions of frames."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from vpn_jax.ops import cook_toom, formulations, frame_convolution, shifted_slices

# Taps in time for which there are Cook-Toom tiles of 4 outputs.
_LONGEST = 4
# Frames of as many rows are convolved over rows as over time; smaller ones gain too
# little for what it takes to compile them.
_ROWS = 14
# Positions in a clip's result from which on it is faster to convolve clip by clip:
# 50,176 of I3D's stem are enough, 12,544 of its Conv3d_2c_3x3 are too few.
_LARGE = 1 << 15


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
  one_place = kernel.shape[:3] == strides == (1, 1, 1)
  if one_place and groups == 1 and padding == ((0, 0),) * 3:
    return jnp.dot(x, kernel[0, 0, 0])
  conv = functools.partial(
    _conv_frames, strides=strides[1:], padding=padding[1:], groups=groups
  )
  run = functools.partial(
    _conv_over_time,
    conv,
    kernel=kernel,
    stride=strides[0],
    padding=padding[0],
    groups=groups,
  )
  if not _is_large(x, strides):
    return run(x)
  return lax.map(jax.checkpoint(lambda clip: run(clip[None])[0]), x)


def _is_large(x, strides):
  """Whether clips are convolved one after the other.

  What a clip is transformed to is used while it is in the cache, and once more for the
  gradient, where the kernel's is summed over clips. Not for several devices, among
  which the clips are divided, nor for an exported network with any number of clips.
  """
  clips = x.shape[0]
  if not isinstance(clips, int) or clips == 1:
    return False
  positions = math.prod(x.shape[1:4]) // math.prod(strides)
  return positions >= _LARGE and jax.device_count() == 1


def _conv_frames(x, kernel, strides, padding, groups):
  """Convolves each frame: [B, T, M, N, Cin], [kh, kw, Cin / groups, Cout]."""
  b, t, m, n, c = x.shape
  # It saves half of the multiplications for 3 taps of stride 1 and 7 of stride 2.
  saves = len(kernel) > strides[0] + 1 and jnp.finfo(x.dtype).bits >= 32
  if m >= _ROWS and groups == 1 and saves:
    conv = functools.partial(
      _conv_frames, strides=(1, strides[1]), padding=((0, 0), padding[1]), groups=1
    )
    x = x.reshape(b * t, m, 1, n, c)  # rows instead of time
    y = _conv_over_time(conv, x, kernel[:, None], strides[0], padding[0])
    return y.reshape(b, t, y.shape[1], *y.shape[3:])
  x = x.reshape(b * t, m, n, c)
  y = frame_convolution.conv2d(x, kernel, strides, padding, groups)
  return y.reshape(b, t, *y.shape[1:])


def _conv_over_time(conv, x, kernel, stride, padding, groups=1):
  """A 3D convolution as 2D convolutions of frames and kernel[0], kernel[1], ...

  Args:
    conv: maps frames [B, T, M, N, Cin] and a tap [kh, kw, Cin / groups, Cout] to [B,
      T, M', N', Cout].
    x: [B, T, M, N, Cin].
    kernel: [kt, kh, kw, Cin / groups, Cout].
    stride: along T.
    padding: the pair (before, after) for T.
    groups: parts of the channels that do not mix.
  Returns: [B, T', M', N', Cout].
  """
  x, kernel, first, last, steps = _fold_time(x, kernel, stride, padding, groups)
  if len(kernel) > _LONGEST and groups == 1:
    x, kernel = _fold_taps(x, kernel, steps)
    first, last = 0, x.shape[1]
  outputs = _tile_length(len(kernel), steps, last - first, x.dtype)
  if outputs == 1:
    return _sum_of_taps(conv, x, kernel, first, last, steps)
  return _cook_toom(conv, x, kernel, steps, outputs)


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


def _fold_taps(x, kernel, steps):
  """Folds the taps of a long kernel into channels, at most _LONGEST of them stay.

  Frame t gets the channels of the frames t, t + taps, t + 2 * taps, ... beside its own.

  Args:
    x: [B, steps + K - 1, M, N, Cin], padded, of stride 1.
    kernel: [K, ..., Cin, Cout].
    steps: the number of output frames.
  Returns: x [B, steps + taps - 1, M, N, parts * Cin], kernel [taps, ..., parts * Cin,
    Cout]; parts * taps is at least K.
  """
  parts = -(-len(kernel) // _LONGEST)
  taps = -(-len(kernel) // parts)
  rest = parts * taps - len(kernel)
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, rest, 0)] + [(0, 0, 0)] * 3)
  length = steps + taps - 1
  shifted = [x[:, i * taps :][:, :length] for i in range(parts)]
  x = jnp.concatenate(shifted, axis=-1)
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


def _cook_toom(conv, x, kernel, steps, outputs):
  """Convolves over time with fewer multiplications: Cook-Toom F(outputs, taps).

  A tile of `outputs` frames costs outputs + taps - 1 two-dimensional convolutions
  instead of outputs * taps. The gradient is the transposed algorithm, by autodiff.
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
