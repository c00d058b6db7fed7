"""I3D with its Kinetics weights, which scores the frames of any video."""

from collections.abc import Iterator

import cv2
import jax
import numpy as np

from vpn_jax import timing
from vpn_jax.inference import stream, windows
from vpn_jax.inference.options import Options
from vpn_jax.models import i3d
from vpn_jax.weights import pretrained

FRAMES = 64  # of a window
CROP = 224 / 256  # side of the centre crop, of the short side
SHORTEST = 16  # frames; a shorter video repeats until it has as many


def centre(frame: np.ndarray, short_side: int) -> np.ndarray:
  """Resizes the short side of a frame and cuts its centre, uint8 [side, side, 3].

  The side is 7/8 of the short side: 224 for 256, as I3D was tested.
  """
  height, width = frame.shape[:2]
  scale = short_side / min(height, width)
  size = max(short_side, round(width * scale)), max(short_side, round(height * scale))
  how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
  frame = cv2.resize(frame, size, interpolation=how)
  side = round(short_side * CROP)
  top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
  return frame[top : top + side, left : left + side]


def clip(frames: list[np.ndarray]) -> np.ndarray:
  """Frames as one clip, [F, ...]; repeats if they are fewer than `SHORTEST`."""
  stacked = np.stack(frames)
  shortest = min(FRAMES, SHORTEST)
  if len(stacked) < shortest:
    stacked = stacked[np.arange(shortest) % len(stacked)]
  return stacked


def load():
  """I3D with its published weights: (model, variables)."""
  variables, _ = pretrained.load_i3d()
  return i3d.KineticsI3D(), variables


class KineticsRecognizer:
  """Scores a video with I3D; see `predict.Recognizer`."""

  network, combined, skeleton = "I3D, Kinetics-400", "mean", None

  def __init__(self, options: Options, clock: timing.Clock):
    """Loads the network.

    Args:
      options: its `pose` must be empty.
      clock: of the stages "crop", "compile" and "network".
    Raises: ValueError for a setting that this network does not take.
    """
    self.length, self.stride = FRAMES, options.window_stride or FRAMES
    if not 1 <= self.stride <= FRAMES or options.short_side < 32:
      raise ValueError(
        f"config.predict has window_stride {self.stride} and short_side "
        f"{options.short_side}, expected 1 to {FRAMES} and at least 32."
      )
    for field in ("pose", "boxes"):
      if getattr(options, field):
        raise ValueError(
          f"config.predict.{field} is set, but I3D on Kinetics takes no {field}: add "
          f"--workdir=<a trained run>, or leave the {field} out."
        )
    self._short_side, self._clock = options.short_side, clock
    model, variables = load()

    @jax.jit
    def forward(variables, frames):
      logits, _ = model.apply(variables, i3d.normalize_frames(frames))
      return jax.nn.softmax(logits, axis=-1)[0]

    self._forward = timing.timed(forward, jax.device_put(variables), clock)
    self.class_names = tuple(pretrained.kinetics_class_names())

  def segments(
    self, video: stream.Stream, buffer: windows.FrameBuffer | None
  ) -> Iterator[windows.Segment]:
    """Windows of the video; its frames go to `buffer` on the way where it is given."""

    def crops():
      for frame in video.frames:
        if buffer is not None:
          buffer.append(frame)
        yield centre(frame, self._short_side)

    cut = self._clock.each("crop", crops())
    for first, frames, _ in windows.slide(cut, self.length, self.stride):
      end = first + len(frames)
      yield windows.Segment(first, end, (first, end - 1), clip(frames)[None])

  def forward(self, batch: np.ndarray) -> tuple[np.ndarray, None]:
    """Softmax float32 [K] of frames uint8 [1, F, side, side, 3]; and no attention."""
    return self._forward(batch), None
