"""An example: a record as the network sees it, frames and poses of one window."""

import dataclasses
from collections.abc import Iterable

import jax
import numpy as np

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import (
  frame_joints,
  missing_joints,
  multi_view,
  pose_augmentation,
  pose_coordinates,
  pose_damage,
  regions,
  sampling,
)
from vpn_jax.records import crop, record_format

POSES = ("pose", "frame_joints")  # the inputs that are poses, not pixels
INPUTS = ("frames", *regions.HANDS, *POSES)


def poses_of(inputs: Iterable[str]) -> tuple[str, ...]:
  """Those of some inputs that are poses, not pixels."""
  return tuple(name for name in POSES if name in inputs)


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a record becomes an example; `Settings(**config.data.example)`.

  Attributes:
    num_frames: F, frames of a window.
    frame_size: H = W, pixels; the frames of the record are resized to it.
    pose_steps: S, t_p of the paper.
    pose_window: "clip" samples the poses from the window of the frames, "video" from
      the whole clip. Reading: the paper says "from each clip"; the released code takes
      the video.
    persons: 1 for the main actor; 2 appends the joints of a second person.
    flip: mirror half of the training clips: frames, hands and poses alike.
    crop: smallest side of a random training crop of `frames`, as a fraction of the
      region; 1 takes the whole region, as the paper does.
    views: K, the number of fixed views of a training clip, of which each epoch shows
      one. Their windows are spread evenly over the clip; flip and crop of each are
      drawn once, what changes the poses alone each time. 0 draws all each time.
    inputs: those of `INPUTS` that the network takes; the others are not decoded.
    region: what `frames` shows: "body", "left_hand" or "right_hand".
    hand_size: side of the square around a hand, as a fraction of the record's frame.
    coordinates: of the pose: "world", x, y, z in metres; "image", x, y and
      score of the joints in the image; see `pose_coordinates`; "" for "world" where the
      records have it, else "image".
    missing: what the input `pose` has for joints that were not seen: "zero", or "fill"
      for a position of `missing_joints.fill`. Reading: the paper does not say; the
      released loaders leave zeros.
    augment: of the input `pose` of training clips alone; by default nothing. The
      settings of a config are read as well.
    damage: of the joints of training clips, the limits of `pose_damage.draw`; by
      default none. Likewise.
  """

  num_frames: int = 64
  frame_size: int = 224
  pose_steps: int = 20
  pose_window: str = "clip"
  persons: int = 1
  flip: bool = False
  crop: float = 1.0
  views: int = 0
  inputs: tuple[str, ...] = ("frames", "pose")
  region: str = "body"
  hand_size: float = 0.4
  coordinates: str = ""
  missing: str = "zero"
  augment: pose_augmentation.Augmentation = pose_augmentation.OFF
  damage: pose_damage.Damage = pose_damage.NONE

  def __post_init__(self):
    if not isinstance(self.augment, pose_augmentation.Augmentation):
      read = pose_augmentation.Augmentation(**self.augment)
      object.__setattr__(self, "augment", read)
    if not isinstance(self.damage, pose_damage.Damage):
      object.__setattr__(self, "damage", pose_damage.Damage(**self.damage))
    unknown = set(self.inputs) - set(INPUTS)
    if unknown or not self.inputs:
      raise ValueError(f"inputs are {tuple(self.inputs)}, expected some of {INPUTS}.")
    if self.region not in regions.REGIONS:
      raise ValueError(f"region is {self.region!r}, expected one of {regions.REGIONS}.")
    if not 0.0 < self.hand_size <= 1.0:
      raise ValueError(
        f"hand_size is {self.hand_size}, expected a fraction of the frame, 0 to 1."
      )
    if self.pose_window not in ("clip", "video"):
      raise ValueError(
        f"pose_window is {self.pose_window!r}, expected 'clip' or 'video'."
      )
    if self.coordinates not in ("", *pose_coordinates.COORDINATES):
      raise ValueError(
        f"coordinates is {self.coordinates!r}, expected 'world', 'image', or '' for "
        "those of the records."
      )
    if self.missing not in missing_joints.CHOICES:
      raise ValueError(
        f"missing is {self.missing!r}, expected one of {missing_joints.CHOICES}."
      )
    if not 0.2 <= self.crop <= 1.0:
      raise ValueError(f"crop is {self.crop}, expected a fraction from 0.2 to 1.")
    if self.views < 0:
      raise ValueError(f"views is {self.views}, expected 0 or more.")
    for name in ("num_frames", "frame_size", "pose_steps", "persons"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more.")

  def example_shapes(self, joints: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of the inputs, for poses of `joints` = persons * J joints."""
    size = self.frame_size
    pixels = jax.ShapeDtypeStruct((self.num_frames, size, size, 3), np.uint8)
    steps = {"pose": self.pose_steps, "frame_joints": self.num_frames}
    poses = {
      name: jax.ShapeDtypeStruct((count, joints, 3), np.float32)
      for name, count in steps.items()
    }
    return {name: poses.get(name, pixels) for name in self.inputs}


