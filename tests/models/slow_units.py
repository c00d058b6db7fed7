"""Slow loops over steps and joints, and variables of noise, for units of a block."""

import jax
import numpy as np
from flax import traverse_util


def noise(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def variables_of(unit, *inputs, **options):
  """Variables of a module with noise instead of what starts as zeros or ones."""
  made = jax.eval_shape(lambda *x: unit.init(jax.random.key(0), *x, **options), *inputs)
  made = traverse_util.flatten_dict(dict(made))
  for i, (path, x) in enumerate(made.items()):
    value = noise(x.shape, seed=i)
    if path[-1] in ("var", "scale"):
      value = np.exp(0.3 * value)
    elif path[-1] == "kernel":
      value = value / np.sqrt(np.prod(x.shape[:-1]))
    made[path] = np.asarray(value, np.float32)
  return traverse_util.unflatten_dict(made)


def in_float64(variables):
  """Parameters and statistics in one tree."""
  merged = {}
  for collection in variables.values():
    merged |= traverse_util.flatten_dict(collection)
  return traverse_util.unflatten_dict({k: np.float64(x) for k, x in merged.items()})


def batch_norm(x, v, epsilon=1e-5):
  return (x - v["mean"]) / np.sqrt(v["var"] + epsilon) * v["scale"] + v["bias"]


def temporal_conv(x, kernel, stride=1, dilation=1):
  """x [B, S, J, Cin], kernel [k, Cin, Cout]."""
  b, s, j, _ = x.shape
  taps, _, features = kernel.shape
  y = np.zeros((b, -(-s // stride), j, features))
  for i in range(y.shape[1]):
    for tap in range(taps):
      step = i * stride + (tap - taps // 2) * dilation
      if 0 <= step < s:
        y[:, i] += x[:, step] @ kernel[tap]
  return y


def max_pool(x, stride):
  """The largest of three steps around every `stride`-th one."""
  steps = range(0, x.shape[1], stride)
  return np.stack([x[:, max(i - 1, 0) : i + 2].max(axis=1) for i in steps], axis=1)
