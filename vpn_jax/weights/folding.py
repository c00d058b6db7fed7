"""BatchNorm folded into the convolution before it, for networks that are only applied.

By running statistics, BatchNorm is one factor and one term per channel. The factor goes
into the kernel; the term stays where the BatchNorm is, as `ops.FOLDED_BIAS`.
"""

import collections

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util
from jax.ad_checkpoint import checkpoint_name

from vpn_jax import ops

# Modules whose output is linear in their parameters, which have the channels last.
_LINEAR = (ops.Conv3D, nn.Conv, nn.Dense)


def fold(model: nn.Module, variables: dict, *inputs) -> dict:
  """Variables with which the same network gives the same numbers with less work.

  Args:
    model: any network; it is traced, not run.
    variables: {"params", "batch_stats"}, arrays.
    inputs: what it is applied to, arrays or `jax.ShapeDtypeStruct`.
  Returns: {"params", "batch_stats"} on the host. Each BatchNorm of `pairs` has
    "folded_bias" in place of its parameters and statistics, and the convolution has
    other values under the names it had; nothing else differs.
  """
  params = traverse_util.flatten_dict(jax.device_get(variables["params"]))
  stats = traverse_util.flatten_dict(jax.device_get(variables["batch_stats"]))
  for conv, norm, epsilon in pairs(model, variables, *inputs):
    mean, var = (np.float64(stats.pop((*norm, name))) for name in ("mean", "var"))
    factor = params.pop((*norm, "scale"), 1.0) / np.sqrt(var + epsilon)
    bias = params.pop((*norm, "bias")) - mean * factor
    params[*norm, ops.FOLDED_BIAS] = bias.astype(np.float32)
    for path in [path for path in params if path[:-1] == conv]:
      params[path] = (params[path] * factor).astype(np.float32)
  return {
    "params": traverse_util.unflatten_dict(params),
    "batch_stats": traverse_util.unflatten_dict(stats),
  }


def pairs(
  model: nn.Module, variables: dict, *inputs
) -> list[tuple[tuple[str, ...], tuple[str, ...], float]]:
  """Which BatchNorm can be folded into which convolution, told by the data flow.

  That is where the BatchNorm takes the convolution's very output, nothing else takes
  it, and the network calls each of the two once. What is inside of a loop or another
  transformed function is left alone.

  Args: as in `fold`.
  Returns: (path of the convolution, path of the BatchNorm, its epsilon), in order.
  """
  convs, norms = {}, {}

  def mark(call, args, kwargs, context):
    module = context.module
    if context.method_name != "__call__":
      return call(*args, **kwargs)
    name = "/".join(module.path)
    if isinstance(module, ops.BatchNorm):
      norms[name] = module
      x, *rest = args
      return call(checkpoint_name(x, name), *rest, **kwargs)
    y = call(*args, **kwargs)
    if isinstance(module, _LINEAR):
      convs[name] = module
      y = checkpoint_name(y, name)
    return y

  # A function of its own, and the form with the fewest steps: traced anew, and quickly.
  with nn.intercept_methods(mark), ops.use_formulation("plain"):
    traced = jax.make_jaxpr(lambda *args: model.apply(*args))(variables, *inputs).jaxpr
  uses = collections.Counter(id(x) for step in traced.eqns for x in step.invars)
  uses.update(map(id, traced.outvars))
  marks = [step for step in traced.eqns if step.primitive.name == "name"]
  calls = collections.Counter(step.params["name"] for step in marks)
  made, found = {}, []
  for step in marks:
    name, (x,), (y,) = step.params["name"], step.invars, step.outvars
    if calls[name] > 1:
      continue
    if name in convs:
      made[id(y)] = convs[name]
    elif name in norms and id(x) in made and uses[id(x)] == 1:
      norm = norms[name]
      found.append((made[id(x)].path, norm.path, norm.epsilon))
  return found
