"""Convolution by oneDNN, a library inside jaxlib for x86 processors.

XLA never chooses it by itself, but compiles a call of it. Grouped convolution over
time takes a half to a seventh of the time of what `grouped` makes of XLA's operations.
The price: XLA cannot store a program with such a call, which is compiled anew in each
process, nor cut it for several devices. The call is not documented, so that `available`
tries it.
"""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vpn_jax.models.ops import clips


@functools.cache
def available() -> bool:
  """Whether this jaxlib has the call, with the right result; tries a small one."""
  rng = np.random.default_rng(0)
  x = rng.integers(-3, 4, (2, 3, 4, 5, 8)).astype(np.float32)
  kernel = rng.integers(-3, 4, (3, 1, 2, 4, 6)).astype(np.float32)
  strides, padding, groups = (1, 2, 1), ((1, 1), (0, 0), (2, 0)), 2
  dilations = (1, 1, 2)
  with jax.ensure_compile_time_eval():
    try:
      y = conv(x, kernel, strides, padding, groups, dilations)
    except jax.errors.JaxRuntimeError:  # there is none
      return False
    want = lax.conv_general_dilated(
      x,
      kernel,
      strides,
      padding,
      rhs_dilation=dilations,
      dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
      feature_group_count=groups,
    )
  return np.array_equal(y, want)  # whole numbers, which are not rounded


def conv(x, kernel, strides, padding, groups=1, dilations=None):
  """What lax's convolution gives, channels last.

  Args:
    x: float32 [B, ..., Cin], with one to three axes between.
    kernel: float32 [..., Cin / groups, Cout].
    strides: steps along the axes between.
    padding: a pair (before, after) for each of them; negative drops.
    groups: parts of the channels that do not mix; each part is adjacent channels.
    dilations: distances between the taps of the kernel along these axes; None for 1.
  Returns: float32 [B, ..., Cout].
  """
  dilations = tuple(dilations or (1,) * len(strides))
  widths = map(_width, kernel.shape[:-2], dilations)
  given = tuple(zip(padding, widths, strict=True))
  if not all(0 <= side < width for pair, width in given for side in pair):
    x, padding = _pad(x, padding), ((0, 0),) * len(strides)
  return _convolution(x, kernel, strides, padding, groups, dilations)


def _width(taps, dilation):
  """The number of places from the first tap to the last."""
  return (taps - 1) * dilation + 1


