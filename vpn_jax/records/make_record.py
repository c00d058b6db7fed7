"""One clip of a dataset -> its record: cropped, compressed, with short gaps filled.

Records without frames hold the poses alone.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from vpn_jax.datasets import base, skeletons
from vpn_jax.datasets.base import BadClip, Clip, Dataset
from vpn_jax.records import crop, record_format

VERSION = 2  # raised when the same files give another record, as CHANGELOG.md says
SHORT_GAP = 10  # frames; a person lost for at most this long is interpolated
# Range of the longest bone of a person in metres. Thighs and shins of adults measure
# 0.3 to 0.7 m in Kinect and BlazePose poses, so a unit that is off by 10 falls outside.
LONGEST_BONE = (0.1, 2.0)
# Relative difference in number of poses and frames, where a sensor drops some.
LENGTH_TOLERANCE = 0.1


def make_record(
  dataset: Dataset,
  clip: Clip,
  recipe: dict,
  folder: str | pathlib.Path | None = None,
) -> record_format.Record:
  """Reads, crops and compresses one clip.

  Args:
    dataset: of the clip.
    clip: to read.
    recipe: `crop.recipe` with "jpeg_quality". With the kind "none" the frames are left
      out.
    folder: holds the frames of a long clip until they are written; see
      `record_format.Spool`.
  Raises: BadClip when it cannot be used.
  """
  raw = dataset.read(clip)
  pose = raw.pose
  in_world = base.coordinates(dataset) == "world"
  if not np.isfinite(pose if in_world else raw.image_joints).all(axis=-1).any():
    raise BadClip("nobody in any frame")
  if in_world:
    check_unit(pose, skeletons.get(dataset.skeleton))
  if recipe["kind"] == "none":
    common, blobs, boxes = len(pose), (), np.zeros((0, 4), np.float32)
  else:
    common, blobs, boxes = _frames(raw, recipe, folder)
    if len(raw.pose) > common:
      note = f"{len(raw.pose)} poses for {common} frames: the first {common} are kept"
      raw = dataclasses.replace(raw, note=note)
    raw = raw.extended(common)
    pose = raw.pose
  filled = fill_gaps(pose)[:common]
  image_joints = fill_gaps(raw.image_joints)[:common]
  given, known = (pose, filled) if in_world else (raw.image_joints, image_joints)
  seen = np.isfinite(given[:common]).all(axis=-1)
  known = np.isfinite(known).all(axis=-1)
  if not known.any():
    raise BadClip(f"nobody in the first {common} frames, where the video ends")
  visibility = np.full(pose.shape[:-1], np.nan, np.float32)
  if raw.visibility is not None:
    visibility = raw.visibility
  if blobs:
    image_joints = crop.to_crop(image_joints, boxes, recipe["size"])
  return record_format.Record(
    name=clip.name,
    label=clip.label,
    attributes=clip.attributes,
    fps=raw.fps,
    boxes=boxes,
    frames=blobs,
    pose=filled,
    image_joints=image_joints,
    visibility=np.where(known & ~seen, np.float32(0), visibility[:common]),
    note=raw.note,
  )


def _frames(
  raw: base.RawClip, recipe: dict, folder: str | pathlib.Path | None
) -> tuple[int, record_format.Spool, np.ndarray]:
  """Crops and compresses the frames of a clip.

  Returns: their number, which poses and video have in common, or that of the video if
    the poses are open-ended; the frames as JPEG; and their boxes, float32 [F, 4].
  """
  if raw.frames is None:
    raise BadClip("it has no video, as records with frames need")
  pose, points = raw.pose, _crop_points(raw, recipe["kind"])
  boxes, blobs = None, record_format.Spool(folder)
  for t, frame in enumerate(check_lengths(raw.frames(), raw)):
    if boxes is None:
      height, width = frame.shape[:2]
      boxes = crop.clip_boxes(recipe, points, width, height)
    cut = crop.crop_and_resize(frame, boxes[min(t, len(boxes) - 1)], recipe["size"])
    blobs.append(record_format.encode_frame(cut, recipe["jpeg_quality"]))
  if not blobs:
    raise BadClip("the video holds no frame")
  common = len(blobs) if raw.open_ended else min(len(pose), len(blobs))
  blobs.truncate(common)
  return common, blobs, boxes[np.minimum(np.arange(common), len(boxes) - 1)]


def check_lengths(frames: Iterable[np.ndarray], raw: base.RawClip) -> Iterator:
  """Passes the frames of a clip on; BadClip when they are not as many as its poses.

  Where a sensor drops frames, they may differ by `LENGTH_TOLERANCE`; after poses that
  are open-ended, more frames may follow.
  """
  poses, count = len(raw.pose), 0
  spare = LENGTH_TOLERANCE if raw.drops_frames else 0.0
  most, frames = int(poses / (1 - spare)), iter(frames)
  for count, frame in enumerate(frames, 1):
    if count > most and not raw.open_ended:
      more = sum(1 for _ in itertools.islice(frames, poses))
      words = f"{count + more}" if more < poses else f"more than {most}"
      raise BadClip(_mismatch(poses, words, spare))
    yield frame
  if 0 < count < (1 - spare) * poses:
    raise BadClip(_mismatch(poses, f"{count}", spare))


def _mismatch(poses: int, frames: str, spare: float) -> str:
  """Why poses and video do not belong together."""
  expected = (
    f"a difference of at most {spare:.0%}" if spare else "a pose for each frame"
  )
  return f"{poses} poses but {frames} video frames, expected {expected}"


def check_unit(pose: np.ndarray, skeleton: skeletons.Skeleton) -> None:
  """Refuses poses that cannot be in metres.

  Args:
    pose: float [F, persons, J, 3]; NaN where not seen.
    skeleton: of the joints.
  Raises: BadClip when the longest bone of a person (median over the frames), of the
    first who has one, is outside `LONGEST_BONE`. Poses without any bone of positive
    length pass.
  """
  ends = skeleton.bone_indices()
  apart = pose[:, :, ends[:, 0]] - pose[:, :, ends[:, 1]]
  lengths = np.linalg.norm(apart.astype(np.float64), axis=-1)  # [F, persons, bones]
  lengths[~(lengths > 0)] = np.nan
  known = np.isfinite(lengths).any(axis=0)  # [persons, bones]
  if not known.any():
    return
  person = int(known.any(axis=-1).argmax())
  lengths = lengths[:, person, known[person]]
  longest = float(np.nanmedian(lengths, axis=0).max())
  low, high = LONGEST_BONE
  if not low <= longest <= high:
    factor = 10.0 ** -round(np.log10(longest / 0.45))
    raise BadClip(
      f"the longest bone measures {longest:.3g} m, expected {low} to {high} m: poses "
      f"are read in metres, so multiply the joints by {factor:g}"
    )


def _crop_points(raw: base.RawClip, kind: str) -> np.ndarray:
  """The points that the crop contains, float [F, people, K, 2], pixels of the video."""
  if kind == "boxes":
    if raw.boxes is None or np.isnan(raw.boxes).all():
      raise BadClip("nobody was detected in any frame")
    return raw.boxes.reshape(*raw.boxes.shape[:2], 2, 2)
  if kind == "joints" and np.isnan(raw.image_joints).all():
    raise BadClip(
      "no joints in the image to crop by: give detections (config.data.boxes), or take "
      "the whole frame (config.prepare.crop=full)"
    )
  return raw.image_joints


def fill_gaps(joints: np.ndarray, longest: int = SHORT_GAP) -> np.ndarray:
  """Interpolates linearly across short gaps.

  Args:
    joints: float [F, persons, J, C]; NaN where not seen.
    longest: frames; longer gaps stay NaN, and so do gaps at the start and the end.
  Returns: a copy without the short gaps; each joint is filled separately.
  """
  shape = joints.shape
  flat = np.array(joints, np.float32).reshape(shape[0], -1, shape[-1])
  seen = np.isfinite(flat).all(axis=-1)
  for j in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
    frames = np.flatnonzero(seen[:, j])
    for a, b in itertools.pairwise(frames):
      if 1 < b - a <= longest + 1:
        part = ((np.arange(a + 1, b) - a) / np.float32(b - a))[:, None]
        line = (1 - part) * flat[a, j] + part * flat[b, j]
        flat[a + 1 : b, j] = line.astype(np.float32)
  return flat.reshape(shape)
