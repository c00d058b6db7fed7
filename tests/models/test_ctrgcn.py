"""The units of CTR-GCN against slow loops, joint by joint and step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow_units

from vpn_jax.datasets import skeletons
from vpn_jax.models import ctrgcn, graph

PARTS = graph.partitions(skeletons.get("lcrnet_13"))


@pytest.mark.parametrize("channels", [3, 8])  # with a layer in the residual, without
def test_spatial_unit(channels):
  unit = ctrgcn.spatial_unit(PARTS)(features=8)
  x = slow_units.noise((2, 3, 13, channels))
  variables = slow_units.variables_of(unit, x)
  v = slow_units.in_float64(variables)
  g, y = v["graph_conv"], np.zeros((2, 3, 13, 8))
  for b, p, i, j in np.ndindex(2, 3, 13, 13):
    # Related step by step, and then averaged, as in the release.
    psi = np.mean([x[b, s, i] @ g["psi"][p] + g["psi_bias"][p] for s in range(3)], 0)
    phi = np.mean([x[b, s, j] @ g["phi"][p] for s in range(3)], 0)
    q = np.tanh(psi - phi) @ g["xi"][p] + g["xi_bias"][p]
    for s in range(3):
      moved = np.float64(x)[b, s, j] @ g["kernel"][p] + g["bias"][p]
      y[b, s, i] += (g["alpha"] * q + g["adjacency"][p, i, j]) * moved
  y = slow_units.batch_norm(y, v["graph_bn"])
  if channels == 8:
    assert "down_conv" not in v
    y += x
  else:
    y += slow_units.batch_norm(x @ v["down_conv"]["kernel"][0], v["down_bn"])
  np.testing.assert_allclose(unit.apply(variables, x), y.clip(0), atol=2e-5)


@pytest.mark.parametrize(("steps", "stride"), [(9, 1), (4, 2)])
def test_temporal_unit(steps, stride):
  unit = ctrgcn.temporal_unit(features=9, stride=stride)  # branches of 3 and three of 2
  x = slow_units.noise((2, steps, 3, 5))
  variables = slow_units.variables_of(unit, x)
  v = slow_units.in_float64(variables)
  y = slow_units.batch_norm(x @ v["enter_conv"]["kernel"][0], v["enter_bn"]).clip(0)
  *spans, largest = np.split(y, [3, 5], axis=-1)
  branches = [
    slow_units.temporal_conv(span, v[f"dilation{d}_conv"]["kernel"], stride, d)
    for d, span in enumerate(spans, 1)
  ]
  branches.append(slow_units.max_pool(largest, stride))
  branches.append((x @ v["point_conv"]["kernel"][0])[:, ::stride])
  y = slow_units.batch_norm(np.concatenate(branches, -1), v["branches_bn"])
  np.testing.assert_allclose(unit.apply(variables, x), y, atol=2e-5)


def test_at_the_start_the_graph_is_that_of_the_body():
  unit, x = ctrgcn.spatial_unit(PARTS)(features=8), jnp.ones((1, 4, 13, 3))
  params = unit.init(jax.random.key(0), x)["params"]
  np.testing.assert_array_equal(params["graph_conv"]["adjacency"], PARTS)
  assert params["graph_conv"]["alpha"] == 0
  np.testing.assert_array_equal(params["graph_bn"]["scale"], np.float32([1e-6] * 8))


def test_too_few_features():
  with pytest.raises(ValueError, match="got 3 features for 4 branches over time, exp"):
    jax.eval_shape(
      ctrgcn.temporal_unit(features=3).init, jax.random.key(0), jnp.zeros((1, 4, 3, 5))
    )
