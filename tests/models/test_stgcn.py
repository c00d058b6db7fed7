"""The units of ST-GCN++ against slow loops, joint by joint and step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow_units

from vpn_jax import ops
from vpn_jax.datasets import skeletons
from vpn_jax.models import graph, stgcn

SKELETON = skeletons.get("lcrnet_13")
PARTS = graph.partitions(SKELETON)


def test_partitions_by_hand():
  """Both hips are the origin of LCR-Net's skeleton, head and knees are farther."""
  own, nearer, farther = PARTS

  def row(part, joint):
    found = {SKELETON.joints[j]: part[SKELETON.index(joint), j] for j in range(13)}
    return {name: weight for name, weight in found.items() if weight}

  third = np.float32(1 / 3)
  assert row(own, "right_hip") == {"right_hip": 0.5, "left_hip": 0.5}
  assert row(nearer, "right_hip") == {}
  assert row(farther, "right_hip") == {"right_knee": 0.5, "right_shoulder": 0.5}
  assert row(own, "head") == {"head": 1.0}
  assert row(nearer, "head") == {"left_shoulder": 0.5, "right_shoulder": 0.5}
  assert row(farther, "head") == {}
  assert row(farther, "left_shoulder") == {"left_elbow": 0.5, "head": 0.5}
  assert row(own, "left_shoulder") == {"left_shoulder": 0.5, "right_shoulder": 0.5}
  assert third not in PARTS


@pytest.mark.parametrize("channels", [3, 8])  # with a layer in the residual, without
def test_spatial_unit(channels):
  unit = stgcn.spatial_unit(PARTS)(features=8)
  x = slow_units.noise((2, 3, 13, channels))
  variables = slow_units.variables_of(unit, x)
  v = slow_units.in_float64(variables)
  kernel, bias, a = (v["graph_conv"][k] for k in ("kernel", "bias", "adjacency"))
  y = np.zeros((2, 3, 13, 8))
  for b, s, i in np.ndindex(2, 3, 13):
    for p in range(3):
      for j in range(13):
        y[b, s, i] += a[p, i, j] * (np.float64(x)[b, s, j] @ kernel[p] + bias[p])
  y = slow_units.batch_norm(y, v["graph_bn"])
  if channels == 8:
    assert "down_conv" not in v
    y += x
  else:
    y += slow_units.batch_norm(x @ v["down_conv"]["kernel"][0], v["down_bn"])
  np.testing.assert_allclose(unit.apply(variables, x), y.clip(0), atol=2e-5)


@pytest.mark.parametrize(("steps", "stride"), [(9, 1), (9, 2), (4, 2), (1, 2)])
def test_temporal_unit(steps, stride):
  unit = stgcn.temporal_unit(features=14, stride=stride)  # branches of 4 and five of 2
  x = slow_units.noise((2, steps, 3, 5))
  variables = slow_units.variables_of(unit, x)
  v = slow_units.in_float64(variables)
  y = slow_units.batch_norm(x @ v["enter_conv"]["kernel"][0], v["enter_bn"]).clip(0)
  ends, branches = np.cumsum([4, 2, 2, 2]), []
  *spans, largest = np.split(y, ends, axis=-1)
  for dilation, span in enumerate(spans, 1):
    kernel = v[f"dilation{dilation}_conv"]["kernel"]
    branches.append(slow_units.temporal_conv(span, kernel, stride, dilation))
  branches.append(slow_units.max_pool(largest, stride))
  branches.append((x @ v["point_conv"]["kernel"][0])[:, ::stride])
  y = slow_units.batch_norm(np.concatenate(branches, -1), v["branches_bn"]).clip(0)
  y = slow_units.batch_norm(y @ v["transform_conv"]["kernel"][0], v["transform_bn"])
  assert y.shape == (2, -(-steps // stride), 3, 14)
  for form in ("plain", "cpu") if steps == 9 else ("cpu",):
    with ops.use_formulation(form):
      np.testing.assert_allclose(unit.apply(variables, x), y, atol=2e-5)


def test_too_few_features():
  with pytest.raises(ValueError, match="got 5 features for 6 branches over time, exp"):
    jax.eval_shape(
      stgcn.temporal_unit(features=5).init, jax.random.key(0), jnp.zeros((1, 4, 3, 5))
    )
