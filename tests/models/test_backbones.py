"""The protocol of visual backbones: any of them goes under VPN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.models import backbones, networks, trunk

# A short trunk of each: its last layer, the last frozen one, and the frozen parts.
SHORT = {
  "i3d": ("Conv3d_2b_1x1", "Conv3d_1a_7x7", {"Conv3d_1a_7x7"}),
  "resnext3d": ("layer1", "maxpool", {"conv1", "bn1"}),
}


@pytest.fixture(autouse=True)
def _plain(plain_operations):
  """What is connected to what is the same in either form."""


def frames_and_pose():
  rng = np.random.default_rng(0)
  frames = jnp.asarray(rng.integers(0, 256, (2, 4, 16, 16, 3)), jnp.uint8)
  return frames, jnp.asarray(rng.normal(size=(2, 4, 25, 3)), jnp.float32)


def network(name, **fields):
  fields = {"endpoint": SHORT[name][0], "width": 0.125, "dropout": 0.0, **fields}
  fields["pose"] = {"dropout": 0.0}
  return networks.build("vpn", {"num_classes": 3, "backbone": name, **fields})


def gradients(model, variables):
  """Gradients and new statistics of one step in training."""

  def loss(params):
    (logits, out), new = model.apply(
      {**variables, "params": params},
      *frames_and_pose(),
      train=True,
      mutable=["batch_stats"],
    )
    return jnp.sum(logits**2) + jnp.sum(out["video_embedding"]), new["batch_stats"]

  return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])


def test_every_backbone_is_tested():
  assert set(SHORT) == set(backbones.BACKBONES)


@pytest.mark.parametrize("name", SHORT)
def test_vpn_stands_on_it(name):
  """f has the promised shape, pixels and poses matter, frozen layers stay."""
  endpoint, frozen_until, frozen = SHORT[name]
  model = network(name, frozen_until=frozen_until)
  variables = jax.jit(model.init)(jax.random.key(0), *frames_and_pose())
  frames, pose = frames_and_pose()
  (logits, out) = jax.jit(model.apply)(variables, frames, pose)
  shape = backbones.get(name).feature_shape(4, 16, 16, 0.125, endpoint)
  assert out["features"].shape == (2, *shape)
  other, _ = jax.jit(model.apply)(variables, 255 - frames, pose)
  assert np.abs(other - logits).max() > 1e-4
  grads, stats = gradients(model, variables)
  for part, tree in grads["backbone"].items():
    largest = [float(jnp.abs(g).max()) for g in jax.tree.leaves(tree)]
    assert all(np.isfinite(largest)), part
    assert (max(largest) == 0) == (part in frozen), part
  before = variables["batch_stats"]["backbone"]
  for part, tree in stats["backbone"].items():
    same = jax.tree.map(lambda a, b: bool((a == b).all()), before[part], tree)
    assert set(jax.tree.leaves(same)) == {part in frozen}, part


@pytest.mark.parametrize("name", SHORT)
def test_computing_again_changes_nothing(name):
  model, again = network(name), network(name, remat=True)
  variables = jax.jit(model.init)(jax.random.key(0), *frames_and_pose())
  found = gradients(model, variables), gradients(again, variables)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *found
  )


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("name", SHORT)
def test_frozen_statistics_are_those_of_a_test(name, remat):
  """f in training is f of a test, no statistics move, and every layer learns."""
  free, model = network(name), network(name, bn_frozen=True, remat=remat)
  variables = jax.jit(model.init)(jax.random.key(0), *frames_and_pose())

  def features(model, train):
    (_, out), _ = model.apply(
      variables, *frames_and_pose(), train=train, mutable=["batch_stats"]
    )
    return out["features"]

  expected = features(free, train=False)
  np.testing.assert_allclose(features(model, train=True), expected, rtol=1e-5)
  assert np.abs(features(free, train=True) - expected).max() > 1e-2
  grads, stats = gradients(model, variables)
  before = variables["batch_stats"]["backbone"]
  jax.tree.map(np.testing.assert_array_equal, stats["backbone"], before)
  for part, tree in grads["backbone"].items():
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(tree)) > 0, part


def test_messages():
  with pytest.raises(ValueError, match=r"backbone is 'c3d', expected one of \('i3d'"):
    backbones.get("c3d")
  x = jnp.zeros((1, 2, 8, 8, 3))

  class Short(trunk.Trunk):
    ENDPOINTS = ("a",)

  def run(x, after=None, **fields):
    Short(**fields).apply({}, x, after=after)

  with pytest.raises(ValueError, match=r"expected float \[B, F, H, W, 3\]: use its"):
    run(x[0])
  with pytest.raises(ValueError, match=r"frozen_until is 'b', expected one of \('a',"):
    run(x, frozen_until="b")
  with pytest.raises(ValueError, match=r"after names \('b',\), expected some of \('a'"):
    run(x, {"b": None})
  with pytest.raises(
    ValueError, match="final_endpoint 'b' is not known: choose one of"
  ):
    trunk.until(("a",), "b")
  with pytest.raises(NotImplementedError, match="Short has no layers"):
    run(x)
