"""Poses estimated from the video by MediaPipe's PoseLandmarker.

For videos without joints: another dataset gives names, labels and videos, this module
the 33 joints of BlazePose. Needs requirements-pose.txt and Google's model bundle.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from vpn_jax.datasets import base, skeletons, tracking, video
from vpn_jax.datasets.base import BadClip, Clip, Dataset, RawClip
from vpn_jax.datasets.landmarker import open_landmarker
from vpn_jax.datasets.landmarker_bundle import (
  check_bundle,
  find_bundle,
  not_a_bundle,
)

SKELETON = "mediapipe_33"

# Frames in a row that show strangers instead of a person who is followed, until the
# landmarker looks for so many people more: MediaPipe keeps to those whom it has found.
# Our own numbers.
_ASTRAY, _BYSTANDERS = 10, 3

# From the highest joint, an eye or a raised hand, to the top of the head, in heights of
# the person. Our own number.
_ABOVE_EYES = 0.1


class WithEstimatedPoses:
  """Another dataset's clips with poses estimated from their videos; a `base.Dataset`.

  Only the clips of the other dataset are used, and its `open_video(clip)` if it has
  one, for videos that are not files: it returns (a function that returns an iterator
  over uint8 RGB frames, frames per second, (width, height)).

  Reading: world landmarks are centred between the hips in every frame, so these poses
    show the motion of the limbs but not a walk through the room. The position is in
    `image_joints` alone; no depth is invented.
  Source: MediaPipe PoseLandmarker (BlazePose, Bazarevsky et al. 2020; metres from
    BlazePose GHUM Holistic, Grishchenko et al. 2022).
  """

  skeleton = SKELETON

  def __init__(self, inner: Dataset, model: str | pathlib.Path, *, people: int = 1):
    """Checks package and bundle; `read` opens the videos.

    Args:
      inner: the other dataset, opened without poses.
      model: path of a PoseLandmarker bundle, such as pose_landmarker_full.task; "" for
        the one that `landmarker.find_bundle` fetches.
      people: the most to follow; see `tracking.Follower`. Above 1, MediaPipe does not
        smooth over time.
    Raises: FileNotFoundError without a bundle; ValueError when the file is not a
      bundle, mediapipe is not installed or cannot start, or people is below 1.
    """
    if people < 1:
      raise ValueError(f"people is {people}, expected 1 or more.")
    self.inner, self.people = inner, people
    self.name, self.class_names = inner.name, inner.class_names
    self.model = model = find_bundle(model)
    digest = check_bundle(model)
    with open_landmarker(self.model, people) as landmarker:
      try:  # some files open but fail at the first frame
        landmarker.detect(np.zeros((64, 64, 3), np.uint8), 0)
      except (RuntimeError, ValueError) as e:
        raise ValueError(not_a_bundle(model, e)) from e
      self.source = {
        **inner.source,
        "pose": "mediapipe",
        "pose_version": landmarker.version,
        "pose_model": digest,
        "pose_people": people,
      }

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `base.Dataset`; the clips of the other dataset."""
    return self.inner.clips()

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; decodes the whole video. BadClip when nobody is found."""
    frames, fps, size = self._open_video(clip)
    world, image, visibility = self._landmarks(frames, fps, size)
    if np.isnan(world).all():
      raise BadClip(nobody(len(world)))
    return RawClip(world, image, frames, fps, visibility)

  def _landmarks(self, frames, fps: float, size: tuple[int, int]):
    times = video.Times(fps)
    played = video.play(frames, times)
    return landmarks(played, fps, size, self.model, self.people, times)

  def _open_video(self, clip: Clip):
    opener = getattr(self.inner, "open_video", None)
    if opener:
      return opener(clip)
    if clip.video is None:
      raise BadClip("no video to estimate poses from")
    return video.open_file(clip.video)


class WithEstimatedBoxes(WithEstimatedPoses):
  """Another dataset's clips and poses, cropped around estimated joints.

  For skeletons without joints in the image, such as N-UCLA's.
  """

  def __init__(self, inner: Dataset, model: str | pathlib.Path, *, people: int = 1):
    """As `WithEstimatedPoses`, but with clips that `inner` can read."""
    super().__init__(inner, model, people=people)
    self.skeleton, self.coordinates = inner.skeleton, base.coordinates(inner)
    self.source["boxes"] = self.source.pop("pose")

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; unlike joints, the boxes include the whole head."""
    raw = self.inner.read(clip)
    frames, fps, size = self._open_video(clip)
    _, image, _ = self._landmarks(frames, fps, size)
    if np.isnan(image).all():
      raise BadClip(nobody(len(image)))
    return dataclasses.replace(raw, boxes=boxes(image))


