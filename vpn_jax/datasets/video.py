"""Video files and streams -> RGB frames and back, one frame at a time (PyAV).

Frames are pictures as a player shows them (`display`): upright, with square pixels, in
SDR colours. Their sizes, and all pixels of joints and boxes, are of these pictures.
"""

import array
import dataclasses
import fractions
import pathlib
from collections.abc import Callable, Iterable, Iterator

import av
import av.logging
import numpy as np

from vpn_jax.datasets import display
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
_TICKS = 90_000  # per second, of the times that a `Writer` writes
_DAMAGE = (av.FFmpegError, OSError, ValueError, OverflowError)


@dataclasses.dataclass(frozen=True)
class Probe:
  """What is known of a video without playing it.

  Attributes:
    width: pixels of the upright picture.
    height: the same.
    fps: frames per second; the average where the rate varies.
    num_frames: according to the header, which may be wrong; 0 when it is not given.
  """

  width: int
  height: int
  fps: float
  num_frames: int


class Times:
  """When the frames of a video are shown, in seconds after the first; grows with it.

  A frame without a time stamp, or with one that is not later than the frame before,
  comes 1 / fps after that. So do frames that are not read yet.
  """

  def __init__(self, fps: float):
    """No frame so far; `fps` is positive."""
    self._fps, self._seconds, self._start = float(fps), array.array("d"), 0.0

  def add(self, stamp: float | None) -> None:
    """Takes the time stamp of the next frame, in seconds from any start."""
    count = len(self._seconds)
    if stamp is not None and not count:
      self._start = stamp
    time = self[count] if stamp is None else stamp - self._start
    if count and time <= self._seconds[-1]:
      time = self[count]
    self._seconds.append(time)

  def __getitem__(self, frame: int) -> float:
    read = len(self._seconds)
    if frame < read:
      return self._seconds[frame]
    last = self._seconds[-1] if read else 0.0
    return last + (frame - max(read - 1, 0)) / self._fps

  def at(self, frame: float) -> float:
    """The time of a position between two frames."""
    first = int(frame)
    return self[first] + (frame - first) * (self[first + 1] - self[first])


