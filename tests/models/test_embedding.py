"""Eq. 3 against a slow loop, and the norm constraint of eq. 4."""

import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.models import embedding


def test_embedding_is_eq_3():
  features = jax.random.normal(jax.random.key(0), (2, 3, 2, 2, 4))
  z1 = jax.random.normal(jax.random.key(1), (2, 4))
  module = embedding.SpatialEmbedding(dim=5)
  variables = module.init(jax.random.key(2), features, z1)
  out = module.apply(variables, features, z1)
  t_v = np.asarray(variables["params"]["video_projection"], np.float64)  # [MNC, D]
  t_p = np.asarray(variables["params"]["pose_projection"], np.float64)  # [MN, D]
  t_v, t_p = t_v / np.sqrt((t_v**2).sum()), t_p / np.sqrt((t_p**2).sum())
  f, z = np.asarray(features, np.float64), np.asarray(z1, np.float64)
  for b in range(2):
    f_s = np.zeros((2, 2, 4))
    for t in range(3):
      f_s += f[b, t]
    f_e = [sum(t_v[i, d] * f_s.ravel()[i] for i in range(16)) for d in range(5)]
    p_e = [sum(t_p[i, d] * z[b, i] for i in range(4)) for d in range(5)]
    np.testing.assert_allclose(out["pooled_features"][b], f_s.ravel(), rtol=1e-5)
    np.testing.assert_allclose(out["video_embedding"][b], f_e, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(out["pose_embedding"][b], p_e, rtol=1e-4, atol=1e-6)


def test_projection_has_norm_one_whatever_its_scale():
  t = jax.random.normal(jax.random.key(0), (6, 3))
  unit = embedding.project(jnp.eye(6), t)
  np.testing.assert_allclose(jnp.sqrt(jnp.sum(unit**2)), 1.0, rtol=1e-6)
  np.testing.assert_allclose(embedding.project(jnp.eye(6), 7 * t), unit, rtol=1e-5)
