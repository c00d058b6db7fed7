"""Sampling: which frames and which poses of a clip the network sees.

It counts frames, never seconds, also where the frame rate of a video varies.
"""

import numpy as np


def window_starts(available: int, num_frames: int) -> tuple[int, int]:
  """The stride of a window in a clip, and the number of its possible starts.

  Source: the released loaders: stride 2 when the clip has 2F frames or more, else
    stride 1. A clip shorter than F has one window.
  """
  stride = 2 if available >= 2 * num_frames else 1
  return stride, max(1, available - stride * num_frames + 1)


def frame_window(
  available: int,
  num_frames: int,
  rng: np.random.Generator | None,
  which: tuple[int, int] = (0, 1),
) -> np.ndarray:
  """Samples the frames of a window, int [F].

  Args:
    available: number of frames in the clip, at least 1.
    num_frames: F.
    rng: draws the start; None for evaluation.
    which: (k, K) in evaluation: the k-th of K windows, spread evenly from the start to
      the end of the clip. A single window lies in the middle.
  Returns: indices of the frames.
  Reading: a clip shorter than F repeats from its start.
  Released code: sorts the repeated indices, which shows each frame several times in a
    row.
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
  first: int,
  last: int,
  pose_steps: int,
  rng: np.random.Generator | None,
  part: tuple[float, float] = (0.0, 1.0),
  speed: float = 0.0,
) -> np.ndarray:
  """Samples one pose from each of S equal segments of first..last inclusive, int [S].

  Args:
    rng: draws the position in each segment; None takes the centres (evaluation).
    part: of first..last that is sampled, start and end as fractions.
    speed: s, in (-1, 1): the speed goes linearly from 1 - s to 1 + s, so that the
      segments grow towards the end of the part.
  Source: section 4.1: poses uniformly sampled from each clip.
  """
  position = np.full(pose_steps, 0.5) if rng is None else rng.random(pose_steps)
  times = np.arange(pose_steps) + position
  if speed:
    times = times * (1.0 - speed + speed * times / pose_steps)
  if part != (0.0, 1.0):
    start, end = part
    times = pose_steps * start + times * (end - start)
  segment = (last + 1 - first) / pose_steps
  indices = first + np.floor(times * segment)
  return np.clip(indices, first, last).astype(np.int64)
