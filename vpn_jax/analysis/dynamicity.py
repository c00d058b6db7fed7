"""Dynamicity: how much the pose changes in an action (section 4.3, figure 6a)."""

import numpy as np


def procrustes_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Distance between two shapes regardless of position, size and orientation: 0 to 1.

  Args:
    a, b: points, float [..., J, 3], or 2 in the image.
  Returns: float64 [...], no unit; NaN where a shape is a single point or not finite.
  Source: section 4.3 names the distance. Reading: the full Procrustes distance, the
    square root of the disparity of `scipy.spatial.procrustes`; as there, a mirror image
    counts as a rotation.
  """
  finite = (np.isfinite(a) & np.isfinite(b)).all(axis=(-2, -1))
  a, b = (_standard(np.where(finite[..., None, None], x, 0.0)) for x in (a, b))
  with np.errstate(invalid="ignore"):
    product = np.swapaxes(a, -2, -1) @ b
  known = np.isfinite(product).all(axis=(-2, -1))
  product = np.where(known[..., None, None], product, 0.0)
  fit = np.linalg.svd(product, compute_uv=False).sum(axis=-1)
  return np.where(known, np.sqrt(np.clip(1.0 - fit**2, 0.0, 1.0)), np.nan)


def _standard(points: np.ndarray) -> np.ndarray:
  """Centres points [..., J, 3] and scales the sum of their squares to 1."""
  points = np.float64(points)
  points = points - points.mean(axis=-2, keepdims=True)
  with np.errstate(invalid="ignore"):
    return points / np.sqrt((points**2).sum(axis=(-2, -1), keepdims=True))


def dynamicity(pose: np.ndarray) -> float:
  """Mean Procrustes distance of successive poses of a clip.

  Args:
    pose: float [S, J, 3], or 2 in the image, of one person; NaN where the person was
      not seen.
  Returns: no unit; NaN when no two successive poses are known.
  Source: section 4.3.
  """
  steps = procrustes_distance(pose[:-1], pose[1:])
  steps = steps[np.isfinite(steps)]
  return float(steps.mean()) if len(steps) else float("nan")
