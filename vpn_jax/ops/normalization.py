"""Batch normalization, with one gradient for it and the ReLU behind it.

It has one form for all platforms. The gradient that JAX would derive reads x once more,
for a sum that is zero, and keeps float32 copies of a bfloat16 x.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax


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
    gradient flows. The variance is the biased one (divided by the count), of x -
    mean, so that a large mean does no harm. In a batch sharded over devices the
    statistics are those of the whole batch.
  """
  y, mean, var = _batch_norm_train(x, scale, bias, epsilon, relu)
  return y, lax.stop_gradient(mean), lax.stop_gradient(var)


def per_channel(v, x):
  """[C] to the rank of x."""
  return v.reshape((1,) * (x.ndim - 1) + (-1,))


def _channel_mean(x):
  """Mean over all axes but the last: per clip, then over clips, for accuracy."""
  count = math.prod(x.shape[:-1])
  return x.reshape(x.shape[0], -1, x.shape[-1]).sum(1).sum(0) / count


def _statistics(x):
  x = x.astype(jnp.float32)
  mean = _channel_mean(x)
  return mean, _channel_mean(jnp.square(x - per_channel(mean, x)))


def _normalize(x, mean, inverse, scale, bias):
  factor = inverse if scale is None else inverse * scale
  x = x.astype(jnp.float32) - per_channel(mean, x)
  return x * per_channel(factor, x) + per_channel(bias, x)


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
  mean_dy = _channel_mean(dy)
  mean_dy_unit = (_channel_mean(dy * x.astype(jnp.float32)) - mean_dy * mean) * inverse
  unit = (x.astype(jnp.float32) - per_channel(mean, x)) * per_channel(inverse, x)
  count = math.prod(x.shape[:-1])
  factor = inverse if scale is None else inverse * scale
  dx = dy - per_channel(mean_dy, x) - unit * per_channel(mean_dy_unit, x)
  dx = (per_channel(factor, x) * dx).astype(x.dtype)
  dscale = None if scale is None else mean_dy_unit * count
  return dx, dscale, mean_dy * count


_batch_norm_train.defvjp(_batch_norm_train_forward, _batch_norm_train_backward)
