"""Pictures on pictures: attention heat, skeletons and scores over frames (cv2).

Frames are uint8 RGB [H, W, 3]; every function returns new ones.
"""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np

from vpn_jax import crop, records, video

LEFT, RIGHT, MIDDLE = (86, 180, 233), (240, 228, 66), (255, 255, 255)
FILM_SIDES = 480, 960  # pixels; the longer side is brought between them
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def heat_range(attention: np.ndarray) -> tuple[float, float]:
  """What is drawn as cold and as hot, for all maps that are compared.

  The range is not stretched beyond a tenth of the largest value, so that a map that
  says nothing looks even instead of like noise.
  """
  low, high = float(attention.min()), float(attention.max())
  return min(low, 0.9 * high), high


def draw_heat(
  frame: np.ndarray,
  heat: np.ndarray,
  span: tuple[float, float],
  box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
  """Lays a map over a frame: grey where it is cold, coloured where it is hot.

  Args:
    frame: uint8 [H, W, 3].
    heat: float [M, N]; its cells are enlarged bilinearly.
    span: (cold, hot) as `heat_range` gives them.
    box: left, top, right, bottom of the map in the frame, which it may exceed, pixels;
      None for the whole frame.
  """
  height, width = frame.shape[:2]
  left, top, right, bottom = box or (0, 0, width, height)
  low, high = span
  x = np.clip((np.asarray(heat, np.float32) - low) / max(high - low, 1e-12), 0, 1)
  across, down = (right - left) / x.shape[1], (bottom - top) / x.shape[0]
  place = np.array(  # of the middle of a cell
    [[across, 0, left + (across - 1) / 2], [0, down, top + (down - 1) / 2]]
  )
  x = cv2.warpAffine(x, place, (width, height), borderMode=cv2.BORDER_REPLICATE)
  rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
  inside = (rows > top) & (rows < bottom) & (columns > left) & (columns < right)
  place = np.uint8(255 * (0.4 + 0.6 * x))  # from red to yellow, without the black
  color = cv2.applyColorMap(place, cv2.COLORMAP_INFERNO)[..., ::-1]
  gray = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)[..., None]
  opacity = 0.65 * x[..., None]
  mixed = (1 - opacity) * gray.astype(np.float32) + opacity * color.astype(np.float32)
  return np.where(inside[..., None], np.uint8(np.rint(mixed)), frame)


def draw_skeleton(
  frame: np.ndarray, joints: np.ndarray, skeleton, thickness: int | None = None
) -> np.ndarray:
  """Draws the bones of everybody seen; left limbs, right limbs and the rest differ.

  Args:
    frame: uint8 [H, W, 3].
    joints: float [persons, J, 2], pixels of the frame; NaN where unknown.
    skeleton: a `skeletons.Skeleton`.
    thickness: of the lines, pixels; from the size of the frame when None.
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


def draw_scores(frame: np.ndarray, ranked: list[tuple[str, float]]) -> np.ndarray:
  """Writes classes with their scores and a bar each below the frame, on black."""
  height, width = frame.shape[:2]
  line = max(12, round(height / 18))
  scale = line / 34
  strip = np.zeros((line * len(ranked) + line // 2, width, 3), np.uint8)
  for row, (name, score) in enumerate(ranked):
    bottom = line * (row + 1)
    end = round(width * float(np.clip(score, 0, 1)))
    cv2.rectangle(strip, (0, bottom - line + 3), (end, bottom + 1), (120, 50, 0), -1)
    text = f"{score:.2f} {name}".encode("ascii", "replace").decode()
    place = (max(2, line // 4), bottom - line // 4)
    cv2.putText(strip, text, place, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
  return np.concatenate([frame, strip])


def film_frames(film: str, result, skeleton) -> Iterator[np.ndarray]:
  """The video with skeleton, attention in the crop, and the top 3 below.

  A frame shows the window whose middle is nearest.

  Args:
    film: path of the video.
    result: its `predict.Result`.
    skeleton: of the poses in its record; None when it has no record.
  """
  middles = np.array([(w.first + w.last) / 2 for w in result.windows])
  maps = [w.attention for w in result.windows if w.attention is not None]
  span = heat_range(np.stack(maps)) if maps else None
  record = result.record
  if record is not None:
    side = records.frame_side(record.frames[0])
    joints = crop.from_crop(record.image_joints, record.boxes, side)
  frames = itertools.islice(video.read_frames(film, threads=0), result.num_frames)
  for t, frame in enumerate(frames):
    window = result.windows[int(np.argmin(abs(middles - t)))]
    scale = float(np.clip(max(frame.shape[:2]), *FILM_SIDES) / max(frame.shape[:2]))
    if scale != 1:
      how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
      frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=how)
    if window.attention is not None:
      steps = len(window.attention)
      step = (t - window.first) * steps // (window.last + 1 - window.first)
      heat = window.attention[int(np.clip(step, 0, steps - 1))]
      box = tuple(scale * float(v) for v in record.boxes[t])
      frame = draw_heat(frame, heat, span, box)
    if record is not None:
      frame = draw_skeleton(frame, scale * joints[t], skeleton)
    yield draw_scores(frame, result.ranked(3, window.scores))
