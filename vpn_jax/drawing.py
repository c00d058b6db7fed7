"""Draws attention maps, skeletons and scores over frames.

Frames are uint8 RGB [H, W, 3]; every function returns a new one.
"""

import cv2
import numpy as np

LEFT, RIGHT, MIDDLE = (86, 180, 233), (240, 228, 66), (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def heat_range(attention: np.ndarray) -> tuple[float, float]:
  """The values to draw as cold and as hot, for all maps that are compared.

  The range covers at least a tenth of the largest value, so that a uniform map is drawn
  as uniform, not as noise.

  Args:
    attention: float of any shape.
  """
  low, high = float(attention.min()), float(attention.max())
  return min(low, 0.9 * high), high


def draw_heat(
  frame: np.ndarray,
  heat: np.ndarray,
  span: tuple[float, float],
  box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
  """Draws a map over a frame: grey where it is cold, coloured where it is hot.

  Args:
    frame: uint8 [H, W, 3].
    heat: float [M, N]; its cells are enlarged bilinearly.
    span: (cold, hot), from `heat_range`.
    box: left, top, right, bottom of the map, pixels of the frame, which it may exceed;
      None for the whole frame.
  """
  height, width = frame.shape[:2]
  left, top, right, bottom = box or (0, 0, width, height)
  low, high = span
  x = np.clip((np.asarray(heat, np.float32) - low) / max(high - low, 1e-12), 0, 1)
  across, down = (right - left) / x.shape[1], (bottom - top) / x.shape[0]
  matrix = np.array(  # cell -> pixel of its middle
    [[across, 0, left + (across - 1) / 2], [0, down, top + (down - 1) / 2]]
  )
  # The pixels whose middle lies in the box.
  x0, y0 = max(0, int(np.floor(left + 0.5))), max(0, int(np.floor(top + 0.5)))
  x1, y1 = (
    min(width, int(np.ceil(right - 0.5))),
    min(height, int(np.ceil(bottom - 0.5))),
  )
  if x0 >= x1 or y0 >= y1:
    return frame.copy()
  matrix[:, 2] -= x0, y0
  x = cv2.warpAffine(x, matrix, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE)
  shade = np.uint8(255 * (0.4 + 0.6 * x))  # from red to yellow, without the black
  color = cv2.applyColorMap(shade, cv2.COLORMAP_INFERNO)
  color = cv2.cvtColor(color, cv2.COLOR_BGR2RGB)
  gray = cv2.cvtColor(np.ascontiguousarray(frame[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
  gray = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
  opacity = 0.65 * x
  drawn = frame.copy()
  drawn[y0:y1, x0:x1] = cv2.blendLinear(gray, color, 1 - opacity, opacity)
  return drawn


def draw_skeleton(
  frame: np.ndarray, joints: np.ndarray, skeleton, thickness: int | None = None
) -> np.ndarray:
  """Draws the bones of everybody seen, in three colours: left limbs, right, the rest.

  Args:
    frame: uint8 [H, W, 3].
    joints: float [persons, J, 2], pixels of the frame; NaN where unknown.
    skeleton: a `skeletons.Skeleton`.
    thickness: of the lines, pixels; None: by the size of the frame.
  """
  frame = np.ascontiguousarray(frame).copy()
  thickness = thickness or max(1, round(min(frame.shape[:2]) / 240))
  shift = 4  # positions in 1/16 pixels
  for person in joints:
    points = np.rint(np.nan_to_num(person, nan=0.0) * 2**shift)
    points = np.clip(points, -(2**20), 2**20).astype(int)
    seen = np.isfinite(person).all(axis=-1)
    for i, j in skeleton.bone_indices():
      if seen[i] and seen[j]:
        names = {skeleton.joints[i].split("_")[0], skeleton.joints[j].split("_")[0]}
        color = LEFT if "left" in names else RIGHT if "right" in names else MIDDLE
        a, b = tuple(points[i].tolist()), tuple(points[j].tolist())
        cv2.line(frame, a, b, (0, 0, 0), thickness + 2, cv2.LINE_AA, shift)
        cv2.line(frame, a, b, color, thickness, cv2.LINE_AA, shift)
  return frame


def in_square(
  image_joints: np.ndarray, pose: np.ndarray, skeleton, side: int
) -> np.ndarray:
  """Places the joints of a clip without frames in a square, everybody in view.

  Args:
    image_joints: float [F, persons, J, 2], pixels; NaN where unknown.
    pose: float [F, persons, J, 3], metres, taken where no image joint is known: x and y
      as the camera sees them, with the feet below.
    skeleton: a `skeletons.Skeleton`.
    side: of the square, pixels.
  Returns: float32 [F, persons, J, 2], pixels of the square.
  """
  flat = np.array(image_joints, np.float32)
  if not np.isfinite(flat).any():
    flat = np.array(pose[..., :2], np.float32)
    feet = [i for i, j in enumerate(skeleton.joints) if "foot" in j or "ankle" in j]
    below = flat[..., feet, 1]
    if np.isfinite(below).any() and np.nanmean(below) < np.nanmean(flat[..., 1]):
      flat[..., 1] *= -1  # y points up
  if not np.isfinite(flat).any():
    return flat
  low, high = np.nanmin(flat, axis=(0, 1, 2)), np.nanmax(flat, axis=(0, 1, 2))
  scale = 0.9 * side / max(float((high - low).max()), 1e-6)
  return (flat - (low + high) / 2) * np.float32(scale) + np.float32(side / 2)


def draw_scores(
  frame: np.ndarray, ranked: list[tuple[str, float]], rows: int = 0
) -> np.ndarray:
  """Writes classes with their scores and a bar each below the frame, on black.

  Args:
    frame: uint8 [H, W, 3].
    ranked: class and its score, 0 to 1, best first.
    rows: leaves room for so many, where there are fewer.
  """
  height, width = frame.shape[:2]
  line = max(12, round(height / 18))
  scale = line / 34
  strip = np.zeros((line * max(rows, len(ranked)) + line // 2, width, 3), np.uint8)
  for row, (name, score) in enumerate(ranked):
    bottom = line * (row + 1)
    end = round(width * float(np.clip(score, 0, 1)))
    cv2.rectangle(strip, (0, bottom - line + 3), (end, bottom + 1), (120, 50, 0), -1)
    text = f"{score:.2f} {name}".encode("ascii", "replace").decode()
    corner = (max(2, line // 4), bottom - line // 4)
    cv2.putText(strip, text, corner, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
  return np.concatenate([frame, strip])
