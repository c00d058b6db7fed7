"""Video files and streams -> RGB frames and back, one frame at a time (PyAV)."""

import dataclasses
import fractions
import pathlib
from collections.abc import Callable, Iterable, Iterator

import av
import av.logging
import numpy as np

from vpn_jax.datasets.base import BadClip

# libav prints every oddity of a file to stderr; what matters becomes a BadClip.
av.logging.set_level(av.logging.PANIC)

# Formats of a video. Playlists (hls, concat, dash, sdp) are not among them: they name
# other files, anywhere on the machine or the network.
_CONTAINERS = (
  "mov,mp4,avi,matroska,webm,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,mxf,"
  "nut,dv,ivf,yuv4mpegpipe"
)
# Further formats of a stream; still no playlists.
_STREAMS = _CONTAINERS + ",rtsp,mpjpeg"
_PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtsps"
_PATIENCE = 10.0  # seconds that a stream may be silent
_MOST_PIXELS = 2**26  # of a frame, twice 8K; a damaged header may give any size
_DAMAGE = (av.FFmpegError, OSError, ValueError, OverflowError)


@dataclasses.dataclass(frozen=True)
class Probe:
  """The header of a video.

  Attributes:
    width: pixels.
    height: pixels.
    fps: frames per second.
    num_frames: according to the header, which may be wrong; 0 when it is not given.
  """

  width: int
  height: int
  fps: float
  num_frames: int


def _open(path: str | pathlib.Path):
  """Opens a file: (container, first video stream)."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise BadClip(f"video {path.name} does not exist or is not a file")
  if path.stat().st_size == 0:
    raise BadClip(f"video {path.name} is an empty file (0 bytes)")
  try:
    container = av.open(str(path), options={"format_whitelist": _CONTAINERS})
  except _DAMAGE as e:
    raise BadClip(f"video {path.name} cannot be opened: {_reason(e)}") from e
  return container, _first_stream(container, f"video {path.name}")


def _first_stream(container, what: str):
  """The first video stream, ready to decode; closes the container if it has none."""
  stream = next(iter(container.streams.video), None)
  if stream is None or stream.codec_context is None:
    container.close()
    found = "no video stream" if stream is None else "a stream of unknown kind"
    raise BadClip(f"{what} has {found}")
  stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
  return stream


def _reason(error: Exception) -> str:
  """libav's message without the path of the file, which may differ by machine."""
  return getattr(error, "strerror", None) or str(error) or type(error).__name__


def probe(path: str | pathlib.Path) -> Probe:
  """Reads size and frame rate from the header, without decoding.

  Raises: BadClip when the file is missing, is not a video, or has no size or rate.
  """
  container, stream = _open(path)
  with container:
    width, height = stream.codec_context.width, stream.codec_context.height
    rate = stream.average_rate or stream.base_rate or stream.guessed_rate
    num_frames = stream.frames
  if not width or not height or width * height > _MOST_PIXELS:
    raise BadClip(
      f"video {pathlib.Path(path).name} has a header with frames of "
      f"{width}x{height} pixels"
    )
  if not rate or rate <= 0:
    raise BadClip(f"video {pathlib.Path(path).name} has no frame rate")
  return Probe(width, height, float(rate), num_frames)


def open_file(
  path: str | pathlib.Path,
) -> tuple[Callable[[], Iterator[np.ndarray]], float, tuple[int, int]]:
  """Opens the frames of a file, as a `base.RawClip` has them.

  Returns: a function that returns an iterator over uint8 RGB [H, W, 3]; frames per
    second; (W, H).
  Raises: BadClip as `probe` does.
  """
  header = probe(path)
  return lambda: read_frames(path), header.fps, (header.width, header.height)


def read_frames(path: str | pathlib.Path, *, threads: int = 1) -> Iterator[np.ndarray]:
  """Decodes a video frame by frame.

  Args:
    path: of a file in one of the known formats.
    threads: of the decoder; 1 where other processes already use all cores.
  Yields: uint8 RGB [H, W, 3], in order of presentation, all of one size.
  Raises: BadClip, on the first `next` or later, when the file is not a video, a frame
    is damaged or has another size, or there is no frame.
  """
  container, stream = _open(path)
  name, count, shape = pathlib.Path(path).name, 0, None
  with container:
    stream.codec_context.thread_count = threads
    frames = container.decode(stream)
    while True:
      try:
        frame = next(frames, None)
        image = None if frame is None else frame.to_ndarray(format="rgb24")
      except _DAMAGE as e:
        raise BadClip(f"video {name} is damaged at frame {count}: {_reason(e)}") from e
      if image is None:
        break
      if frame.is_corrupt:  # libav conceals what it cannot decode
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


