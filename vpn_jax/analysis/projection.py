"""Many dimensions -> two: t-SNE, and how far its picture can be trusted (figure 6b)."""

import numpy as np
from sklearn import manifold, metrics


def tsne(features: np.ndarray, *, perplexity: float = 30.0) -> np.ndarray:
  """Places points in the plane so that neighbours stay neighbours.

  It starts from the two principal components and one seed, so that the same features
  always give the same picture.

  Args:
    features: float [n, D], n at least 4.
    perplexity: about how many neighbours count; at most (n - 1) / 3 are taken.
  Returns: float32 [n, 2], no unit.
  Raises: ValueError for fewer than 4 points.
  Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
  """
  n = len(features)
  if n < 4:
    raise ValueError(f"got {n} points, expected at least 4: choose more clips.")
  if np.ptp(features, axis=0).max() == 0:
    return np.zeros((n, 2), np.float32)  # no direction differs from another
  start = "pca" if features.shape[1] > 1 else "random"
  fitted = manifold.TSNE(
    perplexity=min(perplexity, (n - 1) / 3), init=start, random_state=0, n_jobs=1
  )
  return fitted.fit_transform(np.asarray(features, np.float32))


def neighbour_share(features: np.ndarray, labels: np.ndarray) -> float:
  """Percent of points whose nearest other one, in all dimensions, is of their class.

  A number beside the picture, which can show clusters where there are none.
  """
  distance = metrics.pairwise_distances(np.float64(features))
  np.fill_diagonal(distance, np.inf)
  return float(100 * np.mean(labels[distance.argmin(axis=1)] == labels))
