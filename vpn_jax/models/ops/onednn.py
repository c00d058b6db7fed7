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


def input_gradient(x, kernel, strides, padding, dy, groups=1):
  """What `conv` hands back to x, given dy of the shape of its result.

  It is the convolution of dy, spread by the strides, with the kernel back to front.
  """
  sizes = kernel.shape[:-2]
  ends = []
  for n, out, size, stride, (before, _) in zip(
    x.shape[1:-1], dy.shape[1:-1], sizes, strides, padding, strict=True
  ):
    low = size - 1 - before
    ends.append((low, n + size - 1 - low - _width(out, stride)))
  if math.prod(strides) > 1:
    dy, ends = _pad(dy, ends, strides), ((0, 0),) * len(sizes)
  back = jnp.flip(kernel, range(len(sizes)))
  back = back.reshape(*kernel.shape[:-1], groups, -1)
  back = jnp.moveaxis(back, -3, -1)  # ..., groups, Cout / groups, Cin / groups
  back = jnp.moveaxis(back, -3, -2).reshape(*sizes, -1, x.shape[-1])
  return conv(dy, back, (1,) * len(sizes), ends, groups)


def kernel_gradient(x, dy, size, strides, padding, groups=1):
  """What `conv` hands back to a kernel of this size, given dy.

  It is a convolution by dy, its taps the strides apart, in which clips and the channels
  of a group change places. So there have to be few places: oneDNN sums over clips as
  fast as over channels, over the taps of a large kernel it does not.

  Args:
    x: float32 [B, ..., Cin].
    dy: float32 [B, ..., Cout], of the shape of the result.
    size: the axes of the kernel between.
    strides, padding, groups: those of `conv`.
  Returns: float32 [*size, Cin / groups, Cout].
  """
  ends = []
  for n, out, taps, stride, (before, _) in zip(
    x.shape[1:-1], dy.shape[1:-1], size, strides, padding, strict=True
  ):
    ends.append((before, taps - 1 + _width(out, stride) - n - before))
  clips = x.reshape(*x.shape[:-1], groups, -1)
  clips = jnp.moveaxis(clips, (0, -1), (-1, 0))  # Cin / groups, ..., groups, B
  clips = clips.reshape(*clips.shape[:-2], -1)
  kernel = jnp.moveaxis(dy, 0, -2)  # ..., B, Cout
  back = conv(clips, kernel, (1,) * len(size), ends, groups, strides)
  return jnp.moveaxis(back, 0, -2)


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
