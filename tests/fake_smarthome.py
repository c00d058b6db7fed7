"""Writes small files in the formats of Toyota Smarthome."""

import json

import numpy as np

from vpn_jax.datasets import video_writer

SIZE = (640, 480)  # of the video; pose2d are its pixels


def detection(x=320.0, y=240.0, *, height=200.0, motion=0.0, score=None):
  """A standing body around pixel (x, y), in the planar lists of the release.

  It is 1.7 metres tall; its right wrist is raised by `motion` pixels.
  """
  up = np.array([0, 0, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.65, 0.65, 0.8, 0.8, 1.0])
  side = np.array([-1, 1, -1, 1, -1, 1, -2, 2, -2, 2, -1.5, 1.5, 0]) * 0.06
  u, v = x + height * side, y + height * (0.5 - up)
  v[6] -= motion
  metre = height / 1.7
  world = np.stack([(u - 320) / metre, (v - 240) / metre, 3 + 0.1 * side])
  out = {"pose2d": [*u.tolist(), *v.tolist()], "pose3d": world.ravel().tolist()}
  return out if score is None else {**out, "cumscore": score}


def person(num_frames, **fields):
  """A waving body in each frame."""
  return [
    [detection(motion=30 * (1 + np.sin(0.5 * f)), **fields)] for f in range(num_frames)
  ]


def content(frames):
  """The object in a skeleton file; each of `frames` is a list of detections."""
  return {"K": 10, "njts": 13, "frames": frames}


def write_pair(
  root, name, num_frames=8, frames=None, *, size=(96, 72), suffix="_pose3d.json"
):
  """Writes a skeleton and a video into two folders below root; returns their paths.

  Args:
    root: the folder.
    name: such as Walk_p02_r00_v01_c03.
    num_frames: of the video.
    frames: detections of each frame; a waving person when None.
    size: width and height of the video, both even.
    suffix: of the skeleton file.
  """
  skeleton = root / "skeletons" / f"{name}{suffix}"
  film = root / "mp4" / "part" / f"{name}.mp4"
  for path in (skeleton, film):
    path.parent.mkdir(parents=True, exist_ok=True)
  skeleton.write_text(json.dumps(content(frames or person(num_frames))))
  width, height = size
  rng = np.random.default_rng(num_frames)
  pixels = rng.integers(0, 255, (num_frames, height, width, 3), np.uint8)
  video_writer.write_video(film, pixels, 20)
  return skeleton, film
