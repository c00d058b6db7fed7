"""What acts in a made-up clip, and where: what an explanation of it is held against."""

import dataclasses

import numpy as np

from vpn_jax.datasets.synthetic import generator
from vpn_jax.records import crop, record_format, store


@dataclasses.dataclass(frozen=True)
class Truth:
  """Of all frames of a record.

  Attributes:
    acting: which joints do the action, bool [F, J].
    joints: x, y of all joints in pixels of the record's frames, float [F, J, 2].
    held: the same of the object in hand, float [F, 1, 2]; NaN without one.
  """

  acting: np.ndarray
  joints: np.ndarray
  held: np.ndarray


def unknown(index: store.Index) -> str:
  """Why the records have no truth; "" when they have one."""
  if index.dataset == "synthetic":
    return ""
  return (
    f"of {index.dataset} clips nobody knows which joints and objects act, and where"
  )


def of(record: record_format.Record, index: store.Index) -> Truth:
  """Makes the clip of a record again, and takes its truth to the record's frames.

  Args:
    record: of a made-up clip; its name has the clip's number.
    index: of its records; `source` has the seed and the settings.
  Raises: ValueError when the generator makes another clip by now.
  """
  settings = dict(index.source)
  seed = settings.pop("seed")
  number = int(record.name[1:].partition("_")[0])
  clip = generator.make_clip(seed, number, generator.Settings(**settings))
  side = record_format.frame_side(record.frames[0])

  def in_record(points: np.ndarray) -> np.ndarray:  # [F, n, 2]
    return crop.to_crop(points[:, None], record.boxes, side)[:, 0]

  joints = in_record(clip.image_joints)
  same = clip.name == record.name and joints.shape == record.image_joints[:, 0].shape
  if not same or not np.allclose(joints, record.image_joints[:, 0], atol=0.01):
    raise ValueError(
      f"{record.name} is not what the generator makes of seed {seed} now: run "
      "--job=prepare again into another folder, and train on that."
    )
  return Truth(clip.acting, joints, in_record(clip.object_position[:, None]))
