"""The bodies of synthetic people, and forward kinematics from a plan to 25 joints.

World axes: y up, the floor at y = 0; a person at yaw 0 faces +z, with the left side at
+x. Axes of the trunk: x left, y up, z forward, with the origin at joint 20, the spine
at the shoulders. Units are metres, radians and seconds.
"""

import dataclasses

import numpy as np

NUM_JOINTS = 25  # Kinect v2, 0-based; see `skeletons.py` for the names
LEFT, RIGHT = 0, 1  # first axis of paired arrays
SIGN = np.array([1.0, -1.0])  # +x is the person's left


@dataclasses.dataclass(frozen=True)
class Body:
  """The lengths of a subject in metres, and its style of moving.

  Attributes:
    scale: stature / 1.75 m; scales every target of a script.
    girth: scales the radius of every limb.
    tempo: scales the speed of every movement.
    vigour: scales the size of every repeated movement.
  """

  scale: float
  trunk: float
  shoulder: float
  hip: float
  upper_arm: float
  forearm: float
  thigh: float
  shin: float
  girth: float
  tempo: float
  vigour: float


@dataclasses.dataclass
class Plan:
  """The targets of a script for each of F frames; `skeleton` turns them into joints.

  Attributes:
    root: pelvis in the world, [F, 3].
    yaw, lean, tilt: of the trunk, [F]; lean is forward, tilt to the side.
    nod, turn: of the head relative to the trunk, [F].
    palm: targets of the palms, trunk axes, [2, F, 3].
    hand, thumb: directions of fingers and thumbs, trunk axes, [2, F, 3].
    pole: directions of the elbows, trunk axes, [2, 1, 3].
    ankle: targets of the ankles, relative to the point on the floor below the pelvis,
      [2, F, 3].
    toes: pitch of the feet, positive is toes down, [2, F].
  """

  root: np.ndarray
  yaw: np.ndarray
  lean: np.ndarray
  tilt: np.ndarray
  nod: np.ndarray
  turn: np.ndarray
  palm: np.ndarray
  hand: np.ndarray
  thumb: np.ndarray
  pole: np.ndarray
  ankle: np.ndarray
  toes: np.ndarray


def make_body(rng: np.random.Generator) -> Body:
  """Draws a subject: stature 1.55 to 1.85 m, proportions varied by a few per cent."""
  scale = rng.uniform(1.55, 1.85) / 1.75
  near_one = rng.normal(1, 0.03, 7).clip(0.93, 1.07)
  lengths = scale * near_one * (0.47, 0.18, 0.09, 0.29, 0.25, 0.42, 0.42)
  return Body(
    scale,
    *lengths,
    girth=rng.uniform(0.9, 1.25),
    tempo=rng.uniform(0.85, 1.15),
    vigour=rng.uniform(0.8, 1.2),
  )


def rotation(yaw=0.0, pitch=0.0, roll=0.0) -> np.ndarray:
  """Rotation matrices [..., 3, 3]: roll about z, then pitch about x, then yaw about y.

  Positive yaw turns forward to the left, positive pitch bends up towards forward,
  positive roll bends up towards the right. Arguments broadcast.
  """
  yaw, pitch, roll = np.broadcast_arrays(yaw, pitch, roll)
  (cy, cp, cr), (sy, sp, sr) = (
    [g(a) for a in (yaw, pitch, roll)] for g in (np.cos, np.sin)
  )
  rows = [
    [cy * cr + sy * sp * sr, sy * sp * cr - cy * sr, sy * cp],
    [cp * sr, cp * cr, -sp],
    [cy * sp * sr - sy * cr, sy * sr + cy * sp * cr, cy * cp],
  ]
  return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def skeleton(body: Body, plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Forward kinematics; bones keep their lengths whatever the plan is.

  Args:
    body: lengths.
    plan: targets; limbs stretch towards those out of reach.
  Returns:
    joints [F, 25, 3], axes of the trunk and of the head [F, 3, 3], in the world.
  """
  k = body.scale
  heading = rotation(plan.yaw)
  trunk = rotation(plan.yaw, plan.lean, plan.tilt)
  head = trunk @ rotation(plan.turn, plan.nod)
  joints = np.empty((len(plan.root), NUM_JOINTS, 3))
  joints[:, 0] = plan.root
  joints[:, 1] = plan.root + trunk[..., 1] * (0.55 * body.trunk)
  joints[:, 20] = chest = plan.root + trunk[..., 1] * body.trunk
  joints[:, 2] = neck = chest + apply(trunk, (0, 0.08 * k, 0))
  joints[:, 3] = neck + apply(head, (0, 0.13 * k, 0.02 * k))
  for side, sign in enumerate(SIGN):
    arm, leg, tip = 4 + 4 * side, 12 + 4 * side, 21 + 2 * side
    hand = apply(trunk, unit(plan.hand[side]))
    shoulder = chest + apply(trunk, (sign * body.shoulder, -0.04 * k, 0))
    wrist = chest + apply(trunk, plan.palm[side]) - 0.08 * k * hand
    pole = apply(trunk, plan.pole[side])
    elbow, wrist = _two_bones(shoulder, wrist, pole, body.upper_arm, body.forearm)
    palm = wrist + 0.08 * k * hand
    thumb = apply(trunk, plan.thumb[side])
    thumb = unit(thumb - _dot(thumb, hand) * hand)
    joints[:, arm] = shoulder
    joints[:, arm + 1] = elbow
    joints[:, arm + 2] = wrist
    joints[:, arm + 3] = palm
    joints[:, tip] = palm + 0.08 * k * hand
    joints[:, tip + 1] = palm + 0.1 * k * thumb
    hip = plan.root + apply(heading, (sign * body.hip, -0.04 * k, 0))
    floor = plan.root * (1, 0, 1)
    ankle = floor + apply(heading, plan.ankle[side])
    pole = apply(heading, (sign * 0.12, 0.35, 1))
    knee, ankle = _two_bones(hip, ankle, pole, body.thigh, body.shin)
    foot = heading @ rotation(sign * 0.2, plan.toes[side])
    joints[:, leg] = hip
    joints[:, leg + 1] = knee
    joints[:, leg + 2] = ankle
    joints[:, leg + 3] = ankle + apply(foot, (0, -0.05 * k, 0.13 * k))
  return joints, trunk, head


def apply(axes, vectors):
  """Multiplies matrices [F, 3, 3] by vectors [F, 3] or [3]."""
  return np.einsum("fij,fj->fi", axes, np.broadcast_to(vectors, axes.shape[:2]))


def _dot(a, b):
  return np.sum(a * b, axis=-1, keepdims=True)


def unit(v):
  return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _two_bones(start, end, pole, first, second):
  """The joint between two bones of fixed length, and the end within their reach."""
  reach = end - start
  distance = np.linalg.norm(reach, axis=-1, keepdims=True)
  u = reach / np.maximum(distance, 1e-9)
  d = distance.clip(abs(first - second) + 0.02, 0.998 * (first + second))
  along = (first**2 - second**2 + d**2) / (2 * d)
  across = np.sqrt(np.maximum(first**2 - along**2, 0))
  return start + along * u + across * unit(pole - _dot(pole, u) * u), start + d * u
