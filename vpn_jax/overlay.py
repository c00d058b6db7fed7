"""Pictures on pictures: attention heat, skeletons and scores over frames (cv2).

Frames are uint8 RGB [H, W, 3]; every function returns new ones.
"""

import pathlib

import cv2
import numpy as np

from vpn_jax import crop, records, video, windows

LEFT, RIGHT, MIDDLE = (86, 180, 233), (240, 228, 66), (255, 255, 255)
FILM_SIDES = 480, 960  # pixels; the longer side is brought between them
SHOWN = 3  # classes below a film
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
  # Only pixels whose middle lies in the box.
  x0, y0 = max(0, int(np.floor(left + 0.5))), max(0, int(np.floor(top + 0.5)))
  x1, y1 = (
    min(width, int(np.ceil(right - 0.5))),
    min(height, int(np.ceil(bottom - 0.5))),
  )
  if x0 >= x1 or y0 >= y1:
    return frame.copy()
  place[:, 2] -= x0, y0
  x = cv2.warpAffine(x, place, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE)
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


def draw_scores(
  frame: np.ndarray, ranked: list[tuple[str, float]], rows: int = 0
) -> np.ndarray:
  """Writes classes with their scores and a bar each below the frame, on black.

  There is room for `rows` of them where they are fewer.
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
    place = (max(2, line // 4), bottom - line // 4)
    cv2.putText(strip, text, place, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
  return np.concatenate([frame, strip])


class Film:
  """The video with skeleton, attention in the crop, and the top 3 below; for `with`.

  Written as the windows come: a frame shows the window whose middle is nearest. Cold
  and hot compare the windows so far.
  """

  def __init__(self, path: str, fps: float, viewer, held: windows.Held):
    """Opens nothing before the first frame.

    Args:
      path: of the film, .mp4, .avi or .mkv.
      fps: frames a second.
      viewer: a `predict.Viewer`, for its skeleton, stride and number of classes.
      held: the frames of the last window.
    """
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    self._writer = video.Writer(path, fps)
    self._held, self._skeleton, self._stride = held, viewer.skeleton, viewer.stride
    self._rows = min(SHOWN, len(viewer.class_names))
    self._span: tuple[float, float] | None = None  # of all attention so far
    self._last = None

  @property
  def count(self) -> int:
    """Frames written."""
    return self._writer.count

  def __enter__(self) -> "Film":
    return self

  def __exit__(self, *error) -> None:
    self._writer.__exit__(*error)

  def show(
    self,
    part: windows.Part,
    ranked: list[tuple[str, float]] = (),
    attention: np.ndarray | None = None,
  ) -> None:
    """Takes the next window: writes its frames that are not nearer to one to come.

    Args:
      part: still in `held`.
      ranked: its best classes and their scores; none where nobody was seen.
      attention: A_ST, float [T, M, N].
    """
    if attention is not None:
      low, high = float(attention.min()), float(attention.max())
      if self._span:
        low, high = min(low, self._span[0]), max(high, self._span[1])
      self._span = low, high
    joints = None
    if part.record is not None:
      side = records.frame_side(part.record.frames[0])
      joints = crop.from_crop(part.record.image_joints, part.record.boxes, side)
    self._last = part, joints, ranked, attention
    self._write(min(part.end, (part.first + part.end + self._stride) // 2))

  def finish(self) -> None:
    """Writes what is left of the last window."""
    if self._last:
      self._write(self._last[0].end)

  def _write(self, end: int) -> None:
    part, joints, ranked, attention = self._last
    for t in range(self.count, end):
      frame = self._held[t]
      scale = float(np.clip(max(frame.shape[:2]), *FILM_SIDES) / max(frame.shape[:2]))
      if scale != 1:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=how)
      if attention is not None:
        (first, last), steps = part.shown, len(attention)
        step = (t - first) * steps // (last + 1 - first)
        heat = attention[int(np.clip(step, 0, steps - 1))]
        box = tuple(scale * float(v) for v in part.record.boxes[t - part.first])
        frame = draw_heat(frame, heat, heat_range(np.array(self._span)), box)
      if joints is not None:
        frame = draw_skeleton(frame, scale * joints[t - part.first], self._skeleton)
      self._writer.add(draw_scores(frame, ranked, self._rows))
