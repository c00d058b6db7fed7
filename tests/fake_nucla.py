"""Writes small files in the formats of N-UCLA."""

import json
import re

import cv2
import numpy as np

from vpn_jax.datasets import video_writer


def skeleton(num_frames, *, motion=0.1):
  """A standing body that waves: nested lists [F, 20, 3], metres, camera axes."""
  rng = np.random.default_rng(1)
  rest = np.stack(
    [rng.uniform(-0.3, 0.3, 20), np.linspace(0.8, -0.8, 20), rng.uniform(2.9, 3.1, 20)],
    axis=-1,
  )
  world = np.repeat(rest[None], num_frames, axis=0)
  world[:, 8:12, 1] += motion * np.sin(0.5 * np.arange(num_frames))[:, None]
  return world.tolist()


def pixels(num_frames, size=(96, 72)):
  """Frames of noise whose left half is red in proportion to the frame, uint8 RGB."""
  width, height = size
  rng = np.random.default_rng(num_frames)
  frames = rng.integers(0, 255, (num_frames, height, width, 3), np.uint8)
  for t, frame in enumerate(frames):
    frame[:, : width // 2] = (20 * t, 0, 0)
  return frames


def write_images(root, name, num_frames=8, *, size=(96, 72), ending="jpg"):
  """Writes images and other files as in the download with depth; returns the folder."""
  sequence, view = re.fullmatch(r"(a\d\d_s\d\d_e\d\d)_[vc](\d\d)", name).groups()
  folder = root / "multiview_action" / f"view_{int(view)}" / sequence
  folder.mkdir(parents=True, exist_ok=True)
  for t, frame in enumerate(pixels(num_frames, size)):
    stem = f"{folder}/frame_{7 + t}_tc_{90467319 + 33 * t}"  # 7 to 14 are not sorted
    cv2.imwrite(f"{stem}_rgb.{ending}", frame[..., ::-1])
    with open(f"{stem}_skeletons.txt", "w") as file:
      file.write("1\n")
  (folder / "frame_7_tc_90467319_depth_vis.jpg").write_bytes(b"depth")
  return folder


def write_skeleton(root, name, frames):
  """Writes a skeleton file below root; returns its path."""
  path = root / "all_sqe" / f"{name}.json"
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps({"file_name": name, "skeletons": frames, "label": 1}))
  return path


def write_pair(root, name, num_frames=8, frames=None, *, size=(96, 72)):
  """Writes a skeleton and a video into two folders below root; returns their paths.

  Args:
    root: the folder.
    name: such as a01_s02_e03_v01.
    num_frames: of the video.
    frames: joints of each frame; a waving person when None.
    size: width and height of the video, both even.
  """
  film = root / "videos" / f"{name}.avi"
  film.parent.mkdir(parents=True, exist_ok=True)
  video_writer.write_video(film, pixels(num_frames, size), 30)
  return write_skeleton(root, name, frames or skeleton(num_frames)), film
