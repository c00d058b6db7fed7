"""Eq. 2 and the coupler against slow loops, and what the paper says of them."""

import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.models import attention

GRID = (4, 2, 3)


def network(seed=0, grid=GRID, norm="none", **fields):
  """An attention network with random weights: those of `init` are zero at the end."""
  module = attention.AttentionNetwork(grid=grid, hidden=5, norm=norm, **fields)
  h = jax.random.normal(jax.random.key(seed), (2, 7))
  params = module.init(jax.random.key(1), h)["params"]
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(2), len(leaves))
  leaves = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)]
  return module, jax.tree.unflatten(tree, leaves), h


def slow_logits(params, name, h):
  """z_r = W tanh(W h* + b) + b, one unit at a time."""
  first, last = params[f"{name}_hidden"], params[f"{name}_logits"]
  rows = []
  for row in np.asarray(h, np.float64):
    hidden = [
      np.tanh(sum(row[i] * first["kernel"][i, j] for i in range(len(row))) + b)
      for j, b in enumerate(first["bias"])
    ]
    rows.append(
      [
        sum(hidden[i] * last["kernel"][i, j] for i in range(len(hidden))) + b
        for j, b in enumerate(last["bias"])
      ]
    )
  return np.array(rows, np.float64)


def test_maps_are_eq_2():
  module, params, h = network()
  out = module.apply({"params": params}, h)
  params = jax.tree.map(np.asarray, params)
  z1, z2 = slow_logits(params, "spatial", h), slow_logits(params, "temporal", h)
  np.testing.assert_allclose(out["spatial_logits"], z1, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(out["temporal_logits"], z2, rtol=1e-5, atol=1e-5)
  a_s = (1 / (1 + np.exp(-z1))).reshape(2, 2, 3)
  a_t = np.exp(z2) / np.exp(z2).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(out["spatial_attention"], a_s, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(out["temporal_attention"], a_t, rtol=1e-5, atol=1e-6)


def test_temporal_attention_sums_to_one():
  module, params, h = network()
  total = module.apply({"params": params}, h)["temporal_attention"].sum(axis=1)
  np.testing.assert_allclose(total, 1.0, rtol=1e-6)


def test_couple_is_the_product_of_the_inflated_maps():
  rng = np.random.default_rng(0)
  a_s, a_t = rng.random((2, 2, 3)), rng.random((2, 4))
  got = attention.couple(jnp.asarray(a_s, jnp.float32), jnp.asarray(a_t, jnp.float32))
  for b in range(2):
    for t in range(4):
      for m in range(2):
        for n in range(3):
          np.testing.assert_allclose(
            got[b, t, m, n], a_s[b, m, n] * a_t[b, t], rtol=1e-6
          )


def test_modulate_keeps_the_features_without_attention():
  f = jax.random.normal(jax.random.key(0), (2, *GRID, 5))
  np.testing.assert_array_equal(attention.modulate(f, jnp.zeros((2, *GRID))), f)
  doubled = attention.modulate(f, jnp.ones((2, *GRID)))
  np.testing.assert_allclose(doubled, 2 * f)


def test_start_is_near_the_identity():
  """Zero last layers: A_S = 1/2, A_T = 1/T, so f' = (1 + 0.5 / T) f."""
  module = attention.AttentionNetwork(grid=GRID)
  h = jax.random.normal(jax.random.key(0), (3, 7))
  out, _ = module.init_with_output(jax.random.key(1), h)
  a = attention.couple(out["spatial_attention"], out["temporal_attention"])
  np.testing.assert_allclose(a, 0.5 / GRID[0], rtol=1e-6)


def test_spatial_alone_has_no_temporal_weights():
  module, params, h = network(temporal=False)
  assert set(params) == {"spatial_hidden", "spatial_logits"}
  out = module.apply({"params": params}, h)
  assert set(out) == {"spatial_logits", "spatial_attention"}


def test_resized_attention_is_linear_between_the_centres_of_cells():
  a_s = np.random.default_rng(0).random((2, 2, 3)).astype(np.float32)
  same = attention.resize_spatial(jnp.asarray(a_s), (2, 3))
  np.testing.assert_array_equal(same, a_s)
  found = attention.resize_spatial(jnp.asarray(a_s), (3, 4))

  def along(size, cells, i):  # position of the i-th new centre among the old ones
    x = np.clip((i + 0.5) * cells / size - 0.5, 0, cells - 1)
    low = min(int(x), cells - 2)
    return low, x - low

  for b, i, j in np.ndindex(2, 3, 4):
    (m, u), (n, v) = along(3, 2, i), along(4, 3, j)
    top = (1 - v) * a_s[b, m, n] + v * a_s[b, m, n + 1]
    bottom = (1 - v) * a_s[b, m + 1, n] + v * a_s[b, m + 1, n + 1]
    expected = (1 - u) * top + u * bottom
    np.testing.assert_allclose(found[b, i, j], expected, rtol=1e-5)


def normalized_network():
  """One that normalizes, its parameters, statistics, and h* of eight clips."""
  module, params, _ = network(norm="batch")
  h = jax.random.normal(jax.random.key(3), (8, 7))
  stats = module.init(jax.random.key(0), h)["batch_stats"]
  return module, params, stats, h


def train(module, params, stats, h):
  variables = {"params": params, "batch_stats": stats}
  return module.apply(variables, h, train=True, mutable=["batch_stats"])


def test_normalized_maps_are_eq_2_of_the_normalized_input_of_tanh():
  module, params, stats, h = normalized_network()
  out, updated = train(module, params, stats, h)
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  x = np.asarray(h, np.float64) @ p["spatial_hidden"]["kernel"]
  x = x + p["spatial_hidden"]["bias"]
  mean, var = x.mean(axis=0), x.var(axis=0)
  norm, last = p["spatial_norm"], p["spatial_logits"]

  def logits(mean, var):
    y = (x - mean) / np.sqrt(var + 1e-3) * norm["scale"] + norm["bias"]
    return np.tanh(y) @ last["kernel"] + last["bias"]

  np.testing.assert_allclose(out["spatial_logits"], logits(mean, var), atol=1e-4)
  running = updated["batch_stats"]["spatial_norm"]
  np.testing.assert_allclose(running["mean"], 0.1 * mean, atol=1e-6)
  np.testing.assert_allclose(running["var"], 0.9 + 0.1 * var, rtol=1e-5)
  variables = {"params": params, **updated}
  applied = module.apply(variables, h)["spatial_logits"]
  np.testing.assert_allclose(applied, logits(0.1 * mean, 0.9 + 0.1 * var), atol=1e-4)


def test_what_all_clips_share_does_not_reach_the_normalized_attention():
  module, params, stats, h = normalized_network()
  shared = 3.0 * jax.random.normal(jax.random.key(4), (1, 7))
  own, _ = train(module, params, stats, h)
  moved, _ = train(module, params, stats, h + shared)
  for name in ("spatial_attention", "temporal_attention"):
    np.testing.assert_allclose(moved[name], own[name], atol=1e-4)
  plain, params, _ = network()
  own, moved = (plain.apply({"params": params}, x) for x in (h, h + shared))
  assert np.abs(moved["spatial_attention"] - own["spatial_attention"]).max() > 0.1
