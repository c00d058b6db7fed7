"""Where made-up people live: cameras, things, furniture, walls, drawn with OpenCV.

Everything is a list of `Patch`es in the thing's own axes. `place` puts them in the
world and projects all frames at once, `paint` draws one frame. Colours are RGB.
"""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np

from vpn_jax.synthetic_motion import rotation

SHIFT = 4  # OpenCV draws at 1/16 pixel
OBJECTS = ("cup", "can", "book", "tablet", "headphones", "ball")
PAIRS = (("cup", "can"), ("book", "tablet"))  # tell one from the other by looking


@dataclasses.dataclass(frozen=True)
class Camera:
  """A pinhole camera.

  Attributes:
    position: world, metres, [3].
    axes: rows right, up, forward in the world, [3, 3].
    focal: focal length in pixels.
    centre: principal point (x, y) in pixels.
  """

  position: np.ndarray
  axes: np.ndarray
  focal: float
  centre: tuple[float, float]

  def view(self, points: np.ndarray) -> np.ndarray:
    """World [..., 3] to camera axes [..., 3]: x right, y up, z forward; metres."""
    return (points - self.position) @ self.axes.T

  def project(self, points: np.ndarray) -> np.ndarray:
    """World [..., 3] to pixels [..., 2]."""
    return project(self.view(points), self.focal, self.centre)


class Patch(NamedTuple):
  """One shape: `points` [N, 3] metres, RGB colour, how to draw it.

  kind: "hull" fills the outline of the points, "front" fills the polygon when its
  anticlockwise side faces the camera, "line" joins the points with a stroke `size`
  metres wide, "blob" is a ball of radius `size` at each point.
  """

  points: np.ndarray
  colour: tuple
  kind: str
  size: float = 0.0


class Placed(NamedTuple):
  """A patch in every frame: pixels [F, N, 2] and pixel size [F]."""

  patch: Patch
  pixels: np.ndarray
  size: np.ndarray


def project(points: np.ndarray, focal: float, centre: tuple[float, float]):
  """Camera axes [..., 3] (y up) to pixels [..., 2] (y down)."""
  z = np.maximum(points[..., 2], 1e-3)
  x = centre[0] + focal * points[..., 0] / z
  y = centre[1] - focal * points[..., 1] / z
  return np.stack([x, y], axis=-1)


def look_from(rng, number: int, height: int, width: int) -> Camera:
  """Camera `number` (1, 2, 3): yaw -45, 0, 45 degrees; jittered by `rng` per clip."""
  yaw, distance, eye = ((-0.785, 3.55, 1.5), (0, 3.4, 1.8), (0.785, 3.65, 2.1))[
    number - 1
  ]
  yaw += rng.uniform(-0.07, 0.07)
  distance *= rng.uniform(0.96, 1.04)
  eye += rng.uniform(-0.1, 0.1)
  position = np.array([np.sin(yaw) * distance, eye, np.cos(yaw) * distance])
  forward = np.array([0, 1.0 + rng.uniform(-0.03, 0.03), 0]) - position
  forward /= np.linalg.norm(forward)
  right = np.cross(forward, (0, 1, 0))
  right /= np.linalg.norm(right)
  axes = np.stack([right, np.cross(right, forward), forward])
  return Camera(position, axes, *intrinsics(height, width))


def intrinsics(height: int, width: int) -> tuple[float, tuple[float, float]]:
  """Focal length and principal point in pixels of every camera."""
  return 1.46 * height, ((width - 1) / 2, (height - 1) / 2)


def any_colour(rng, dull: float = 0.0) -> tuple:
  """A random RGB colour, 0 to 255; `dull` in 0 to 1 takes saturation away."""
  hue, saturation, value = rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.3, 0.95)
  wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
  mixed = 1 - saturation * (1 - dull) * (1 - wheel)
  return tuple((255 * value * mixed).tolist())


def shade(colour, factor: float) -> tuple:
  """The colour, darker below 1 and lighter above."""
  return tuple(min(255.0, max(0.0, c * factor)) for c in colour)


def place(patches, camera: Camera, centre, axes) -> list[Placed]:
  """Projects patches at `centre` [F, 3] with `axes` [F, 3, 3], or [3] and [3, 3]."""
  centre, axes = np.atleast_2d(centre), np.reshape(axes, (-1, 3, 3))
  points = np.concatenate([p.points for p in patches])
  world = np.einsum("fij,nj->fni", axes, points) + centre[:, None]
  pixels = camera.project(world)
  scale = camera.focal / np.maximum(camera.view(centre)[:, 2], 0.1)
  ends = np.cumsum([len(p.points) for p in patches])[:-1]
  split = np.split(pixels, ends, axis=1)
  return [Placed(p, x, p.size * scale) for p, x in zip(patches, split, strict=True)]


