"""Tests of vpn_jax/analysis/dynamicity.py: known motions, and scipy."""

import numpy as np
import pytest
import scipy.spatial
import scipy.spatial.transform

from vpn_jax.analysis import dynamicity

RNG = np.random.default_rng(0)
BODY = RNG.normal(size=(25, 3))


def test_distance_is_that_of_scipy():
  a, b = RNG.normal(size=(2, 4, 13, 3))
  found = dynamicity.procrustes_distance(a, b)
  expected = [np.sqrt(scipy.spatial.procrustes(x, y)[2]) for x, y in zip(a, b)]
  np.testing.assert_allclose(found, expected, rtol=1e-10)
  assert found.shape == (4,)


def test_position_size_and_orientation_do_not_count():
  turn = scipy.spatial.transform.Rotation.from_euler("xyz", (0.3, -1.0, 2.0))
  moved = 2.5 * turn.apply(BODY) + np.array([1.0, -3.0, 0.5])
  assert dynamicity.procrustes_distance(BODY, moved) == pytest.approx(0, abs=1e-7)


def test_distance_of_a_known_motion():
  # A square whose two opposite corners move out by e, the other two in: unit vectors
  # (1+e, 1-e, 1+e, 1-e) / sqrt(4 + 4 e^2) against (1, 1, 1, 1) / 2 along the corners,
  # so cos = 1 / sqrt(1 + e^2) and the distance is sqrt(1 - cos^2) = e / sqrt(1 + e^2).
  corners = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
  e = 0.1
  moved = corners * np.array([1 + e, 1 - e, 1 + e, 1 - e])[:, None]
  assert dynamicity.procrustes_distance(corners, moved) == pytest.approx(
    e / np.sqrt(1 + e**2), rel=1e-9
  )


def test_dynamicity_is_the_mean_over_successive_poses():
  still, other = BODY, RNG.normal(size=BODY.shape)
  distance = float(dynamicity.procrustes_distance(still, other))
  # still, still, other, other, still: distances 0, d, 0, d.
  pose = np.stack([still, still, other, other, still])
  assert dynamicity.dynamicity(pose) == pytest.approx(distance / 2, abs=1e-7)
  assert dynamicity.dynamicity(np.stack([still] * 3)) == pytest.approx(0, abs=1e-7)


def test_poses_that_are_not_known_are_left_out():
  pose = RNG.normal(size=(5, 25, 3)).astype(np.float32)
  pose[2, 7] = np.nan  # neither 1 -> 2 nor 2 -> 3 is known
  kept = dynamicity.procrustes_distance(pose[[0, 3]], pose[[1, 4]])
  assert dynamicity.dynamicity(pose) == pytest.approx(kept.mean())
  pose[:, 0] = np.nan
  assert np.isnan(dynamicity.dynamicity(pose))
  assert np.isnan(dynamicity.dynamicity(np.zeros((3, 25, 3))))  # a single point
  assert np.isnan(dynamicity.dynamicity(np.ones((1, 25, 3))))  # one pose
