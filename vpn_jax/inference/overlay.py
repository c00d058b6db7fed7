"""A video with skeleton, attention and scores drawn over its frames."""

import pathlib

import cv2
import numpy as np

from vpn_jax import drawing
from vpn_jax.datasets import video, video_writer
from vpn_jax.inference import windows
from vpn_jax.records import crop, record_format

SIDES = 480, 960  # pixels; the longer side is brought between them
SHOWN = 3  # classes below a frame


class OverlayWriter:
  """The video with skeleton, attention in the crop, and the top 3 below; for `with`.

  Written as the windows come: a frame shows the window whose middle is nearest. Cold
  and hot compare the windows so far. Frames are shown when those of the video are.
  """

  def __init__(
    self,
    path: str,
    fps: float,
    recognizer,
    buffer: windows.FrameBuffer,
    times: video.Times | None = None,
  ):
    """Opens nothing before the first frame.

    Args:
      path: of the overlay, .mp4, .avi or .mkv.
      fps: frames a second.
      recognizer: a `predict.Recognizer`: its skeleton, stride and class names.
      buffer: the frames of the last window.
      times: of the frames; None for a constant rate.
    """
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    self._writer, self._times = video_writer.Writer(path, fps), times
    self._buffer, self._stride = buffer, recognizer.stride
    self._skeleton = recognizer.skeleton
    self._rows = min(SHOWN, len(recognizer.class_names))
    self._span: tuple[float, float] | None = None  # of all attention so far
    self._last = None

  @property
  def count(self) -> int:
    """Frames written."""
    return self._writer.count

  def __enter__(self) -> "OverlayWriter":
    return self

  def __exit__(self, *error) -> None:
    self._writer.__exit__(*error)

  def show(
    self,
    segment: windows.Segment,
    ranked: list[tuple[str, float]] = (),
    attention: np.ndarray | None = None,
  ) -> None:
    """Takes the next window: writes its frames that are not nearer to one to come.

    Args:
      segment: still in the buffer.
      ranked: its best classes and their scores; none where nobody was seen.
      attention: A_ST, float [T, M, N].
    """
    if attention is not None:
      low, high = float(attention.min()), float(attention.max())
      if self._span:
        low, high = min(low, self._span[0]), max(high, self._span[1])
      self._span = low, high
    joints = None
    if segment.record is not None:
      joints = segment.record.image_joints
      if segment.record.frames:  # else they are in pixels of the video
        side = record_format.frame_side(segment.record.frames[0])
        joints = crop.from_crop(joints, segment.record.boxes, side)
    self._last = segment, joints, ranked, attention
    self._write(min(segment.end, (segment.first + segment.end + self._stride) // 2))

  def finish(self) -> None:
    """Writes what is left of the last window."""
    if self._last:
      self._write(self._last[0].end)

  def _write(self, end: int) -> None:
    segment, joints, ranked, attention = self._last
    for t in range(self.count, end):
      frame = self._buffer[t]
      scale = float(np.clip(max(frame.shape[:2]), *SIDES) / max(frame.shape[:2]))
      if scale != 1:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=how)
      if attention is not None:
        heat = attention[segment.steps_at(t, len(attention))].mean(axis=0)
        box = tuple(scale * float(v) for v in segment.record.boxes[t - segment.first])
        frame = drawing.draw_heat(
          frame, heat, drawing.heat_range(np.array(self._span)), box
        )
      if joints is not None:
        frame = drawing.draw_skeleton(
          frame, scale * joints[t - segment.first], self._skeleton
        )
      shown = drawing.draw_scores(frame, ranked, self._rows)
      self._writer.add(shown, None if self._times is None else self._times[t])
