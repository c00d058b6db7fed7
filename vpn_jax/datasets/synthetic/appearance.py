"""The appearance of synthetic people: limbs as tapered capsules, clothes, hair, a face.

The outlines of all frames are computed at once; `Figure.draw` paints one frame, the far
parts first.
"""

import dataclasses

import cv2
import numpy as np

from vpn_jax.datasets.synthetic import rendering as draw

# (name, first joint, last joint, radius at each in metres); for colours see `_colour`.
LIMBS = (
  ("pelvis", 12, 16, 0.095, 0.095),
  ("thigh", 12, 13, 0.085, 0.06),
  ("thigh", 16, 17, 0.085, 0.06),
  ("shin", 13, 14, 0.06, 0.042),
  ("shin", 17, 18, 0.06, 0.042),
  ("foot", 14, 15, 0.05, 0.038),
  ("foot", 18, 19, 0.05, 0.038),
  ("upper arm", 4, 5, 0.055, 0.045),
  ("upper arm", 8, 9, 0.055, 0.045),
  ("forearm", 5, 6, 0.043, 0.033),
  ("forearm", 9, 10, 0.043, 0.033),
  ("hand", 6, 7, 0.034, 0.042),
  ("hand", 10, 11, 0.034, 0.042),
  ("hand", 7, 21, 0.04, 0.024),
  ("hand", 11, 23, 0.04, 0.024),
  ("hand", 7, 22, 0.028, 0.024),
  ("hand", 11, 24, 0.028, 0.024),
  ("neck", 20, 3, 0.058, 0.05),
)
TORSO = (4, 8, 12, 16)
_CAP = np.linspace(0, 1, 6)


@dataclasses.dataclass(frozen=True)
class Look:
  """Skin, hair and clothes; colours are RGB."""

  skin: tuple
  hair: tuple
  style: str  # short, long, bun, cap or bald
  shirt: tuple
  trim: tuple
  pattern: str  # plain, stripes or print
  trousers: tuple
  shoes: tuple
  sleeves: bool
  shorts: bool


def make_look(tendency: np.random.Generator, rng: np.random.Generator) -> Look:
  """Draws skin and hair mostly by subject (`tendency`), clothes by clip (`rng`)."""
  tone = np.clip(tendency.random() + rng.normal(0, 0.05), 0, 1)
  skin = (1 - tone) * np.array([238, 196, 168]) + tone * np.array([112, 72, 50])
  hair = np.array(((35, 28, 25), (80, 52, 34), (165, 120, 70), (150, 150, 150)))
  hair = hair[tendency.integers(4)] * rng.uniform(0.85, 1.15)
  style = tendency.choice(["short", "short", "long", "bun", "bald"])
  if rng.random() < 0.15:
    style = "cap"
  return Look(
    skin=tuple(skin.tolist()),
    hair=tuple(hair.tolist()),
    style=str(style),
    shirt=draw.any_colour(rng),
    trim=draw.any_colour(rng),
    pattern=str(rng.choice(["plain", "plain", "stripes", "print"])),
    trousers=draw.any_colour(rng, 0.4),
    shoes=draw.any_colour(rng, 0.6),
    sleeves=bool(rng.random() < 0.55),
    shorts=bool(rng.random() < 0.25),
  )