def paint(image: np.ndarray, placed: list[Placed], frame: int = 0) -> None:
  """Draws placed patches of one frame in order onto uint8 [H, W, 3], in place."""
  for patch, pixels, size in placed:
    corners = np.round(pixels[frame] * (1 << SHIFT)).astype(np.int32)
    if patch.kind == "hull":
      cv2.fillConvexPoly(image, cv2.convexHull(corners), patch.colour, 16, SHIFT)
    elif patch.kind == "front":
      x, y = pixels[frame].T
      if np.dot(x, np.roll(y, -1)) < np.dot(y, np.roll(x, -1)):
        cv2.fillConvexPoly(image, corners, patch.colour, 16, SHIFT)
    elif patch.kind == "line":
      width = max(1, round(size[frame]))
      cv2.polylines(image, [corners], False, patch.colour, width, 16, SHIFT)
    else:
      radius = round(size[frame] * (1 << SHIFT))
      for x, y in corners.tolist():
        cv2.circle(image, (x, y), radius, patch.colour, -1, 16, SHIFT)


# ---- things that people hold, or that lie about


def make_object(rng, name: str) -> list[list[Patch]]:
  """A thing in its own axes; colours of a pair come from the same distribution.

  Vessels stand on y, faces to read look along z with their top along y.
  Returns: parts that can hide one another, each a list of patches in drawing order.
  """
  colour = any_colour(rng)
  light = tuple((200 + 45 * rng.random(3)).tolist())
  dark = tuple((25 + 25 * rng.random(3)).tolist())
  return _BUILDERS[name](colour, light, dark)


def _ring(radius, height, turns=1.0, count=12):
  """Points of a level circle, anticlockwise seen from above."""
  a = 2 * np.pi * turns * np.arange(count) / count
  return np.stack([radius * np.sin(a), 0 * a + height, radius * np.cos(a)], -1)


def _sheet(x0, x1, y0, y1, z0=0.0, z1=0.0):
  """A rectangle that faces +z; z goes from z0 at x0 to z1 at x1."""
  return np.array([[x0, y0, z0], [x1, y0, z1], [x1, y1, z1], [x0, y1, z0]])


def _cup(colour, light, dark):
  a = np.linspace(-1.25, 1.25, 7)
  handle = np.stack([0.06 + 0.075 * np.cos(a), 0.07 * np.sin(a), 0 * a], -1)
  return [
    [
      Patch(handle, shade(colour, 0.8), "line", 0.03),
      Patch(np.concatenate([_ring(0.058, -0.095), _ring(0.08, 0.095)]), colour, "hull"),
      Patch(_ring(0.08, 0.095), shade(colour, 1.35), "front"),
      Patch(_ring(0.066, 0.095), dark, "front"),
    ]
  ]


def _can(colour, light, dark):
  bottom, low, high, top = (_ring(0.052, y) for y in (-0.115, -0.075, 0.075, 0.115))
  return [
    [
      Patch(np.concatenate([bottom, top]), colour, "hull"),
      Patch(np.concatenate([bottom, low]), shade(light, 0.85), "hull"),
      Patch(np.concatenate([high, top]), light, "hull"),
      Patch(top, shade(light, 0.75), "front"),
    ]
  ]


def _book(colour, light, dark):
  patches = []
  for s in (-1, 1):
    far, rise = 0.2 * s, 0.1  # both pages rise from the spine: a V
    x0, z0, x1, z1 = (far, rise, 0, 0) if s < 0 else (0, 0, far, rise)
    cover = _sheet(x0 * 1.06, x1 * 1.06, -0.15, 0.15, z0 - 0.03, z1 - 0.03)
    page = _sheet(x0, x1, -0.14, 0.14, z0, z1)
    block = np.concatenate([page, _sheet(x0, x1, -0.14, 0.14, z0 - 0.03, z1 - 0.03)])
    patches.append(Patch(cover, shade(colour, 0.7), "front"))
    patches.append(Patch(block, shade(light, 0.85), "hull"))
    patches.append(Patch(page, shade(light, 1.0 + 0.06 * s), "front"))
    for y in (-0.09, -0.03, 0.03, 0.09):
      a, b = sorted((0.03 * s, 0.17 * s))
      line = _sheet(
        a, b, y - 0.011, y + 0.011, rise * abs(a) / 0.2, rise * abs(b) / 0.2
      )
      patches.append(Patch(line, shade(dark, 2.6), "front"))
    patches.append(Patch(cover[::-1], shade(colour, 0.95 - 0.1 * s), "front"))
  spine = _sheet(-0.02, 0.02, -0.15, 0.15, -0.032, -0.032)[::-1]
  return [[*patches, Patch(spine, light, "front")]]


