"""Controls of an evaluation: poses that carry no information about their clip.

A network that ignores poses is as accurate with these as with the clips' own.
"""

from collections.abc import Iterable, Sequence

import numpy as np

SEED = 0  # of the donors; the same for every run
CONTROLS = ("shuffled", "rest")


def donors(names: Sequence[str], seed: int = SEED) -> np.ndarray:
  """Chooses the clip whose pose each clip gets: a permutation without fixed points.

  Args:
    names: of the clips, each once. The pairs do not depend on their order, so that all
      runs on the same clips share the permutation.
    seed: draws uniformly from all such permutations.
  Returns: positions in `names`, int [n].
  Raises: ValueError for fewer than two clips.
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


def rest_joints(joints: Iterable[np.ndarray]) -> np.ndarray:
  """The average position of each joint in the frames, over clips and frames.

  Args:
    joints: of the clips, float [F, persons*J, 3] of `frame_joints.frame_joints`.
  Returns: float32 [persons*J, 3]: x and y are the mean weighted by the score, the score
    is the mean; all 0 for a joint that is never seen.
  """
  total, weight, frames = 0.0, 0.0, 0
  for clip in joints:
    score = clip[..., 2:].astype(np.float64)
    total = total + (clip[..., :2] * score).sum(axis=0)
    weight, frames = weight + score.sum(axis=0), frames + len(clip)
  at = total / np.maximum(weight, 1e-12)
  return np.concatenate([at, weight / frames], axis=-1).astype(np.float32)


def rest_pose(poses: Iterable[np.ndarray]) -> np.ndarray:
  """The average position of each joint over clips and steps: a body at rest.

  Args:
    poses: of the clips, float [S, persons*J, 3], as networks take them: metres, or x, y
      and score in the image, centred on the body.
  Returns: float32 [persons*J, 3].
  Reading: the mean over a single clip would still show its posture, by which many
    actions can be recognized.
  """
  means = [np.mean(pose, axis=0, dtype=np.float64) for pose in poses]
  return np.mean(means, axis=0).astype(np.float32)
