"""What reading, streaming and writing videos share of PyAV and libav."""

import pathlib

import av
import av.logging
import numpy as np

from vpn_jax.datasets import display
from vpn_jax.datasets.base import BadClip

# libav prints every oddity of a file to stderr; what matters becomes a BadClip.
av.logging.set_level(av.logging.PANIC)

# Formats of a video. Playlists (hls, concat, dash, sdp) are not among them: they name
# other files, anywhere on the machine or the network.
FORMATS = (
  "mov,mp4,avi,matroska,webm,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,gif,mxf,"
  "nut,dv,ivf,yuv4mpegpipe"
)
MOST_PIXELS = 2**26  # of a frame, twice 8K; a damaged header may give any size
DAMAGE = (av.FFmpegError, OSError, ValueError, OverflowError)


def address(path: pathlib.Path) -> str:
  """A path as libav takes it; by itself, rec12:30.mp4 would be a protocol rec12."""
  return f"file:{path}"


def first_stream(container, what: str):
  """The first video stream, ready to decode; closes the container if it has none."""
  stream = next(iter(container.streams.video), None)
  if stream is None or stream.codec_context is None:
    container.close()
    found = "no video stream" if stream is None else "a stream of unknown kind"
    raise BadClip(f"{what} has {found}")
  stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
  return stream


def reason(error: Exception) -> str:
  """libav's message without the path of the file, which may differ by machine."""
  return getattr(error, "strerror", None) or str(error) or type(error).__name__


def picture(frame: av.VideoFrame, stream) -> np.ndarray:
  """A frame as `display.picture` makes it."""
  aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
  return display.picture(frame, aspect, MOST_PIXELS)
