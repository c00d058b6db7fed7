"""Folded BatchNorm: the same numbers, by hand and of networks; what is not folded."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from vpn_jax import ops
from vpn_jax.datasets import skeletons
from vpn_jax.models import graph as graph_lib
from vpn_jax.models import i3d, p_i3d, pose_backbone, resnext3d, vpn
from vpn_jax.weights import folding

SKELETON = skeletons.get("kinect_v2")
GRAPH = graph_lib.normalized_adjacency(graph_lib.adjacency(SKELETON))
RESNEXT = {"width": 0.25, "blocks": (2, 1, 1, 1), "final_endpoint": "layer2"}
SMALL = {"num_classes": 3, "width": 0.125, "endpoint": "Mixed_3b"}


def noise(shape, dtype=np.float32, seed=0):
  rng = np.random.default_rng(seed)
  if dtype == np.uint8:
    return rng.integers(0, 256, shape, dtype)
  return rng.normal(size=shape).astype(dtype)


def variables_of(model, *inputs):
  """Random parameters and statistics, none of them 0 or 1."""
  made = jax.jit(model.init)(jax.random.key(0), *inputs)
  made = traverse_util.flatten_dict(dict(made))
  for i, (path, x) in enumerate(made.items()):
    if path[-1] in ("var", "scale"):
      made[path] = np.exp(noise(x.shape, seed=i))
    elif path[-1] in ("mean", "bias"):
      made[path] = noise(x.shape, seed=i)
  return traverse_util.unflatten_dict(made)


class Norms(nn.Module):
  """Norms behind a layer of the matching name, and norms that have none."""

  @nn.compact
  def __call__(self, x, *, train=False):
    def norm(name):
      return ops.BatchNorm(use_scale=True, epsilon=0.5, name=name)

    x = norm("bn_first")(x)
    x = ops.Conv3D(2, (1, 1, 1), use_bias=True, name="up_conv")(x)
    x = norm("up_bn")(x)
    x = ops.Conv3D(2, (1, 1, 1), use_bias=True, name="conv_apart")(x)
    x = ops.max_pool(x, (1, 2, 2), (1, 1, 1))
    return norm("pooled_norm")(x)


def test_by_hand():
  model = i3d.Unit(1, (1, 1, 1))
  variables = {
    "params": {
      "conv": {"kernel": np.float32(6).reshape(1, 1, 1, 1, 1)},
      "bn": {"bias": np.float32([5])},
    },
    "batch_stats": {"bn": {"mean": np.float32([8]), "var": np.float32([4 - 1e-3])}},
  }
  x = np.float32([1, 2, -3]).reshape(1, 3, 1, 1, 1)
  folded = folding.fold(model, variables, x)
  # (6 x - 8) / sqrt(4) + 5 = 3 x + 1, and ReLU
  np.testing.assert_allclose(folded["params"]["conv"]["kernel"].ravel(), [3], rtol=1e-6)
  np.testing.assert_allclose(folded["params"]["bn"]["folded_bias"], [1], rtol=1e-5)
  assert folded["params"]["bn"].keys() == {"folded_bias"}
  assert folded["batch_stats"] == {}
  y = model.apply(folded, x)
  np.testing.assert_allclose(y.ravel(), [4, 7, 0], rtol=1e-6)


def test_only_a_norm_behind_a_layer_of_its_name_is_folded(plain_operations):
  x = noise((2, 2, 3, 3, 2))
  variables = variables_of(Norms(), x)
  folded = folding.fold(Norms(), variables, x)
  assert folded["batch_stats"].keys() == variables["batch_stats"].keys() - {"up_bn"}
  assert folded["params"]["up_bn"].keys() == {"folded_bias"}
  before, after = variables["params"], folded["params"]
  for name, part in after["up_conv"].items():
    assert (part != before["up_conv"][name]).any(), name
  for name in after.keys() - {"up_bn", "up_conv"}:
    jax.tree.map(np.testing.assert_array_equal, after[name], before[name])
  want, got = (jax.jit(Norms().apply)(v, x) for v in (variables, folded))
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def networks():
  """Name, network, its inputs, and how many BatchNorms it has."""
  frames = noise((2, 8, 32, 32, 3))
  pose, pixels = noise((2, 4, 25, 3)), noise((2, 8, 32, 32, 3), np.uint8)
  yield "i3d", i3d.I3D(0.125, "Mixed_3b"), (frames,), 9
  yield "resnext3d", resnext3d.ResNeXt3D(**RESNEXT), (frames,), 1 + 3 * 3 + 2
  yield (
    "graph",
    pose_backbone.GraphPoseBackbone(GRAPH, conv_features=(4, 4, 8)),
    (pose,),
    3,
  )
  # Two of the attention network; the input's has no convolution before it.
  yield "vpn", vpn.VPN(**SMALL, embedding_dim=8), (pixels, pose), 9 + 3 + 2
  recurrent = {"kind": "lstm", "recurrent_layers": 1, "recurrent_features": 8}
  hands = {"num_classes": 3, "width": 0.125, "endpoint": "Conv3d_2b_1x1"}
  yield "p_i3d", p_i3d.PartNetwork(**hands, pose=recurrent), (*[pixels] * 3, pose), 6


@pytest.mark.parametrize(
  ("model", "inputs", "count"),
  [pytest.param(*rest, id=name) for name, *rest in networks()],
)
def test_folded_is_unfolded(model, inputs, count, plain_operations):
  variables = variables_of(model, *inputs)
  folded = folding.fold(model, variables, *inputs)
  left = traverse_util.flatten_dict(folded["batch_stats"])
  assert all(path[-2] == "input_norm" for path in left)
  names = ["/".join(path) for path in traverse_util.flatten_dict(folded["params"])]
  assert sum(name.endswith("/folded_bias") for name in names) == count
  scaled = [name for name in names if name.endswith("/scale")]
  assert all(name.endswith("/input_norm/scale") for name in scaled)
  apply = jax.jit(model.apply)
  (want, want_out), (got, got_out) = apply(variables, *inputs), apply(folded, *inputs)
  assert np.std(want) > 1e-3
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
  assert got_out.keys() == want_out.keys()
  for name, x in want_out.items():
    np.testing.assert_allclose(got_out[name], x, atol=1e-5 * np.abs(x).max())


def test_bfloat16_is_added_in_float32():
  model = ops.BatchNorm(relu=True)
  variables = {"params": {"folded_bias": jnp.float32([0.25, -3.0])}}
  y = model.apply(variables, jnp.bfloat16([[1.0, 2.0]]))
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(y.astype(jnp.float32), [[1.25, 0.0]])


def test_folded_is_not_trained():
  model, x = i3d.Unit(2, (1, 1, 1)), noise((1, 2, 2, 2, 3))
  folded = folding.fold(model, variables_of(model, x), x)
  with pytest.raises(ValueError, match=r"bn got folded variables, .*: train what the"):
    model.apply(folded, x, train=True)
