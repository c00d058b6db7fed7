"""Drawing synthetic scenes with OpenCV: cameras, patches, and things to hold.

A thing is a list of `Patch`es in its own axes. `place` moves them into the world and
projects all frames at once; `paint` draws one frame. Colours are RGB.
"""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np

SHIFT = 4  # OpenCV draws at 1/16 pixel


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
  """A shape: `points` [N, 3] in metres, RGB colour, and the way to draw it.

  kind: "hull" fills the outline of the points, "front" fills the polygon when its
  anticlockwise side faces the camera, "line" joins the points with a stroke `size`
  metres wide, "blob" is a ball of radius `size` at each point.
  """

  points: np.ndarray
  colour: tuple
  kind: str
  size: float = 0.0


class Placed(NamedTuple):
  """A patch in all frames, ready for OpenCV.

  Attributes:
    patch: to draw.
    corners: pixels times 2^SHIFT, int32 [F, N, 2].
    size: radius or width in pixels, F numbers.
    shown: whether it faces the camera, F booleans.
  """

  patch: Patch
  corners: np.ndarray
  size: list
  shown: list


def project(points: np.ndarray, focal: float, centre: tuple[float, float]):
  """Camera axes [..., 3] (y up) to pixels [..., 2] (y down)."""
  z = np.maximum(points[..., 2], 1e-3)
  x = centre[0] + focal * points[..., 0] / z
  y = centre[1] - focal * points[..., 1] / z
  return np.stack([x, y], axis=-1)


def look_from(rng, number: int, height: int, width: int) -> Camera:
  """Camera 1, 2 or 3, at a yaw of -45, 0 or 45 degrees; `rng` varies it per clip."""
  yaw, distance, eye = ((-0.785, 3.55, 1.5), (0, 3.4, 1.8), (0.785, 3.65, 2.1))[
    number - 1
  ]
  yaw += rng.uniform(-0.07, 0.07)
  distance *= rng.uniform(0.96, 1.04)
  eye += rng.uniform(-0.1, 0.1)
  position = np.array([np.sin(yaw) * distance, eye, np.cos(yaw) * distance])
  forward = np.array([0, 0.94 + rng.uniform(-0.03, 0.03), 0]) - position
  forward /= np.linalg.norm(forward)
  right = np.cross(forward, (0, 1, 0))
  right /= np.linalg.norm(right)
  axes = np.stack([right, np.cross(right, forward), forward])
  return Camera(position, axes, *intrinsics(height, width))


def intrinsics(height: int, width: int) -> tuple[float, tuple[float, float]]:
  """Focal length and principal point in pixels of every camera."""
  return 1.52 * height, ((width - 1) / 2, (height - 1) / 2)


def any_colour(rng, dull: float = 0.0) -> tuple:
  """A random RGB colour, 0 to 255; `dull`, 0 to 1, reduces saturation."""
  hue, saturation, value = rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.3, 0.95)
  wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
  mixed = 1 - saturation * (1 - dull) * (1 - wheel)
  return tuple((255 * value * mixed).tolist())


def shade(colour, factor: float) -> tuple:
  """The colour, darker for factors below 1, lighter above."""
  return tuple(min(255.0, max(0.0, c * factor)) for c in colour)


def place(patches, camera: Camera, centre, axes) -> list[Placed]:
  """Projects patches at `centre` [F, 3] with `axes` [F, 3, 3], or [3] and [3, 3]."""
  centre, axes = np.atleast_2d(centre), np.reshape(axes, (-1, 3, 3))
  points = np.concatenate([p.points for p in patches])
  world = np.einsum("fij,nj->fni", axes, points) + centre[:, None]
  pixels = camera.project(world)
  corners = np.round(pixels * (1 << SHIFT)).astype(np.int32)
  scale = camera.focal / np.maximum(camera.view(centre)[:, 2], 0.1)
  placed, end = [], 0
  for patch in patches:
    begin, end = end, end + len(patch.points)
    shown = np.ones(len(pixels), bool)
    if patch.kind == "front":  # three corners of a convex outline give its sense
      first, second = np.diff(pixels[:, begin : begin + 3], axis=1).transpose(1, 2, 0)
      shown = first[0] * second[1] < first[1] * second[0]
    size = (patch.size * scale).tolist()
    placed.append(Placed(patch, corners[:, begin:end], size, shown.tolist()))
  return placed


def paint(image: np.ndarray, placed: list[Placed], frame: int = 0) -> None:
  """Draws placed patches of one frame, in order, onto uint8 [H, W, 3] in place."""
  for patch, corners, size, shown in placed:
    here = corners[frame]
    if patch.kind == "hull":
      cv2.fillConvexPoly(image, cv2.convexHull(here), patch.colour, 16, SHIFT)
    elif patch.kind == "front":
      if shown[frame]:
        cv2.fillConvexPoly(image, here, patch.colour, 16, SHIFT)
    elif patch.kind == "line":
      width = max(1, round(size[frame]))
      cv2.polylines(image, [here], False, patch.colour, width, 16, SHIFT)
    else:
      radius = round(size[frame] * (1 << SHIFT))
      for at in here.tolist():
        cv2.circle(image, at, radius, patch.colour, -1, 16, SHIFT)