def _tablet(colour, light, dark):
  slab = [_sheet(-0.19, 0.19, -0.14, 0.14, z, z) for z in (-0.012, 0.012)]
  glow = (150.0, 215.0, 255.0)
  tile, bar = (
    _sheet(-0.13, -0.02, 0, 0.08, 0.013, 0.013),
    _sheet(0.02, 0.13, 0.03, 0.08),
  )
  shell = _sheet(-0.155, 0.155, -0.105, 0.105, -0.013, -0.013)[::-1]
  lens = _sheet(0.09, 0.135, 0.05, 0.09, -0.013, -0.013)[::-1]
  return [
    [
      Patch(np.concatenate(slab), dark, "hull"),
      Patch(_sheet(-0.155, 0.155, -0.105, 0.105, 0.013, 0.013), glow, "front"),
      Patch(tile, shade(colour, 1.1), "front"),
      Patch(bar + (0, 0, 0.013), (250, 250, 255), "front"),
      Patch(shell, shade(colour, 0.95), "front"),
      Patch(lens, dark, "front"),
    ]
  ]


def _headphones(colour, light, dark):
  a = np.linspace(-1.5, 1.5, 11)
  band = np.stack([0.13 * np.sin(a), 0.02 + 0.145 * np.cos(a), 0 * a], -1)
  parts = [[Patch(band, dark, "line", 0.04)]]
  for x in (-0.13, 0.13):
    ear = np.array([[x, -0.02, 0]])
    parts.append([Patch(ear, dark, "blob", 0.06), Patch(ear, colour, "blob", 0.038)])
  return parts


def _ball(colour, light, dark):
  seam = np.array([[-0.08, 0, 0], [0, 0.03, 0.06], [0.08, 0, 0]])
  return [
    [
      Patch(np.zeros((1, 3)), shade(colour, 0.8), "blob", 0.11),
      Patch(np.array([[-0.02, 0.02, 0.0]]), shade(colour, 1.1), "blob", 0.075),
      Patch(seam, light, "line", 0.02),
    ]
  ]


_BUILDERS = {
  "cup": _cup,
  "can": _can,
  "book": _book,
  "tablet": _tablet,
  "headphones": _headphones,
  "ball": _ball,
}
_REST = {
  "cup": 0.095,
  "can": 0.115,
  "headphones": 0.08,
  "ball": 0.11,
}  # centre's height


def _lying(rng, name):
  """Height of the centre above what it lies on, and axes, of a thing put down."""
  spin = rotation(
    rng.uniform(-3.1, 3.1) if name in ("cup", "ball") else rng.normal(0, 0.5)
  )
  if name in _REST:
    return _REST[name], spin
  tilt = rng.choice([1.45, 0.3])  # nearly flat, or leaning against something
  return 0.14 * np.cos(tilt) + 0.02, spin @ rotation(0, -tilt)


# ---- furniture and walls


def box(size, colour) -> list[Patch]:
  """A box around the origin, its five sides but the bottom, each shaded its own way."""
  x, y, z = np.array(size) / 2
  sides = (
    ([[-x, y, z], [x, y, z], [x, y, -z], [-x, y, -z]], 1.1),
    ([[-x, -y, z], [x, -y, z], [x, y, z], [-x, y, z]], 0.9),
    ([[x, -y, -z], [-x, -y, -z], [-x, y, -z], [x, y, -z]], 0.6),
    ([[x, -y, z], [x, -y, -z], [x, y, -z], [x, y, z]], 0.75),
    ([[-x, -y, -z], [-x, -y, z], [-x, y, z], [-x, y, -z]], 0.7),
  )
  return [Patch(np.array(p), shade(colour, f), "front") for p, f in sides]


def _table(rng, image, camera, at, yaw, height, length):
  """Draws a table with two to four random things on it."""
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


