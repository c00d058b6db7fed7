"""MediaPipe's PoseLandmarker: the landmarks of a frame as an array."""

import contextlib
import os
import threading
from collections.abc import Iterator

import numpy as np

from vpn_jax.datasets.landmarker_bundle import not_a_bundle

NUM_JOINTS = 33


def open_landmarker(model: str, people: int) -> "Landmarker":
  """Opens MediaPipe's landmarker for one video; a context manager.

  Raises: ValueError when mediapipe is missing, cannot start, or refuses the bundle.
  """
  try:
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision
  except ImportError as e:
    raise ValueError(
      "config.data.pose=mediapipe needs the package mediapipe: pip install -r "
      f"requirements-pose.txt ({e})"
    ) from e
  options = vision.PoseLandmarkerOptions(
    base_options=BaseOptions(model_asset_path=model),
    running_mode=vision.RunningMode.VIDEO,
    num_poses=people,
  )
  try:
    with _quiet():
      task = vision.PoseLandmarker.create_from_options(options)
  except (FileNotFoundError, RuntimeError, ValueError) as e:
    raise ValueError(not_a_bundle(model, e)) from e
  except OSError as e:  # from ctypes
    raise ValueError(
      f"mediapipe cannot start ({e}): install the missing system library, such "
      "as those of the Debian packages libegl1 and libgles2."
    ) from e
  return Landmarker(mediapipe, task)


class Landmarker:
  """MediaPipe's task on arrays; `version` is that of the package."""

  def __init__(self, mediapipe, task):
    self._mediapipe, self._task = mediapipe, task
    self.version: str = mediapipe.__version__

  def detect(self, frame: np.ndarray, milliseconds: int) -> np.ndarray:
    """Finds people in the next frame, float32 [n, 33, 6].

    The last axis: x, y, z in metres, x, y as fractions of the image, visibility.
    """
    image = self._mediapipe.Image(
      image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame)
    )
    with _quiet():
      result = self._task.detect_for_video(image, milliseconds)
    pairs = zip(result.pose_world_landmarks, result.pose_landmarks)
    rows = [
      [(w.x, w.y, w.z, i.x, i.y, w.visibility) for w, i in zip(world, image)]
      for world, image in pairs
    ]
    return np.array(rows, np.float32).reshape(len(rows), NUM_JOINTS, 6)

  def __enter__(self):
    return self

  def __exit__(self, error, *_):
    try:
      self._task.close()
    except RuntimeError:
      self._task.close = lambda: None  # its __del__ would close it again
      if not error:  # `detect` has reported it already
        raise


_quiet_lock = threading.Lock()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Drops what C++ code writes to stderr; Python's exceptions pass.

  MediaPipe warns about its own model for every video, and no setting of its own or of
  its logging library (GLOG_minloglevel, TF_CPP_MIN_LOG_LEVEL) prevents that.
  """
  with _quiet_lock:  # all threads share file descriptor 2
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
      os.dup2(nowhere, 2)
      yield
    finally:
      os.dup2(kept, 2)
      os.close(kept)
      os.close(nowhere)
