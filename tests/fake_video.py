"""Writes videos that say how they are to be shown."""

import fractions

import av
import numpy as np

TICKS = 90_000  # per second


def write(
  path,
  frames,
  *,
  fps=10,
  rotation=0,
  mirrored=False,
  aspect=None,
  times=None,
  transfer=None,
  primaries=9,
):
  """Writes uint8 RGB frames.

  Args:
    path: .mp4 or .mkv.
    frames: list of [H, W, 3].
    fps: frames per second, without `times`.
    rotation: degrees, counter-clockwise, by which they are shown turned.
    mirrored: whether they are shown mirrored, left and right, after that.
    aspect: (width, height) of a pixel.
    times: seconds of each frame.
    transfer, primaries: tags of the colours, ITU-T H.273.
  """
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=fps, options={"crf": "4"})
    stream.pix_fmt = "yuv420p"
    stream.height, stream.width = frames[0].shape[:2]
    context = stream.codec_context
    context.max_b_frames = 0
    if rotation or mirrored:
      stream.set_display_rotation(rotation, hflip=mirrored)
    if aspect:
      context.sample_aspect_ratio = fractions.Fraction(*aspect)
    if times is not None:
      context.time_base = fractions.Fraction(1, TICKS)
    if transfer is not None:
      context.color_trc, context.color_primaries = transfer, primaries
    for i, image in enumerate(frames):
      frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
      if times is not None:
        frame.pts, frame.time_base = round(times[i] * TICKS), context.time_base
      if transfer is not None:
        frame.color_trc, frame.color_primaries = transfer, primaries
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
