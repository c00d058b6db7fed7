"""The rooms of synthetic clips: walls, furniture and unused things."""

import cv2
import numpy as np

from vpn_jax.datasets.synthetic.kinematics import rotation
from vpn_jax.datasets.synthetic.rendering import (
  Camera,
  Patch,
  any_colour,
  box,
  make_object,
  paint,
  place,
  shade,
  sheet,
)

PAIRS = (("cup", "can"), ("book", "tablet"))  # objects of the same motion
# Height of the centre of a thing that stands, metres.
_REST = {"cup": 0.095, "can": 0.115, "headphones": 0.08, "ball": 0.11}


def _table(rng, image, camera, at, yaw, height, length):
  """Draws a table; returns the middle of its top, and its axes."""
  colour, axes = any_colour(rng, 0.4), rotation(yaw)
  size = (length, 0.05, 0.5)
  for x in (-0.45, 0.45):
    for z in (-0.2, 0.2):
      leg = at + axes @ np.array([x * length, height / 2 - 0.02, z])
      paint(
        image, place(box((0.05, height, 0.05), shade(colour, 0.7)), camera, leg, axes)
      )
  paint(image, place(box(size, colour), camera, at + (0, height - 0.025, 0), axes))
  return at + np.array([0, height, 0]), axes


def _lying(rng, name):
  """The height of a thing's centre above its support, and its axes."""
  spin = rotation(
    rng.uniform(-3.1, 3.1) if name in ("cup", "ball") else rng.normal(0, 0.5)
  )
  if name in _REST:
    return _REST[name], spin
  tilt = rng.choice([1.45, 0.3])  # almost flat, or leaning against something
  return 0.14 * np.cos(tilt) + 0.02, spin @ rotation(0, -tilt)


def _put_down(rng, image, camera, spots):
  """Draws things at random spots, often both of a pair, whatever the action."""
  names = []
  for pair in PAIRS:
    first = rng.integers(2)
    names += [pair[first]] * (rng.random() < 0.75)
    names += [pair[1 - first]] * (rng.random() < 0.6)
  names += [n for n in ("headphones", "ball") if rng.random() < 0.4]
  chosen = rng.permutation(len(spots))[: len(names)]
  things = []
  for name, spot in zip(names, chosen, strict=False):
    up, axes = _lying(rng, name)
    at = spots[spot] + (0, up, 0)
    patches = [patch for part in make_object(rng, name) for patch in part]
    things.append((camera.view(at)[2], name, place(patches, camera, at, axes)))
  for _, _, placed in sorted(things, key=lambda thing: -thing[0]):
    paint(image, placed)
  return tuple(name for _, name, _ in things)


def draw_room(rng, camera: Camera, height: int, width: int, seat):
  """Draws floor, walls, furniture, unused things and, for who sits, a chair.

  Args:
    rng: of all choices, which do not depend on the action.
    camera: of the image.
    height, width: of the image.
    seat: (x, y, z, yaw) of a chair, or None.
  Returns: image uint8 [H, W, 3], the colour of the floor, names of the unused things.
  """
  floor, wall = any_colour(rng, 0.6), any_colour(rng, 0.6)
  image = np.empty((height, width, 3), np.uint8)
  image[:] = np.array(floor, np.uint8)
  back, side = rng.uniform(-2.3, -1.4), rng.uniform(2.3, 3.0)
  patches = _floor(rng, floor)
  paper, style = any_colour(rng, 0.5), rng.integers(4)
  paint(image, place(patches, camera, np.zeros(3), np.eye(3)))
  faces = (
    (np.array([0, 0, back]), rotation(0.0), side, 1.0),
    (np.array([-side, 0, 0]), rotation(np.pi / 2), -back, 0.85),
    (np.array([side, 0, 0]), rotation(-np.pi / 2), -back, 0.92),
  )
  for at, axes, half, light in faces:
    patches = _wall(rng, half, shade(wall, light), shade(paper, light), style)
    skirting = sheet(-half, half, 0, 0.09)
    patches.append(Patch(skirting, shade(wall, 0.6 * light), "front"))
    paint(image, place(patches, camera, at, axes))
  unused = _put_down(rng, image, camera, _furniture(rng, image, camera, back))
  if seat is not None:
    _chair(rng, image, camera, seat)
  return _weather(rng, image), floor, unused


