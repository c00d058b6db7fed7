"""Toyota Smarthome (trimmed): clip names, LCR-Net skeletons in JSON, the main actor.

Skeletons and videos may be in any folders below the root; their names pair them:
`Walk_p02_r00_v01_c03.mp4` with `Walk_p02_r00_v01_c03_pose3d.json` or, in release 1.1 of
the skeletons, `Walk_p02_r00_v01_c03.json`. The former takes precedence.
"""

import dataclasses
import functools
import os
import pathlib
import re

import numpy as np

from vpn_jax.datasets import missing, paired_files, skeletons, tracking, video
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.paired_files import brief, load_frames, numbers

NUM_JOINTS = 13
IMAGE_SIZE = (640, 480)  # of the video; pose2d are its pixels
FPS = 20.0  # of the release
PERSONS = 1  # one resident lives in the flat; others are false detections
CLASS_NAMES = (
  "Cook.Cleandishes", "Cook.Cleanup", "Cook.Cut", "Cook.Stir", "Cook.Usestove",
  "Cutbread", "Drink.Frombottle", "Drink.Fromcan", "Drink.Fromcup", "Drink.Fromglass",
  "Eat.Attable", "Eat.Snack", "Enter", "Getup", "Laydown", "Leave",
  "Makecoffee.Pourgrains", "Makecoffee.Pourwater", "Maketea.Boilwater",
  "Maketea.Insertteabag", "Pour.Frombottle", "Pour.Fromcan", "Pour.Fromkettle",
  "Readbook", "Sitdown", "Takepills", "Uselaptop", "Usetablet", "Usetelephone", "Walk",
  "WatchTV",
)  # fmt: skip

_REMOVED = "Pour.Fromcup"  # in the authors' lists of clips, no longer in the dataset
_NAME = re.compile(r"([A-Za-z0-9.]+)_p(\d{2,})_r(\d{2,})_v(\d{2,})_c(\d{2,})", re.ASCII)
_FILE = re.compile(
  rf"(?P<name>{_NAME.pattern})(?P<kind>\.(?:mp4|avi|mkv)|(?:_pose3d)?\.json)", re.ASCII
)

# Our own threshold: ghosts have fewer frames than this share of the longest track's.
_GHOST_SHARE = 0.1


def parse_name(name: str) -> tuple[int, dict[str, int]]:
  """Parses a name such as Walk_p02_r00_v01_c03 into label (0-based) and attributes.

  Returns: (29, {"subject": 2, "repetition": 0, "variation": 1, "camera": 3}).
  Raises: ValueError when the name has another form or its class is not one of the 31.
  """
  match = _NAME.fullmatch(name)
  if not match:
    raise ValueError(f"got the name {name!r}, expected one as Walk_p02_r00_v01_c03.")
  activity, *numbers = match.groups()
  if activity == _REMOVED:
    raise ValueError(f"class {_REMOVED} was removed from the dataset")
  if activity not in CLASS_NAMES:
    raise ValueError(f"unknown class {activity}, expected one of Toyota Smarthome")
  keys = ("subject", "repetition", "variation", "camera")
  return CLASS_NAMES.index(activity), dict(zip(keys, map(int, numbers)))


@dataclasses.dataclass(frozen=True)
class Detection:
  """A body found in a frame.

  Attributes:
    world: float32 [13, 3], x, y, z as released: LCR-Net's estimate, in metres.
    image: float32 [13, 2], pixels of the 640x480 video; may be outside the image.
    score: LCR-Net's confidence; None where the file has none.
  """

  world: np.ndarray
  image: np.ndarray
  score: float | None

  @functools.cached_property
  def centre(self) -> np.ndarray:
    """Mean of the image joints, float [2], pixels."""
    return self.image.mean(axis=0)

  @functools.cached_property
  def size(self) -> float:
    """Larger side of the box around the image joints, pixels."""
    return float(np.ptp(self.image, axis=0).max())