def input_gradient(x, kernel, dy, strides, padding, groups=1):
  """What `conv` hands back to x, given dy of the shape of its result.

  It is the convolution of dy with the kernel back to front. Places of x that are the
  strides apart meet the same taps: such phases are channels of one convolution.
  """
  rank, cin = len(strides), kernel.shape[-2]
  taps, zeros, ends, cut = [], [], [], []
  for n, out, size, stride, (before, _) in zip(
    x.shape[1:-1], dy.shape[1:-1], kernel.shape[:-2], strides, padding, strict=True
  ):
    front = -before % stride  # zero taps that begin the kernel at a multiple of stride
    count = -(-n // stride)
    taps.append(-(-(front + size) // stride))
    zeros.append((front, taps[-1] * stride - front - size))
    low = taps[-1] - 1 - (front + before) // stride
    ends.append((low, count + taps[-1] - 1 - out - low))
    cut.append((0, n - count * stride))
  evens, odds = range(0, 2 * rank, 2), range(1, 2 * rank, 2)
  back = jnp.pad(kernel, [*zeros, (0, 0), (0, 0)])
  pairs = [size for pair in zip(taps, strides, strict=True) for size in pair]
  back = jnp.flip(back.reshape(*pairs, cin, groups, -1), evens)
  back = back.transpose(*evens, 2 * rank + 2, 2 * rank + 1, *odds, 2 * rank)
  back = back.reshape(*taps, dy.shape[-1] // groups, -1)  # groups, phases, cin
  dx = conv(dy, back, (1,) * rank, ends, groups)
  dx = dx.reshape(*dx.shape[:-1], groups, *strides, cin)
  order = [axis for a in range(rank) for axis in (1 + a, 2 + rank + a)]
  dx = dx.transpose(0, *order, 1 + rank, 2 + 2 * rank)
  sizes = [n - end for n, (_, end) in zip(x.shape[1:-1], cut, strict=True)]
  return _pad(dx.reshape(len(x), *sizes, -1), cut)


def kernel_gradient(x, dy, size, strides, padding, groups):
  """What `conv` hands back to a kernel of this size, given dy.

  It is a convolution by dy, its taps the strides apart, which sums over clips as over
  channels. Clips take the place of the channels of a group of x, and these lie side by
  side along the last axis between, of which oneDNN computes up to 28 places at once.

  Args:
    x: float32 [B, ..., Cin].
    dy: float32 [B, ..., Cout], of the shape of the result.
    size: the axes of the kernel between.
    strides, padding, groups: those of `conv`.
  Returns: float32 [*size, Cin / groups, Cout].
  """
  most = math.gcd(_CLIPS, x.shape[-1] // groups, dy.shape[-1] // groups)
  pieces = max(most // len(x), 1)
  x, dy, padding = clips.cut(x, dy, size, strides, padding, pieces)
  unit = math.gcd(_UNIT, most)
  gradient = functools.partial(
    _sum_over_clips, size=size, strides=strides, padding=padding, groups=groups
  )
  return clips.sum_over_sets(gradient, x, dy, min(-(-len(x) // unit) * unit, most))


# Clips that oneDNN sums over at once, as far as a group has as many channels, which it
# then computes at once as well. 16 are no faster; 8 of groups of 4 are slower.
_CLIPS = 8
_UNIT = 4  # it computes with vectors of 4 numbers at least


def _sum_over_clips(x, dy, size, strides, padding, groups):
  """As `kernel_gradient`, of all clips at once."""
  cin = x.shape[-1] // groups
  scale = (1,) * (len(size) - 1) + (cin,)  # the last axis has places x channels
  ends = [
    (before * by, (taps - 1 + _width(out, stride) - n - before) * by)
    for n, out, taps, stride, (before, _), by in zip(
      x.shape[1:-1], dy.shape[1:-1], size, strides, padding, scale, strict=True
    )
  ]
  dilations = [stride * by for stride, by in zip(strides, scale, strict=True)]
  image = x.reshape(*x.shape[:-1], groups, cin)
  image = jnp.moveaxis(image, (0, -1), (-1, -3))  # ..., Cin / groups, groups, B
  image = image.reshape(1, *x.shape[1:-2], x.shape[-2] * cin, -1)
  kernel = jnp.moveaxis(dy, 0, -2)  # ..., B, Cout
  calls = 1
  if image.size > _LARGE and max(strides) == 1 and groups % 2 == 0:
    calls = groups // 2
  parts = (jnp.split(a, calls, axis=-1) for a in (image, kernel))
  gradients = [
    conv(*part, (1,) * len(size), ends, groups // calls, dilations)
    for part in zip(*parts, strict=True)
  ]
  gradient = jnp.concatenate(gradients, axis=-1)  # 1, ..., kw * Cin / groups, Cout
  return gradient.reshape(*size, cin, -1)


# Numbers of x from which on each call is of two groups. With all side by side, a core
# reads each line of its second cache for a few numbers, the more often the larger x is.
# With strides, what the calls save is lost to copying x for them.
_LARGE = 1 << 20


def _pad(x, padding, strides=None):
  """Zeros around x, and between its places so that they are strides apart."""
  gaps = [s - 1 for s in strides] if strides else [0] * len(padding)
  ends = [(*pair, gap) for pair, gap in zip(padding, gaps, strict=True)]
  return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])


def _convolution(x, kernel, strides, padding, groups, dilations):
  """As `conv`; the padding is at least 0 and less than the width of the kernel.

  The settings are those of xla/service/cpu/onednn_config.proto in jaxlib 0.10.
  """
  sizes = kernel.shape[:-2]
  rank, axes = x.ndim, range(len(sizes))
  places = [
    (n + sum(pair) - _width(size, dilation)) // stride + 1
    for n, pair, size, stride, dilation in zip(
      x.shape[1:-1], padding, sizes, strides, dilations, strict=True
    )
  ]
  image = {
    "batch_dim": 0,
    "feature_dim": rank - 1,
    "spatial_dims": [a + 1 for a in axes],
  }
  features = {"input_feature_dim": rank - 2, "output_feature_dim": rank - 1}
  settings = {
    "dims": rank,
    "feature_groups": groups,
    "input": {"dims": rank, "data": image},
    "output": {"dims": rank, "data": image},
    "kernel": {"dims": rank, "filter": {**features, "spatial_dims": list(axes)}},
    "window": {
      "size": sizes,
      "strides": strides,
      "pad_left": [before for before, _ in padding],
      "pad_right": [after for _, after in padding],
      "window_dilations": dilations,
    },
  }
  call = jax.ffi.ffi_call(
    "__onednn$convolution",
    jax.ShapeDtypeStruct((x.shape[0], *places, kernel.shape[-1]), x.dtype),
    vmap_method="sequential",
    custom_call_api_version=2,
    legacy_backend_config=json.dumps({"onednn_conv_config": settings}),
  )
  return call(x, kernel)
