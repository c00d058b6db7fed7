"""RGB frames -> video files, one frame at a time (PyAV)."""

import fractions
import pathlib
from collections.abc import Iterable

import av
import numpy as np

from vpn_jax.datasets import libav

_TICKS = 90_000  # per second, of the times that a `Writer` writes


class Writer:
  """Writes an H.264 file that browsers play, frame by frame; a context manager.

  Attributes:
    count: frames written.
  """

  def __init__(self, path: str | pathlib.Path, fps: float):
    """Opens the file with the first frame.

    Args:
      path: ends in .mp4, .avi or .mkv, which determines the container.
      fps: frames per second; of frames with times, about.
    """
    self.path, self.count = path, 0
    self._rate = fractions.Fraction(round(float(fps) * 1000), 1000)
    self._container = self._stream = None
    self._ticks = _TICKS  # per second, of the times of frames
    if str(path).endswith(".avi"):
      self._ticks = self._rate  # an avi knows no other times
    self._next = 0  # the first tick that is free

  def __enter__(self) -> "Writer":
    return self

  def add(self, frame: np.ndarray, seconds: float | None = None) -> None:
    """Writes a frame, uint8 RGB [H, W, 3]; an odd side loses a pixel.

    Args:
      frame: the frame.
      seconds: when it is shown, after the first; None at the constant rate. All frames
        of a file have times or none. In an avi it is the nearest free one of the rate.
    Raises: ValueError for another size or type than the first frame's.
    """
    if self._container is None:
      self._open(frame.shape, timed=seconds is not None)
    if frame.shape != self._shape or frame.dtype != np.uint8 or len(self._shape) != 3:
      raise ValueError(
        f"frame {self.count} for {self.path} is {frame.dtype} {frame.shape}, expected "
        f"uint8 {self._shape} with 3 channels: resize it."
      )
    stream = self._stream
    image = np.ascontiguousarray(frame[: stream.height, : stream.width])
    shown = av.VideoFrame.from_ndarray(image, format="rgb24")
    if seconds is not None:
      shown.pts = max(self._next, round(seconds * self._ticks))
      shown.time_base = 1 / fractions.Fraction(self._ticks)
      shown.duration = round(self._ticks / self._rate)
      self._next = shown.pts + 1
    self._container.mux(stream.encode(shown))
    self.count += 1

  def _open(self, shape: tuple[int, ...], *, timed: bool) -> None:
    self._shape = shape
    self._container = av.open(libav.address(self.path), "w")
    self._stream = self._container.add_stream(
      "libx264", rate=self._rate, options={"preset": "fast", "crf": "18"}
    )
    self._stream.pix_fmt = "yuv420p"  # 2x2 pixels share a colour: sides must be even
    self._stream.codec_context.thread_count = 1
    if timed:
      self._stream.codec_context.time_base = 1 / fractions.Fraction(self._ticks)
      self._stream.codec_context.max_b_frames = 0  # mp4 measures these wrongly
    self._stream.height, self._stream.width = shape[0] // 2 * 2, shape[1] // 2 * 2

  def __exit__(self, error, *_) -> None:
    if self._container is None:
      return
    with self._container:
      if not error:
        self._container.mux(self._stream.encode())


def write_video(
  path: str | pathlib.Path, frames: Iterable[np.ndarray], fps: float
) -> int:
  """Writes frames with a `Writer`.

  Returns: the number of frames written.
  Raises: ValueError when there is no frame, or one has another size or type.
  """
  with Writer(path, fps) as film:
    for frame in frames:
      film.add(frame)
  if not film.count:
    raise ValueError(f"no frames for {path}: got 0, expected at least 1.")
  return film.count
