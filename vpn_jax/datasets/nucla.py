"""Northwestern-UCLA: sequence names, skeletons in JSON, videos or folders of images.

Sequences are named `a01_s02_e03_v01` (action, subject, episode, view; also `_c01`). The
files may be in any folders below the root; a sequence consists of

- a skeleton `a01_s02_e03_v01.json`, and
- a video `a01_s02_e03_v01.avi` (.mp4, .mkv), or `a01/v01_s02_e03.avi` as in the
  download of the videos, or images as in the download with depth,
  `view_1/a01_s02_e03/frame_12_tc_123456_rgb.jpg` (.png). A video precedes images.

The skeletons have no coordinates in the image. To crop around the person, prepare with
detections (`config.data.boxes`, a file or "mediapipe") or other poses
(`config.data.pose=mediapipe`); `config.prepare.crop=full` takes the whole frame.
"""

import os
import pathlib
import re
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import simplejpeg

from vpn_jax.datasets import missing, paired_files, skeletons, video
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.paired_files import brief, load_frames, numbers

NUM_JOINTS = 20
FPS = 30.0  # of a Kinect v1; images have no frame rate, nor have skeletons
ACTIONS = {
  1: "pick up with one hand",
  2: "pick up with two hands",
  3: "drop trash",
  4: "walk around",
  5: "sit down",
  6: "stand up",
  8: "donning",
  9: "doffing",
  11: "throw",
  12: "carry",
}

# Patterns of the last two parts of a path below the root, "folder/file".
_ASE = r"a(?P<a>\d\d)_s(?P<s>\d\d)_e(?P<e>\d\d)"
_NAME = re.compile(_ASE + r"_[vc](?P<v>\d\d)", re.ASCII)
_SKELETON = re.compile(rf"[^/]*/{_NAME.pattern}\.json", re.ASCII)
_VIDEO = re.compile(rf"[^/]*/{_NAME.pattern}\.(?:avi|mp4|mkv)", re.ASCII)
_DOWNLOADED = re.compile(
  r"a(?P<a>\d\d)/v(?P<v>\d\d)_s(?P<s>\d\d)_e(?P<e>\d\d)\.(?:avi|mp4|mkv)", re.ASCII
)
_IMAGES = re.compile(rf"view_(?P<v>\d\d?)/{_ASE}", re.ASCII)
_IMAGE = re.compile(r"frame_(\d+)_tc_\d+_rgb\.(?:jpe?g|png)", re.ASCII)


def parse_name(name: str) -> tuple[int, dict[str, int]]:
  """Parses a name such as a08_s02_e03_v01 into label (0-based) and attributes.

  Returns: (6, {"subject": 2, "episode": 3, "camera": 1}).
  Raises: ValueError when the name has another form or its class is not one of the 10.
  """
  match = _NAME.fullmatch(name)
  if not match:
    raise ValueError(f"got the name {name!r}, expected one as a08_s02_e03_v01.")
  action, subject, episode, camera = map(int, match.groups())
  if action not in ACTIONS:
    raise ValueError(f"unknown class a{action:02d}, expected one of N-UCLA")
  attributes = {"subject": subject, "episode": episode, "camera": camera}
  return list(ACTIONS).index(action), attributes


def read_skeleton(path: str | pathlib.Path) -> np.ndarray:
  """Reads a skeleton file.

  Returns: float32 [F, 20, 3], metres, Kinect camera axes; NaN where a joint is zero,
    as it is where nobody was seen.
  Raises: BadClip with the position when the file is truncated or not JSON, lacks
    `skeletons`, has no frames, a joint count other than 20, a value that is not a
    finite number, or nobody in any frame.
  """
  path = pathlib.Path(path)
  _, frames = load_frames(path, "skeletons")
  world = np.empty((len(frames), NUM_JOINTS, 3), np.float32)
  for f, joints in enumerate(frames):
    where = f"skeleton {path.name}, frame {f}"
    if not isinstance(joints, list):
      raise BadClip(f"{where} is {brief(joints)}, expected a list of joints")
    if len(joints) != NUM_JOINTS:
      raise BadClip(f"{where} has {len(joints)} joints, expected {NUM_JOINTS}")
    for j, joint in enumerate(joints):
      world[f, j] = numbers(joint, 3, f"{where}, joint {j}")
  body = skeletons.get(NUCLA.skeleton)
  seen = missing.seen(world[:, None], None, body)[:, 0]
  if not seen.any():
    raise BadClip(f"skeleton {path.name} has nobody in any of {len(world)} frames")
  return missing.clear(world, seen)


