"""Video files -> RGB frames, one frame at a time (PyAV).

Frames are pictures as a player shows them (`display`): upright, with square pixels, in
SDR colours. Their sizes, and all pixels of joints and boxes, are of these pictures.
"""

import array
import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import av
import numpy as np

from vpn_jax.datasets import display, libav
from vpn_jax.datasets.base import BadClip


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
    container = av.open(
      libav.address(path), options={"format_whitelist": libav.FORMATS}
    )
  except libav.DAMAGE as e:
    raise BadClip(f"video {path.name} cannot be opened: {libav.reason(e)}") from e
  return container, libav.first_stream(container, f"video {path.name}")


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
    if not width or not height or width * height > libav.MOST_PIXELS:
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
      image = None if corrupt else libav.picture(frame, stream)
    except display.NotShown as e:
      raise BadClip(f"video {name} cannot be shown: {e}") from e
    except libav.DAMAGE as e:
      raise BadClip(
        f"video {name} is damaged at frame {count}: {libav.reason(e)}"
      ) from e
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