def _open(path: str | pathlib.Path):
  """Opens a file: (container, first video stream)."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise BadClip(f"video {path.name} does not exist or is not a file")
  if path.stat().st_size == 0:
    raise BadClip(f"video {path.name} is an empty file (0 bytes)")
  try:
    container = av.open(_address(path), options={"format_whitelist": _CONTAINERS})
  except _DAMAGE as e:
    raise BadClip(f"video {path.name} cannot be opened: {_reason(e)}") from e
  return container, _first_stream(container, f"video {path.name}")


def _address(path: pathlib.Path) -> str:
  """A path as libav takes it; by itself, rec12:30.mp4 would be a protocol rec12."""
  return f"file:{path}"


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
  """Reads the frame rate from the header, and the size from the first frame.

  Raises: BadClip when the file is missing, is not a video, or has no size or rate, and
    when its first frame is damaged.
  """
  container, stream = _open(path)
  name = pathlib.Path(path).name
  with container:
    width, height = stream.codec_context.width, stream.codec_context.height
    rate = stream.average_rate or stream.base_rate or stream.guessed_rate
    num_frames = stream.frames
    if not width or not height or width * height > _MOST_PIXELS:
      raise BadClip(f"video {name} has a header with frames of {width}x{height} pixels")
    if not rate or rate <= 0:
      raise BadClip(f"video {name} has no frame rate")
    stream.codec_context.thread_count = 1
    image = next(_decoded(container, stream, name), (None, None))[0]
  if image is None:
    raise BadClip(f"video {name} holds no frame that can be decoded")
  return Probe(image.shape[1], image.shape[0], float(rate), num_frames)


@dataclasses.dataclass(frozen=True)
class File:
  """The frames of a file, as `base.RawClip` has them: each call plays them anew."""

  path: str | pathlib.Path

  def __call__(self, times: Times | None = None) -> Iterator[np.ndarray]:
    """See `read_frames`."""
    return read_frames(self.path, times=times)


def open_file(path: str | pathlib.Path) -> tuple[File, float, tuple[int, int]]:
  """Opens the frames of a file, as a `base.RawClip` has them.

  Returns: a function that returns an iterator over uint8 RGB [H, W, 3]; frames per
    second; (W, H).
  Raises: BadClip as `probe` does.
  """
  found = probe(path)
  return File(path), found.fps, (found.width, found.height)


def play(
  frames: Callable[[], Iterator[np.ndarray]], times: Times
) -> Iterator[np.ndarray]:
  """Plays the frames of a clip; `times` learns when they are shown, if a file says."""
  return frames(times) if isinstance(frames, File) else frames()


def read_frames(
  path: str | pathlib.Path, *, threads: int = 1, times: Times | None = None
) -> Iterator[np.ndarray]:
  """Decodes a video frame by frame.

  Args:
    path: of a file in one of the known formats.
    threads: of the decoder; 1 where other processes already use all cores.
    times: takes the time stamp of each frame before it is given.
  Yields: uint8 RGB [H, W, 3], in order of presentation, all of one size, as a player
    shows them; see `display`.
  Raises: BadClip, on the first `next` or later, when the file is not a video, a frame
    is damaged or has another size, or there is no frame.
  """
  container, stream = _open(path)
  name, count, shape = pathlib.Path(path).name, 0, None
  with container:
    stream.codec_context.thread_count = threads
    for image, stamp in _decoded(container, stream, name):
      shape = shape or image.shape
      if image.shape != shape:
        raise BadClip(
          f"video {name} changes its size at frame {count}: {image.shape[1]}x"
          f"{image.shape[0]}, before {shape[1]}x{shape[0]}"
        )
      if times is not None:
        times.add(stamp)
      yield image
      count += 1
  if not count:
    raise BadClip(f"video {name} holds no frame that can be decoded")


def _decoded(container, stream, name: str) -> Iterator[tuple[np.ndarray, float | None]]:
  """The pictures of a file and their time stamps; BadClip at the first damage."""
  frames, count = _frames(container, stream), 0
  while True:
    try:
      frame, stamp = next(frames, (None, None))
      if frame is None:
        return
      corrupt = frame.is_corrupt  # libav conceals what it cannot decode
      image = None if corrupt else _picture(frame, stream)
    except display.NotShown as e:
      raise BadClip(f"video {name} cannot be shown: {e}") from e
    except _DAMAGE as e:
      raise BadClip(f"video {name} is damaged at frame {count}: {_reason(e)}") from e
    if corrupt:
      raise BadClip(f"video {name} is damaged at frame {count}: parts are missing")
    yield image, stamp
    count += 1


def _frames(container, stream) -> Iterator[tuple[av.VideoFrame, float | None]]:
  """The frames of a video with their time stamps in seconds.

  An avi has the times of its packets alone, in the order of decoding. libav guesses
  those of frames from them, wrongly where the two orders differ.
  """
  packets, by_packet = [], container.format.name == "avi"
  for packet in container.demux(stream):
    if by_packet and packet.size and packet.dts is not None:
      packets.append(float(packet.dts * packet.time_base))
    for frame in packet.decode():
      stamp = frame.time
      if by_packet:
        stamp = packets.pop(0) if packets else None
      yield frame, stamp


def _picture(frame: av.VideoFrame, stream) -> np.ndarray:
  """A frame as `display.picture` makes it."""
  aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
  return display.picture(frame, aspect, _MOST_PIXELS)


def open_stream(
  address: str, name: str
) -> tuple[Callable[[Times | None], Iterator[np.ndarray]], float]:
  """Opens a network stream.

  Args:
    address: such as rtsp://... or http://...
    name: of the stream in messages, since the address may contain a password.
  Returns: a function of `Times` that returns an iterator over its frames, uint8 RGB [H,
    W, 3], until it ends, breaks off or is silent for 10 seconds; damaged frames are
    dropped, and another size raises BadClip. And frames per second, 0 when unknown.
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

  def frames(times=None):
    shape = None
    with container:
      for image, stamp in _whole_frames(container, stream, name):
        shape = shape or image.shape
        if image.shape != shape:
          raise BadClip(f"{name} changes the size of its frames")
        if times is not None:
          times.add(stamp)
        yield image

  return frames, float(rate)


def _whole_frames(
  container, stream, name: str
) -> Iterator[tuple[np.ndarray, float | None]]:
  """The undamaged pictures of a stream and their time stamps."""
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
      decoded = [(_picture(f, stream), f.time) for f in whole]
    except display.NotShown as e:
      raise BadClip(f"{name} cannot be shown: {e}") from e
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
    self._container = av.open(_address(self.path), "w")
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