def read_images(folder: str | pathlib.Path) -> Iterator[np.ndarray]:
  """Decodes the images of one sequence; depth and other files are ignored.

  Args:
    folder: of files like frame_12_tc_123456_rgb.jpg; of two with the same number, the
      first one counts.
  Yields: uint8 RGB [H, W, 3] in order of the frame numbers, all of one size.
  Raises: BadClip, on the first `next` or later, when there is no image, or one is
    damaged or has another size.
  """
  folder = pathlib.Path(folder)
  try:
    listed = sorted(os.listdir(folder))
  except OSError as e:
    raise BadClip(f"images {folder.name} cannot be listed: {e.strerror}") from e
  numbered: dict[int, str] = {}
  for file in listed:
    if match := _IMAGE.fullmatch(file):
      numbered.setdefault(int(match[1]), file)
  if not numbered:
    raise BadClip(f"images {folder.name}: no file like frame_12_tc_123456_rgb.jpg")
  shape = None
  for _, file in sorted(numbered.items()):
    image = _decode(folder / file)
    shape = shape or image.shape
    if image.shape != shape:
      raise BadClip(
        f"image {folder.name}/{file} is {image.shape[1]}x{image.shape[0]}, those "
        f"before it are {shape[1]}x{shape[0]}"
      )
    yield image


def _decode(path: pathlib.Path) -> np.ndarray:
  """Decodes an image; unlike cv2.imread, refuses a JPEG whose end is missing."""
  try:
    blob = path.read_bytes()
    if path.suffix != ".png":
      return simplejpeg.decode_jpeg(blob, colorspace="RGB")
    image = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR_RGB)
  except (OSError, ValueError, cv2.error) as e:
    reason = getattr(e, "strerror", None) or getattr(e, "err", None) or e
    raise BadClip(
      f"image {path.parent.name}/{path.name} cannot be read: {reason}"
    ) from e
  if image is None:
    raise BadClip(f"image {path.parent.name}/{path.name} cannot be read: damaged")
  return image


class NUCLA(paired_files.PairedFiles):
  """Northwestern-UCLA below one folder; a `base.Dataset`.

  A clip's `video` is a file or the folder of its images. `open_video` also takes clips
  without poses.
  """

  name = "nucla"
  skeleton = "kinect_v1"
  class_names = tuple(ACTIONS.values())
  source = {"rules": 1}  # raise it when the rules change
  joints_in_image = False  # see `base.joints_in_image`
  fps = FPS
  example = (
    "a01_s01_e00_v01.json, a01/v01_s01_e00.avi or "
    "view_1/a01_s01_e00/frame_0_tc_1_rgb.jpg"
  )
  no_video = "no video {}.avi or images beside its skeleton"
  no_skeleton = "no skeleton {}.json beside its video"

  def _parse_name(self, name: str) -> tuple[int, dict[str, int]]:
    return parse_name(name)

  def _find(self) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the paths of videos or images, and of skeletons, by sequence name."""
    videos, images, skeletons = {}, {}, {}
    for folder, listed in paired_files.walk(self.root):
      parts = pathlib.Path(folder).relative_to(self.root).parts
      match = _IMAGES.fullmatch("/".join(parts[-2:]))
      if match and any(map(_IMAGE.fullmatch, listed)):
        images.setdefault(_canonical(match), folder)
      for file in listed:
        tail = f"{parts[-1] if parts else ''}/{file}"
        for pattern, found in (
          (_VIDEO, videos), (_DOWNLOADED, videos), (_SKELETON, skeletons)
        ):  # fmt: skip
          if match := pattern.fullmatch(tail):
            found.setdefault(_canonical(match), os.path.join(folder, file))
    return {**images, **videos}, skeletons

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; image joints are all NaN, since the files have none."""
    world = read_skeleton(clip.pose)[:, None]
    image_joints = np.full((*world.shape[:-1], 2), np.nan, np.float32)
    frames, fps = None, self.fps
    if clip.video is not None:
      frames, fps, _ = self.open_video(clip)
    return RawClip(world, image_joints, frames, fps, drops_frames=True)

  def open_video(
    self, clip: Clip
  ) -> tuple[Callable[[], Iterator[np.ndarray]], float, tuple[int, int]]:
    """Opens the frames of a clip, a video file or images, without its poses.

    Returns: a function that returns an iterator over uint8 RGB [H, W, 3]; frames per
      second; (W, H).
    Raises: BadClip when the file or the first image cannot be read.
    """
    if os.path.isdir(clip.video):
      height, width, _ = next(read_images(clip.video)).shape
      return lambda: read_images(clip.video), FPS, (width, height)
    return video.open_file(clip.video)


def _canonical(match: re.Match) -> str:
  """The name of a sequence, in whichever form its path has it."""
  return f"a{match['a']}_s{match['s']}_e{match['e']}_v{int(match['v']):02d}"