def make(
  record: record_format.Record,
  settings: Settings,
  skeleton: skeletons.Skeleton,
  rng: np.random.Generator | None,
  view: multi_view.View = multi_view.MIDDLE,
  fixed: np.random.Generator | None = None,
  damage: pose_damage.Damage = pose_damage.NONE,
) -> dict[str, np.ndarray]:
  """Makes an example of a record.

  Args:
    record: the clip.
    settings: how.
    skeleton: of the record's joints.
    rng: draws in training; None for evaluation, which is deterministic.
    view: in evaluation: the window, and the part of its frames.
    fixed: for a fixed view of training (`Settings.views`): draws its flip and its crop,
      and the window is that of `view`; `rng` draws what changes the poses alone.
    damage: of the joints in an evaluation; the pixels stay as they are.
  Returns: label int32 [], and the inputs in `settings.inputs`: frames, left_hand and
    right_hand uint8 [F, H, W, 3], pose float32 [S, persons*J, 3], and frame_joints
    float32 [F, persons*J, 3] of `frame_joints.frame_joints`. All draws are the same
    whichever inputs there are.
  Raises: ValueError for a hand of a record without image joints, for pixels of a
    record without frames, and for joints in coordinates that the record lacks.
  """
  s = settings
  drawn = rng if fixed is None else fixed
  start = rng if fixed is None else None
  window = sampling.frame_window(record.num_frames, s.num_frames, start, view.window)
  if s.pose_window == "video":
    first, last = 0, record.num_frames - 1
  else:
    first, last = int(window.min()), int(window.max())
  change = pose_augmentation.NO_CHANGE
  if rng is not None:
    change = pose_augmentation.draw(s.augment, skeleton, rng)
  steps = sampling.pose_indices(
    first, last, s.pose_steps, rng, change.part, change.speed
  )
  if rng is not None and s.damage != pose_damage.NONE:
    observed = pose_damage.apply(pose_damage.draw(s.damage, rng), record, rng)
  else:
    observed = pose_damage.apply(damage, record)
  pose = None
  if "pose" in s.inputs:
    coordinates = pose_coordinates.choose_coordinates(record, s.coordinates)
    world, image, visibility = (
      x[:, : s.persons]
      for x in (observed.pose, observed.image_joints, observed.visibility)
    )
    filled = s.missing == "fill"
    if coordinates == "world":
      world = missing_joints.fill(world, skeleton) if filled else world
      pose = pose_coordinates.center_pose(world, skeleton)[steps]
    else:
      image = _in_video(image, record)
      at = missing_joints.fill(image, skeleton) if filled else image
      pose = pose_coordinates.image_pose(image, visibility, (first, last), at)[steps]

  flip = drawn is not None and s.flip and drawn.random() < 0.5
  made = {"label": np.int32(record.label)}
  shown = cuts(record, s, skeleton, window, view, drawn, flip)
  if "frame_joints" in s.inputs:
    pose_coordinates.choose_coordinates(record, "image")
    at = frame_joints.frame_joints(
      observed.image_joints[window][:, : s.persons],
      observed.visibility[window][:, : s.persons],
      shown["frames"].squares,
      flip,
      skeleton,
    )
    made["frame_joints"] = _of_all_persons(at, s.persons)
  if pixels := {name: cut for name, cut in shown.items() if name in s.inputs}:
    made.update(regions.decode([record.frames[i] for i in window], pixels, flip))
  if pose is None:
    return made
  if flip:
    pose = pose_coordinates.mirror_pose(pose, skeleton)
  if coordinates == "world":
    pose = pose_augmentation.apply(change, pose)
  else:
    pose = pose_augmentation.apply_in_image(change, pose)
  made["pose"] = _of_all_persons(pose, s.persons)
  return made


def _in_video(joints: np.ndarray, record: record_format.Record) -> np.ndarray:
  """Joints in pixels of the crop as those in the video, where the crop moves.

  Else a person who walks would stand in the middle of every frame. A crop that does not
  move changes nothing of poses, which are relative to a box around the person.
  """
  if not record.frames or (record.boxes == record.boxes[:1]).all():
    return joints
  side = record_format.frame_side(record.frames[0])
  return crop.from_crop(joints, record.boxes, side)


def _of_all_persons(pose: np.ndarray, persons: int) -> np.ndarray:
  """Poses [S, <= persons, J, 3] as [S, persons*J, 3]; an absent person is zeros."""
  missing = persons - pose.shape[1]
  if missing > 0:
    pose = np.pad(pose, ((0, 0), (0, missing), (0, 0), (0, 0)))
  return pose.reshape(len(pose), -1, 3)


def cuts(
  record: record_format.Record,
  settings: Settings,
  skeleton: skeletons.Skeleton,
  window: np.ndarray,
  view: multi_view.View,
  rng: np.random.Generator | None,
  flip: bool,
) -> dict[str, regions.Cut]:
  """Where the inputs that are pixels lie in the frames of a window.

  In a mirror the right hand is the left hand. Views and the random crop apply to
  `frames` alone: they take a part of the region, the same one in all frames.

  Args: as in `make`; `rng` draws the crop, None for none.
  Returns: cuts by the name of the input; that of `frames` also for frame_joints.
  """
  shown = {name: name for name in settings.inputs if name in regions.HANDS}
  if {"frames", "frame_joints"} & set(settings.inputs):
    shown["frames"] = settings.region
  if not shown:
    return {}
  if not record.frames:
    raise ValueError(
      f"{record.name} is a skeleton alone, expected frames for {', '.join(shown)}: use "
      "a network of poses, or prepare the videos too."
    )
  whole = record_format.frame_side(record.frames[window[0]])
  size = view.size or settings.frame_size  # one for all, so that their features fit
  made = {}
  for name, region in shown.items():
    squares = regions.squares(
      record,
      regions.mirrored(region) if flip else region,
      window,
      frame_side=whole,
      hand_size=settings.hand_size,
      skeleton=skeleton,
    )
    made[name] = regions.Cut(squares, size)
  if "frames" in made:
    squares = made["frames"].squares
    side = int(squares[0, 2])
    part = view.part(side)
    if rng is not None and settings.crop < 1.0:
      inner = round(side * rng.uniform(settings.crop, 1.0))
      left, top = rng.integers(side - inner + 1, size=2)
      part = int(left), int(top), inner
    made["frames"] = regions.Cut(regions.inside(squares, part), size)
  return made