def nobody(frames: int) -> str:
  """The reason why a clip of so many frames cannot be used."""
  return f"MediaPipe found nobody in any of {frames} frames"


def boxes(image: np.ndarray) -> np.ndarray:
  """The boxes of people, up to the top of the head, where there are no joints.

  Args:
    image: float32 [F, people, 33, 2], as `landmarks` returns.
  Returns: float32 [F, people, 4], left, top, right, bottom; NaN where nobody was found.
  """
  made = np.concatenate([image.min(axis=2), image.max(axis=2)], axis=-1)
  made[..., 1] -= _ABOVE_EYES * (made[..., 3] - made[..., 1])
  return made


def landmarks(
  frames: Iterable[np.ndarray],
  fps: float,
  size: tuple[int, int],
  model: str | pathlib.Path,
  people: int = 1,
  times: video.Times | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Estimates the joints of the people in a video, who is seen most often first.

  They are the first ones; others are not taken for them when they leave.

  Args: as `follow`.
  Returns: three arrays, NaN where a person was not found.
    world: float32 [F, people, 33, 3], metres, the middle of the hips at 0; x to the
      right of the image, y down, z away from the camera.
    image: float32 [F, people, 33, 2], x and y in pixels; may be outside the image.
    visibility: float32 [F, people, 33], 0 to 1.
  Raises: BadClip when there is no frame, or one has another size.
  """
  rows = [row for _, row in follow(frames, fps, size, model, people, times)]
  if not rows:
    raise BadClip("the video holds no frame")
  joints = np.stack(rows)
  often = np.isfinite(joints[:, :, 0, 0]).sum(axis=0)
  return split(joints[:, np.argsort(-often, kind="stable")])


def split(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """[..., 6] as `follow` yields them -> world [..., 3], image [..., 2], visibility."""
  return joints[..., :3], joints[..., 3:5], joints[..., 5]


def follow(
  frames: Iterable[np.ndarray],
  fps: float,
  size: tuple[int, int],
  model: str | pathlib.Path,
  people: int = 1,
  times: video.Times | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Estimates the joints of people frame by frame, and follows them.

  A landmarker has a state (used for two clips in turn, it moves joints of the second by
  up to 14 cm), so each call opens its own, which takes 0.15 s. The result depends on
  these frames alone and is bitwise reproducible on one machine.

  Args:
    frames: uint8 RGB [H, W, 3] in order.
    fps: frames per second; positive. Used without `times`.
    size: (W, H).
    model: path of the bundle.
    people: the most to follow.
    times: when the frames are shown, which is what MediaPipe's smoothing goes by.
  Yields: the frame, and float32 [people, 33, 6] of x, y, z, x and y in the image, and
    visibility (see `landmarks`). Everybody keeps one row, NaN while not found; nobody
    else takes it (`tracking.Follower`).
  Raises: BadClip for a frame of another size.
  """
  scale = np.float32([1, 1, 1, *size, 1])
  times = times or video.Times(fps)
  skeleton = skeletons.get(SKELETON)
  hips, clock, astray, wide = skeleton.origin_indices(), -1, 0, False
  follower = tracking.Follower(people, size)
  with contextlib.ExitStack() as stack:
    landmarker = stack.enter_context(open_landmarker(str(model), people))
    for i, frame in enumerate(frames):
      if frame.shape[1::-1] != tuple(size):
        height, width = frame.shape[:2]
        raise BadClip(f"frame {i} is {width}x{height}, expected {size[0]}x{size[1]}")
      clock = max(clock + 1, int(times[i] * 1000))  # must increase
      found = landmarker.detect(frame, clock) * scale
      image = found[..., 3:5]
      corners = np.concatenate([image.min(axis=1), image.max(axis=1)], axis=-1)
      centres = image[:, hips].mean(axis=1)
      taken = follower.assign(corners, centres, times[i])
      row = np.full((people, skeleton.num_joints, 6), np.nan, np.float32)
      row[taken[taken >= 0]] = found[taken >= 0]
      yield frame, row
      astray = astray + 1 if follower.is_lost(taken) else 0
      if astray == _ASTRAY and not wide:
        wide = True  # for the rest of the video
        stack.close()
        more = open_landmarker(str(model), people + _BYSTANDERS)
        landmarker = stack.enter_context(more)