class Figure:
  """A person with the object in hand, ready to be drawn frame by frame.

  Args:
    camera: of the image.
    look: colours.
    girth: scales every radius.
    motion: joints and object in the world, F frames.
    held: parts of the object in hand; empty without one.
    floor: colour of the floor, for the shadow.
  """

  def __init__(self, camera, look, girth, motion, held, floor):
    joints = camera.view(motion.joints)
    self.look, self.floor = look, draw.shade(floor, 0.72)
    self.pixels = draw.project(joints, camera.focal, camera.centre)
    scale = camera.focal / joints[..., 2]  # pixels per metre, [F, 25]
    first, last = np.array([limb[1:3] for limb in LIMBS]).T
    radius = np.array([limb[3:] for limb in LIMBS]) * girth**0.5
    ends = self.pixels[:, first], self.pixels[:, last]
    radii = radius[:, 0] * scale[:, first], radius[:, 1] * scale[:, last]
    depth = (joints[:, first, 2] + joints[:, last, 2]) / 2
    self.limbs = _fixed(capsule(*ends, *radii))
    # Lit from above left: a lighter, thinner capsule inside each limb.
    up = np.array([-0.22, -0.3])
    lit = [e + r[..., None] * up for e, r in zip(ends, radii, strict=True)]
    self.lit = _fixed(capsule(*lit, 0.55 * radii[0], 0.55 * radii[1]))
    colours = [_colour(look, limb[0]) for limb in LIMBS]
    self.dark = [draw.shade(c, 0.78) for c in colours]
    self.bright = [draw.shade(c, 1.08) for c in colours]
    self._torso(joints, scale, girth)
    self.head = draw.place(_head(look), camera, motion.joints[:, 3], motion.head_axes)
    shadow = draw.ring(0.28, 0.003)
    root = motion.joints[:, 0] * (1, 0, 1)
    self.shadow = draw.place(
      [draw.Patch(shadow, self.floor, "hull")], camera, root, np.eye(3)
    )
    self.held, things = [], [depth]
    things.append(joints[:, [0, 1, 20], 2].mean(1, keepdims=True) + 0.08)
    things.append(joints[:, 3:4, 2] - 0.03)
    for part in held:
      where = part[0].points.mean(0)
      self.held.append(
        draw.place(part, camera, motion.object_centre, motion.object_axes)
      )
      where = motion.object_centre + motion.object_axes @ where
      things.append(camera.view(where)[:, 2:] - 0.05)
    self.order = np.argsort(-np.concatenate(things, axis=1), axis=1).tolist()

  def _torso(self, joints, scale, girth):
    """Outlines the trunk: the hull of balls at the shoulders and the hips."""
    a = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    circle = np.stack([np.cos(a), np.sin(a)], -1)
    radius = np.array([0.065, 0.065, 0.1, 0.1]) * girth
    size = (radius * scale[:, TORSO])[..., None, None]
    outline = self.pixels[:, TORSO, None] + size * circle
    self.torso = _fixed(outline.reshape(len(joints), -1, 2))
    inner = self.pixels[:, TORSO, None] + size * (0.6 * circle + (-0.15, -0.2))
    self.torso_lit = _fixed(inner.reshape(len(joints), -1, 2))
    corners = self.pixels[:, TORSO]  # for stripes and prints, [F, 4, 2]
    s = np.array([0.25, 0.5, 0.75])[:, None]
    left = corners[:, None, 0] * (1 - s) + corners[:, None, 2] * s
    right = corners[:, None, 1] * (1 - s) + corners[:, None, 3] * s
    self.stripes = _fixed(np.stack([left, right], axis=2))  # [F, 3, 2, 2]

  def draw(self, image: np.ndarray, frame: int) -> None:
    """Paints one frame onto uint8 [H, W, 3] in place."""
    draw.paint(image, self.shadow, frame)
    for item in self.order[frame]:
      if item < len(LIMBS):
        _fill(image, self.limbs[frame, item], self.dark[item])
        _fill(image, self.lit[frame, item], self.bright[item])
      elif item == len(LIMBS):
        self._draw_torso(image, frame)
      elif item == len(LIMBS) + 1:
        draw.paint(image, self.head, frame)
      else:
        draw.paint(image, self.held[item - len(LIMBS) - 2], frame)

  def _draw_torso(self, image, frame):
    look = self.look
    _fill(image, cv2.convexHull(self.torso[frame]), draw.shade(look.shirt, 0.8))
    _fill(image, cv2.convexHull(self.torso_lit[frame]), draw.shade(look.shirt, 1.05))
    lines = self.stripes[frame]
    if look.pattern == "stripes":
      cv2.polylines(image, list(lines), False, look.trim, 2, 16, draw.SHIFT)
    elif look.pattern == "print":
      a, b = lines[0], lines[1]
      mark = np.array(
        [
          a[0] * 0.7 + a[1] * 0.3,
          a[0] * 0.3 + a[1] * 0.7,
          b[0] * 0.3 + b[1] * 0.7,
          b[0] * 0.7 + b[1] * 0.3,
        ]
      )
      _fill(image, mark.astype(np.int32), look.trim)


