"""Frames of a record as pictures for figures."""

import cv2
import numpy as np
from matplotlib.figure import Figure

from vpn_jax import drawing
from vpn_jax.figures import style
from vpn_jax.records import record_format

PIXELS = 280  # side
BOARD = (52, 55, 60)  # RGB, behind a skeleton alone


def frame_picture(
  record: record_format.Record, frame: int, *, heat=None, span=None, skeleton=None
) -> np.ndarray:
  """A frame, with a map and the poses drawn on it where they are given.

  A record without frames gives its poses on an empty picture.

  Args:
    heat: float [M, N], over the whole frame.
    span: (cold, hot), as `drawing.heat_range` gives them.
    skeleton: of the poses. Joints that are not known in the image are left out.
  Returns: uint8 [PIXELS, PIXELS, 3].
  """
  if record.frames:
    picture = record_format.decode_frame(record.frames[frame])
    joints = record.image_joints[frame] * PIXELS / len(picture)
    picture = cv2.resize(picture, (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
  else:
    picture = np.full((PIXELS, PIXELS, 3), BOARD, np.uint8)
    joints = (
      drawing.in_square(record.image_joints, record.pose, skeleton, PIXELS)[frame]
      if skeleton is not None
      else None
    )
  if heat is not None:
    picture = drawing.draw_heat(picture, heat, span)
  if skeleton is not None:
    picture = drawing.draw_skeleton(picture, joints, skeleton)
  return picture


def show(
  figure: Figure, left: float, top: float, side: float, picture: np.ndarray
) -> None:
  """Shows a square picture at a position in inches, without axes."""
  axes = style.axes_at(figure, left, top, side, side)
  axes.imshow(picture)
  axes.set_axis_off()


def moments(number: int) -> tuple[float, ...]:
  """The middles of `number` equal parts of a clip, as fractions of the clip."""
  return tuple((np.arange(number) + 0.5) / number)


def steps_at(fractions: tuple[float, ...], length: int) -> list[int]:
  """The frames of a window, or steps of a map, of `length` at fractions of a clip."""
  return [min(int(fraction * length), length - 1) for fraction in fractions]
