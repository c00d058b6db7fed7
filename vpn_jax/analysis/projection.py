"""t-SNE, and a number that says how far to trust its picture (figure 6b)."""

import numpy as np
import threadpoolctl
from sklearn import manifold, metrics


def tsne(features: np.ndarray, *, perplexity: float = 30.0) -> np.ndarray:
  """Projects points to the plane so that neighbours stay neighbours.

  Starts from the two principal components with a fixed seed, and sums in one thread:
  the same features always give the same picture.

  Args:
    features: float [n, _], n at least 4.
    perplexity: about how many neighbours count; at most (n - 1) / 3.
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
  with threadpoolctl.threadpool_limits(1):  # `n_jobs` is of the neighbours alone
    return fitted.fit_transform(np.asarray(features, np.float32))


def neighbour_share(features: np.ndarray, labels: np.ndarray) -> float:
  """Percent of points whose nearest neighbour is of their class, in all dimensions.

  A t-SNE picture can show clusters where there are none; this number cannot.

  Args:
    features: float [n, _].
    labels: int [n].
  """
  distance = metrics.pairwise_distances(np.float64(features))
  np.fill_diagonal(distance, np.inf)
  return float(100 * np.mean(labels[distance.argmin(axis=1)] == labels))
