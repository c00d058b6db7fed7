"""Detections in single frames -> tracks of people."""

from typing import Protocol, TypeVar

import numpy as np

from vpn_jax.datasets.base import BadClip

# Our own threshold: a detection within this many body sizes of a track continues it.
LINK_SIZES = 0.5
MOST_TRACKS = 1000  # of a clip; more would take much memory and mean nothing


class Located(Protocol):
  """A detection: its centre, float [2 or more], and its size, both in one unit."""

  centre: np.ndarray
  size: float


Found = TypeVar("Found", bound=Located)


def link(frames: list[list[Found]]) -> list[dict[int, Found]]:
  """Links detections to tracks {frame: detection} by their position.

  A track may pause for any time: who is lost and found again in one position is one
  person. Of several tracks nearby, the one seen last continues, so that an old ghost
  does not take over a person who passes by; among those, the nearest.

  Raises: BadClip for more than `MOST_TRACKS`.
  """
  tracks: list[dict[int, Found]] = []
  last: list[int] = []  # frame in which each track was seen last
  for frame, detections in enumerate(frames):
    taken: set[int] = set()
    if tracks and detections:
      ends = [track[seen] for track, seen in zip(tracks, last)]
      gaps = np.stack([e.centre for e in ends])[:, None] - np.stack(
        [d.centre for d in detections]
      )
      distances = np.linalg.norm(gaps, axis=-1)  # [tracks, detections]
      sizes = np.maximum.outer([e.size for e in ends], [d.size for d in detections])
      near = np.argwhere(distances <= LINK_SIZES * sizes).tolist()
      pairs = [(frame - last[t], float(distances[t, d]), t, d) for t, d in near]
      for _, _, t, d in sorted(pairs):
        if d not in taken and last[t] != frame:
          tracks[t][frame] = detections[d]
          last[t] = frame
          taken.add(d)
    for d, detection in enumerate(detections):
      if d not in taken:
        tracks.append({frame: detection})
        last.append(frame)
    if len(tracks) > MOST_TRACKS:
      raise BadClip(
        f"its people form more than {MOST_TRACKS} tracks in {frame + 1} frames: number "
        "them, or cut the clip"
      )
  return tracks