def open_stream(address: str, name: str) -> tuple[Iterator[np.ndarray], float]:
  """Opens a network stream.

  Args:
    address: such as rtsp://... or http://...
    name: of the stream in messages, since the address may contain a password.
  Returns: an iterator over its frames, uint8 RGB [H, W, 3], until it ends, breaks off
    or is silent for 10 seconds; damaged frames are dropped, and another size raises
    BadClip. And frames per second, 0 when unknown.
  Raises: ValueError when the stream cannot be opened.
  """
  options = {"format_whitelist": _STREAMS, "protocol_whitelist": _PROTOCOLS}
  if address.startswith("rtsp"):
    options["rtsp_transport"] = "tcp"  # by UDP, cameras lose parts of frames
  try:
    container = av.open(address, options=options, timeout=_PATIENCE)
    stream = _first_stream(container, "it")
  except (*_DAMAGE, BadClip) as e:
    silent = isinstance(e, av.error.ExitError)
    reason = f"no answer in {_PATIENCE:.0f} s" if silent else _reason(e)
    raise ValueError(
      f"{name} cannot be opened ({reason}): give the address of a stream that plays, "
      "such as rtsp://... or http://..., or a video file."
    ) from e
  rate = stream.average_rate or stream.guessed_rate or 0

  def frames():
    shape = None
    with container:
      for frame in _whole_frames(container, stream):
        shape = shape or frame.shape
        if frame.shape != shape:
          raise BadClip(f"{name} changes the size of its frames")
        yield frame

  return frames(), float(rate)


def _whole_frames(container, stream) -> Iterator[np.ndarray]:
  """Yields the undamaged frames of a stream."""
  packets = container.demux(stream)
  while True:
    try:
      packet = next(packets, None)
    except _DAMAGE:  # broken off
      return
    if packet is None:
      return
    try:
      whole = [f for f in packet.decode() if not f.is_corrupt]
      decoded = [f.to_ndarray(format="rgb24") for f in whole]
    except _DAMAGE:
      continue
    yield from decoded


class Writer:
  """Writes an H.264 file that browsers play, frame by frame; a context manager.

  Attributes:
    count: frames written.
  """

  def __init__(self, path: str | pathlib.Path, fps: float):
    """Opens the file with the first frame.

    Args:
      path: ends in .mp4, .avi or .mkv, which determines the container.
      fps: frames per second.
    """
    self.path, self.count = path, 0
    self._rate = fractions.Fraction(round(float(fps) * 1000), 1000)
    self._container = self._stream = None

  def __enter__(self) -> "Writer":
    return self

  def add(self, frame: np.ndarray) -> None:
    """Writes a frame, uint8 RGB [H, W, 3]; an odd side loses a pixel.

    Raises: ValueError for another size or type than the first frame's.
    """
    if self._container is None:
      self._open(frame.shape)
    if frame.shape != self._shape or frame.dtype != np.uint8 or len(self._shape) != 3:
      raise ValueError(
        f"frame {self.count} for {self.path} is {frame.dtype} {frame.shape}, expected "
        f"uint8 {self._shape} with 3 channels: resize it."
      )
    stream = self._stream
    image = np.ascontiguousarray(frame[: stream.height, : stream.width])
    shown = av.VideoFrame.from_ndarray(image, format="rgb24")
    self._container.mux(stream.encode(shown))
    self.count += 1

  def _open(self, shape: tuple[int, ...]) -> None:
    self._shape = shape
    self._container = av.open(str(self.path), "w")
    self._stream = self._container.add_stream(
      "libx264", rate=self._rate, options={"preset": "fast", "crf": "18"}
    )
    self._stream.pix_fmt = "yuv420p"  # 2x2 pixels share a colour: sides must be even
    self._stream.codec_context.thread_count = 1
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
