"""Poses and the frames of their video: the same number, or brought to it by time."""

import dataclasses

import numpy as np

from vpn_jax.datasets import video
from vpn_jax.datasets.base import BadClip, RawClip

# Frames of the slower of the two by which they may differ in duration. Our own number.
_SPARE = 1.5


def to_video(raw: RawClip, pose_fps: float | None) -> RawClip:
  """Resamples poses of a known rate at the times of the frames of their video.

  Args:
    raw: a clip, poses and image joints at `pose_fps`.
    pose_fps: poses per second; None where it is not known, and the clip stays as it is.
      So it does without a video, and where there is a pose for every frame.
  Raises: BadClip when the poses last shorter or longer than the video.
  """
  if pose_fps is None or raw.frames is None:
    return raw
  times, poses = video.Times(raw.fps), len(raw.pose)
  count = sum(1 for _ in video.play(raw.frames, times))
  if count == poses:
    return raw
  seconds = poses / pose_fps, times[count]
  if abs(seconds[0] - seconds[1]) > _SPARE * max(1 / pose_fps, seconds[1] / count):
    raise BadClip(
      f"{poses} poses at {pose_fps:g} a second last {seconds[0]:.2f} s, its {count} "
      f"video frames {seconds[1]:.2f} s, expected the same: give the poses of the "
      "whole video, or their rate"
    )
  at = np.array([times[i] for i in range(count)]) * pose_fps
  made = {
    name: resample(array, at)
    for name in ("pose", "image_joints", "visibility")
    if (array := getattr(raw, name)) is not None
  }
  note = f"{poses} poses at {pose_fps:g} a second, taken at the times of {count} frames"
  return dataclasses.replace(raw, **made, note=note)


def resample(array: np.ndarray, at: np.ndarray) -> np.ndarray:
  """Interpolates linearly between frames.

  Args:
    array: float [F, ...]; NaN where not seen.
    at: positions, float [N], in frames; beyond the last one counts as the last.
  Returns: float32 [N, ...]. Where one of the two frames around a position has NaN, the
    nearer one alone counts.
  """
  at = np.clip(at, 0, len(array) - 1)
  first = np.floor(at).astype(int)
  second = np.minimum(first + 1, len(array) - 1)
  part = (at - first).reshape(-1, *[1] * (array.ndim - 1))
  made = (1 - part) * array[first] + part * array[second]
  nearer = array[np.rint(at).astype(int)]
  return np.where(np.isnan(made), nearer, made).astype(np.float32)
