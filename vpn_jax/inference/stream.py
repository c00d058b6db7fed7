"""A video frame by frame: a file, a webcam or a stream."""

import dataclasses
import itertools
import os
import time
import urllib.parse
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from vpn_jax.datasets import video, video_stream

_FPS = 30.0  # of a source that does not say: that of most cameras


@dataclasses.dataclass(frozen=True)
class Stream:
  """A video that plays once.

  Attributes:
    name: as given, without the password of an address.
    frames: uint8 RGB [H, W, 3] in order, at least one, all of one size.
    fps: frames a second; the average where the rate varies.
    size: (W, H).
    live: a webcam or a stream, which may never end.
    times: when the frames are shown; knows those that have been taken from `frames`.
      None for a constant rate.
  """

  name: str
  frames: Iterator[np.ndarray]
  fps: float
  size: tuple[int, int]
  live: bool = False
  times: video.Times | None = None

  def __post_init__(self):
    if self.times is None:
      object.__setattr__(self, "times", video.Times(self.fps))


def plain(name: str) -> str:
  """A name as given or, of an address file:..., the path.

  >>> plain("file:///videos/wave.mp4")
  '/videos/wave.mp4'
  """
  if not name.startswith("file:") or os.path.exists(name):
    return name
  path = name.removeprefix("file:")
  if path.startswith("//"):
    path = path[2:].removeprefix("localhost")
  unquoted = urllib.parse.unquote(path)
  return unquoted if os.path.exists(unquoted) or not os.path.exists(path) else path


def is_live(name: str) -> bool:
  """Whether a name is the number of a webcam or an address instead of a file.

  A path that exists is a file, whatever it looks like.
  """
  path = plain(name)
  if os.path.exists(path) and not os.path.isdir(path):
    return False
  return name.isdecimal() or ("://" in name and not name.startswith("file:"))


def public(name: str) -> str:
  """A name that can be printed: an address without user and password."""
  if not is_live(name):
    return name
  if name.isdecimal():
    return f"webcam {name}"
  parts = urllib.parse.urlsplit(name)
  return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def open_stream(name: str) -> Stream:
  """Opens a video file, a webcam by its number, or a stream by its address.

  A webcam or stream is opened up to its first frame.

  Raises: BadClip for a file that is not a video (see `video.probe`), later also from
    `frames`; ValueError for a webcam or stream that does not play.
  """
  name = plain(name)
  if not is_live(name):
    header = video.probe(name)
    times = video.Times(header.fps)
    frames = video.read_frames(name, threads=0, times=times)
    size = header.width, header.height
    return Stream(name, frames, header.fps, size, times=times)
  if name.isdecimal():
    play, fps = _open_webcam(int(name))
  else:
    play, fps = video_stream.open_stream(name, public(name))
  fps = fps if 1 <= fps <= 1000 else _FPS
  times = video.Times(fps)
  frames = play(times)
  first = next(frames, None)
  if first is None:
    raise ValueError(
      f"{public(name)} shows no frame: see whether another program plays it, or give a "
      "video file."
    )
  height, width = first.shape[:2]
  return Stream(
    name=public(name),
    frames=itertools.chain([first], frames),
    fps=fps,
    size=(width, height),
    live=True,
    times=times,
  )


def _open_webcam(
  index: int,
) -> tuple[Callable[[video.Times], Iterator[np.ndarray]], float]:
  """A function that plays a camera, and its frames a second.

  A frame is shown when it is taken. OpenCV's warnings are not printed.
  """
  level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
  try:
    camera = cv2.VideoCapture(index)
  finally:
    cv2.utils.logging.setLogLevel(level)
  if not camera.isOpened():
    raise ValueError(
      f"webcam {index} cannot be opened: give the number of a camera that is there (0 "
      "is the first) and that no other program uses, or a video file."
    )

  def frames(times):
    try:
      while True:
        there, frame = camera.read()
        if not there:
          return
        times.add(time.monotonic())
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
      camera.release()

  return frames, camera.get(cv2.CAP_PROP_FPS)
