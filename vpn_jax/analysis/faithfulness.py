"""Tests of a map of relevance, in pixels or over joints.

The pointing game: where the truth is known, the maximum of the map must fall on it.
Deletion and insertion: the class score must fall quickly when the most relevant
positions are removed first, and rise quickly when they are added first.
"""

from collections.abc import Callable

import cv2
import numpy as np

BLUR = 0.1  # standard deviation of `blurred`, as a share of the side of a frame


def enlarge(heat: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
  """Enlarges a map to the pixels of a clip, linearly between the middles of its cells.

  Equal cells stay equal to the last digit, which keeps ties.

  Args:
    heat: float [T, M, N].
    shape: (F, H, W).
  Returns: float64 [F, H, W].
  """
  x = np.asarray(heat, np.float64)
  for axis, size in enumerate(shape):
    cells = x.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    low = position.astype(int)
    a, b = x.take(low, axis), x.take(np.minimum(low + 1, cells - 1), axis)
    share = (position - low).reshape([-1 if i == axis else 1 for i in range(3)])
    x = a + share * (b - a)
  return x


# The pointing game.


def tolerance(grid: tuple[int, int], size: tuple[int, int]) -> float:
  """How far from the target still counts as a hit: half the diagonal of a cell, pixels.

  An enlarged map has its maximum in the middle of a cell, and no point of the cell is
  farther from there: a map cannot point more precisely.

  Args:
    grid: (M, N) of the map.
    size: (H, W) of the frames.
  Reading: the paper of the game has 15 pixels, for other maps and images.
  """
  return float(np.hypot(size[0] / grid[0], size[1] / grid[1]) / 2)


def near(targets: np.ndarray, size: tuple[int, int], tolerance: float) -> np.ndarray:
  """The pixels within the tolerance of any target.

  Args:
    targets: x, y in pixels, float [F, n, 2]; NaN where there is none.
    size: (H, W) of the frames.
    tolerance: pixels.
  Returns: bool [F, H, W].
  """
  y, x = np.ogrid[: size[0], : size[1]]
  hits = np.zeros((len(targets), *size), bool)
  for u, v in np.moveaxis(targets, (1, 2), (0, 1)):  # each [F]
    hits |= np.hypot(x - u[:, None, None], y - v[:, None, None]) <= tolerance
  return hits


def within(points: np.ndarray, targets: np.ndarray, tolerance: float) -> np.ndarray:
  """Which of the points [F, m, 2] are within the tolerance of any target [F, n, 2].

  Args: as for `near`.
  Returns: bool [F, m].
  """
  gaps = np.linalg.norm(points[:, :, None] - targets[:, None], axis=-1)
  return (gaps <= tolerance).any(axis=-1)


def pointing(heat: np.ndarray, hits: np.ndarray) -> float:
  """Whether the maximum of a map hits: 1 or 0.

  Where several positions share the maximum, the share of them that hit: a uniform map
  scores `hits.mean()`, the chance of a position drawn at random.

  Args:
    heat: of any shape, such as [F, H, W] or [J].
    hits: which positions hit, bool of the same shape.
  Source: Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018.
  """
  return float(hits[heat == heat.max()].mean())


# Deletion and insertion.


def ranks(relevance: np.ndarray, tie_break: np.ndarray) -> np.ndarray:
  """Ranks the entries by decreasing relevance, 0 for the most relevant.

  Args:
    relevance: float of any shape.
    tie_break: decides where the relevance is equal; float of the same shape.
  Returns: int of the same shape.
  """
  order = np.lexsort((-tie_break.ravel(), -relevance.ravel()))
  rank = np.empty(order.size, int)
  rank[order] = np.arange(order.size)
  return rank.reshape(relevance.shape)


def replaced(
  start: np.ndarray, end: np.ndarray, rank: np.ndarray, steps: int
) -> np.ndarray:
  """Turns one clip into another, the most relevant positions first.

  Args:
    start, end: of one shape and type [..., C], such as frames or poses.
    rank: from `ranks`, of the shape [...] or, for joints, of its last axes.
    steps: n.
  Returns: [n + 1, ..., C]; entry k has the first k/n of all positions as in `end`.
  """
  counts = np.rint(np.linspace(0, rank.size, steps + 1))
  return np.stack([np.where((rank < k)[..., None], end, start) for k in counts])


def deletion_insertion(
  score: Callable[[np.ndarray], np.ndarray],
  clip: np.ndarray,
  empty: np.ndarray,
  unclear: np.ndarray,
  rank: np.ndarray,
  steps: int,
) -> np.ndarray:
  """The score as positions are removed and added, the most relevant first.

  Args:
    score: of the class, [n + 1, ..., C] -> float [n + 1].
    clip: frames uint8 [F, H, W, 3] or poses float [S, J, 3].
    empty: what deletion turns the clip into.
    unclear: what insertion starts from.
    rank: from `ranks`.
    steps: n.
  Returns: float [2, n + 1]: deletion from the whole clip, insertion up to it.
  Source: Petsiuk et al., "RISE", BMVC 2018: deletion towards one colour, insertion into
    a blurred image, which adds no edges of its own.
  """
  down = score(replaced(clip, empty, rank, steps))
  up = score(replaced(unclear, clip, rank, steps))
  return np.stack([down, up]).astype(np.float64)


def area(curve: np.ndarray) -> np.ndarray:
  """Area under curves [..., n + 1] over the share of positions, 0 to 1, by trapezoids.

  Less is better for deletion, more for insertion.
  """
  return np.trapezoid(curve, dx=1 / (curve.shape[-1] - 1), axis=-1)


def mean_coloured(frames: np.ndarray) -> np.ndarray:
  """Frames uint8 [F, H, W, 3] with the clip's mean colour in every pixel."""
  colour = np.rint(frames.mean(axis=(0, 1, 2))).astype(frames.dtype)
  return np.broadcast_to(colour, frames.shape)


def blurred(frames: np.ndarray) -> np.ndarray:
  """Frames uint8 [F, H, W, 3] in which nothing can be recognized.

  Reading: a Gaussian with a standard deviation of a tenth of the side. RISE has 5 of
    224 pixels, cut off at 11 x 11, which leaves the outline of a person.
  """
  sigma = BLUR * frames.shape[1]
  return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])
