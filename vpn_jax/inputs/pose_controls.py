"""Controls of an evaluation: poses that say nothing about the clip they come with.

A network that does not look at the poses is as good with them as with its own.
"""

from collections.abc import Iterable, Sequence

import numpy as np

SEED = 0  # of the donors, the same for every run
CONTROLS = ("shuffled", "rest")


def donors(names: Sequence[str], seed: int = SEED) -> np.ndarray:
  """Whose pose each clip gets: a permutation without a clip that keeps its own.

  Args:
    names: of the clips, each once. Their order does not change who gives to whom, so
      that all runs on the same clips share the permutation.
    seed: of the draw, uniform over all such permutations.
  Returns: places in `names`, int [n].
  Raises: ValueError for a single clip, which has no other to take a pose from.
  """
  count = len(names)
  if count < 2:
    raise ValueError(
      f"got {count} test clip(s), expected two or more to give each the pose of "
      "another: prepare more clips, or leave out config.inference.shuffle_pose."
    )
  rng = np.random.default_rng(seed)
  drawn = rng.permutation(count)
  while (drawn == np.arange(count)).any():  # e times on average
    drawn = rng.permutation(count)
  order = np.array(sorted(range(count), key=names.__getitem__))
  found = np.empty(count, np.int64)
  found[order] = order[drawn]
  return found


def rest_pose(poses: Iterable[np.ndarray]) -> np.ndarray:
  """Where each joint is on average over clips and steps: a body at rest.

  Args:
    poses: of the clips, float [S, persons*J, 3], metres from the body.
  Returns: float32 [persons*J, 3].
  Reading: the mean over a clip of its own would still show the posture, and many
    actions can be recognized by that.
  """
  means = [np.mean(pose, axis=0, dtype=np.float64) for pose in poses]
  return np.mean(means, axis=0).astype(np.float32)
