"""Poses as bad estimators and sensors give them: noisy, incomplete, late.

Everything acts on the joints of a record, before a network's example is made of them,
in metres and in the image alike. The pixels stay as they are.
"""

import dataclasses
import zlib

import numpy as np

from vpn_jax.records import record_format

BODY_METRES = 1.7  # what the larger side of a body's box in the image stands for


@dataclasses.dataclass(frozen=True)
class Damage:
  """What is wrong with the poses of a clip; `Damage(**config.inference.damage)`.

  Each is off at 0.

  Attributes:
    noise: standard deviation of Gaussian noise on each coordinate of each joint and
      frame, metres. Reading: in the image, `BODY_METRES` are the larger side of the
      main actor's box, the median over the frames.
    joint_drop: probability that a joint is not seen, in all frames of the clip.
    frame_drop: probability that nobody is seen, for each frame.
    shift: seconds by which the poses lag behind the frames; negative: they lead. At the
      ends of the clip, the first or the last pose stays.
  """

  noise: float = 0.0
  joint_drop: float = 0.0
  frame_drop: float = 0.0
  shift: float = 0.0

  def __post_init__(self):
    if not 0 <= self.noise < np.inf:
      raise ValueError(f"damage.noise is {self.noise}, expected metres, 0 or more.")
    for field in ("joint_drop", "frame_drop"):
      if not 0 <= getattr(self, field) <= 1:
        raise ValueError(
          f"damage.{field} is {getattr(self, field)}, expected a probability, 0 to 1."
        )
    if not np.isfinite(self.shift):
      raise ValueError(f"damage.shift is {self.shift}, expected seconds.")

  def __str__(self) -> str:
    values = dataclasses.asdict(self)
    return ",".join(f"{kind}={value:g}" for kind, value in values.items() if value)


NONE = Damage()
KINDS = tuple(field.name for field in dataclasses.fields(Damage))


def draw(limits: Damage, rng: np.random.Generator) -> Damage:
  """Draws the damage of a training clip.

  Args:
    limits: each kind is drawn uniformly from 0 to its value here, the shift from both
      signs.
  """
  noise, joint_drop, frame_drop = (
    rng.uniform(0.0, limit)
    for limit in (limits.noise, limits.joint_drop, limits.frame_drop)
  )
  shift = rng.uniform(-1.0, 1.0) * limits.shift
  return Damage(noise, joint_drop, frame_drop, shift)


def apply(
  damage: Damage, record: record_format.Record, rng: np.random.Generator | None = None
) -> record_format.Record:
  """A record with damaged joints: pose, image_joints and visibility.

  A joint that is not seen is NaN, with visibility 0. The numbers behind all kinds are
  drawn whatever the damage, so that from one level to the next the same joints and
  frames go first, and noise only grows.

  Args:
    damage: its values.
    record: the clip.
    rng: what to draw from; None for a generator of the clip's name, so that a clip is
      damaged in the same way in every evaluation.
  """
  if damage == NONE:
    return record
  if rng is None:
    rng = np.random.default_rng(zlib.crc32(record.name.encode()))
  frames, persons, joints, _ = record.pose.shape
  hidden = rng.random(joints) < damage.joint_drop
  lost = rng.random(frames) < damage.frame_drop
  normal = rng.standard_normal(record.pose.shape, np.float32)

  lag = round(damage.shift * record.fps)
  shown = np.clip(np.arange(frames) - lag, 0, frames - 1)
  pose = record.pose[shown] + np.float32(damage.noise) * normal
  pixels = np.float32(damage.noise * _pixels_per_metre(record.image_joints))
  image_joints = record.image_joints[shown] + pixels * normal[..., :2]
  visibility = record.visibility[shown]

  missing = np.broadcast_to(lost[:, None, None] | hidden, (frames, persons, joints))
  return dataclasses.replace(
    record,
    pose=np.where(missing[..., None], np.nan, pose),
    image_joints=np.where(missing[..., None], np.nan, image_joints),
    visibility=np.where(missing, np.float32(0), visibility),
  )


def _pixels_per_metre(image_joints: np.ndarray) -> float:
  """The scale of the main actor in the image, 0 where nobody was seen."""
  actor = image_joints[:, 0]
  actor = actor[np.isfinite(actor).any(axis=(1, 2))]
  if not len(actor):
    return 0.0
  sides = (np.nanmax(actor, axis=1) - np.nanmin(actor, axis=1)).max(axis=1)  # [F]
  return float(np.median(sides)) / BODY_METRES
