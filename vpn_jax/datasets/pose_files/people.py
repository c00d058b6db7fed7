"""The people that a pose estimator found, frame by frame, as arrays."""

import dataclasses
import functools
import itertools

import numpy as np

from vpn_jax.datasets import missing, tracking
from vpn_jax.datasets.base import BadClip

MAX_FRAMES = 100_000  # of a clip: an hour at 25 frames per second
MAX_PEOPLE = 100  # in a frame
PERSONS = 2  # kept of a clip, as for NTU
_MOST_WRONG = 0.1  # of the steps of numbered people; our own number


@dataclasses.dataclass(frozen=True)
class Person:
  """Somebody in a frame.

  Attributes:
    joints: float32 [J, 2 or 3]; NaN where not seen.
    scores: float32 [J], from 0 to 1; NaN where unknown.
    track: the estimator's own number of this person over the frames; None without.
  """

  joints: np.ndarray
  scores: np.ndarray
  track: int | None = None

  @functools.cached_property
  def seen(self) -> np.ndarray:
    """The joints that were seen, float32 [seen, 2 or 3]."""
    return self.joints[np.isfinite(self.joints).all(axis=-1)]

  @functools.cached_property
  def centre(self) -> np.ndarray:
    """Mean of the joints that were seen."""
    return self.seen.mean(axis=0)

  @functools.cached_property
  def size(self) -> float:
    """Largest side of the box around the joints that were seen."""
    return float(np.ptp(self.seen, axis=0).max())


def person(
  coordinates: np.ndarray, scores: np.ndarray | None, track: int | None = None
) -> Person | None:
  """A person from what a file holds; None when no joint was seen.

  Args:
    coordinates: float [J, 2 or 3].
    scores: float [J]; None where unknown.
    track: see `Person`.
  Source: `missing.seen` for which joints were not.
  """
  joints = coordinates.astype(np.float32)
  seen = missing.seen(joints, scores)
  if not seen.any():
    return None
  unknown = np.full(len(joints), np.nan)
  kept = np.where(seen, np.clip(unknown if scores is None else scores, 0, 1), np.nan)
  return Person(missing.clear(joints, seen), kept.astype(np.float32), track)


def arrange(frames: list[list[Person]], what: str) -> tuple[np.ndarray, np.ndarray]:
  """Orders people over the frames, the main actor first, and drops the rest.

  If the file numbers everybody, differently in a frame, a number is a person, unless
  people change numbers all the time; otherwise detections near one another are, see
  `tracking.link`. The main actor has the largest
  sum of sizes over the frames: who is seen longest, and of those the one nearest to the
  camera.

  Args:
    frames: the people found in each frame.
    what: names the file in messages.
  Returns: joints float32 [F, persons, J, 2 or 3] and scores float32 [F, persons, J],
    with one person or `PERSONS`; NaN in frames without them.
  Raises: BadClip when nobody was found, or the numbers of joints differ.
  """
  check_length(len(frames), what)
  found = [p for people in frames for p in people]
  if not found:
    raise BadClip(f"{what} has nobody in any of {len(frames)} frames")
  shapes = {p.joints.shape for p in found}
  if len(shapes) > 1:
    counts = sorted(shapes)
    raise BadClip(f"{what} has people of {counts} joints, expected the same for all")
  crowd = max(map(len, frames))
  if crowd > MAX_PEOPLE:
    raise BadClip(
      f"{what} has {crowd} people in a frame, expected {MAX_PEOPLE} or less"
    )
  numbered: dict[int, dict[int, Person]] = {}
  if all(map(_are_numbered, frames)):
    for frame, people in enumerate(frames):
      for p in people:
        numbered.setdefault(p.track, {}).setdefault(frame, p)
  tracks = list(numbered.values())
  if not tracks or _change_places(frames):
    tracks = tracking.link(frames)
  tracks.sort(key=lambda track: -sum(p.size for p in track.values()))
  tracks = tracks[:PERSONS]
  (shape,) = shapes
  joints = np.full((len(frames), len(tracks), *shape), np.nan, np.float32)
  scores = np.full(joints.shape[:-1], np.nan, np.float32)
  for i, track in enumerate(tracks):
    for frame, p in track.items():
      joints[frame, i], scores[frame, i] = p.joints, p.scores
  return joints, scores


def _are_numbered(people: list[Person]) -> bool:
  """Whether numbers tell the people of a frame apart; AlphaPose may give all 0."""
  numbers = {p.track for p in people}
  return None not in numbers and len(numbers) == len(people)


def _change_places(frames: list[list[Person]]) -> bool:
  """Whether numbers name the order in a frame, rather than people.

  They do where, in more than a tenth of the steps, somebody is far from where their
  number was in the frame before, but somebody else is near.
  """
  steps = wrong = 0
  for before, now in itertools.pairwise(frames):
    places = {p.track: p for p in now}
    for p in before:
      if p.track not in places:
        continue
      steps += 1
      near = [
        q.track
        for q in now
        if np.linalg.norm(q.centre - p.centre)
        <= tracking.LINK_SIZES * max(p.size, q.size)
      ]
      wrong += bool(near) and p.track not in near
  return wrong > _MOST_WRONG * steps


def largest(joints: np.ndarray) -> list[int]:
  """The main actor and those who are kept beside them, of tracks that exist already.

  Args:
    joints: float [F, persons, J, 2 or 3]; NaN where not seen.
  Returns: their positions. Up to `PERSONS` stay in their order; of more, those with the
    largest sum of sizes come first.
  """
  count = joints.shape[1]
  if count <= PERSONS:
    return list(range(count))
  low = np.where(np.isnan(joints), np.inf, joints).min(axis=2)  # [F, persons, 2 or 3]
  high = np.where(np.isnan(joints), -np.inf, joints).max(axis=2)
  sizes = np.maximum(high - low, 0).max(axis=-1).sum(axis=0)
  return np.argsort(-sizes, kind="stable")[:PERSONS].tolist()


def check_length(num_frames: int, what: str) -> None:
  """Raises BadClip for more than `MAX_FRAMES`, before anything is allocated."""
  if num_frames > MAX_FRAMES:
    raise BadClip(
      f"{what} has {num_frames} frames, expected at most {MAX_FRAMES}: cut it"
    )
