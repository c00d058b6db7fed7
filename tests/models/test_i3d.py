"""I3D: counts, shapes, names."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.models import i3d


def shapes(model, *shape):
  """Variables and outputs, by jax.eval_shape."""
  frames = jax.ShapeDtypeStruct(shape, jnp.float32)
  (y, out), variables = jax.eval_shape(
    model.init_with_output, jax.random.key(0), frames
  )
  return variables, y.shape, out


def count(tree):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_full_size_shapes_and_counts():
  variables, shape, out = shapes(i3d.I3D(), 2, 64, 224, 224, 3)
  assert shape == (2, 8, 7, 7, 1024)
  assert out.keys() == set(i3d.ENDPOINTS)
  # 7,280 betas: the channels of all units. 12.27 M weights of convolutions, the sum
  # over units of kt * kh * kw * Cin * Cout, e.g. 7^3 * 3 * 64.
  assert count(variables["batch_stats"]) == 2 * 7280
  assert count(variables["params"]) == 12_272_704 + 7280
  first = variables["params"]["Conv3d_1a_7x7"]["conv"]["kernel"].shape
  second = variables["params"]["Conv3d_2b_1x1"]["conv"]["kernel"].shape
  third = variables["params"]["Conv3d_2c_3x3"]["conv"]["kernel"].shape
  assert sum(map(math.prod, (first, second, third))) == 65_856 + 4096 + 331_776


def test_the_kinetics_head():
  model = i3d.KineticsI3D(num_classes=7, width=0.25)
  variables, shape, out = shapes(model, 2, 64, 224, 224, 3)
  assert shape == (2, 7)
  assert out["Logits"].shape == (2, 7)
  assert count(variables["params"]["Logits"]) == (1024 // 4 + 1) * 7
  assert shapes(model, 1, 1, 5, 7, 3)[1] == (1, 7)  # the window is clipped


def test_names_are_the_published_ones():
  params = shapes(i3d.I3D(width=0.25), 1, 8, 32, 32, 3)[0]["params"]
  assert set(params["Mixed_3b"]) == {f"Branch_{i}" for i in range(4)}
  unit = params["Mixed_3b"]["Branch_0"]["Conv3d_0a_1x1"]
  assert unit["conv"]["kernel"].shape == (1, 1, 1, 48, 16)
  assert unit["bn"]["bias"].shape == (16,)
  assert set(params["Mixed_5b"]["Branch_2"]) == {"Conv3d_0a_1x1", "Conv3d_0a_3x3"}
  assert set(params["Mixed_5c"]["Branch_2"]) == {"Conv3d_0a_1x1", "Conv3d_0b_3x3"}


@pytest.mark.parametrize("size", [(64, 224, 224), (16, 64, 64), (1, 5, 7), (9, 33, 31)])
@pytest.mark.parametrize("width", [1.0, 0.25])
def test_feature_shape_is_the_shape_of_the_features(size, width):
  _, _, out = shapes(i3d.I3D(width=width), 1, *size, 3)
  for name, value in out.items():
    assert value.shape[1:] == i3d.feature_shape(*size, width, name)


def test_frames_are_normalized_once():
  pixels = np.array([0, 255, 51], np.uint8)
  np.testing.assert_allclose(i3d.normalize_frames(pixels), [-1, 1, -0.6], atol=1e-7)
  with pytest.raises(ValueError, match="frames are float32, expected uint8"):
    i3d.normalize_frames(np.zeros(3, np.float32))


def test_messages():
  with pytest.raises(
    ValueError, match="'Mixed_6a' is not known: choose one of Conv3d_1"
  ):
    i3d.feature_shape(8, 32, 32, final_endpoint="Mixed_6a")
  with pytest.raises(
    ValueError, match=r"got uint8 \[1, 8, 32, 32, 3\], expected float"
  ):
    i3d.I3D().init(jax.random.key(0), jnp.zeros((1, 8, 32, 32, 3), jnp.uint8))
