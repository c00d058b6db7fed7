"""The motion of synthetic people: a body at rest, moved by the script of an action."""

import dataclasses

import numpy as np

from vpn_jax.datasets.synthetic import scripts
from vpn_jax.datasets.synthetic.kinematics import (
  LEFT,
  NUM_JOINTS,
  RIGHT,
  SIGN,
  Body,
  Plan,
  apply,
  skeleton,
)

# Joints beyond the elbow and beyond the knee, by side.
ARM_ENDS = ((6, 7, 21, 22), (10, 11, 23, 24))
LEG_ENDS = ((14, 15), (18, 19))


@dataclasses.dataclass(frozen=True)
class Motion:
  """A movement in the world.

  Attributes:
    joints: [F, 25, 3].
    head_axes: columns left, up, forward of the head, [F, 3, 3].
    object_name: of the object in hand, or None.
    object_centre: [F, 3], NaN when nothing is held.
    object_axes: columns are the object's own x, y, z in the world, [F, 3, 3].
    seat: (x, y, z, yaw) of the chair, or None when standing.
    acting: whether a joint performs the action, bool [F, 25]: the ends of limbs.
  """

  joints: np.ndarray
  head_axes: np.ndarray
  object_name: str | None
  object_centre: np.ndarray
  object_axes: np.ndarray
  seat: tuple[float, float, float, float] | None
  acting: np.ndarray


def make_motion(
  rng: np.random.Generator, action: str, body: Body, num_frames: int, fps: float
) -> Motion:
  """Draws one performance of an action.

  Args:
    rng: of all choices. Two actions of an object pair give equal joints from equal
      generators.
    action: a key of `scripts.ACTIONS`.
    body: of the performer.
    num_frames: F.
    fps: frames per second.
  Returns: the motion, [F, ...] arrays.
  Raises: ValueError for an unknown action.
  """
  if action not in scripts.ACTIONS:
    known = ", ".join(scripts.ACTIONS)
    raise ValueError(
      f"got action {action!r}, expected one of {known}: pick one of these."
    )
  script = scripts.ACTIONS[action]
  t = np.arange(num_frames) / fps
  plan, seat = _at_rest(rng, body, t, may_sit=script.func is not scripts.spring)
  idle = plan.palm.copy()
  held = script(plan, rng, body, t)
  acting = _acting(idle, plan.palm, legs=script.func is scripts.spring)
  joints, trunk, head = skeleton(body, plan)
  name, centre, axes = None, np.full((num_frames, 3), np.nan), trunk
  if held is not None:
    name, centre, axes = held
    centre = joints[:, 20] + apply(trunk, centre)
    axes = trunk @ axes
  return Motion(joints, head, name, centre, axes, seat, acting)


def _acting(idle: np.ndarray, palm: np.ndarray, legs: bool) -> np.ndarray:
  """Finds the joints that perform the action by what its script has changed.

  Args:
    idle, palm: `Plan.palm` before and after the script, [2, F, 3].
    legs: whether both legs act all the time, whatever the arms do.
  Returns: bool [F, 25], the ends of these legs, or of the arms that are not idle.
  """
  acting = np.zeros((palm.shape[1], NUM_JOINTS), bool)
  ends = LEG_ENDS if legs else ARM_ENDS
  for side in (LEFT, RIGHT):
    moved = (idle[side] != palm[side]).any(axis=-1, keepdims=True)
    acting[:, ends[side]] = moved | legs
  return acting


def _at_rest(rng, body, t, may_sit):
  """Stands or sits with idle arms, sways and looks around a little."""
  k, f = body.scale, len(t)
  sits = rng.random() < 0.4 and may_sit
  place = rng.uniform(-0.12, 0.12, 2)
  yaw = rng.uniform(-0.52, 0.52)
  sway = scripts.drift(rng, t, 0.01, 6)
  spread, stagger, toes = rng.uniform(0.08, 0.15), rng.normal(0, 0.04), np.zeros((2, f))
  root = np.empty((f, 3))
  ankle = np.empty((2, f, 3))
  if sits:
    seat_height = 0.46 * k
    root[:] = np.array([place[0], seat_height + 0.11 * k, place[1] - 0.25])
    ankle[:] = np.array([spread, 0.09, rng.uniform(0.34, 0.46)]) * k
    lean = rng.uniform(-0.12, 0.12)
    seat = (place[0], seat_height, place[1] - 0.25, yaw)
  else:
    height = 0.09 * k + 0.04 * k + 0.985 * (body.thigh + body.shin)
    root[:] = np.array([place[0], height, place[1]])
    root[:, [0, 2]] += sway[:2].T
    ankle[:] = np.array([spread, 0.09, 0]) * k
    ankle[:, :, 2] += stagger * SIGN[:, None]
    lean, seat = rng.normal(0.02, 0.03), None
  ankle[..., 0] *= SIGN[:, None]
  palm, hand, thumb = np.empty((3, 2, f, 3))
  for side, sign in enumerate(SIGN):
    habit = rng.random()
    if sits and habit < 0.75:  # on the thigh
      palm[side], hand[side] = (0.15 * sign, -0.40, 0.30), (-0.3 * sign, -0.1, 1)
    elif habit < 0.6 or sits:  # hanging
      palm[side], hand[side] = (0.27 * sign, -0.62, 0.06), (0, -1, 0.2)
    elif habit < 0.8:  # at the belt
      palm[side], hand[side] = (0.12 * sign, -0.42, 0.17), (-0.8 * sign, -0.2, 0.5)
    else:  # forearm half raised
      palm[side], hand[side] = (0.25 * sign, -0.35, 0.28), (-0.2 * sign, 0.1, 1)
    thumb[side] = (-0.5 * sign, 0.4, 0.5)
    palm[side] += rng.normal(0, 0.02, 3)
  palm *= k
  palm += scripts.drift(rng, t, 0.006, 6).reshape(2, 3, f).transpose(0, 2, 1)
  pole = np.array([0.5, -1, -0.4]) + rng.normal(0, 0.12, (2, 1, 3))
  pole[..., 0] *= SIGN[:, None]
  look = scripts.drift(rng, t, 0.06, 2) + rng.normal(0, 0.15, (2, 1))
  plan = Plan(
    root=root,
    yaw=yaw + sway[2] * 2,
    lean=lean + sway[3],
    tilt=sway[4],
    nod=0.05 + 0.5 * look[0],
    turn=look[1],
    palm=palm,
    hand=hand,
    thumb=thumb,
    pole=pole,
    ankle=ankle,
    toes=toes,
  )
  return plan, seat
