"""MediaPipe's PoseLandmarker: its bundle, and the landmarks of a frame as an array."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import threading
import urllib.request
import zipfile
from collections.abc import Iterator

import numpy as np
from absl import logging

MODEL_PAGE = "https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker"
NUM_JOINTS = 33
NAME = "pose_landmarker_full.task"
# Google's version 1, which is never changed, and its SHA-256.
ADDRESS = (
  "https://storage.googleapis.com/mediapipe-models/pose_landmarker/"
  f"pose_landmarker_full/float16/1/{NAME}"
)
DIGEST = "5134a3aad27a58b93da0088d431f366da362b44e3ccfbe3462b3827a839011b1"
_SIZE = 9_398_198  # bytes
_PATIENCE = 20.0  # seconds that the server may be silent


def find_bundle(model: str | pathlib.Path) -> str:
  """The path of a bundle: as given or, for "", of the one in the user's cache.

  That one is fetched once from Google, and used if its digest is the known one.

  Raises: FileNotFoundError when it cannot be fetched, with address and place.
  """
  if str(model):
    return str(model)
  place = pathlib.Path.home() / ".cache" / "vpn_jax" / NAME
  if not (place.is_file() and _digest(place.read_bytes()) == DIGEST):
    logging.warning("fetching %s (%.1f MB) to %s.", ADDRESS, _SIZE / 1e6, place)
    try:
      _fetch(place)
    except (OSError, http.client.HTTPException, ValueError) as e:
      reason = " ".join(str(getattr(e, "reason", None) or e).split())[:150]
      raise FileNotFoundError(
        f"pose_model is not set, and {ADDRESS} could not be fetched ({reason}): "
        f"download it to {place}, or set config.data.pose_model, or "
        "config.predict.pose_model, to its path."
      ) from e
  return str(place)


def _fetch(place: pathlib.Path) -> None:
  """Writes the official bundle at once or not at all; ValueError for another file."""
  with urllib.request.urlopen(ADDRESS, timeout=_PATIENCE) as answer:
    content = answer.read(2 * _SIZE)
  if _digest(content) != DIGEST:
    raise ValueError(
      f"{len(content):,} bytes of SHA-256 {_digest(content)[:12]}..., expected "
      f"{_SIZE:,} of {DIGEST[:12]}..."
    )
  place.parent.mkdir(parents=True, exist_ok=True)
  partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
  partial.write_bytes(content)
  partial.rename(place)


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()


def check_bundle(model: str | pathlib.Path) -> str:
  """The first 12 hex digits of the file's SHA-256; refuses a damaged bundle.

  The check is here because damage may end the library, and the process with it.
  """
  if not pathlib.Path(model).is_file():
    raise FileNotFoundError(
      f"no file {model}: leave config.data.pose_model, or config.predict.pose_model, "
      f"empty to fetch {NAME}, or set it to its path; {MODEL_PAGE} has it."
    )
  try:
    with zipfile.ZipFile(model) as file:
      damaged = file.testzip()  # compares checksums
  except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as e:
    raise ValueError(not_a_bundle(model, e)) from e
  if damaged:
    raise ValueError(not_a_bundle(model, f"{damaged} in it is damaged"))
  return hashlib.sha256(pathlib.Path(model).read_bytes()).hexdigest()[:12]


def not_a_bundle(model: str | pathlib.Path, reason: object) -> str:
  """The message for a file that is not a bundle."""
  words = " ".join(str(reason).split())[:150]  # one line
  return (
    f"{model} is not a PoseLandmarker bundle ({words}): download "
    f"pose_landmarker_full.task from {MODEL_PAGE} again."
  )


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
