"""The non-local block against sums over all pairs of positions."""

import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.models import i3d, non_local


def test_block_is_attention_over_all_positions(plain_operations):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 2, 4, 4, 6)).astype(np.float32)
  block = non_local.NonLocalBlock()
  params = block.init(jax.random.key(0), x)["params"]
  params = jax.tree.map(
    lambda p: rng.normal(0, 0.5, p.shape).astype(np.float32), params
  )
  y = block.apply({"params": params}, x)

  def dense(name, v):
    return v @ params[name]["kernel"] + params[name]["bias"]

  expected = np.zeros_like(x)
  for b in range(2):
    few = [
      x[b, t, 2 * m : 2 * m + 2, 2 * n : 2 * n + 2].max(axis=(0, 1))
      for t in range(2)
      for m in range(2)
      for n in range(2)
    ]
    for place in np.ndindex(2, 4, 4):
      here = x[(b, *place)]
      theta = dense("theta", here)
      scores = np.array([theta @ dense("phi", other) for other in few])
      weights = np.exp(scores - scores.max())
      weights /= weights.sum()
      y_i = sum(w * dense("g", other) for w, other in zip(weights, few))
      expected[(b, *place)] = here + dense("output", y_i)
  np.testing.assert_allclose(y, expected, rtol=2e-4, atol=2e-4)


def test_a_fresh_block_changes_nothing(plain_operations):
  x = np.random.default_rng(1).normal(size=(1, 2, 4, 4, 6)).astype(np.float32)
  block = non_local.NonLocalBlock()
  variables = block.init(jax.random.key(0), x)
  np.testing.assert_array_equal(block.apply(variables, x), x)


def test_it_stands_between_two_layers(plain_operations):
  """What follows the layer sees the changed features; what precedes it does not."""
  frames = jnp.asarray(np.random.default_rng(2).normal(size=(1, 4, 16, 16, 3)), "f4")
  trunk = i3d.I3D(width=0.125, final_endpoint="Conv3d_2c_3x3")
  variables = trunk.init(jax.random.key(0), frames)
  _, before = trunk.apply(variables, frames)
  f, out = trunk.apply(variables, frames, after={"Conv3d_2b_1x1": lambda x: 2.0 * x})
  np.testing.assert_array_equal(out["Conv3d_2b_1x1"], 2.0 * before["Conv3d_2b_1x1"])
  np.testing.assert_array_equal(out["MaxPool3d_2a_3x3"], before["MaxPool3d_2a_3x3"])
  assert np.abs(f - before["Conv3d_2c_3x3"]).max() > 1e-3