def _floor(rng, colour):
  """Planks, lengthwise or crosswise, and often a rug."""
  patches = []
  gap, crosswise = rng.uniform(0.2, 0.5), rng.random() < 0.5
  for i in np.arange(-1.6, 1.6, gap):
    ends = [[-2.5, 0, i - 0.6], [2.5, 0, i - 0.6]]
    if crosswise:
      ends = [[i, 0, -2.5], [i, 0, 1.0]]
    patches.append(Patch(np.array(ends), shade(colour, 0.8), "line", 0.01))
  if rng.random() < 0.5:
    x, z = rng.uniform(0.6, 1.1), rng.uniform(0.4, 0.8)
    rug = np.array([[-x, 0, z], [x, 0, z], [x, 0, -z], [-x, 0, -z]])
    patches += [Patch(rug, any_colour(rng, 0.3), "front")]
    patches += [Patch(rug * 0.8, any_colour(rng, 0.3), "front")]
  return patches


def _wall(rng, half, colour, paper, style):
  """A wall of twice `half` metres: stripes or panels, then pictures and windows."""
  patches = [Patch(sheet(-half, half, 0, 2.8), colour, "hull")]
  step = rng.uniform(0.15, 0.4)
  if style == 0:
    for x in np.arange(-half, half, step):
      patches.append(Patch(sheet(x, x + step / 2, 0, 2.8), paper, "front"))
  elif style == 1:
    patches.append(Patch(sheet(-half, half, 0, 0.9), paper, "front"))
  for _ in range(rng.integers(1, 4)):
    x, y = rng.uniform(-half + 0.2, half - 0.4), rng.uniform(0.9, 1.7)
    w, h = rng.uniform(0.15, 0.6, 2)
    frame = sheet(x - w, x + w, y - h, y + h)
    patches.append(Patch(frame, any_colour(rng, 0.3), "front"))
    inner = sheet(x - w + 0.05, x + w - 0.05, y - h + 0.05, y + h - 0.05)
    patches.append(Patch(inner, any_colour(rng), "front"))
  return patches


def _furniture(rng, image, camera, back):
  """Draws a table and often a cupboard; returns the spots where things may lie."""
  spots = []
  hand = rng.choice([-1, 1])
  if rng.random() < 0.7:  # a cupboard
    size = (rng.uniform(0.5, 0.9), rng.uniform(0.8, 1.7), 0.4)
    at = np.array([-hand * rng.uniform(0.6, 1.4), size[1] / 2, back + 0.25])
    paint(image, place(box(size, any_colour(rng, 0.4)), camera, at, np.eye(3)))
    top = at + (0, size[1] / 2, 0)
    spots += [top + (x, 0, 0.05) for x in (-0.2, 0.2)]
  length = rng.uniform(0.8, 1.1)
  at = np.array([hand * rng.uniform(1.0, 1.3), 0, rng.uniform(-0.7, -0.2)])
  yaw, height = rng.normal(0, 0.25), rng.uniform(0.6, 0.85)
  top, axes = _table(rng, image, camera, at, yaw, height, length)
  spots += [
    top + axes @ np.array([x * length, 0, rng.uniform(-0.12, 0.12)])
    for x in (-0.36, -0.12, 0.12, 0.36)
  ]
  spots += [np.array([-hand * rng.uniform(0.6, 1.0), 0, rng.uniform(-0.6, 0.1)])]
  return spots


def _chair(rng, image, camera, seat):
  """Draws a chair, the far parts first."""
  x, y, z, yaw = seat
  colour, axes = any_colour(rng, 0.3), rotation(yaw)
  parts = [
    ((0, y / 2 + 0.45, -0.24), (0.44, 0.5, 0.04)),
    ((0, -0.03, 0), (0.46, 0.06, 0.46)),
  ]
  parts += [((i, -y / 2, j), (0.04, y, 0.04)) for i in (-0.2, 0.2) for j in (-0.2, 0.2)]
  parts = [(np.array([x, y, z]) + axes @ np.array(at), size) for at, size in parts]
  for at, size in sorted(parts, key=lambda part: -camera.view(part[0])[2]):
    paint(image, place(box(size, colour), camera, at, axes))


def _weather(rng, image):
  """Applies uneven light and stains: random fields stretched over the image."""
  height, width = image.shape[:2]
  field = rng.normal(1, 0.07, (5, 6)) + 0.15 * rng.normal() * np.linspace(-1, 1, 6)
  fine = rng.normal(0, 0.035, (height // 3, width // 3))
  field = cv2.resize(field.astype(np.float32), (width, height), interpolation=2)
  field += cv2.resize(fine.astype(np.float32), (width, height), interpolation=1)
  return np.clip(image * field[..., None], 0, 255).astype(np.uint8)
