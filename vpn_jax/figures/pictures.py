"""Frames of a record as pictures for figures."""

import cv2
import numpy as np

from vpn_jax import drawing
from vpn_jax.records import record_format

PIXELS = 280  # side


def frame_picture(
  record: record_format.Record, frame: int, *, heat=None, span=None, skeleton=None
) -> np.ndarray:
  """A frame with a map on it, and with the poses, where they are given.

  Args:
    heat: float [M, N], over what the record shows.
    span: cold and hot, as `drawing.heat_range` gives them.
    skeleton: of the poses. Joints that are not known in the image are left out.
  Returns: uint8 [PIXELS, PIXELS, 3].
  """
  picture = record_format.decode_frame(record.frames[frame])
  joints = record.image_joints[frame] * PIXELS / len(picture)
  picture = cv2.resize(picture, (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC)
  if heat is not None:
    picture = drawing.draw_heat(picture, heat, span)
  if skeleton is not None:
    picture = drawing.draw_skeleton(picture, joints, skeleton)
  return picture


def show(axes, picture: np.ndarray) -> None:
  axes.imshow(picture)
  axes.set_axis_off()


def moments(number: int) -> tuple[float, ...]:
  """The middles of so many equal parts of a clip, as fractions of it."""
  return tuple((np.arange(number) + 0.5) / number)


def steps_at(fractions: tuple[float, ...], length: int) -> list[int]:
  """Frames of a window, or steps of a map, of this length at fractions of a clip."""
  return [min(int(fraction * length), length - 1) for fraction in fractions]
