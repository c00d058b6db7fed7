"""Video files to RGB frames and back, one frame in memory at a time (PyAV)."""

import dataclasses
import fractions
import pathlib
from collections.abc import Iterable, Iterator

import av
import av.logging
import numpy as np

from vpn_jax.raw import BadClip

# libav prints every oddity of every file to stderr; what matters becomes a BadClip.
av.logging.set_level(av.logging.PANIC)

# What a video may be. Playlists (hls, concat, dash, sdp) are not among them: those name
# other files, anywhere on the machine or the network.
_CONTAINERS = (
  "mov,mp4,avi,matroska,webm,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,mxf,"
  "nut,dv,ivf,yuv4mpegpipe"
)
_MOST_PIXELS = 2**26  # of a frame, twice 8K: a damaged header may say any size
_DAMAGE = (av.FFmpegError, OSError, ValueError, OverflowError)


@dataclasses.dataclass(frozen=True)
class Probe:
  """What the header of a video says.

  Attributes:
    width: pixels.
    height: pixels.
    fps: frames a second.
    num_frames: as the header has it; 0 when it does not say. Only decoding counts.
  """

  width: int
  height: int
  fps: float
  num_frames: int


def _open(path: str | pathlib.Path):
  """Opens a file and finds its first video stream: (container, stream)."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise BadClip(f"video {path.name} is not there or not a file")
  if path.stat().st_size == 0:
    raise BadClip(f"video {path.name} is an empty file (0 bytes)")
  try:
    container = av.open(str(path), options={"format_whitelist": _CONTAINERS})
  except _DAMAGE as e:
    raise BadClip(f"video {path.name} cannot be opened: {_reason(e)}") from e
  stream = next(iter(container.streams.video), None)
  if stream is None or stream.codec_context is None:
    container.close()
    what = "no video stream" if stream is None else "a stream of unknown kind"
    raise BadClip(f"video {path.name} has {what}")
  return container, stream


def _reason(error: Exception) -> str:
  """libav's words without the path of the file, which may differ by machine."""
  return getattr(error, "strerror", None) or str(error) or type(error).__name__


def probe(path: str | pathlib.Path) -> Probe:
  """Reads size and frame rate from the header, without decoding.

  Raises: BadClip when the file is missing, is no video, or lacks size or rate.
  """
  container, stream = _open(path)
  with container:
    width, height = stream.codec_context.width, stream.codec_context.height
    rate = stream.average_rate or stream.base_rate or stream.guessed_rate
    num_frames = stream.frames
  if not width or not height or width * height > _MOST_PIXELS:
    raise BadClip(
      f"video {pathlib.Path(path).name} says frames of {width}x{height} pixels"
    )
  if not rate or rate <= 0:
    raise BadClip(f"video {pathlib.Path(path).name} says no frame rate")
  return Probe(width, height, float(rate), num_frames)


def read_frames(path: str | pathlib.Path, *, threads: int = 1) -> Iterator[np.ndarray]:
  """Decodes a video frame by frame.

  Args:
    path: a file of a container that libav reads; no playlist, which names others.
    threads: decoder threads; 1 where other processes already fill the cores.
  Yields: uint8 RGB [H, W, 3], in order of presentation, all of one size.
  Raises: BadClip, on the first `next` or later, when the file is no video, is damaged
    at some frame, changes its size or holds no frame.
  """
  container, stream = _open(path)
  name, count, shape = pathlib.Path(path).name, 0, None
  with container:
    stream.codec_context.thread_count = threads
    stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
    frames = container.decode(stream)
    while True:
      try:
        frame = next(frames, None)
        image = None if frame is None else frame.to_ndarray(format="rgb24")
      except _DAMAGE as e:
        raise BadClip(f"video {name} is damaged at frame {count}: {_reason(e)}") from e
      if image is None:
        break
      if frame.is_corrupt:  # libav paints over what it cannot decode
        raise BadClip(f"video {name} is damaged at frame {count}: parts are missing")
      shape = shape or image.shape
      if image.shape != shape:
        raise BadClip(
          f"video {name} changes its size at frame {count}: {image.shape[1]}x"
          f"{image.shape[0]}, before {shape[1]}x{shape[0]}"
        )
      yield image
      count += 1
  if not count:
    raise BadClip(f"video {name} holds no frame that can be decoded")


def write_video(
  path: str | pathlib.Path, frames: Iterable[np.ndarray], fps: float
) -> int:
  """Writes an H.264 file that browsers play.

  Args:
    path: ends in .mp4 (or .avi, .mkv: the ending picks the container).
    frames: uint8 RGB [H, W, 3], all of one size; an odd side is cut by one pixel,
      because the pixel format halves the colours.
    fps: frames a second.
  Returns: the number of frames written.
  Raises: ValueError when there is no frame, or one of another size or type.
  """
  count, shape = 0, None
  frames = iter(frames)
  first = next(frames, None)
  if first is None:
    raise ValueError(f"no frames for {path}: got 0, expected at least 1.")
  rate = round(float(fps) * 1000)
  with av.open(str(path), "w") as container:
    stream = container.add_stream(
      "libx264",
      rate=fractions.Fraction(rate, 1000),
      options={"preset": "fast", "crf": "18"},
    )
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    shape = first.shape
    stream.height, stream.width = shape[0] // 2 * 2, shape[1] // 2 * 2
    while first is not None:
      if first.shape != shape or first.dtype != np.uint8 or len(shape) != 3:
        raise ValueError(
          f"frame {count} for {path} is {first.dtype} {first.shape}, expected uint8 "
          f"{shape} with 3 channels: resize it."
        )
      image = np.ascontiguousarray(first[: stream.height, : stream.width])
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
      count, first = count + 1, next(frames, None)
    container.mux(stream.encode())
  return count
