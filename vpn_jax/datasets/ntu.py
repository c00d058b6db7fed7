"""NTU RGB+D 60 and 120: file names, skeleton files, and the choice of the actors.

Skeletons and videos may be in any folders below the root; their names pair them:
`S001C001P001R001A001.skeleton` with `S001C001P001R001A001_rgb.avi`.
"""

import dataclasses
import os
import pathlib
import re

import numpy as np

from vpn_jax.datasets import missing, paired_files, skeletons, text_files, video
from vpn_jax.datasets.base import BadClip, Clip, RawClip

NUM_JOINTS = 25
COLOR_SIZE = (1920, 1080)  # of the video; colorX and colorY are its pixels
FPS = 30.0  # of a Kinect v2
PERSONS = 2  # per clip; the second is NaN when there is none

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
_VIDEO = re.compile(_NAME.pattern + r"_rgb\.(?:avi|mp4|mkv)", re.ASCII)
_SKELETON = re.compile(_NAME.pattern + r"\.skeleton", re.ASCII)
_PACKAGE = pathlib.Path(__file__).parent

# A ghost is furniture or a reflection. Our own thresholds: the dataset's FAQ compares
# the spread in x with that in y but gives no number.
_GHOST_SHARE = 0.15  # a ghost is tracked in a smaller share of the frames,
_GHOST_WIDE = 0.7  # or is wider than tall in at least this share of its frames
_LINK_METRES = 1.0  # a track that begins this close to the end of another continues it


def parse_name(name: str) -> tuple[int, dict[str, int]]:
  """Parses a name such as S001C002P003R001A050 into label (0-based) and attributes.

  Returns: (49, {"setup": 1, "camera": 2, "subject": 3, "replication": 1}).
  Raises: ValueError when the name has another form.
  """
  match = _NAME.fullmatch(name)
  if not match:
    raise ValueError(f"got the name {name!r}, expected one as S001C002P003R001A050.")
  setup, camera, subject, replication, action = map(int, match.groups())
  attributes = {
    "setup": setup,
    "camera": camera,
    "subject": subject,
    "replication": replication,
  }
  return action - 1, attributes


def class_names(which: int) -> tuple[str, ...]:
  """The first 60 or all 120 class names, A1 first."""
  lines = (_PACKAGE / "ntu_class_names.txt").read_text().splitlines()
  return tuple(lines[:which])


def missing_skeletons(which: int) -> frozenset[str]:
  """The official list of clips without usable skeletons: 302 or 535 names."""
  return frozenset((_PACKAGE / f"ntu_missing_{which}.txt").read_text().split())


@dataclasses.dataclass(frozen=True)
class Body:
  """One tracked body; NaN in frames without it.

  Attributes:
    world: float32 [F, 25, 3], metres, Kinect camera axes: x, y up, z forward.
    image: float32 [F, 25, 2], pixels of the 1920x1080 video; NaN where unknown.
    visibility: float32 [F, 25], Kinect's tracking state: 1 tracked, 0.5 inferred, 0 not
      tracked.
  """

  world: np.ndarray
  image: np.ndarray
  visibility: np.ndarray

  @property
  def tracked(self) -> np.ndarray:
    """Whether each frame has the body, bool [F]."""
    return np.isfinite(self.world[:, 0, 0])

  @property
  def motion(self) -> float:
    """Variance of x, y and z over the tracked frames, summed over joints; m^2."""
    return float(np.var(self.world[self.tracked], axis=0, dtype=np.float64).sum())


