"""A decoded frame -> the picture that a player shows.

A file may hold its frames turned or mirrored, with pixels that are not square, or in
HDR colours, and say so beside them. Here they become upright, square and SDR, so that
all that reads videos agrees on one picture.
"""

import fractions

import av
import cv2
import numpy as np

from vpn_jax.datasets import tone_mapping

# The smaller entries of a matrix of quarter turns, as parts of the larger ones: files
# round their matrices.
_TOLERANCE = 0.035  # 2 degrees


class NotShown(ValueError):
  """A frame is sound, but what its file says of its display makes no picture."""


def picture(
  frame: av.VideoFrame, aspect: fractions.Fraction | None, most_pixels: int
) -> np.ndarray:
  """The picture that a player shows of a frame, uint8 RGB [H, W, 3].

  Args:
    frame: as it was decoded.
    aspect: width of a pixel by its height; None or 0 where it is not known.
    most_pixels: of the picture.
  Raises: NotShown for a frame that is shown turned by other than quarter turns, and
    for an aspect that no picture has.
  """
  image = frame.to_ndarray(format="rgb24")
  image = tone_mapping.to_sdr(image, frame.color_trc, frame.color_primaries)
  image = square(image, aspect, most_pixels)
  matrix = frame.side_data.get("DISPLAYMATRIX")
  if matrix is None:
    return image
  return upright(image, np.frombuffer(bytes(matrix), np.int32))


def square(
  image: np.ndarray, aspect: fractions.Fraction | None, most_pixels: int
) -> np.ndarray:
  """Resizes the width of an image so that its pixels are square; see `picture`."""
  height, width = image.shape[:2]
  wanted = round(width * aspect) if aspect else width
  if wanted == width:
    return image
  if wanted < 1 or wanted * height > most_pixels:
    raise NotShown(
      f"its pixels are {aspect.numerator}:{aspect.denominator}, which makes a picture "
      f"of {wanted}x{height}"
    )
  how = cv2.INTER_AREA if wanted < width else cv2.INTER_LINEAR
  return cv2.resize(image, (wanted, height), interpolation=how)


def upright(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Turns and mirrors an image as a display matrix says.

  Args:
    image: [H, W, 3].
    matrix: int32 [9], a b u c d v x y w: the pixel at (p, q) is shown at
      (a p + c q, b p + d q), but for a shift. A matrix of zeros says nothing.
  Returns: the image, contiguous: one of the eight that quarter turns and mirrors make.
  Raises: NotShown for another matrix.
  Source: libavutil/display.h; ISO/IEC 14496-12, 8.3.2.
  """
  a, b, c, d = (float(matrix[i]) for i in (0, 1, 3, 4))
  along, across = min(abs(a), abs(d)), min(abs(b), abs(c))
  if not (along or across):
    if a or b or c or d:
      raise NotShown("its display matrix shows it as a line")
    return image
  if max(abs(b), abs(c)) <= _TOLERANCE * along:
    right, down = a, d
  elif max(abs(a), abs(d)) <= _TOLERANCE * across:
    image = image.transpose(1, 0, 2)
    right, down = c, b
  else:
    angle = np.degrees(np.arctan2(b, a))
    raise NotShown(
      f"it is shown turned by {angle:.0f} degrees, expected quarter turns: encode it "
      "anew as it is shown"
    )
  if right < 0:
    image = image[:, ::-1]
  if down < 0:
    image = image[::-1]
  return np.ascontiguousarray(image)
