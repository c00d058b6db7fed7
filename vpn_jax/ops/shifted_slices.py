"""What a window of a convolution or of pooling meets: padding, and shifted slices."""

from jax import lax


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
  """TF "SAME": ceil(size / stride) outputs, the odd one of the padding at the end."""
  total = max((-(-size // stride) - 1) * stride + window - size, 0)
  return total // 2, total - total // 2


def pairs(padding, sizes, window, strides):
  """Padding as a tuple of pairs (before, after), one per axis."""
  if padding == "SAME":
    padding = map(same_padding, sizes, window, strides)
  return tuple(tuple(pair) for pair in padding)


def shifts(x, window, stride, axis):
  """The `window` slices of x along an axis whose element i is x[i * stride + k]."""
  stop = (x.shape[axis] - window) // stride * stride + 1
  return [lax.slice_in_dim(x, k, k + stop, stride, axis) for k in range(window)]
