"""3D ResNeXt-101: counts, shapes, names, and a block against a slow loop."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax import ops
from vpn_jax.models import resnext3d

TINY = {"width": 0.25, "blocks": (2, 1, 1, 1)}


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shapes(model, *shape):
  """Variables and outputs, by jax.eval_shape."""
  frames = jax.ShapeDtypeStruct(shape, jnp.float32)
  (y, out), variables = jax.eval_shape(
    model.init_with_output, jax.random.key(0), frames
  )
  return variables, y.shape, out


def count(tree):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def full():
  """Shapes of the network as published, on 64 frames of 224 x 224 pixels."""
  return shapes(resnext3d.ResNeXt3D(), 2, 64, 224, 224, 3)


def test_full_size_shapes_and_counts(full):
  variables, shape, out = full
  assert shape == (2, 4, 7, 7, 2048)
  assert out.keys() == set(resnext3d.ENDPOINTS)
  # A block of width w behind c channels holds c * w + 27 * w * w / 32 + w * 2w weights
  # and normalizes w + w + 2w channels, the first one c * 2w and 2w more.
  weights, channels, c = 7**3 * 3 * 64, 64, 64
  for w, blocks in ((128, 3), (256, 4), (512, 23), (1024, 3)):
    for i in range(blocks):
      weights += c * w + 27 * w * w // 32 + 2 * w * w + (i == 0) * 2 * c * w
      channels += 4 * w + (i == 0) * 2 * w
      c = 2 * w
  assert (weights, channels) == (47_383_360, 68_928)
  assert count(variables["params"]) == weights + 2 * channels  # 47.5 M
  assert count(variables["batch_stats"]) == 2 * channels


def test_names_and_layout(full):
  variables = full[0]
  params, stats = variables["params"], variables["batch_stats"]
  assert len(params) == 2 + 3 + 4 + 23 + 3
  assert params["conv1"]["kernel"].shape == (7, 7, 7, 3, 64)
  assert params["bn1"].keys() == {"scale", "bias"}
  assert stats["bn1"].keys() == {"mean", "var"}
  parts = {f"{kind}{i}" for kind in ("conv", "bn") for i in (1, 2, 3)}
  assert params["layer3_22"].keys() == parts
  assert params["layer3_0"].keys() == parts | {"downsample_conv", "downsample_bn"}
  kernels = {
    name: part["kernel"].shape[-2:]
    for name, part in params["layer3_0"].items()
    if "conv" in name
  }
  assert kernels == {
    "conv1": (512, 512),
    "conv2": (16, 512),  # 512 / 32 channels of input per group
    "conv3": (512, 1024),
    "downsample_conv": (512, 1024),
  }
  assert params["layer3_0"]["conv2"]["kernel"].shape[:3] == (3, 3, 3)


@pytest.mark.parametrize(
  "size", [(64, 224, 224), (16, 112, 112), (1, 5, 7), (9, 33, 31)]
)
@pytest.mark.parametrize("width", [1.0, 0.25])
def test_feature_shape_is_the_shape_of_the_features(size, width):
  model = resnext3d.ResNeXt3D(width=width, blocks=(1, 1, 1, 1))
  for name, value in shapes(model, 1, *size, 3)[2].items():
    assert value.shape[1:] == resnext3d.feature_shape(*size, width, name)


def test_feature_shape_of_the_published_sizes():
  assert resnext3d.feature_shape(16, 112, 112) == (1, 4, 4, 2048)
  assert resnext3d.feature_shape(64, 224, 224) == (4, 7, 7, 2048)


def slow_conv(x, kernel, stride, padding, groups):
  """Torch's grouped convolution of one clip, place by place, in float64."""
  size, cin, cout = kernel.shape[:3], kernel.shape[3], kernel.shape[4] // groups
  x = np.pad(x.astype(np.float64), ((padding, padding),) * 3 + ((0, 0),))
  shape = [(n - k) // stride + 1 for n, k in zip(x.shape, size)]
  y = np.empty((*shape, cout * groups))
  for place in itertools.product(*map(range, shape)):
    window = x[tuple(slice(p * stride, p * stride + k) for p, k in zip(place, size))]
    for g in range(groups):
      part = window[..., g * cin : (g + 1) * cin]
      outputs = slice(g * cout, (g + 1) * cout)
      y[(*place, outputs)] = np.einsum("tmni,tmnio->o", part, kernel[..., outputs])
  return y


@pytest.mark.parametrize("form", ["plain", "cpu"])
@pytest.mark.parametrize(("stride", "project"), [(2, True), (1, False)])
def test_a_block_against_a_slow_loop(form, stride, project):
  x = np.abs(normal(1, 3, 4, 5, 128))
  block = resnext3d.Bottleneck(64, stride, project)
  with ops.use_formulation(form):
    variables = jax.jit(block.init)(jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(variables)
    leaves = [
      a if a.ndim == 5 else np.abs(normal(*a.shape, seed=i)) + np.float32(0.5)
      for i, a in enumerate(leaves)
    ]
    variables = jax.tree.unflatten(tree, leaves)
    got = jax.jit(block.apply)(variables, x)[0]
  params, stats = variables["params"], variables["batch_stats"]

  def unit(x, name, stride=1, groups=1):
    kernel = np.asarray(params[name]["kernel"], np.float64)
    y = slow_conv(x, kernel, stride, kernel.shape[0] // 2, groups)
    bn = name.replace("conv", "bn")
    factor = params[bn]["scale"] / np.sqrt(np.float64(stats[bn]["var"]) + 1e-5)
    return (y - stats[bn]["mean"]) * factor + params[bn]["bias"]

  want = np.maximum(unit(x[0], "conv1"), 0)
  want = np.maximum(unit(want, "conv2", stride, groups=32), 0)
  shortcut = unit(x[0], "downsample_conv", stride) if project else x[0]
  want = np.maximum(unit(want, "conv3") + shortcut, 0)
  assert 0.2 < (want > 0).mean() < 1  # both sides of the last ReLU
  np.testing.assert_allclose(got, want, atol=1e-5 * want.max())


def step(model, variables, x):
  """Gradients of the parameters, and which running statistics a step moved."""

  @jax.jit
  def gradients(params):
    def loss(params):
      given = {**variables, "params": params}
      (y, _), new = model.apply(given, x, train=True, mutable="batch_stats")
      return jnp.square(y - 1).mean(), new["batch_stats"]

    return jax.grad(loss, has_aux=True)(params)

  grads, stats = gradients(variables["params"])
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), stats, variables["batch_stats"]
  )
  return grads, moved


@pytest.fixture(scope="module")
def tiny():
  """Variables of the small network, and a batch; 8 places are left for BatchNorm."""
  x = normal(2, 9, 40, 40, 3)
  with ops.use_formulation("plain"):
    init = jax.jit(resnext3d.ResNeXt3D(**TINY).init)
    return init(jax.random.key(0), x), x


def test_frozen_layers_stay_and_the_others_learn(tiny, plain_operations):
  model = resnext3d.ResNeXt3D(**TINY, frozen_until="layer1")
  grads, moved = step(model, *tiny)
  frozen = {"conv1", "bn1", "layer1_0", "layer1_1"}
  assert grads.keys() - frozen == {"layer2_0", "layer3_0", "layer4_0"}
  for name, tree in grads.items():
    leaves = jax.tree.leaves(tree)
    assert all(bool(jnp.any(g != 0)) == (name not in frozen) for g in leaves), name
    assert all(bool(jnp.isfinite(g).all()) for g in leaves), name
  for name, tree in moved.items():
    assert set(jax.tree.leaves(tree)) == {name not in frozen}, name


def test_a_shorter_trunk():
  model = resnext3d.ResNeXt3D(**TINY, final_endpoint="layer1")
  variables, shape, out = shapes(model, 1, 8, 32, 32, 3)
  assert variables["params"].keys() == {"conv1", "bn1", "layer1_0", "layer1_1"}
  assert out.keys() == {"conv1", "maxpool", "layer1"}
  assert shape == (1, 4, 8, 8, 64)


def test_pixels_lose_their_mean_once():
  pixels = np.array([[0, 0, 0], [255, 108, 99]], np.uint8)
  want = [[-114.7748, -107.7354, -99.4750], [140.2252, 0.2646, -0.4750]]
  np.testing.assert_allclose(resnext3d.normalize_frames(pixels), want, atol=1e-4)
  with pytest.raises(ValueError, match=r"are float32 \[4, 3\], expected uint8"):
    resnext3d.normalize_frames(np.zeros((4, 3), np.float32))


def test_messages():
  with pytest.raises(ValueError, match="'layer5' is not known: choose one of conv1, m"):
    resnext3d.feature_shape(8, 32, 32, final_endpoint="layer5")
  model = resnext3d.ResNeXt3D(**TINY)
  with pytest.raises(ValueError, match=r"got float32 \[8, 32, 32, 3\], expected float"):
    shapes(model, 8, 32, 32, 3)
  model = resnext3d.ResNeXt3D(**TINY, final_endpoint="layer1", frozen_until="layer2")
  with pytest.raises(ValueError, match=r"frozen_until is 'layer2', expected one of"):
    shapes(model, 1, 8, 32, 32, 3)
