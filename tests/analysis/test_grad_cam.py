"""Tests of vpn_jax/analysis/grad_cam.py, on functions with a known gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.analysis import grad_cam


def test_grad_cam_of_a_linear_head():
  """Mean over T x M x N = 24 places, then w: alpha = w / 24, and the map its ReLU."""
  rng = np.random.default_rng(0)
  f = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
  w = rng.normal(size=5).astype(np.float32)

  def score(features):
    return features.mean(axis=(0, 1, 2)) @ w

  found = jax.device_get(grad_cam.grad_cam(score, f))
  np.testing.assert_allclose(found, np.maximum(f @ w, 0) / 24, rtol=1e-5, atol=1e-7)
  assert (found == 0).any()
  assert (found > 0).any()


def test_grad_cam_is_of_the_class_at_this_clip():
  """The score takes the square of channel 0 at one place: alpha_0 = 2 f / 8 there."""
  f = np.zeros((2, 2, 2, 2), np.float32)
  f[1, 0, 1] = 3, 5
  f[0, 1, 1] = 2, 7
  found = grad_cam.grad_cam(lambda x: jnp.square(x[1, 0, 1, 0]), f)
  expected = np.zeros((2, 2, 2))
  expected[1, 0, 1], expected[0, 1, 1] = 3 * 6 / 8, 2 * 6 / 8
  np.testing.assert_allclose(found, expected)
  # What speaks against the class is not shown.
  assert not grad_cam.grad_cam(lambda x: -jnp.square(x[1, 0, 1, 0]), f).any()
