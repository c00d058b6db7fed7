"""Convolution, max pooling and batch normalization, each in the form fast here.

Every operation has a plain form, which is what a GPU or TPU wants, and a form for
XLA on a CPU, whose three-dimensional convolution, select-and-scatter and gradients
are slow. Both give the same values and gradients to float32 rounding; `formulation`
chooses, and nobody else knows. Shapes: channels last; padding is TF's "SAME" or given.
"""

import contextlib
import contextvars
import fractions
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vpn_jax.models import frames, grouped

_FORCED = contextvars.ContextVar("vpn_jax_formulation", default=None)


def formulation() -> str:
  """Returns "cpu" or "plain": the forced one, else by jax.default_backend()."""
  forced = _FORCED.get()
  if forced:
    return forced
  return "cpu" if jax.default_backend() == "cpu" else "plain"


@contextlib.contextmanager
def use_formulation(name: str):
  """Forces one form inside a `with`; read when a function is traced, not when run.

  Args:
    name: "cpu" or "plain".
  Raises: ValueError for another name.
  """
  if name not in ("cpu", "plain"):
    raise ValueError(f'formulation {name!r} is not known: choose "cpu" or "plain".')
  token = _FORCED.set(name)
  try:
    yield
  finally:
    _FORCED.reset(token)


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
  """TF "SAME": ceil(size / stride) outputs, the odd one of the padding at the end."""
  total = max((-(-size // stride) - 1) * stride + window - size, 0)
  return total // 2, total - total // 2


def _pairs(padding, sizes, window, strides):
  """Padding as a tuple of pairs (before, after), one per axis."""
  if padding == "SAME":
    padding = map(same_padding, sizes, window, strides)
  return tuple(tuple(pair) for pair in padding)


# Convolution


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
  padding = _pairs(padding, x.shape[1:4], kernel.shape[:3], strides)
  if formulation() == "plain":
    return lax.conv_general_dilated(
      x,
      kernel,
      strides,
      padding,
      dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
      feature_group_count=groups,
    )
  if groups == 1:
    return _conv_over_time(_conv2d, x, kernel, strides, padding)
  blocks = grouped.block_count(groups, kernel.shape[-2])
  if blocks > grouped.LOOPED:
    conv2d = functools.partial(grouped.conv2d, groups=groups)
    return _conv_over_time(conv2d, x, kernel, strides, padding, groups)
  conv2d = functools.partial(_conv2d, rows=_GROUPED_ROWS)
  kernels = grouped.merge_groups(kernel, groups, blocks)
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


def _tile_length(taps, steps, frames, dtype):
  """How many outputs a Cook-Toom tile gives, for the fewest 2D convolutions.

  1 stands for the plain sum over taps, also where the transforms would lose accuracy.
  """
  if taps == 1 or jnp.finfo(dtype).bits < 32:
    return 1
  sizes = [m for m in (2, 3, 4) if m + taps - 2 <= len(_POINTS)]
  cost = {m: (m + taps - 1) * -(-steps // m) for m in sizes}
  cost[1] = taps * min(frames, steps) - (taps - 1)  # taps on padding cost nothing
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
  data, weight, result = cook_toom(outputs, taps)
  blocks = tiles + -(-(taps - 1) // outputs)
  ends = (0, blocks * outputs - x.shape[1], 0)
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), ends] + [(0, 0, 0)] * 3)
  x = x.reshape(x.shape[0], blocks, outputs, *x.shape[2:])
  phases = [jnp.squeeze(p, 2) for p in lax.split(x, (1,) * outputs, axis=2)]
  frames = [
    phases[i % outputs][:, i // outputs : i // outputs + tiles]
    for i in range(outputs + taps - 1)
  ]
  # Split, not sliced: the gradient of slices is a slow sum of padded ones.
  kernel = [jnp.squeeze(tap, 0) for tap in lax.split(kernel, (1,) * taps)]
  products = [
    conv(_combine(on_data, frames), _combine(on_weight, kernel))
    for on_data, on_weight in zip(data, weight, strict=True)
  ]
  y = jnp.stack([_combine(row, products) for row in result], axis=2)
  return y.reshape(y.shape[0], tiles * outputs, *y.shape[3:])[:, :steps]


def _combine(weights, terms):
  """Sum of weights[i] * terms[i] over the weights that are not zero."""
  total = None
  for weight, term in zip(weights, terms, strict=True):
    if weight:
      term = term if weight == 1 else term * float(weight)
      total = term if total is None else total + term
  return total


# The places where the polynomials are evaluated, beside infinity; the order and the
# choice keep float32 errors low (3e-7 of the largest output for F(4, 3)).
_POINTS = tuple(map(fractions.Fraction, ("0", "1", "-1", "1/2", "-2", "2")))


@functools.cache
def cook_toom(outputs: int, taps: int):
  """Exact matrices of the minimal algorithm F(outputs, taps) of a correlation.

  With n = outputs + taps - 1, y[j] = sum_k g[k] d[j + k] for 0 <= j < outputs is
  result @ ((weight @ g) * (data @ d)).

  Returns: data [n, n], weight [n, taps], result [outputs, n], nested tuples of
    Fraction.
  Source: Cook-Toom linear convolution, transposed (Winograd 1980; Lavin and Gray
    2016 for networks); evaluation at n - 1 points and at infinity.
  """
  points = _POINTS[: outputs + taps - 2]
  data, weight, evaluate = [], [], []
  for i, p in enumerate(points):
    others = points[:i] + points[i + 1 :]
    norm = math.prod((p - q for q in others), start=fractions.Fraction(1))
    data.append((*_polynomial(others), fractions.Fraction(0)))
    weight.append(tuple(p**k / norm for k in range(taps)))
    evaluate.append(tuple(p**j for j in range(outputs)))
  data.append(_polynomial(points))
  weight.append(tuple(fractions.Fraction(k == taps - 1) for k in range(taps)))
  evaluate.append(tuple(fractions.Fraction(j == outputs - 1) for j in range(outputs)))
  return tuple(data), tuple(weight), tuple(zip(*evaluate, strict=True))


def _polynomial(roots):
  """Coefficients of prod (x - root), the constant first."""
  c = [fractions.Fraction(1)]
  for root in roots:
    c = [a - root * b for a, b in zip([0, *c], [*c, 0], strict=True)]
  return tuple(c)


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
    product = _wide_product if kernel.shape[-1] >= _WIDE else _product
    return product(x, kernel[0, 0])
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
  y = _conv2d_frames(x.reshape(-1, *x.shape[2:]), kernel, strides, padding)
  return y.reshape(*x.shape[:2], *y.shape[1:])


# With as many outputs the gradient of a kernel is worth a transposed copy of x, which
# XLA makes for it, computing again what x is made of.
_WIDE = 256


def _product(x, kernel):
  """[..., Cin] times [Cin, Cout]."""
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


@jax.custom_vjp
def _wide_product(x, kernel):
  """`_product` whose kernel gradient is x.T @ dy; autodiff makes (dy.T @ x).T."""
  return _product(x, kernel)


def _wide_product_backward(saved, dy):
  x, kernel = saved
  places = tuple(range(x.ndim - 1))
  dx = lax.dot_general(dy, kernel, (((x.ndim - 1,), (1,)), ((), ())))
  return dx, lax.dot_general(x, dy, ((places, places), ((), ())))


_wide_product.defvjp(
  lambda x, kernel: (_product(x, kernel), (x, kernel)), _wide_product_backward
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d_frames(x, kernel, strides, padding):
  """lax's 2D convolution, with a faster gradient of the kernel."""
  return frames.conv(x, kernel, strides, padding)


def _conv2d_frames_forward(x, kernel, strides, padding):
  return _conv2d_frames(x, kernel, strides, padding), (x, kernel)


def _conv2d_frames_backward(strides, padding, saved, dy):
  """The kernel's gradient is one matrix product per kernel row, not a convolution."""
  x, kernel = saved
  dx = frames.input_gradient(x, kernel, strides, padding, dy)
  dy = dy.reshape(-1, dy.shape[-1])
  contract = (((0,), (0,)), ((), ()))
  products = [
    lax.dot_general(row.reshape(-1, row.shape[-1]), dy, contract)
    for row in frames.rows(x, kernel.shape[:2], strides, padding)
  ]
  return dx, jnp.stack(products).reshape(kernel.shape)


_conv2d_frames.defvjp(_conv2d_frames_forward, _conv2d_frames_backward)


# Max pooling


def max_pool(x, window, strides, padding="SAME"):
  """Maximum over windows, any number of spatial axes.

  Args:
    x: float [B, *spatial, C].
    window: size along each spatial axis.
    strides: step along each spatial axis.
    padding: "SAME", or a pair (before, after) for each spatial axis, which never wins;
      each number less than the window.
  Returns: float [B, *spatial', C]; spatial' = ceil(spatial / strides) for "SAME". The
    gradient of a tie goes to the first maximum in row-major order.
  Raises: ValueError when the number of axes differs.
  """
  if not len(window) == len(strides) == x.ndim - 2:
    raise ValueError(
      f"max_pool got window {window} and strides {strides} for x {x.shape}: expected "
      f"{x.ndim - 2} numbers each, one per axis between batch and channels."
    )
  padding = _pairs(padding, x.shape[1:-1], window, strides)
  if formulation() == "plain":
    window, strides = (1, *window, 1), (1, *strides, 1)
    padding = ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)
  # Last axis first: then the first maximum of each axis is the first of the window.
  for axis in range(x.ndim - 2, 0, -1):
    if window[axis - 1] > 1 or strides[axis - 1] > 1:
      x = _max_pool_axis(x, axis, *(a[axis - 1] for a in (window, strides, padding)))
  return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool_axis(x, axis, window, stride, padding):
  """Maximum along one axis, as the maximum of shifted slices."""
  return functools.reduce(jnp.maximum, _shifted(x, axis, window, stride, padding))


def _shifted(x, axis, window, stride, padding):
  """The `window` slices of x whose element i is x[i * stride + k], padded by -inf."""
  ends = [(0, 0, 0)] * x.ndim
  ends[axis] = (*padding, 0)
  x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), ends)
  outputs = (x.shape[axis] - window) // stride + 1
  stop = (outputs - 1) * stride + 1
  return [lax.slice_in_dim(x, k, k + stop, stride, axis) for k in range(window)]


def _max_pool_axis_forward(x, axis, window, stride, padding):
  """Keeps for the gradient one byte per output: which slice held the maximum."""
  best, *others = _shifted(x, axis, window, stride, padding)
  place = jnp.zeros(best.shape, jnp.uint8)
  for k, other in enumerate(others, 1):
    place = jnp.where(other > best, jnp.uint8(k), place)
    best = jnp.maximum(other, best)
  # An empty array that carries the size of the axis.
  return best, (place, jnp.zeros((x.shape[axis], 0), jnp.uint8))


def _max_pool_axis_backward(axis, window, stride, padding, saved, dy):
  """Each input gathers from the outputs that chose it; nothing is scattered."""
  place, size = saved[0], saved[1].shape[0]
  edge = -(-window // stride) - 1
  length = dy.shape[axis] + edge
  # Padded once and sliced: sums of padded slices are several times slower.
  ends = [(0, 0, 0)] * dy.ndim
  ends[axis] = (edge, edge, 0)
  dy = lax.pad(dy, jnp.zeros((), dy.dtype), ends)
  place = lax.pad(place, jnp.uint8(window), ends)
  phases = []  # phase p holds the padded inputs p, p + stride, p + 2 * stride, ...
  for p in range(stride):
    total = jnp.zeros((*dy.shape[:axis], length, *dy.shape[axis + 1 :]), dy.dtype)
    for shift, k in enumerate(range(p, window, stride)):
      start = edge - shift
      chose, part = (
        lax.slice_in_dim(a, start, start + length, axis=axis) for a in (place, dy)
      )
      total = total + jnp.where(chose == k, part, 0)
    phases.append(total)
  dx = jnp.stack(phases, axis + 1)
  dx = dx.reshape(*dy.shape[:axis], length * stride, *dy.shape[axis + 1 :])
  before = padding[0]
  ends[axis] = (-before, size + before - length * stride, 0)
  return (lax.pad(dx, jnp.zeros((), dx.dtype), ends),)


_max_pool_axis.defvjp(_max_pool_axis_forward, _max_pool_axis_backward)


# Batch normalization


def batch_norm(x, mean, var, scale, bias, *, epsilon=1e-3, relu=False):
  """Normalizes by given statistics: (x - mean) / sqrt(var + epsilon) * scale + bias.

  Args:
    x: float [..., C].
    mean: float32 [C].
    var: float32 [C].
    scale: float32 [C], or None for 1.
    bias: float32 [C].
    epsilon: added to the variance; positive.
    relu: whether max(., 0) follows.
  Returns: float [..., C] of the type of x; computed in float32.
  """
  y = _normalize(x, mean, lax.rsqrt(var + epsilon), scale, bias)
  return (jnp.maximum(y, 0) if relu else y).astype(x.dtype)


def batch_norm_train(x, scale, bias, *, epsilon=1e-3, relu=False):
  """Normalizes by the statistics of x itself, over all axes but the last.

  Args: as in `batch_norm`.
  Returns: y as in `batch_norm`, and mean and var, float32 [C], through which no
    gradient flows. The variance is the biased one (divided by the count), taken of
    x - mean, so that a large mean does no harm. In a batch sharded over devices the
    statistics are those of the whole batch.
  """
  if formulation() == "plain":
    mean, var = _statistics(x)
    y = batch_norm(x, mean, var, scale, bias, epsilon=epsilon, relu=relu)
  else:
    y, mean, var = _batch_norm_train(x, scale, bias, epsilon, relu)
  return y, lax.stop_gradient(mean), lax.stop_gradient(var)


def _per_channel(v, x):
  """[C] to the rank of x."""
  return v.reshape((1,) * (x.ndim - 1) + (-1,))


def _channel_mean(x):
  """Mean over all axes but the last: per clip, then over clips, for accuracy."""
  count = math.prod(x.shape[:-1])
  return x.reshape(x.shape[0], -1, x.shape[-1]).sum(1).sum(0) / count


def _statistics(x):
  x = x.astype(jnp.float32)
  mean = _channel_mean(x)
  return mean, _channel_mean(jnp.square(x - _per_channel(mean, x)))


def _normalize(x, mean, inverse, scale, bias):
  factor = inverse if scale is None else inverse * scale
  x = x.astype(jnp.float32) - _per_channel(mean, x)
  return x * _per_channel(factor, x) + _per_channel(bias, x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _batch_norm_train(x, scale, bias, epsilon, relu):
  return _batch_norm_train_forward(x, scale, bias, epsilon, relu)[0]


def _batch_norm_train_forward(x, scale, bias, epsilon, relu):
  mean, var = _statistics(x)
  y = batch_norm(x, mean, var, scale, bias, epsilon=epsilon, relu=relu)
  return (y, mean, var), (x, mean, lax.rsqrt(var + epsilon), scale, bias)


def _batch_norm_train_backward(epsilon, relu, saved, gradients):
  """One gradient for normalization and ReLU; keeps x alone, no activation."""
  del epsilon
  x, mean, inverse, scale, bias = saved
  dy = gradients[0].astype(jnp.float32)
  if relu:
    dy = jnp.where(_normalize(x, mean, inverse, scale, bias) > 0, dy, 0.0)
  unit = (x.astype(jnp.float32) - _per_channel(mean, x)) * _per_channel(inverse, x)
  mean_dy, mean_dy_unit = _channel_mean(dy), _channel_mean(dy * unit)
  count = math.prod(x.shape[:-1])
  factor = inverse if scale is None else inverse * scale
  dx = dy - _per_channel(mean_dy, x) - unit * _per_channel(mean_dy_unit, x)
  dx = (_per_channel(factor, x) * dx).astype(x.dtype)
  dscale = None if scale is None else mean_dy_unit * count
  return dx, dscale, mean_dy * count


_batch_norm_train.defvjp(_batch_norm_train_forward, _batch_norm_train_backward)


# Residual sums


def add_relu(x, shortcut):
  """max(x + shortcut, 0), the end of a residual block; both float of one shape."""
  if formulation() == "plain":
    return nn.relu(x + shortcut)
  return _add_relu(x, shortcut)


@jax.custom_vjp
def _add_relu(x, shortcut):
  """Ends with a division by one, which keeps XLA from computing it more than once.

  Sums are cheap to it: it repeats those of all blocks before in every block that reads
  them. A division it does not repeat, and cannot take away: not every y is a number.
  """
  y = jnp.maximum(x + shortcut, 0)
  return y / jnp.where(jnp.isnan(y), 2, 1).astype(y.dtype)


def _add_relu_forward(x, shortcut):
  y = _add_relu(x, shortcut)
  return y, y


def _add_relu_backward(y, dy):
  dx = jnp.where(y > 0, dy, 0)
  return dx, dx


_add_relu.defvjp(_add_relu_forward, _add_relu_backward)


# The same as Flax modules


class Conv3D(nn.Module):
  """`conv3d` with its kernel.

  Attributes:
    features: Cout.
    kernel_size: (kt, kh, kw).
    strides: steps along T, M and N.
    padding: "SAME", or a pair (before, after) for each of T, M and N.
    groups: parts of the channels that do not mix.
    use_bias: whether a bias is added.
    dtype: type of the computation; parameters are float32.
  """

  features: int
  kernel_size: tuple[int, int, int]
  strides: tuple[int, int, int] = (1, 1, 1)
  padding: str | tuple[tuple[int, int], ...] = "SAME"
  groups: int = 1
  use_bias: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32
  kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, M, N, Cin] to [B, T', M', N', Cout]."""
    shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
    kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
    x = x.astype(self.dtype)
    y = conv3d(x, kernel, self.strides, self.padding, self.groups)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
      y = y + _per_channel(bias.astype(self.dtype), y)
    return y


# The parameter of a BatchNorm whose factors went into the convolution before it.
FOLDED_BIAS = "folded_bias"


class BatchNorm(nn.Module):
  """Batch normalization over all axes but the last, with ReLU if asked for.

  One that `fold.fold` left with a folded bias alone adds it, and no more.

  Attributes:
    use_scale: whether a factor per channel is learnt beside the bias.
    relu: whether max(., 0) follows.
    epsilon: added to the variance.
    momentum: running = momentum * running + (1 - momentum) * batch, for the mean and
      the biased variance, in the collection "batch_stats".
  """

  use_scale: bool = False
  relu: bool = False
  epsilon: float = 1e-3
  momentum: float = 0.9

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [..., C] to the same; in training by the statistics of the batch.

    Raises: ValueError when a folded one is to be trained (at trace time).
    """
    if self.has_variable("params", FOLDED_BIAS):
      if train:
        raise ValueError(
          f"{'/'.join(self.path)} got folded variables, expected those of training: "
          "train what the checkpoint holds, fold what is only applied."
        )
      bias = self.get_variable("params", FOLDED_BIAS)
      y = x.astype(jnp.float32) + _per_channel(bias, x)
      return (jnp.maximum(y, 0) if self.relu else y).astype(x.dtype)
    shape = (x.shape[-1],)
    ones, zeros = nn.initializers.ones_init(), nn.initializers.zeros_init()
    scale = self.param("scale", ones, shape) if self.use_scale else None
    bias = self.param("bias", zeros, shape)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
    running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
    settings = {"epsilon": self.epsilon, "relu": self.relu}
    if not train:
      stats = running_mean.value, running_var.value
      return batch_norm(x, *stats, scale, bias, **settings)
    y, mean, var = batch_norm_train(x, scale, bias, **settings)
    if not self.is_initializing():
      new, old = 1 - self.momentum, self.momentum
      running_mean.value = old * running_mean.value + new * mean
      running_var.value = old * running_var.value + new * var
    return y
