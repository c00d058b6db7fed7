"""What synthetic people do: a script for each action or pair of actions.

Two actions that look alike share a script and differ by its keyword arguments alone.
Scripts use the axes of the trunk (`kinematics.py`), independent of the size, position
and heading of the body.
"""

import functools

import numpy as np

from vpn_jax.datasets.synthetic.kinematics import (
  LEFT,
  RIGHT,
  SIGN,
  apply,
  rotation,
  unit,
)


def _ramp(x):
  """0 below 0, 1 above 1, smooth in between."""
  x = np.clip(x, 0, 1)
  return x * x * (3 - 2 * x)


def _pulse(phase):
  """Once per unit of phase: from 0 up to 1, a while there, and down."""
  return _ramp(0.5 + 1.1 * np.sin(2 * np.pi * phase - np.pi / 2))


def drift(rng, t, size, channels):
  """A slow aimless movement of about `size`, [channels, F]."""
  rate = rng.uniform(0.1, 0.9, (3, channels, 1))
  start = rng.uniform(0, 7, (3, channels, 1))
  return size * 0.8 * np.sin(2 * np.pi * rate * t + start).sum(0)


def _blend(plan, side, amount, palm=None, hand=None, thumb=None):
  """Moves an arm of the plan towards targets by `amount` [F] (0 stays, 1 arrives)."""
  amount = np.broadcast_to(amount, plan.root.shape[:1])[:, None]
  for name, target in (("palm", palm), ("hand", hand), ("thumb", thumb)):
    if target is not None:
      here = getattr(plan, name)[side]
      getattr(plan, name)[side] = (1 - amount) * here + amount * np.asarray(target)


def _elbow_out(plan, side, amount=1.0):
  """Points an elbow sideways, for hands near the head."""
  plan.pole[side] += amount * np.array([0.6 * SIGN[side], 0.5, 0.3])


def _near_head(body, plan, offset):
  """A point fixed to the head, in axes of the trunk, [F, 3]."""
  axes = rotation(plan.turn, plan.nod)
  centre = np.array([0, 0.13, 0.02]) + offset
  return body.scale * ((0, 0.08, 0) + apply(axes, centre))


# ---- scripts, which change the plan and return (name, centre, axes) of a held object


def _hands_together(plan, rng, body, t, *, rub):
  """Clap or rub hands: at one position and rhythm, hands separate or slide."""
  k = body.scale
  centre = k * np.array([rng.normal(0, 0.03), rng.uniform(-0.3, -0.1), 0.3])
  amount = _ramp((t - rng.uniform(-0.6, 0.3)) / 0.35)
  rate, start = rng.uniform(1.6, 2.5) * body.tempo, rng.uniform(0, 1)
  size = rng.uniform(0, 1)
  wave = np.sin(2 * np.pi * (rate * t + start))
  for side, sign in enumerate(SIGN):
    hand = np.array([-0.25 * sign, rng.uniform(0.2, 0.7), 0.8])
    if rub:
      stroke = body.vigour * (0.025 + 0.02 * size)
      shift = sign * stroke * wave[:, None] * unit(hand * (0, 1, 1))
      apart = np.full_like(t, 0.028)
    else:
      shift = 0.0
      apart = 0.028 + body.vigour * (0.05 + 0.06 * size) * (0.5 + 0.5 * wave)
    palm = centre + shift + np.outer(sign * apart, (1, 0, 0))
    _blend(plan, side, amount, palm, hand, (0, 1, -0.4))
  plan.nod += 0.15 * amount


def spring(plan, rng, body, t, *, one_foot):
  """Hop or jump: at one rhythm and height (by gravity), on one foot or both."""
  k = body.scale
  rate, start = rng.uniform(1.35, 1.9) * body.tempo**0.5, rng.uniform(0, 1)
  phase = (rate * t + start) % 1
  flight = 2 * phase  # the first half of each period is in the air
  height = 9.8 * (0.5 / rate) ** 2 / 8
  air = np.where(flight < 1, 4 * flight * (1 - flight), 0) * height
  crouch = np.where(flight > 1, np.sin(np.pi * (flight - 1)), 0)
  depth = 0.07 * k * body.vigour
  plan.root[:, 1] += air - 0.02 - depth * crouch
  plan.lean += 0.1 + 0.12 * crouch
  plan.ankle[..., 1] += air
  plan.toes += 0.8 * (air / height) ** 0.5
  lifted, lift, back = rng.integers(2), rng.uniform(0.12, 0.28), rng.uniform(0.1, 0.25)
  swing, raised = rng.uniform(0.03, 0.12), rng.uniform(-0.45, -0.25)
  if one_foot:
    plan.ankle[lifted, :, 1] += lift * k
    plan.ankle[lifted, :, 2] -= back * k
    plan.toes[lifted] += 0.5
    plan.ankle[1 - lifted, :, 0] *= 0.4  # the standing foot under the body
  for side, sign in enumerate(SIGN):
    rise = raised + swing * (air / height - crouch)
    palm = np.stack([0 * t + 0.3 * sign, rise, 0.16 - 0.5 * swing * crouch], -1) * k
    _blend(plan, side, 0.9, palm, (0.1 * sign, -0.3, 1), (-1 * sign, 0.3, 0))