def read_skeleton(path: str | pathlib.Path) -> list[Body]:
  """Reads a .skeleton file.

  Returns: its bodies in order of appearance, at least one; each identifier is a body.
  Raises: BadClip with the line when the file is truncated, has a word that is not a
    number, a joint count other than 25, a joint that is not finite, lines after the
    last frame, no frames or no bodies.
  Source: the dataset's own reader (read_skeleton_file.m) for the order of the fields.
  """
  path = pathlib.Path(path)
  try:
    lines = text_files.decode(path.read_bytes(), errors="replace").splitlines()
  except OSError as e:
    raise BadClip(f"skeleton {path.name} cannot be read: {e.strerror}") from e
  while lines and not lines[-1].strip():
    lines.pop()
  reader = _Lines(path.name, lines)
  num_frames = reader.integer("the number of frames")
  if num_frames == 0:
    reader.fail("0 frames")
  tracks: dict[str, list[tuple[int, np.ndarray]]] = {}
  for frame in range(num_frames):
    for _ in range(reader.integer(f"the number of bodies of frame {frame}")):
      words = reader.words("a body")
      if len(words) != 10:
        reader.fail(f"{len(words)} values for a body, expected 10")
      joints = reader.integer("the number of joints")
      if joints != NUM_JOINTS:
        reader.fail(f"{joints} joints, expected {NUM_JOINTS}")
      track = tracks.setdefault(words[0], [])
      rows = reader.joints()
      if not track or track[-1][0] != frame:  # an identifier twice: the first counts
        track.append((frame, rows))
  if reader.position != len(lines):
    reader.position += 1
    reader.fail(f"text after the last of {num_frames} frames")
  if not tracks:
    raise BadClip(f"skeleton {path.name} has no body in any of {num_frames} frames")
  return [_body(track, num_frames) for track in tracks.values()]


_USED = (0, 1, 2, 5, 6, 11)  # x, y, z, colorX, colorY and the state, of twelve words


class _Lines:
  """The lines of a skeleton file, with their numbers for messages."""

  def __init__(self, name: str, lines: list[str]):
    self.name, self.lines, self.position = name, lines, 0

  def fail(self, what: str):
    raise BadClip(f"skeleton {self.name}, line {max(self.position, 1)}: {what}")

  def words(self, what: str) -> list[str]:
    if self.position >= len(self.lines):
      self.position += 1
      self.fail(f"the file ends, expected {what}")
    self.position += 1
    return self.lines[self.position - 1].split()

  def integer(self, what: str) -> int:
    words = self.words(what)
    digits = words[0] if len(words) == 1 and len(words[0]) < 10 else ""
    if not (digits.isascii() and digits.isdigit()):
      self.fail(f"{' '.join(words)[:40]!r}, expected {what}")
    return int(digits)

  def joints(self) -> np.ndarray:
    """Reads 25 joints, float64 [25, 6]: x, y, z, colorX, colorY, tracking state."""
    rows = np.empty((NUM_JOINTS, 6))
    for joint in range(NUM_JOINTS):
      words = self.words(f"joint {joint}")
      if len(words) != 12:
        self.fail(f"{len(words)} values for joint {joint}, expected 12")
      try:
        rows[joint] = [text_files.number(words[i]) for i in _USED]
      except ValueError:
        self.fail(f"joint {joint} holds a word that is not a number")
      if not (np.abs(rows[joint, :3]) <= np.finfo(np.float32).max).all():
        self.fail(f"joint {joint} is at {' '.join(words[:3])}, expected finite metres")
    return rows


def _body(track: list[tuple[int, np.ndarray]], num_frames: int) -> Body:
  frames = [frame for frame, _ in track]
  rows = np.full((num_frames, NUM_JOINTS, 6), np.nan, np.float32)
  with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite
    rows[frames] = np.stack([r for _, r in track])
  image = rows[..., 3:5]
  known = np.isfinite(image).all(axis=-1, keepdims=True)
  image = np.where(known, image, np.float32(np.nan))
  return Body(rows[..., :3], image, np.clip(rows[..., 5] / 2, 0, 1))


def actors(bodies: list[Body]) -> list[Body]:
  """Joins tracks, drops ghosts, and orders people by their motion, largest first.

  If all are ghosts, all are kept. The class is not used, so that crop and poses reveal
  nothing about it that the tracker does not.

  Args:
    bodies: as `read_skeleton` returns them; at least one.
  Returns: at least one body; the first is the main actor.
  Source: the dataset's FAQ: the main actor has the largest summed variance of x, y, z.
  """
  people = _link(bodies)
  people = [b for b in people if not _is_ghost(b)] or people
  return sorted(people, key=lambda b: -b.motion)