def read_skeleton(path: str | pathlib.Path) -> list[list[Detection]]:
  """Reads a skeleton file.

  Returns: the bodies found in each frame; somebody in at least one.
  Raises: BadClip with the position when the file is truncated or not JSON, lacks its
    fields, has no frames, a joint count other than 13, a value that is not a finite
    number, or nobody in any frame.
  Source: the release: `njts` 13; `frames`, each a list of detections with `pose2d` (13
    x, then 13 y), `pose3d` (13 x, 13 y, 13 z) and, in release 1.1, `cumscore`.
  """
  path = pathlib.Path(path)
  content, frames = load_frames(path, "frames")
  joints = content.get("njts", NUM_JOINTS)
  if joints != NUM_JOINTS:
    raise BadClip(
      f"skeleton {path.name} has njts {brief(joints)}, expected {NUM_JOINTS}"
    )
  bodies = []
  for f, found in enumerate(frames):
    where = f"skeleton {path.name}, frame {f}"
    if not isinstance(found, list):
      raise BadClip(f"{where} is {brief(found)}, expected a list of detections")
    bodies.append([_detection(d, f"{where}, body {i}") for i, d in enumerate(found)])
  if not any(bodies):
    raise BadClip(f"skeleton {path.name} has nobody in any of {len(bodies)} frames")
  return bodies


def _detection(fields, where: str) -> Detection:
  if not isinstance(fields, dict):
    raise BadClip(f"{where} is {brief(fields)}, expected pose2d and pose3d")
  world = numbers(fields.get("pose3d"), 3 * NUM_JOINTS, f"{where}, pose3d")
  image = numbers(fields.get("pose2d"), 2 * NUM_JOINTS, f"{where}, pose2d")
  score = None
  if "cumscore" in fields:
    score = float(numbers([fields["cumscore"]], 1, f"{where}, cumscore")[0])
  # All x come first, then all y, so the joints are the columns.
  return Detection(world.reshape(3, -1).T, image.reshape(2, -1).T, score)


def main_actor(frames: list[list[Detection]]) -> tuple[np.ndarray, np.ndarray]:
  """Finds the resident: the best of the tracks that the detections form.

  The best track has the largest sum of scores, or the most frames if a score is
  missing. Tracks far shorter than the longest are ghosts and cannot win; frames with
  nobody but ghosts stay empty.

  Args:
    frames: as `read_skeleton` returns them; somebody in at least one.
  Returns: world float32 [F, 13, 3] and image float32 [F, 13, 2]; NaN where the actor
    was not found.
  """
  tracks = tracking.link(frames)
  longest = max(len(track) for track in tracks)
  tracks = [t for t in tracks if len(t) >= _GHOST_SHARE * longest]
  best = max(tracks, key=len)
  if all(d.score is not None for track in tracks for d in track.values()):
    best = max(tracks, key=lambda track: sum(d.score for d in track.values()))
  world = np.full((len(frames), NUM_JOINTS, 3), np.nan, np.float32)
  image = np.full((len(frames), NUM_JOINTS, 2), np.nan, np.float32)
  for frame, detection in best.items():
    world[frame], image[frame] = detection.world, detection.image
  return world, image


class Smarthome(paired_files.PairedFiles):
  """Toyota Smarthome below one folder; a `base.Dataset`."""

  name = "smarthome"
  skeleton = "lcrnet_13"
  class_names = CLASS_NAMES
  source = {"persons": PERSONS, "actor": 1}  # raise the 1 when `main_actor` changes
  example = "Walk_p02_r00_v01_c03.mp4"
  fps = FPS
  no_video = "no video {}.mp4 beside its skeleton"
  no_skeleton = "no skeleton {}_pose3d.json beside its video"

  def _parse_name(self, name: str) -> tuple[int, dict[str, int]]:
    return parse_name(name)

  def _find(self) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the paths of videos and of skeletons by clip name."""
    videos, plain, refined = {}, {}, {}
    for folder, listed in paired_files.walk(self.root):
      for file in listed:
        if match := _FILE.fullmatch(file):
          kinds = {".json": plain, "_pose3d.json": refined}
          found = kinds.get(match["kind"], videos)
          found.setdefault(match["name"], os.path.join(folder, file))
    return videos, {**plain, **refined}

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; the poses of the main actor."""
    world, image = main_actor(read_skeleton(clip.pose))
    body = skeletons.get(self.skeleton)
    world = missing.clear(world, missing.seen(world[:, None], None, body)[:, 0])
    image = missing.clear(image, missing.seen(image))
    frames, fps, size = None, self.fps, IMAGE_SIZE
    if clip.video is not None:
      frames, fps, size = video.open_file(clip.video)
    image = (image * np.divide(size, IMAGE_SIZE)).astype(np.float32)  # of another copy
    return RawClip(world[:, None], image[:, None], frames, fps)