def _drink(plan, rng, body, t, *, vessel):
  """Lifts a vessel to the mouth, tilts and lowers it, whichever it is."""
  k, side = body.scale, rng.integers(2)
  sign = SIGN[side]
  sip = _pulse(rng.uniform(0.38, 0.6) * body.tempo * t + rng.uniform(-0.1, 0.45))
  plan.nod += -0.25 * sip * rng.uniform(0.5, 1.2)
  plan.turn *= 1 - 0.7 * sip
  low = k * np.array(
    [sign * rng.uniform(0.08, 0.25), rng.uniform(-0.38, -0.2), rng.uniform(0.28, 0.38)]
  )
  mouth = _near_head(body, plan, np.array([0.02 * sign, -0.13, 0.18]))
  centre = low + sip[:, None] * (mouth - low)
  tip = sip**2 * rng.uniform(0.5, 0.9) + rng.normal(0, 0.05)
  hand = (-0.45 * sign, 0.25, 0.8)
  _blend(plan, side, 1, centre + k * np.array([0.06 * sign, -0.01, -0.02]), hand)
  _blend(plan, side, 1, thumb=(-0.5 * sign, 0.5, -0.3))
  _elbow_out(plan, side, rng.uniform(0.6, 1.2))
  spin = rng.uniform(-0.9, 0.9) + (np.pi if side == RIGHT else 0)
  return vessel, centre, rotation(0 * t, -tip) @ rotation(spin)


def _look_at(plan, rng, body, t, *, thing):
  """Holds a thing and looks at it; now and then, a hand passes over it."""
  k, free, both = body.scale, rng.integers(2), rng.random() < 0.6
  tilt = rng.uniform(0.15, 0.85)
  centre = k * np.array([rng.normal(0, 0.03), rng.uniform(-0.3, -0.16), 0.34])
  centre = centre + drift(rng, t, 0.008, 3).T
  plan.nod += rng.uniform(0.3, 0.5)
  plan.turn *= 0.5
  axes = rotation(0 * t + rng.normal(0, 0.1), -tilt) @ _FACE_UP
  width, top = axes[..., 0], axes[..., 1]
  pass_by = _pulse(rng.uniform(0.5, 0.8) * body.tempo * t + rng.uniform(0, 1))
  for side, sign in enumerate(SIGN):
    edge = centre - sign * 0.17 * k * width - 0.03 * k * top
    edge = edge - np.array([0, 0.02 * k, 0])
    hand, thumb = (-0.35 * sign, 0.15, 0.9), (-0.6 * sign, 0.6, 0.2)
    if side != free:
      _blend(plan, side, 1, edge, hand, thumb)
      continue
    if both:
      _blend(plan, side, 1, edge, hand, thumb)
    over = centre - sign * 0.1 * k * width + 0.07 * k * np.array([0, 1, -0.5])
    over = over + np.outer(0.1 * k * np.sin(2.5 * np.pi * pass_by), (-sign, 0, 0))
    _blend(plan, side, pass_by, over, (-0.5 * sign, -0.1, 0.8), thumb)
  return thing, centre, axes


