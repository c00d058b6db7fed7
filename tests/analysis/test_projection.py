"""Tests of vpn_jax/analysis/projection.py: clusters stay clusters."""

import numpy as np
import pytest

from vpn_jax.analysis import projection

RNG = np.random.default_rng(0)


def test_clusters_stay_apart():
  labels = np.repeat(np.arange(3), 20)
  centres = 8 * RNG.normal(size=(3, 50))
  features = (centres[labels] + RNG.normal(size=(60, 50))).astype(np.float32)
  points = projection.tsne(features)
  assert points.shape == (60, 2)
  means = np.stack([points[labels == k].mean(axis=0) for k in range(3)])
  inside = max(np.linalg.norm(points - means[labels], axis=1))
  between = min(np.linalg.norm(means[i] - means[i - 1]) for i in range(3))
  assert between > 2 * inside
  np.testing.assert_array_equal(points, projection.tsne(features))


def test_few_or_equal_points():
  with pytest.raises(ValueError, match="got 3 points, expected at least 4"):
    projection.tsne(np.zeros((3, 5)))
  np.testing.assert_array_equal(projection.tsne(np.ones((5, 3))), 0)
  assert np.isfinite(projection.tsne(RNG.normal(size=(4, 1)))).all()


def test_neighbour_share():
  # The nearest of 0 is 1, of 1 is 0, of 5 is 1 (the other class), of 9.5 is 5.
  features = np.array([[0.0], [1.0], [5.0], [9.5]])
  labels = np.array([0, 0, 1, 1])
  assert projection.neighbour_share(features, labels) == 75
