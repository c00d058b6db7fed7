"""Records: a clip as bytes and back, shards of them, and the index over the shards.

A record is a msgpack map; frames are JPEG, one blob each, so that a reader decodes
only the frames it needs. Shards are ArrayRecord files with group size 1 (random
access). `index.json` beside them names the clips, the classes, the skeleton and the
crop recipe, and carries a digest over all of it.
"""

import dataclasses
import hashlib
import json
import pathlib

import msgpack
import numpy as np
import simplejpeg
from array_record.python import array_record_module

FORMAT = 1  # raised when the layout of a record or of the index changes
INDEX_FILE = "index.json"


class RecordError(ValueError):
  """A record, shard or index that cannot be read; says which file and the remedy."""


@dataclasses.dataclass(frozen=True)
class Record:
  """One prepared clip.

  Attributes:
    name: unique in its dataset.
    label: class, 0-based.
    attributes: subject, camera, setup and the like.
    fps: frames a second.
    box: crop in the source video, float64 (left, top, right, bottom) in pixels.
    frames: JPEG blobs of the square crop, one per frame.
    pose: float32 [F, persons, J, 3], metres, camera axes, not yet centred; NaN where
      nobody was seen.
    image_joints: float32 [F, persons, J, 2] in pixels of the crop; NaN where unknown.
  """

  name: str
  label: int
  attributes: dict[str, int | str]
  fps: float
  box: tuple[float, float, float, float]
  frames: tuple[bytes, ...]
  pose: np.ndarray
  image_joints: np.ndarray


def encode_frame(frame: np.ndarray, quality: int = 92) -> bytes:
  """uint8 RGB [H, W, 3] -> JPEG."""
  return simplejpeg.encode_jpeg(
    np.ascontiguousarray(frame), quality=quality, colorspace="RGB"
  )


def decode_frame(blob: bytes) -> np.ndarray:
  """JPEG -> uint8 RGB [H, W, 3]; ValueError when it is not one."""
  return simplejpeg.decode_jpeg(blob, colorspace="RGB")


def encode(record: Record) -> bytes:
  """A record as bytes; equal records give equal bytes."""
  fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
  for key in ("pose", "image_joints"):
    array = np.ascontiguousarray(fields[key], dtype="<f4")
    fields[key] = {"shape": array.shape, "data": array.tobytes()}
  fields["attributes"] = sorted(record.attributes.items())
  return msgpack.packb({"format": FORMAT, **fields})


def decode(payload: bytes, where: str = "record") -> Record:
  """Bytes as a record; RecordError names `where` when they are damaged."""
  try:
    fields = msgpack.unpackb(payload)
    if fields.pop("format") != FORMAT:
      raise RecordError(
        f"{where} has another format than {FORMAT}: run --job=prepare again."
      )
    for key in ("pose", "image_joints"):
      array = np.frombuffer(fields[key]["data"], "<f4")
      fields[key] = array.reshape(fields[key]["shape"])
    fields["attributes"] = dict(fields["attributes"])
    fields["frames"] = tuple(fields["frames"])
    fields["box"] = tuple(fields["box"])
    return Record(**fields)
  except RecordError:
    raise
  except Exception as e:  # msgpack raises many kinds on damaged bytes
    raise RecordError(
      f"{where} is damaged ({type(e).__name__}: {e}): delete its shard and run "
      "--job=prepare again."
    ) from e


def summary(record: Record) -> dict:
  """What the index keeps of a record."""
  return {
    "name": record.name,
    "label": record.label,
    "attributes": record.attributes,
    "num_frames": len(record.frames),
  }


def write_shard(path: pathlib.Path, payloads: list[bytes]) -> None:
  """Writes one ArrayRecord file; the caller renames it into place."""
  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
  for payload in payloads:
    writer.write(payload)
  writer.close()


@dataclasses.dataclass(frozen=True)
class Index:
  """What is in a folder of records.

  Attributes:
    dataset: name of the raw dataset.
    class_names: in label order.
    skeleton: its name.
    skeleton_digest: `Skeleton.digest()` at the time of writing.
    crop: the crop recipe, plain values.
    shards: file name -> clips in it, in order, as `summary` gives them.
    skipped: number of clips left out.
  """

  dataset: str
  class_names: tuple[str, ...]
  skeleton: str
  skeleton_digest: str
  crop: dict
  shards: dict[str, list[dict]]
  skipped: int = 0

  def clips(self) -> list[dict]:
    """All clips in order, each with its shard and position in it."""
    return [
      {**clip, "shard": shard, "position": i}
      for shard, clips in sorted(self.shards.items())
      for i, clip in enumerate(clips)
    ]

  def digest(self) -> str:
    """16 hex digits over everything in the index."""
    text = json.dumps(dataclasses.asdict(self), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

  def save(self, folder: pathlib.Path) -> None:
    """Writes index.json at once or not at all."""
    content = {"format": FORMAT, "digest": self.digest(), **dataclasses.asdict(self)}
    partial = pathlib.Path(folder) / (INDEX_FILE + ".partial")
    partial.write_text(json.dumps(content, indent=1))
    partial.rename(pathlib.Path(folder) / INDEX_FILE)


def read_index(folder: str | pathlib.Path) -> Index:
  """Reads index.json and checks its digest.

  Raises: FileNotFoundError when the folder holds no index, RecordError when the index
    was changed or belongs to another format.
  """
  path = pathlib.Path(folder) / INDEX_FILE
  if not path.exists():
    raise FileNotFoundError(f"no {INDEX_FILE} in {folder}: run --job=prepare first.")
  try:
    content = json.loads(path.read_text())
    if content.pop("format") != FORMAT:
      raise RecordError(f"{path} is not of format {FORMAT}: run --job=prepare again.")
    digest = content.pop("digest")
    content["class_names"] = tuple(content["class_names"])
    index = Index(**content)
  except (ValueError, KeyError, TypeError, AttributeError) as e:
    if isinstance(e, RecordError):
      raise
    raise RecordError(
      f"{path} is damaged ({type(e).__name__}: {e}): run --job=prepare again."
    ) from e
  if index.digest() != digest:
    raise RecordError(
      f"{path} has digest {digest} but its content gives {index.digest()}: it was "
      "edited by hand; run --job=prepare again."
    )
  return index


class Source:
  """Random access to chosen clips, as grain expects it: `len` and `[i] -> Record`.

  Readers open on first use, so that a source travels to worker processes.
  """

  def __init__(self, folder: str | pathlib.Path, clips: list[dict]):
    """`clips` are entries of `Index.clips()`."""
    self.folder = pathlib.Path(folder)
    self.clips = clips
    self._readers = {}

  def __len__(self) -> int:
    return len(self.clips)

  def __getitem__(self, i: int) -> Record:
    clip = self.clips[i]
    where = f"{self.folder / clip['shard']}, record {clip['position']}"
    try:
      if clip["shard"] not in self._readers:
        self._readers[clip["shard"]] = array_record_module.ArrayRecordReader(
          str(self.folder / clip["shard"]), "readahead_buffer_size:0"
        )
      reader = self._readers[clip["shard"]]
      payload = reader.read([clip["position"]])[0]
    except Exception as e:  # the reader raises many kinds on a damaged file
      raise RecordError(
        f"{where} cannot be read ({e}): delete the shard and run --job=prepare again."
      ) from e
    record = decode(payload, where)
    if record.name != clip["name"]:
      raise RecordError(
        f"{where} holds {record.name}, the index says {clip['name']}: delete "
        "the folder and run --job=prepare again."
      )
    return record

  def __getstate__(self):
    return {**self.__dict__, "_readers": {}}
