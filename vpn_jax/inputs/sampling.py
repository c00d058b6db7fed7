"""Which frames and which poses of a clip are shown."""

import numpy as np


def window_starts(available: int, num_frames: int) -> tuple[int, int]:
  """Stride of a window in a clip, and how many starts it can have, 1 or more.

  Source: section 2 of the released code's loaders: stride 2 when the clip has 2F frames
    or more, else stride 1. A shorter clip than F has one window.
  """
  stride = 2 if available >= 2 * num_frames else 1
  return stride, max(1, available - stride * num_frames + 1)


def frame_window(
  available: int,
  num_frames: int,
  rng: np.random.Generator | None,
  which: tuple[int, int] = (0, 1),
) -> np.ndarray:
  """Indices of the frames to show, int [F].

  Args:
    available: frames of the clip, 1 or more.
    num_frames: F.
    rng: draws the start; None for evaluation.
    which: of evaluation: (k, K), the k-th of K windows spread from the start of the
      clip to its end; the only one lies in the middle.
  Reading: a shorter clip repeats from its start. Released code: sorts the repeated
    list, which shows each frame several times in a row.
  """
  if available < num_frames:
    return np.arange(num_frames) % available
  stride, starts = window_starts(available, num_frames)
  k, windows = which
  if rng is not None:
    start = int(rng.integers(starts))
  elif windows == 1:
    start = (starts - 1) // 2
  else:
    start = (starts - 1) * k // (windows - 1)
  return start + stride * np.arange(num_frames)


def pose_indices(
  first: int, last: int, pose_steps: int, rng: np.random.Generator | None
) -> np.ndarray:
  """One frame from each of S equal segments of first..last inclusive, int [S].

  Args:
    rng: draws inside each segment; None takes the centres (evaluation).
  Source: section 4.1, poses uniformly sampled from each clip.
  """
  place = np.full(pose_steps, 0.5) if rng is None else rng.random(pose_steps)
  segment = (last + 1 - first) / pose_steps
  indices = first + np.floor((np.arange(pose_steps) + place) * segment)
  return np.clip(indices, first, last).astype(np.int64)
