"""Floating-point operations of a function: what its products and convolutions cost.

A multiply-add counts as two operations. Counted is the plain form of `vpn_jax.ops`,
padding included, as it is written down before XLA sees it: the usual measure of a
network, which no clever algorithm lowers. Everything elementwise is left out.
"""

import math

import jax
from jax.extend import core

from vpn_jax import ops


def count(function, *args) -> int:
  """Operations of one call.

  Args:
    function: of JAX arrays, jitted or not; it is traced, not run.
    args: arrays or `jax.ShapeDtypeStruct`, nested as the function wants them.
  Raises: ValueError for products inside a loop whose length is not known.
  """
  inner = function.__wrapped__ if isinstance(function, jax.stages.Wrapped) else function
  anew = lambda *args: inner(*args)  # noqa: E731  # JAX remembers what it traced
  with ops.use_formulation("plain"):
    return _count(jax.make_jaxpr(anew)(*args).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
  total = 0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == "dot_general":
      total += _product(eqn)
    elif eqn.primitive.name == "conv_general_dilated":
      total += _convolution(eqn)
    inner = sum(map(_count, core.jaxprs_in_params(eqn.params)))
    if inner and eqn.primitive.name in ("while", "cond"):
      raise ValueError(
        f"products inside {eqn.primitive.name!r}, which may run any number of times: "
        "count what is inside it."
      )
    total += inner * eqn.params.get("length", 1)  # of a scan
  return total


def _product(eqn) -> int:
  ((contracted, _), _) = eqn.params["dimension_numbers"]
  x = eqn.invars[0].aval
  return 2 * eqn.outvars[0].aval.size * math.prod(x.shape[i] for i in contracted)


def _convolution(eqn) -> int:
  """Every output sums one window of one group.

  Steps between the elements of x, as in the gradient of a strided convolution, hold
  zeros: that gradient costs what the convolution does.
  """
  kernel = eqn.invars[1].aval
  features = kernel.shape[eqn.params["dimension_numbers"].rhs_spec[0]]
  outputs = eqn.outvars[0].aval.size
  zeros = math.prod(eqn.params["lhs_dilation"])
  return round(2 * outputs * (kernel.size // features) / zeros)
