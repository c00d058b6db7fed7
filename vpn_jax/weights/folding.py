"""BatchNorm folded into the layer before it, for networks that are only applied.

By running statistics, BatchNorm is one factor and one term per channel. The factor goes
into the kernel; the term stays where the BatchNorm is, as `ops.FOLDED_BIAS`.
"""

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util

from vpn_jax import ops

# How the networks name a BatchNorm and, beside it, the layer whose output it takes:
# conv and bn, conv1 and bn1, spatial_hidden and spatial_norm.
_NAMES = (("bn", "conv"), ("norm", "hidden"))


def fold(model: nn.Module, variables: dict, *inputs) -> dict:
  """Variables with which the same network gives the same numbers with less work.

  Args:
    model: any network; it is traced, not run.
    variables: {"params", "batch_stats"}, arrays.
    inputs: what it is applied to, arrays or `jax.ShapeDtypeStruct`.
  Returns: {"params", "batch_stats"} on the host. Each BatchNorm behind a layer that its
    name gives has "folded_bias" instead of its parameters and statistics, and that
    layer has other values under the names it had; nothing else differs.
  """
  params = traverse_util.flatten_dict(jax.device_get(variables["params"]))
  stats = traverse_util.flatten_dict(jax.device_get(variables["batch_stats"]))
  for norm, epsilon in _epsilons(model, variables, *inputs).items():
    layer = _layer_before(norm)
    if (*layer, "kernel") not in params:
      continue  # such as the normalization of the pose, which comes first
    mean, var = (np.float64(stats.pop((*norm, name))) for name in ("mean", "var"))
    factor = params.pop((*norm, "scale"), 1.0) / np.sqrt(var + epsilon)
    bias = params.pop((*norm, "bias")) - mean * factor
    params[*norm, ops.FOLDED_BIAS] = bias.astype(np.float32)
    for path in {(*layer, "kernel"), (*layer, "bias")} & params.keys():
      params[path] = (params[path] * factor).astype(np.float32)
  return {
    "params": traverse_util.unflatten_dict(params),
    "batch_stats": traverse_util.unflatten_dict(stats),
  }


def _layer_before(norm: tuple[str, ...]) -> tuple[str, ...]:
  """The path of the layer that a BatchNorm follows, by the path of the BatchNorm."""
  *scope, name = norm
  for own, before in _NAMES:
    name = name.replace(own, before)
  return (*scope, name)


def _epsilons(model: nn.Module, variables: dict, *inputs) -> dict[tuple, float]:
  """The epsilon of each BatchNorm that a network calls, by its path."""
  found = {}

  def note(call, args, kwargs, context):
    if isinstance(context.module, ops.BatchNorm):
      found[context.module.path] = context.module.epsilon
    return call(*args, **kwargs)

  # The plain form has the fewest steps to trace. A new function, since JAX remembers
  # those that it traced, and would not call their modules again.
  with nn.intercept_methods(note), ops.use_formulation("plain"):
    jax.eval_shape(lambda *args: model.apply(*args), variables, *inputs)
  return found
