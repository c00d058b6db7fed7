"""Which joints and objects act in a synthetic clip, to test explanations against."""

import dataclasses

import numpy as np

from vpn_jax.datasets.synthetic import generator
from vpn_jax.records import crop, record_format, store


@dataclasses.dataclass(frozen=True)
class GroundTruth:
  """What acts, in all frames of a record.

  Attributes:
    acting: which joints do the action, bool [F, J].
    joints: x, y of all joints in pixels of the record's frames, float [F, J, 2].
    held: the same of the object in hand, float [F, 1, 2]; NaN without one.
  """

  acting: np.ndarray
  joints: np.ndarray
  held: np.ndarray


def unknown(index: store.Index) -> str:
  """Why the truth of the records is unknown; "" when it is known."""
  if index.dataset == "synthetic":
    return ""
  return f"which joints and objects act in {index.dataset} clips is not known"


def of(record: record_format.Record, index: store.Index) -> GroundTruth:
  """Generates the clip of a record again, and maps its truth to the record's frames.

  Args:
    record: of a synthetic clip, whose number is in its name.
    index: of its records; `source` has the seed and the settings.
  Raises: ValueError when the generator has changed and makes another clip.
  """
  settings = dict(index.source)
  seed = settings.pop("seed")
  number = int(record.name[1:].partition("_")[0])
  settings = generator.Settings(**settings)
  clip = generator.make_clip(seed, number, settings, render=False)
  side = record_format.frame_side(record.frames[0]) if record.frames else 0

  def in_record(points: np.ndarray) -> np.ndarray:  # [F, n, 2]
    if not side:  # there is no crop
      return points
    return crop.to_crop(points[:, None], record.boxes, side)[:, 0]

  joints = in_record(clip.image_joints)
  same = clip.name == record.name and joints.shape == record.image_joints[:, 0].shape
  if not same or not np.allclose(joints, record.image_joints[:, 0], atol=0.01):
    raise ValueError(
      f"{record.name} is not what the generator makes of seed {seed} now: run "
      "--job=prepare again into another folder, and train on that."
    )
  return GroundTruth(clip.acting, joints, in_record(clip.object_position[:, None]))
