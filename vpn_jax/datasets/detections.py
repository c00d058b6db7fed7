"""Boxes of a person detector for the crop, read from a file.

A csv, for few clips, has a line per box:

    clip,frame,left,top,right,bottom,score
    anna_wave_1,0,212,80,371,460,0.98

An npz, for many, has one array per clip, float [boxes, 5 or 6] of frame, left, top,
right, bottom and score. Frames count from 0; the box is in pixels of the video. Only
boxes with a score of at least `MIN_SCORE`, or without a score, are used, and none whose
corners are all 0, -1 or NaN. Frames without a box are interpolated. The crop contains
every box, so leave out bystanders.
"""

import csv
import dataclasses
import hashlib
import io
import itertools
import pathlib
import reprlib

import numpy as np

from vpn_jax.datasets import base, joint_files, text_files
from vpn_jax.datasets.base import BadClip, Clip, Dataset, Origin, RawClip

COLUMNS = ("clip", "frame", "left", "top", "right", "bottom")
MIN_SCORE = 0.5


class WithDetections:
  """Another dataset, cropped around detections; a `base.Dataset`."""

  def __init__(self, inner: Dataset, path: str | pathlib.Path):
    """Reads a csv, or the names in an npz.

    Args:
      inner: the other dataset.
      path: the csv or npz.
    Raises: FileNotFoundError without the file; ValueError for one that is neither csv
      nor npz, lacks a column, or has a word that is not a number.
    """
    self.inner, self.path = inner, pathlib.Path(path)
    if not self.path.is_file():
      raise FileNotFoundError(
        f"no file {path}: config.data.boxes is a csv or npz of detected boxes, as "
        "vpn_jax/datasets/detections.py describes."
      )
    if self.path.suffix not in (".csv", ".npz"):
      raise ValueError(f"config.data.boxes is {path}, expected a .csv or .npz file.")
    self.name, self.class_names = inner.name, inner.class_names
    self.skeleton, self.coordinates = inner.skeleton, base.coordinates(inner)
    with open(self.path, "rb") as file:
      digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    self.source = {**inner.source, "boxes": digest, "min_score": MIN_SCORE}
    self.noted_by_clip = (*getattr(inner, "noted_by_clip", ()), "boxes")
    self._boxes = self._load()

  def _load(self):
    """Clip name -> float [boxes, 6]; arrays of an npz are read on demand."""
    if self.path.suffix == ".csv":
      return _read_csv(self.path)
    return joint_files.Arrays(self.path)

  def clips(self) -> tuple[list[Clip], list[tuple[str, str]]]:
    """See `base.Dataset`."""
    return self.inner.clips()

  def check(self) -> None:
    """See `base.check`; ValueError when the file has boxes of none of the clips."""
    clips = self.inner.clips()[0]
    if clips and not any(clip.name in self._boxes for clip in clips):
      there = ", ".join(map(repr, itertools.islice(self._boxes, 3))) or "no clip"
      raise ValueError(
        f"{self.path} has boxes of none of the {len(clips):,} clips: it names {there}, "
        f"the clips are {', '.join(repr(clip.name) for clip in clips[:3])}; give boxes "
        "under these names."
      )

  def origin(self, clip: Clip) -> Origin:
    """See `base.origin`; the boxes of the clip, rather than the whole file."""
    found, boxes = base.origin(self.inner, clip), ""
    try:
      if clip.name in self._boxes:
        rows = np.ascontiguousarray(self._boxes[clip.name])
        boxes = hashlib.sha256(rows.tobytes()).hexdigest()[:12]
    except ValueError:  # damaged, as `read` will say
      boxes = "damaged"
    return dataclasses.replace(found, values={**found.values, "boxes": boxes})

  def read(self, clip: Clip) -> RawClip:
    """See `base.Dataset`; BadClip also when the clip has no usable box."""
    if clip.name not in self._boxes:
      raise BadClip(f"{self.path.name} has no box for it")
    try:
      rows = self._boxes[clip.name]
    except ValueError as e:
      raise BadClip(str(e)) from e
    raw = self.inner.read(clip)
    what = f"{self.path.name}, {clip.name!r}"
    return dataclasses.replace(raw, boxes=arrange(rows, len(raw.pose), what))


def arrange(rows: np.ndarray, num_frames: int, what: str) -> np.ndarray:
  """Arranges the rows of a file by frame.

  Args:
    rows: float [boxes, 5 or 6]: frame, left, top, right, bottom and, optionally, score.
    num_frames: of the clip.
    what: for messages.
  Returns: float32 [F, people, 4], the largest box of a frame first; NaN where there is
    none. The frame with the most boxes determines `people`.
  Raises: BadClip for another shape, a box that is empty or not finite, a frame beyond
    the clip, or no box at all.
  """
  rows = np.asarray(rows)
  if rows.dtype.kind not in "fiu" or rows.ndim != 2 or rows.shape[1] not in (5, 6):
    raise BadClip(
      f"{what} is {rows.dtype} {list(rows.shape)}, expected [boxes, 5 or 6]"
    )
  with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite
    rows = rows.astype(np.float32).astype(np.float64)
  if rows.shape[1] == 6:
    rows = rows[~(rows[:, 5] < MIN_SCORE)]
  corners = rows[:, 1:5]
  nobody = np.isnan(corners) | (corners == 0) | (corners == -1)
  rows = rows[~nobody.all(axis=1)]  # how some programs say so
  if not len(rows):
    raise BadClip(f"{what} has no box with a score of {MIN_SCORE} or more")
  frame, left, top, right, bottom = rows.T[:5]
  bad = ~np.isfinite(rows[:, :5]).all(axis=1) | (right <= left) | (bottom <= top)
  if bad.any():
    raise BadClip(f"{what}: box {rows[bad][0, 1:5].tolist()} has no area")
  wrong = (frame != np.floor(frame)) | (frame < 0) | (frame >= num_frames)
  if wrong.any():
    raise BadClip(
      f"{what}: a box in frame {frame[wrong][0]:g}, expected 0 to {num_frames - 1}"
    )
  order = np.lexsort((-(right - left) * (bottom - top), frame))
  rows = rows[order]
  _, first, counts = np.unique(rows[:, 0], return_index=True, return_counts=True)
  person = np.arange(len(rows)) - np.repeat(first, counts)
  boxes = np.full((num_frames, counts.max(), 4), np.nan, np.float32)
  boxes[rows[:, 0].astype(int), person] = rows[:, 1:5]
  return boxes


def _read_csv(path: pathlib.Path) -> dict[str, np.ndarray]:
  rows: dict[str, list] = {}
  try:
    text = text_files.decode(path.read_bytes())
    table = csv.DictReader(io.StringIO(text, newline=""))
    header = table.fieldnames or []
    lacking = [c for c in COLUMNS if c not in header]
    if lacking:
      raise ValueError(
        f"{path} has the columns {reprlib.repr(header)}, expected {list(COLUMNS)} "
        f"and optionally score: {lacking} is missing."
      )
    for row in table:
      try:
        score = float(row["score"]) if "score" in header else 1.0
        numbers = [*(float(row[c]) for c in COLUMNS[1:]), score]
      except (TypeError, ValueError) as e:
        raise ValueError(
          f"{path}, line {table.line_num}: {e}; expected numbers in {header[1:]}."
        ) from e
      rows.setdefault(row["clip"], []).append(numbers)
  except (UnicodeDecodeError, csv.Error) as e:
    raise ValueError(f"{path} cannot be read as csv ({e}): write it as UTF-8.") from e
  return {clip: np.array(numbers) for clip, numbers in rows.items()}