def _link(bodies: list[Body]) -> list[Body]:
  """Joins tracks of a person who was lost and found again nearby."""
  people: list[Body] = []
  for body in sorted(bodies, key=lambda b: int(np.argmax(b.tracked))):
    start = int(np.argmax(body.tracked))
    distances = []
    for i, earlier in enumerate(people):
      if not (earlier.tracked & body.tracked).any():
        end = int(np.flatnonzero(earlier.tracked[:start])[-1])
        gap = earlier.world[end].mean(axis=0) - body.world[start].mean(axis=0)
        distances.append((float(np.linalg.norm(gap)), i))
    if distances and min(distances)[0] <= _LINK_METRES:
      i = min(distances)[1]
      later = body.tracked[:, None, None]
      people[i] = Body(
        np.where(later, body.world, people[i].world),
        np.where(later, body.image, people[i].image),
        np.where(later[..., 0], body.visibility, people[i].visibility),
      )
    else:
      people.append(body)
  return people


def _is_ghost(body: Body) -> bool:
  seen = body.world[body.tracked]
  spread = seen.max(axis=1) - seen.min(axis=1)  # [tracked frames, 3]
  wide = np.mean(spread[:, 0] > spread[:, 1])
  return len(seen) < _GHOST_SHARE * len(body.world) or wide >= _GHOST_WIDE


class NTU(paired_files.PairedFiles):
  """NTU RGB+D 60 or 120 below one folder; a `base.Dataset`."""

  skeleton = "kinect_v2"
  source = {"persons": PERSONS, "actors": 1}  # raise the 1 when `actors` changes
  example = "S001C001P001R001A001_rgb.avi"
  fps = FPS
  no_video = "no video {}_rgb.avi beside its skeleton"
  no_skeleton = "no skeleton {}.skeleton beside its video"

  def __init__(
    self,
    root: str | pathlib.Path,
    which: int = 60,
    *,
    poses: bool = True,
    frames: bool = True,
  ):
    """See `paired_files.PairedFiles`; `which` is 60 or 120."""
    if which not in (60, 120):
      raise ValueError(f"which is {which}, expected 60 or 120.")
    self.name = f"ntu{which}"
    self.which = which
    self.class_names = class_names(which)
    self._missing = missing_skeletons(which)
    super().__init__(root, poses=poses, frames=frames)

  def _parse_name(self, name: str) -> tuple[int, dict[str, int]]:
    if name in self._missing:
      raise ValueError("on the official list of missing skeletons")
    return parse_name(name)

  def _find(self) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the paths of videos and of skeletons of this dataset's classes."""
    videos, skeletons = {}, {}
    for folder, listed in paired_files.walk(self.root):
      for file in listed:
        for pattern, found in ((_VIDEO, videos), (_SKELETON, skeletons)):
          if pattern.fullmatch(file):
            name = file[:20]
            label, attributes = parse_name(name)
            known = 0 <= label < self.which
            if known and (self.which == 120 or attributes["setup"] <= 17):
              found.setdefault(name, os.path.join(folder, file))
    return videos, skeletons

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; the poses of the two people with the largest motion."""
    people = actors(read_skeleton(clip.pose))[:PERSONS]
    frames, fps, size = None, self.fps, COLOR_SIZE
    if clip.video is not None:
      frames, fps, size = video.open_file(clip.video)
    num_frames = len(people[0].world)
    pose = np.full((num_frames, PERSONS, NUM_JOINTS, 3), np.nan, np.float32)
    image_joints = np.full((num_frames, PERSONS, NUM_JOINTS, 2), np.nan, np.float32)
    visibility = np.full((num_frames, PERSONS, NUM_JOINTS), np.nan, np.float32)
    scale = np.divide(size, COLOR_SIZE)  # of a smaller copy
    layout = skeletons.get(self.skeleton)
    for i, body in enumerate(people):
      state = body.visibility
      known = missing.seen(body.world[:, None], state[:, None], layout)[:, 0]
      pose[:, i] = missing.clear(body.world, known)
      known = missing.seen(body.image, state)
      image_joints[:, i] = missing.clear(body.image * scale, known)
      visibility[:, i] = state
    return RawClip(pose, image_joints, frames, fps, visibility, drops_frames=True)
