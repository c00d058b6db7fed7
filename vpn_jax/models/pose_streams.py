"""What a network is shown of poses: joints, bones or motion, and in which size."""

import jax
import jax.numpy as jnp
import numpy as np

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
SCALES = ("none", "torso")
COORDINATES = ("world", "image")
# A shorter torso has no size; metres, or parts of the box of an image's joints.
SHORTEST = 0.01


def stream(
  pose: jax.Array, parents: np.ndarray, which: str, coordinates: str = "world"
) -> jax.Array:
  """Joints, bones, or how either moves to the next step.

  Args:
    pose: float [B, S, persons*J, 3], people one after the other; zeros where a person
      was not seen. With "image", x, y and the score of each joint, three zeros where it
      was not seen.
    parents: int [J], of `Skeleton.parents`.
    which: "joint" for the pose itself; "bone" for each joint minus its parent, zero for
      the root; "joint_motion" and "bone_motion" for the next step minus this one, zero
      at the last.
    coordinates: "world" or "image".
  Returns: the same shape. Differences to what was not seen, and of it, are zero; those
    in space know only persons, since a single joint that is lost lies at zero there.
    Scores are those of the joints.
  Raises: ValueError for an unknown stream (at trace time).
  Source: joints and bones, 2s-AGCN (Shi et al., CVPR 2019); motion, MS-AAGCN (Shi et
    al., IEEE TIP 2020).
  """
  if which not in STREAMS:
    raise ValueError(
      f"config.model.pose.stream is {which!r}, expected one of {STREAMS}: choose one."
    )
  if which == "joint":
    return pose
  b, s, joints, _ = pose.shape
  people = pose.reshape(b, s, -1, len(parents), 3)
  if coordinates == "image":
    x, scores = people[..., :2], people[..., 2:]
    seen = scores > 0
  else:
    x, scores = people, people[..., :0]
    seen = (people != 0).any(axis=(3, 4), keepdims=True)
  seen = jnp.broadcast_to(seen, (*x.shape[:-1], 1))
  if which.startswith("bone"):
    known = seen & seen[:, :, :, parents]
    x = jnp.where(known, x - x[:, :, :, parents], 0)
  if which.endswith("motion"):
    known = seen[:, 1:] & seen[:, :-1]
    moved = jnp.where(known, x[:, 1:] - x[:, :-1], 0)
    x = jnp.pad(moved, ((0, 0), (0, 1), (0, 0), (0, 0), (0, 0)))
  return jnp.concatenate([x, scores], axis=-1).reshape(b, s, joints, 3)


def scale_by_torso(
  pose: jax.Array,
  hips: tuple[int, int],
  shoulders: tuple[int, int],
  coordinates: str = "world",
) -> jax.Array:
  """Divides a clip by the length of the main actor's torso.

  It is the distance from the middle of the hips to that of the shoulders, the median
  over the steps that show them. All people are divided by it, so that their sizes and
  distances still compare. A clip without a torso stays as it is.

  Args:
    pose, coordinates: as for `stream`; scores are not divided.
    hips, shoulders: joints of the main actor.
  Returns: the same shape.
  """
  x = pose[..., :2] if coordinates == "image" else pose
  ends = [x[:, :, jnp.array(pair)] for pair in (hips, shoulders)]  # [B, S, 2, X]
  length = jnp.linalg.norm(ends[0].mean(axis=2) - ends[1].mean(axis=2), axis=-1)
  known = [(end != 0).any(axis=-1).all(axis=-1) for end in ends]  # both joints
  seen = (length > SHORTEST) & known[0] & known[1]
  median = jnp.nanmedian(jnp.where(seen, length, jnp.nan), axis=1)
  median = jnp.where(seen.any(axis=1), median, 1.0)[:, None, None, None]
  return jnp.concatenate([x / median, pose[..., x.shape[-1] :]], axis=-1)