def _to_head(plan, rng, body, t, *, hands):
  """Raises both hands with headphones to the head, or one hand to the hair."""
  k, leading = body.scale, rng.integers(2)
  sides = (LEFT, RIGHT) if hands == 2 else (leading,)
  begin, speed = rng.uniform(-0.1, 0.4), body.tempo * rng.uniform(0.85, 1.2)
  clock = (t - begin) * speed
  up = _ramp(clock / 0.6)
  down = _ramp((clock - rng.uniform(1.3, 1.8)) / 0.6)
  low = np.array([0.11, rng.uniform(-0.32, -0.1), 0.3])
  stroke = _pulse((clock - 0.6) / rng.uniform(0.6, 0.8)) * (clock > 0.6) * (1 - down)
  plan.tilt += 0.08 * SIGN[leading] * up * (1 - down) * rng.uniform(-1, 1)
  plan.nod += 0.1 * up * (1 - down)
  for side in sides:
    sign = SIGN[side]
    _elbow_out(plan, side)
    if hands == 2:
      _blend(plan, side, 1 - down, k * low * (sign, 1, 1), (-0.1 * sign, 0.6, 0.8))
      ear = _near_head(body, plan, np.array([0.14 * sign, -0.03, 0.01]))
      ear = ear + np.outer(0.015 * k * stroke, (0, 1, 0))
      _blend(plan, side, up * (1 - down), ear, (-0.1 * sign, 1, 0.1), (-sign, 0, 1))
    else:
      front = _near_head(body, plan, np.array([0.12 * sign, 0.02, 0.08]))
      sweep = np.outer(k * stroke, (0.05 * sign, -0.03, -0.15))
      reach = up * (1 - down)
      _blend(plan, side, reach, front + sweep, (-0.2 * sign, 1, -0.3), (-sign, 0, 1))
  if hands == 1:
    return None
  held = (plan.palm[LEFT] + plan.palm[RIGHT]) / 2
  worn = _near_head(body, plan, np.array([0, -0.02, 0]))
  on = _ramp((clock - 0.45) / 0.15)[:, None]
  axes = rotation(plan.turn, plan.nod) * on[..., None]
  axes += rotation(0 * t, 0.5) * (1 - on[..., None])
  return "headphones", held + on * (worn - held), axes


def _wave(plan, rng, body, t, *, hands):
  """Waves with one raised hand or with both."""
  k, leading = body.scale, rng.integers(2)
  rate, start = rng.uniform(1.2, 2.0) * body.tempo, rng.uniform(0, 1)
  size = rng.uniform(0.06, 0.13) * body.vigour
  place = np.array([rng.uniform(0.3, 0.42), rng.uniform(0.0, 0.24), 0.2])
  amount = _ramp((t - rng.uniform(-0.6, 0.4)) / 0.45)
  mirrored = rng.choice([-1, 1])
  for side in (LEFT, RIGHT) if hands == 2 else (leading,):
    sign = SIGN[side]
    wave = np.sin(2 * np.pi * (rate * t + start))
    wave = wave * (1 if side == leading else mirrored)
    _elbow_out(plan, side, 0.5)
    palm = k * (place * (sign, 1, 1) + np.outer(size * wave, (1, 0, 0)))
    hand = np.stack([0.7 * wave, 0 * t + 1, 0 * t + 0.15], -1)
    _blend(plan, side, amount, palm, hand, (-sign, 0.2, 0))


def _thumb(plan, rng, body, t, *, up):
  """Holds out a fist with the thumb up or down."""
  k, side = body.scale, rng.integers(2)
  sign = SIGN[side]
  amount = _ramp((t - rng.uniform(-0.5, 0.4)) / 0.4)
  palm = [
    sign * rng.uniform(0.16, 0.34),
    rng.uniform(-0.2, 0.02),
    rng.uniform(0.36, 0.46),
  ]
  bob = np.sin(2 * np.pi * (rng.uniform(0.7, 1.8) * body.tempo * t + rng.random()))
  bob = np.outer(rng.uniform(0, 0.025) * body.vigour * bob, (0, 1, 0))
  hand = (-0.9 * sign, rng.normal(0, 0.15), rng.uniform(0.3, 0.7))
  _blend(plan, side, amount, k * (np.array(palm) + bob), hand)
  plan.thumb[side] = (-0.2 * sign, 0, 1)
  turned = _ramp((t - rng.uniform(-0.3, 0.5)) / 0.3)
  _blend(plan, side, turned, thumb=(rng.normal(0, 0.15), 1 if up else -1, 0.1))


# Turns an object's x, y, z (width, top, towards the reader) to one that lies flat.
_FACE_UP = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])

ACTIONS = {
  "clap": functools.partial(_hands_together, rub=False),
  "rub hands": functools.partial(_hands_together, rub=True),
  "hop": functools.partial(spring, one_foot=True),
  "jump up": functools.partial(spring, one_foot=False),
  "drink from cup": functools.partial(_drink, vessel="cup"),
  "drink from can": functools.partial(_drink, vessel="can"),
  "read a book": functools.partial(_look_at, thing="book"),
  "use a tablet": functools.partial(_look_at, thing="tablet"),
  "put on headphones": functools.partial(_to_head, hands=2),
  "flick hair": functools.partial(_to_head, hands=1),
  "wave with one hand": functools.partial(_wave, hands=1),
  "wave with two hands": functools.partial(_wave, hands=2),
  "thumb up": functools.partial(_thumb, up=True),
  "thumb down": functools.partial(_thumb, up=False),
}