def _put_down(rng, image, camera, spots):
  """Leaves things at random spots; often both of a pair; blind to the action."""
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
  """Draws floor, walls, furniture, things lying about, and the chair if one sits.

  Args:
    rng: draws everything; the action is not known here.
    camera: where it is seen from.
    height, width: of the image.
    seat: (x, y, z, yaw) of a chair, or None.
  Returns: image uint8 [H, W, 3], the colour of the floor, names of the unused things.
  """
  floor, wall = any_colour(rng, 0.6), any_colour(rng, 0.6)
  image = np.empty((height, width, 3), np.uint8)
  image[:] = np.array(floor, np.uint8)
  back, side = rng.uniform(-2.3, -1.4), rng.uniform(2.3, 3.0)
  still, origin = np.eye(3), np.zeros(3)
  patches = []
  gap, slant = rng.uniform(0.2, 0.5), rng.random() < 0.5
  for i in np.arange(-1.6, 1.6, gap):  # planks, one way or the other
    ends = (
      [[i, 0, -2.5], [i, 0, 1.0]] if slant else [[-2.5, 0, i - 0.6], [2.5, 0, i - 0.6]]
    )
    patches.append(Patch(np.array(ends), shade(floor, 0.8), "line", 0.01))
  if rng.random() < 0.5:  # a rug
    x, z = rng.uniform(0.6, 1.1), rng.uniform(0.4, 0.8)
    rug = np.array([[-x, 0, z], [x, 0, z], [x, 0, -z], [-x, 0, -z]])
    patches += [Patch(rug, any_colour(rng, 0.3), "front")]
    patches += [Patch(rug * 0.8, any_colour(rng, 0.3), "front")]
  faces = (
    (np.array([0, 0, back]), rotation(0.0), side, 1.0),
    (np.array([-side, 0, 0]), rotation(np.pi / 2), -back, 0.85),
    (np.array([side, 0, 0]), rotation(-np.pi / 2), -back, 0.92),
  )
  paper, style = any_colour(rng, 0.5), rng.integers(4)
  paint(image, place(patches, camera, origin, still))
  for at, axes, half, light in faces:
    colour = shade(wall, light)
    patches = [Patch(_sheet(-half, half, 0, 2.8), colour, "hull")]
    step = rng.uniform(0.15, 0.4)
    if style == 0:  # stripes
      for x in np.arange(-half, half, step):
        patches.append(
          Patch(_sheet(x, x + step / 2, 0, 2.8), shade(paper, light), "front")
        )
    elif style == 1:  # panelling below
      patches.append(Patch(_sheet(-half, half, 0, 0.9), shade(paper, light), "front"))
    for _ in range(rng.integers(1, 4)):  # pictures, windows, doors
      x, y = rng.uniform(-half + 0.2, half - 0.4), rng.uniform(0.9, 1.7)
      w, h = rng.uniform(0.15, 0.6, 2)
      patches.append(
        Patch(_sheet(x - w, x + w, y - h, y + h), any_colour(rng, 0.3), "front")
      )
      patches.append(
        Patch(
          _sheet(x - w + 0.05, x + w - 0.05, y - h + 0.05, y + h - 0.05),
          any_colour(rng),
          "front",
        )
      )
    patches.append(
      Patch(_sheet(-half, half, 0, 0.09), shade(wall, 0.6 * light), "front")
    )
    paint(image, place(patches, camera, at, axes))
  spots = []
  hand = rng.choice([-1, 1])
  if rng.random() < 0.7:  # a cupboard
    size = (rng.uniform(0.5, 0.9), rng.uniform(0.8, 1.7), 0.4)
    at = np.array([-hand * rng.uniform(0.6, 1.4), size[1] / 2, back + 0.25])
    paint(image, place(box(size, any_colour(rng, 0.4)), camera, at, still))
    top = at + (0, size[1] / 2, 0)
    spots += [top + (x, 0, 0.05) for x in (-0.2, 0.2)]
  length = rng.uniform(0.8, 1.1)
  at = np.array([hand * rng.uniform(1.0, 1.3), 0, rng.uniform(-0.7, -0.2)])
  top, axes = _table(
    rng, image, camera, at, rng.normal(0, 0.25), rng.uniform(0.6, 0.85), length
  )
  spots += [
    top + axes @ np.array([x * length, 0, rng.uniform(-0.12, 0.12)])
    for x in (-0.36, -0.12, 0.12, 0.36)
  ]
  spots += [np.array([-hand * rng.uniform(0.6, 1.0), 0, rng.uniform(-0.6, 0.1)])]
  unused = _put_down(rng, image, camera, spots)
  if seat is not None:
    _chair(rng, image, camera, seat)
  image = _weather(rng, image)
  return image, floor, unused


def _chair(rng, image, camera, seat):
  """Draws a chair, far parts first."""
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
  """Uneven light and stains: a coarse random field stretched over the image."""
  height, width = image.shape[:2]
  field = rng.normal(1, 0.07, (5, 6)) + 0.15 * rng.normal() * np.linspace(-1, 1, 6)
  fine = rng.normal(0, 0.035, (height // 3, width // 3))
  field = cv2.resize(field.astype(np.float32), (width, height), interpolation=2)
  field += cv2.resize(fine.astype(np.float32), (width, height), interpolation=1)
  return np.clip(image * field[..., None], 0, 255).astype(np.uint8)