def box(size, colour) -> list[Patch]:
  """A box around the origin without its bottom, each side in its own shade."""
  x, y, z = np.array(size) / 2
  sides = (
    ([[-x, y, z], [x, y, z], [x, y, -z], [-x, y, -z]], 1.1),
    ([[-x, -y, z], [x, -y, z], [x, y, z], [-x, y, z]], 0.9),
    ([[x, -y, -z], [-x, -y, -z], [-x, y, -z], [x, y, -z]], 0.6),
    ([[x, -y, z], [x, -y, -z], [x, y, -z], [x, y, z]], 0.75),
    ([[-x, -y, -z], [-x, -y, z], [-x, y, z], [-x, y, -z]], 0.7),
  )
  return [Patch(np.array(p), shade(colour, f), "front") for p, f in sides]


# ---- things to hold, or to lie about


def make_object(rng, name: str) -> list[list[Patch]]:
  """Makes a thing in its own axes; both of a pair have the same colours on average.

  Vessels stand along y; pages and screens face +z with their top along y.
  Returns: parts that can hide each other, each a list of patches in drawing order.
  """
  colour = any_colour(rng)
  light = tuple((200 + 45 * rng.random(3)).tolist())
  dark = tuple((25 + 25 * rng.random(3)).tolist())
  return _BUILDERS[name](colour, light, dark)


def ring(radius, height, turns=1.0, count=12):
  """Points of a horizontal circle, anticlockwise seen from above."""
  a = 2 * np.pi * turns * np.arange(count) / count
  return np.stack([radius * np.sin(a), 0 * a + height, radius * np.cos(a)], -1)


def sheet(x0, x1, y0, y1, z0=0.0, z1=0.0):
  """A rectangle that faces +z; z changes from z0 at x0 to z1 at x1."""
  return np.array([[x0, y0, z0], [x1, y0, z1], [x1, y1, z1], [x0, y1, z0]])


def _cup(colour, light, dark):
  a = np.linspace(-1.25, 1.25, 7)
  handle = np.stack([0.06 + 0.075 * np.cos(a), 0.07 * np.sin(a), 0 * a], -1)
  return [
    [
      Patch(handle, shade(colour, 0.8), "line", 0.03),
      Patch(np.concatenate([ring(0.058, -0.095), ring(0.08, 0.095)]), colour, "hull"),
      Patch(ring(0.08, 0.095), shade(colour, 1.35), "front"),
      Patch(ring(0.066, 0.095), dark, "front"),
    ]
  ]


def _can(colour, light, dark):
  bottom, low, high, top = (ring(0.052, y) for y in (-0.115, -0.075, 0.075, 0.115))
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
    far, rise = 0.2 * s, 0.1  # both pages rise from the spine in a V
    x0, z0, x1, z1 = (far, rise, 0, 0) if s < 0 else (0, 0, far, rise)
    cover = sheet(x0 * 1.06, x1 * 1.06, -0.15, 0.15, z0 - 0.03, z1 - 0.03)
    page = sheet(x0, x1, -0.14, 0.14, z0, z1)
    block = np.concatenate([page, sheet(x0, x1, -0.14, 0.14, z0 - 0.03, z1 - 0.03)])
    patches.append(Patch(cover, shade(colour, 0.7), "front"))
    patches.append(Patch(block, shade(light, 0.85), "hull"))
    patches.append(Patch(page, shade(light, 1.0 + 0.06 * s), "front"))
    for y in (-0.09, -0.03, 0.03, 0.09):
      a, b = sorted((0.03 * s, 0.17 * s))
      line = sheet(a, b, y - 0.011, y + 0.011, rise * abs(a) / 0.2, rise * abs(b) / 0.2)
      patches.append(Patch(line, shade(dark, 2.6), "front"))
    patches.append(Patch(cover[::-1], shade(colour, 0.95 - 0.1 * s), "front"))
  spine = sheet(-0.02, 0.02, -0.15, 0.15, -0.032, -0.032)[::-1]
  return [[*patches, Patch(spine, light, "front")]]


def _tablet(colour, light, dark):
  slab = [sheet(-0.19, 0.19, -0.14, 0.14, z, z) for z in (-0.012, 0.012)]
  glow = (150.0, 215.0, 255.0)
  tile, bar = (
    sheet(-0.13, -0.02, 0, 0.08, 0.013, 0.013),
    sheet(0.02, 0.13, 0.03, 0.08),
  )
  shell = sheet(-0.155, 0.155, -0.105, 0.105, -0.013, -0.013)[::-1]
  lens = sheet(0.09, 0.135, 0.05, 0.09, -0.013, -0.013)[::-1]
  return [
    [
      Patch(np.concatenate(slab), dark, "hull"),
      Patch(sheet(-0.155, 0.155, -0.105, 0.105, 0.013, 0.013), glow, "front"),
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
