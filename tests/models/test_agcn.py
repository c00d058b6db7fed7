"""The units of AGCN against slow loops, joint by joint and step by step."""

import numpy as np
import pytest
import slow_units

from vpn_jax.datasets import skeletons
from vpn_jax.models import agcn, graph

PARTS = graph.partitions(skeletons.get("lcrnet_13"))


@pytest.mark.parametrize("channels", [3, 8])  # with a layer in the residual, without
def test_spatial_unit(channels):
  unit = agcn.spatial_unit(PARTS)(features=8)
  x = slow_units.noise((2, 3, 13, channels))
  variables = slow_units.variables_of(unit, x)
  v = slow_units.in_float64(variables)
  g, y = v["graph_conv"], np.zeros((2, 3, 13, 8))
  for b, p, i in np.ndindex(2, 3, 13):
    similar = np.zeros(13)
    for j in range(13):
      for s in range(3):
        theta = x[b, s, j] @ g["theta"]["kernel"][:, p]
        phi = x[b, s, i] @ g["phi"]["kernel"][:, p] + g["phi"]["bias"][p]
        similar[j] += theta @ phi / (3 * 2)  # steps times channels of the embedding
    c = np.exp(similar) / np.exp(similar).sum()
    weights = PARTS[p, i] + g["adjacency"][p, i] + c
    for s in range(3):
      y[b, s, i] += (weights @ x[b, s]) @ g["kernel"][p]
  y = slow_units.batch_norm(y, v["graph_bn"])
  if channels == 8:
    assert "down_conv" not in v
    y += x
  else:
    y += slow_units.batch_norm(x @ v["down_conv"]["kernel"][0], v["down_bn"])
  np.testing.assert_allclose(unit.apply(variables, x), y.clip(0), atol=2e-5)


@pytest.mark.parametrize(("steps", "stride"), [(12, 1), (5, 2)])
def test_temporal_unit(steps, stride):
  unit = agcn.TemporalUnit(features=6, stride=stride)
  x = slow_units.noise((2, steps, 3, 5))
  variables = slow_units.variables_of(unit, x)
  v = slow_units.in_float64(variables)
  y = slow_units.temporal_conv(x, v["time_conv"]["kernel"], stride)
  y = slow_units.batch_norm(y, v["time_bn"])
  np.testing.assert_allclose(unit.apply(variables, x), y, atol=2e-5)
