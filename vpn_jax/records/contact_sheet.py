"""A contact sheet: crops of many clips on one page, with their joints drawn (cv2)."""

import cv2
import numpy as np

from vpn_jax import drawing
from vpn_jax.records import record_format

# Pixels, but for the number of columns.
COLUMNS, TILE, GAP, LINE, HEADER = 6, 220, 16, 18, 60
# RGB.
PAPER, INK, FAINT = (24, 26, 30), (240, 240, 240), (160, 166, 172)
BOARD = (52, 55, 60)  # behind a skeleton alone


def draw_clip(record, skeleton, rng) -> tuple[np.ndarray, str]:
  """Draws a random frame, of those with joints in the image, with its bones.

  Bones of a joint with a visibility below 0.5 are faint. Without frames, the bones are
  drawn on an empty tile.

  Args:
    record: a sound `record_format.Record`.
    skeleton: of the joints.
    rng: draws the frame.
  Returns: uint8 RGB [TILE, TILE, 3], and a caption.
  """
  image_joints = record.image_joints
  if not record.frames:
    image_joints = drawing.in_square(record.image_joints, record.pose, skeleton, TILE)
  known = np.isfinite(image_joints).all(axis=-1).any(axis=(1, 2))
  t = int(rng.choice(np.flatnonzero(known) if known.any() else len(known)))
  if record.frames:
    frame = record_format.decode_frame(record.frames[t])
    size = len(frame)
    how = cv2.INTER_AREA if size > TILE else cv2.INTER_CUBIC
    frame = cv2.resize(frame, (TILE, TILE), interpolation=how)
    joints = image_joints[t] * (TILE / size)
  else:
    frame, joints = np.full((TILE, TILE, 3), BOARD, np.uint8), image_joints[t]
  faint = drawing.draw_skeleton(frame, joints, skeleton, 2)
  frame = cv2.addWeighted(frame, 0.6, faint, 0.4, 0)
  joints = np.where(record.visibility[t, ..., None] < 0.5, np.float32(np.nan), joints)
  line = f"frame {t + 1} of {len(known)}"
  if not known.any():
    line += ", no joints in the image" if record.seen.any() else ", nobody seen"
  return drawing.draw_skeleton(frame, joints, skeleton, 2), line


def tile(drawn, lines) -> np.ndarray:
  """A picture with three lines of text below, uint8 RGB [TILE + 3 LINE, TILE, 3].

  Args:
    drawn: as `draw_clip` returns it; None for a damaged record.
    lines: the first two lines.
  """
  picture, last = drawn or (np.full((TILE, TILE, 3), 50, np.uint8), "damaged")
  strip = np.full((3 * LINE, TILE, 3), PAPER, np.uint8)
  for row, text in enumerate((*lines, last)):
    _text(strip, text, (1, LINE * (row + 1) - 3), FAINT if row else INK)
  return np.concatenate([picture, strip])


def arrange(tiles: list[np.ndarray], title: str) -> np.ndarray:
  """Arranges tiles, uint8 RGB [TILE + 3 LINE, TILE, 3], row by row below a heading.

  Returns: uint8 RGB [HEADER + rows (TILE + 3 LINE + GAP), GAP + columns (TILE + GAP),
    3] with at most `COLUMNS` columns.
  """
  columns, down, across = min(COLUMNS, len(tiles)), TILE + 3 * LINE + GAP, TILE + GAP
  rows = -(-len(tiles) // columns)
  sheet = np.empty((HEADER + rows * down, GAP + columns * across, 3), np.uint8)
  sheet[:] = PAPER
  _text(sheet, title, (GAP, 26), INK, 0.55)
  for i, word in enumerate(("left", "right", "middle")):
    color = (drawing.LEFT, drawing.RIGHT, drawing.MIDDLE)[i]
    _text(sheet, word, (GAP + 45 * i, 47), color)
  for i, tile in enumerate(tiles):
    top, left = HEADER + i // columns * down, GAP + i % columns * across
    sheet[top : top + tile.shape[0], left : left + TILE] = tile
  return sheet


def _text(image, text: str, corner, color, scale: float = 0.43) -> None:
  """Writes ASCII text, shortened in the middle to the width of a tile."""
  font, text = cv2.FONT_HERSHEY_SIMPLEX, text.encode("ascii", "replace").decode()
  whole, drop = text, 1
  while cv2.getTextSize(text, font, scale, 1)[0][0] > TILE - 2:
    drop += 1
    half = (len(whole) - drop) // 2
    text = f"{whole[:half]}..{whole[half + drop :]}"
  cv2.putText(image, text, corner, font, scale, color, 1, cv2.LINE_AA)
