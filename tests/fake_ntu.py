"""Writes small files in the formats of NTU RGB+D."""

import numpy as np

from vpn_jax.datasets import video_writer


def body(num_frames, *, center=(0.0, 0.0, 3.0), motion=0.1, first=0, last=None, seed=0):
  """A body that stands, {frame: [25, 5] of x, y, z, colorX, colorY}."""
  rng = np.random.default_rng(seed)
  rest = np.stack([rng.uniform(-0.3, 0.3, 25), np.linspace(-0.8, 0.8, 25),
                   rng.uniform(-0.1, 0.1, 25)], axis=-1)  # fmt: skip
  rows = {}
  for f in range(first, num_frames if last is None else last):
    world = rest + center
    world[7:12] += motion * np.sin(0.5 * f)  # an arm
    x, y, z = world.T
    rows[f] = np.stack([x, y, z, 960 + 1060 * x / z, 540 - 1060 * y / z], axis=-1)
  return rows


def lines(num_frames, bodies):
  """The lines of a .skeleton file with bodies {identifier: as `body` returns}."""
  out = [str(num_frames)]
  for f in range(num_frames):
    there = [(key, rows[f]) for key, rows in bodies.items() if f in rows]
    out.append(str(len(there)))
    for key, rows in there:
      out += [f"{key} 0 1 1 1 1 0 0.01 0.02 2", "25"]
      for x, y, z, u, v in rows:
        out.append(f"{x:.7g} {y:.7g} {z:.7g} 250.5 200.5 {u:.7g} {v:.7g} 0 0 0 1 2")
  return out


def write_pair(root, name, num_frames=8, bodies=None, size=(96, 54)):
  """Writes a skeleton and a video into two folders below root; returns their paths."""
  skeleton = root / "skeletons" / f"{name}.skeleton"
  film = root / "rgb" / "part" / f"{name}_rgb.avi"
  for path in (skeleton, film):
    path.parent.mkdir(parents=True, exist_ok=True)
  bodies = bodies or {"721": body(num_frames)}
  skeleton.write_text("\n".join(lines(num_frames, bodies)) + "\n")
  width, height = size
  rng = np.random.default_rng(num_frames)
  frames = rng.integers(0, 255, (num_frames, height, width, 3), np.uint8)
  video_writer.write_video(film, frames, 30)
  return skeleton, film
