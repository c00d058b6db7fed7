"""Network streams -> RGB frames, one frame at a time (PyAV).

Unlike a file, a stream may lose frames and break off; it then goes on, or ends.
"""

from collections.abc import Callable, Iterator

import av
import numpy as np

from vpn_jax.datasets import display, libav, video
from vpn_jax.datasets.base import BadClip

# Formats of a stream: those of files and a few more, still no playlists.
_FORMATS = libav.FORMATS + ",rtsp,mpjpeg"
_PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,rtsp,rtsps"
_PATIENCE = 10.0  # seconds that a stream may be silent


def open_stream(
  address: str, name: str
) -> tuple[Callable[[video.Times | None], Iterator[np.ndarray]], float]:
  """Opens a network stream.

  Args:
    address: such as rtsp://... or http://...
    name: of the stream in messages, since the address may contain a password.
  Returns: a function of `video.Times` that returns an iterator over its frames, uint8
    RGB [H, W, 3], until it ends, breaks off or is silent for 10 seconds; damaged frames
    are dropped, and another size raises BadClip. And frames per second, 0 when unknown.
  Raises: ValueError when the stream cannot be opened.
  """
  options = {"format_whitelist": _FORMATS, "protocol_whitelist": _PROTOCOLS}
  if address.startswith("rtsp"):
    options["rtsp_transport"] = "tcp"  # by UDP, cameras lose parts of frames
  try:
    container = av.open(address, options=options, timeout=_PATIENCE)
    stream = libav.first_stream(container, "it")
  except (*libav.DAMAGE, BadClip) as e:
    silent = isinstance(e, av.error.ExitError)
    reason = f"no answer in {_PATIENCE:.0f} s" if silent else libav.reason(e)
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
    except libav.DAMAGE:  # broken off
      return
    if packet is None:
      return
    try:
      whole = [f for f in packet.decode() if not f.is_corrupt]
      decoded = [(libav.picture(f, stream), f.time) for f in whole]
    except display.NotShown as e:
      raise BadClip(f"{name} cannot be shown: {e}") from e
    except libav.DAMAGE:
      continue
    yield from decoded
