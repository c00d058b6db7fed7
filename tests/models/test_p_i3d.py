"""P-I3D: three films, weighted by the pose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.models import networks

POSE = {"kind": "lstm", "recurrent_layers": 1, "recurrent_features": 6}
SMALL = {
  "num_classes": 3,
  "width": 0.125,
  "endpoint": "Conv3d_2b_1x1",
  "attention_hidden": 5,
  "pose": {**POSE, "recurrent_output": "last", "frozen": True},
}


@pytest.fixture
def network(plain_operations):
  """(model of the given fields, variables without zeros, its inputs)."""

  def make(**fields):
    model = networks.build("p_i3d", {**SMALL, **fields})
    rng = np.random.default_rng(0)
    films = [jnp.asarray(rng.integers(0, 256, (2, 4, 16, 16, 3)), "u1") for _ in "bit"]
    given = (*films, jnp.asarray(rng.normal(size=(2, 4, 25, 3)), "f4"))
    variables = model.init(jax.random.key(0), *given)
    params = jax.tree.map(
      lambda x: x + 0.1 * rng.normal(size=x.shape).astype("f4"), variables["params"]
    )
    return model, {**variables, "params": params}, given

  return make


@pytest.mark.parametrize("combine", ["sum", "concat"])
def test_parts_are_weighted_and_combined(network, combine):
  model, variables, given = network(combine=combine)
  logits, out = model.apply(variables, *given)
  f, w = np.asarray(out["features"]), np.asarray(out["part_attention"])
  assert logits.shape == (2, 3)
  assert f.shape[:2] == (2, 3)
  np.testing.assert_allclose(w.sum(axis=1), 1.0, rtol=1e-6)
  assert np.ptp(w) > 1e-3
  weighted = [f[:, p] * w[:, p].reshape(-1, 1, 1, 1, 1) for p in range(3)]
  expected = sum(weighted) if combine == "sum" else np.concatenate(weighted, axis=-1)
  np.testing.assert_allclose(out["modulated"], expected, rtol=1e-5, atol=1e-6)


def test_each_film_has_its_own_network(network):
  model, variables, given = network()
  _, before = model.apply(variables, *given)
  for part in range(3):
    changed = list(given)
    changed[part] = 255 - changed[part]
    _, after = model.apply(variables, *changed)
    moved = np.abs(after["features"] - before["features"]).max(axis=(0, 2, 3, 4, 5))
    assert [bool(m > 0) for m in moved] == [p == part for p in range(3)]


def test_weights_start_even_and_learn_while_the_lstm_stays(network):
  model, variables, given = network()
  fresh = model.init(jax.random.key(0), *given)
  _, out = model.apply(fresh, *given)
  np.testing.assert_allclose(out["part_attention"], 1 / 3, rtol=1e-6)

  def loss(params):
    return jnp.sum(model.apply({**variables, "params": params}, *given)[0] ** 2)

  grads = jax.grad(loss)(variables["params"])
  largest = {
    part: max(float(jnp.abs(g).max()) for g in jax.tree.leaves(tree))
    for part, tree in grads.items()
  }
  assert largest.pop("pose_backbone") == 0
  assert all(value > 1e-7 for value in largest.values()), largest


def test_messages(network):
  with pytest.raises(
    ValueError, match=r"combine is 'max', expected one of \('sum', 'c"
  ):
    network(combine="max")
  model, *_ = network()
  with pytest.raises(ValueError, match=r"the batch has no \['left_hand', 'right_hand'"):
    networks.inputs(model, {"frames": 0, "pose": 0})
