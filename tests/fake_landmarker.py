"""A stand-in for MediaPipe, which most machines do not have."""

import numpy as np


class Landmarker:
  """Finds a person in every frame that is not dark; for `open_landmarker`."""

  version = "0.made_up"

  def __init__(self, model, people):
    self.rng = np.random.default_rng(0)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def detect(self, frame, milliseconds):
    """Joints [people, 33, 6], which differ by call and encode the time."""
    if frame.max() <= 40:
      return np.zeros((0, 33, 6), np.float32)
    found = self.rng.uniform(0.3, 0.7, (1, 33, 6)).astype(np.float32)
    return found + np.float32(milliseconds % 1000 / 5000)
