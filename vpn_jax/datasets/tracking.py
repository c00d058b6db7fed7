"""Detections in single frames -> people who stay the same from frame to frame.

`link` sees all frames of a clip, a `Follower` one after the other; `in_order` is for
files that have people in an order already.
"""

import dataclasses
from typing import Protocol, TypeVar

import numpy as np
import scipy.optimize

from vpn_jax.datasets.base import BadClip

# Our own threshold: a detection within this many body sizes of a track continues it.
LINK_SIZES = 0.5
MOST_TRACKS = 1000  # of a clip; more would take much memory and mean nothing

# The numbers below are our own, too.
# Body sizes a second by which somebody who is lost may have moved: walking.
_SPEED = 1.0
# Boxes that overlap by this, intersection by union, are of one person.
_OVERLAP = 0.1
# Nobody counts as smaller than this part of the diagonal of the frame.
_SMALLEST = 0.2
# From the left or right border, in parts of the width: who is lost there walked off.
_BORDER = 0.02
# A stranger who was seen so many times as often as the person of a row takes it: that
# one was no person.
_GHOST = 10
# An order of people is wrong where another one moves them by less than this part.
_CLEARLY = 0.25


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


@dataclasses.dataclass
class _Track:
  """Somebody: where they were seen last, and how often so far."""

  box: np.ndarray  # float [4], left, top, right, bottom
  centre: np.ndarray  # float [2]
  seconds: float
  count: int = 1

  @property
  def size(self) -> float:
    return float((self.box[2:] - self.box[:2]).max())


class Follower:
  """Follows the first people of a video, and does not take others for them.

  Detections belong to the people whom they overlap or are near to. Who is lost may be
  found again, the farther away the later, but near the border only where they left it.
  All others are strangers, and stay strangers as long as they are followed.
  """

  def __init__(self, people: int, size: tuple[int, int]):
    """Follows nobody yet.

    Args:
      people: the most to follow.
      size: (W, H) of the video, pixels.
    """
    self._width = size[0]
    self._smallest = _SMALLEST * float(np.hypot(*size))
    self._rows: list[_Track | None] = [None] * people
    self._strangers: list[_Track] = []

  def assign(
    self, boxes: np.ndarray, centres: np.ndarray, seconds: float
  ) -> np.ndarray:
    """Takes the detections of the next frame.

    Args:
      boxes: float [n, 4], left, top, right, bottom, pixels.
      centres: float [n, 2], pixels.
      seconds: time of the frame.
    Returns: the row of each person, int [n]; -1 for strangers.
    """
    found = [_Track(b, c, seconds) for b, c in zip(boxes, centres)]
    known = [(i, t) for i, t in enumerate(self._rows) if t is not None]
    known += [(-1, t) for t in self._strangers]
    taken = np.full(len(found), -1)
    pairs = self._match(known, found)
    for k, d in pairs:
      row, track = known[k]
      track.box, track.centre, track.seconds = boxes[d], centres[d], seconds
      track.count += 1
      taken[d] = row
    for d in sorted(set(range(len(found))) - {d for _, d in pairs}):
      if None in self._rows:
        taken[d] = self._rows.index(None)
        self._rows[taken[d]] = found[d]
      else:
        self._strangers = [*self._strangers, found[d]][-MOST_TRACKS:]
    for row, track in enumerate(self._rows):
      if track is not None and track.seconds < seconds:
        self._replace_ghost(row, track, found, taken)
    return taken

  def is_lost(self, taken: np.ndarray) -> bool:
    """Whether a frame shows strangers, but not everybody who is followed."""
    followed = sum(track is not None for track in self._rows)
    return bool((taken < 0).any()) and (taken >= 0).sum() < followed

  def _match(self, known, found: list[_Track]) -> list[tuple[int, int]]:
    """The pairs (position in `known`, position in `found`) that belong together."""
    if not (known and found):
      return []
    cost = np.full((len(known), len(found)), np.inf)
    for k, (row, track) in enumerate(known):
      for d, new in enumerate(found):
        unit = max(track.size, new.size, self._smallest)
        away = float(np.linalg.norm(track.centre - new.centre)) / unit
        gap = new.seconds - track.seconds
        left = (
          track.box[0] <= _BORDER * self._width
          or track.box[2] >= (1 - _BORDER) * self._width
        )
        further = _SPEED * gap if row >= 0 and not left else 0.0
        overlap = _overlap(track.box, new.box)
        if away <= LINK_SIZES + further or overlap >= _OVERLAP:
          cost[k, d] = away - overlap
    finite = np.isfinite(cost)
    filled = np.where(finite, cost, 1e6)
    pairs = zip(*scipy.optimize.linear_sum_assignment(filled))
    return [(int(k), int(d)) for k, d in pairs if finite[k, d]]

  def _replace_ghost(self, row: int, track: _Track, found, taken: np.ndarray) -> None:
    """Gives a lost row to a stranger who was seen far more often."""
    often = [t for t in self._strangers if t.count > _GHOST * track.count]
    if not often:
      return
    stranger = max(often, key=lambda t: t.count)
    self._strangers = [t for t in self._strangers if t is not stranger]
    self._rows[row] = stranger
    for d, new in enumerate(found):
      if taken[d] < 0 and np.array_equal(new.box, stranger.box):
        taken[d] = row


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
  """Intersection of two boxes by their union; 0 for boxes without an area."""
  sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
  common = float(np.prod(np.maximum(sides, 0)))
  areas = sum(float(np.prod(box[2:] - box[:2])) for box in (a, b))
  return common / (areas - common) if areas > common else 0.0