def capsule(a, b, radius_a, radius_b) -> np.ndarray:
  """Outlines tapered capsules.

  Args:
    a, b: ends in pixels, [..., 2].
    radius_a, radius_b: pixels, [...].
  Returns: closed convex polygons, pixels, [..., 12, 2].
  """
  d = b - a
  length = np.maximum(np.hypot(d[..., 0], d[..., 1]), 1e-6)
  along = np.arctan2(d[..., 1], d[..., 0])[..., None]
  # The angle between the axis and the normals of the two common tangents.
  beta = np.arccos(np.clip((radius_a - radius_b) / length, -1, 1))[..., None]
  at_a = along + beta + (2 * np.pi - 2 * beta) * _CAP
  at_b = along - beta + 2 * beta * _CAP
  round_a = np.stack([np.cos(at_a), np.sin(at_a)], -1) * radius_a[..., None, None]
  round_b = np.stack([np.cos(at_b), np.sin(at_b)], -1) * radius_b[..., None, None]
  return np.concatenate([a[..., None, :] + round_a, b[..., None, :] + round_b], -2)


def _fixed(pixels):
  """Pixels -> OpenCV's fixed-point numbers."""
  return np.round(pixels * (1 << draw.SHIFT)).astype(np.int32)


def _fill(image, polygon, colour):
  cv2.fillConvexPoly(image, polygon, colour, 16, draw.SHIFT)


def _colour(look, limb):
  skin, cloth = look.skin, look.trousers
  return {
    "pelvis": cloth,
    "thigh": cloth,
    "shin": skin if look.shorts else cloth,
    "foot": look.shoes,
    "upper arm": look.shirt,
    "forearm": look.shirt if look.sleeves else skin,
    "hand": skin,
    "neck": draw.shade(skin, 0.9),
  }[limb]


def _head(look):
  """The patches of a head in its own axes, in drawing order; +z is its front."""

  def ball(x, y, z, colour, radius):
    return draw.Patch(np.array([[x, y, z]]), colour, "blob", radius)

  skin, hair = look.skin, look.hair
  back = []
  if look.style == "long":
    back = [ball(0, -0.08, -0.06, draw.shade(hair, 0.85), 0.11)]
  elif look.style == "bun":
    back = [ball(0, 0.1, -0.1, draw.shade(hair, 0.85), 0.06)]
  crown = draw.shade(skin, 0.85) if look.style == "bald" else hair
  crown = look.trim if look.style == "cap" else crown
  patches = [
    *back,
    ball(0, 0.025, -0.025, crown, 0.118),
    ball(0, -0.02, 0.03, draw.shade(skin, 0.88), 0.1),
    ball(0, -0.015, 0.04, draw.shade(skin, 1.05), 0.075),
  ]
  if look.style == "cap":
    brim = np.array([[-0.08, 0.06, 0.08], [0, 0.055, 0.16], [0.08, 0.06, 0.08]])
    patches.append(draw.Patch(brim, draw.shade(look.trim, 0.7), "hull"))
  eyes = np.array([[-0.038, 0.005, 0.1], [0.038, 0.005, 0.1]])
  mouth = np.array([[-0.025, -0.055, 0.1], [0.025, -0.055, 0.1]])
  patches.append(draw.Patch(eyes, (35, 25, 25), "blob", 0.01))
  patches.append(draw.Patch(mouth, (140, 60, 60), "line", 0.012))
  return patches
