"""A dataset of synthetic clips; some end or hold the process that reads them."""

import dataclasses
import os
import signal
import time

import numpy as np

from vpn_jax.datasets.base import Clip, RawClip


@dataclasses.dataclass(frozen=True)
class Crashing:
  """A `raw.Dataset`; the class is where other processes find it.

  Attributes:
    num_clips: named clip0, clip1, ...
    deadly: names of the clips that kill their process.
    endless: names of the clips that are never done.
    once: a file; the first process that reads clip1 makes it and dies.
  """

  num_clips: int
  deadly: tuple[str, ...] = ()
  endless: tuple[str, ...] = ()
  once: str = ""

  name, class_names, skeleton, source = "custom", ("a",), "kinect_v2", {}

  def clips(self):
    names = [f"clip{i}" for i in range(self.num_clips)]
    return [Clip(name, 0, {"split": "train"}) for name in names], []

  def read(self, clip):
    if clip.name in self.deadly:
      os.kill(os.getpid(), signal.SIGKILL)
    while clip.name in self.endless:
      time.sleep(60)
    if clip.name == "clip1" and self.once and not os.path.exists(self.once):
      open(self.once, "w").close()
      os.kill(os.getpid(), signal.SIGKILL)
    pose = np.ones((2, 1, 25, 3), np.float32)
    image = np.full((2, 48, 64, 3), 100, np.uint8)
    return RawClip(pose, pose[..., :2] * 20, lambda: iter(image), 10.0)