def in_order(joints: np.ndarray) -> np.ndarray:
  """Puts people in order whom a file has in another one from frame to frame.

  Where the order of the file moves people clearly farther than another one would, the
  other one counts. Elsewhere the file is right.

  Args:
    joints: float [F, persons, J, 2 or 3]; NaN where not seen.
  Returns: the person of the file for each row, int [F, persons].
  """
  frames, persons = joints.shape[:2]
  order = np.tile(np.arange(persons), (frames, 1))
  if persons == 1:
    return order
  seen = np.isfinite(joints).all(axis=(-1))  # [F, persons, J]
  there = seen.any(axis=-1)
  low = np.where(seen[..., None], joints, np.inf).min(axis=2)
  high = np.where(seen[..., None], joints, -np.inf).max(axis=2)
  with np.errstate(invalid="ignore"):
    sizes = (high - low).max(axis=-1)
  unit = float(np.median(sizes[there])) if there.any() else 0.0
  last = np.full(joints.shape[1:], np.nan)  # of each row
  for f in range(frames):
    slots = np.flatnonzero(there[f])
    if len(slots) and unit > 0:
      apart = np.linalg.norm(last[:, None] - joints[f][None, slots], axis=-1)
      with_joint = np.isfinite(apart)  # [rows, slots, J]
      number = with_joint.sum(axis=-1)
      total = np.where(with_joint, apart, 0).sum(axis=-1)
      # Somebody new costs what somebody known may move.
      cost = np.where(number > 0, total / np.maximum(number, 1), LINK_SIZES * unit)
      rows, columns = scipy.optimize.linear_sum_assignment(cost)
      order[f] = order[max(f - 1, 0)]
      row_of = order[f].argsort()
      as_given = float(cost[row_of[slots], np.arange(len(slots))].sum())
      best = float(cost[rows, columns].sum())
      if best < _CLEARLY * as_given and as_given - best > LINK_SIZES * unit / 2:
        free = [p for p in range(persons) if p not in set(slots.tolist())]
        order[f] = -1
        order[f, rows] = slots[columns]
        order[f, order[f] < 0] = free
    elif f:
      order[f] = order[f - 1]
    mine = joints[f, order[f]]
    last = np.where(np.isfinite(mine).all(axis=-1, keepdims=True), mine, last)
  return order


def take(array: np.ndarray, order: np.ndarray) -> np.ndarray:
  """[F, persons, ...] with the people of each frame in an order of `in_order`."""
  return array[np.arange(len(array))[:, None], order]
