"""Records: a clip as bytes and back, shards of them, and the index over the shards.

A clip is a run of neighbouring records in one ArrayRecord file: first a header with
everything but the frames, then the frames in chunks. Each is a msgpack map; frames are
JPEG, one blob each. A reader fetches only the chunks, and decodes only the frames, that
it needs, so a long clip costs no more than a short one. Shards have group size 1
(random access) and no compression beyond JPEG. `index.json` beside them names the
clips, the classes, the skeleton and the crop recipe, and carries a digest over it all.
"""

import dataclasses
import hashlib
import json
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import msgpack
import numpy as np
import simplejpeg
from array_record.python import array_record_module

from vpn_jax import files

FORMAT = 2  # raised when the layout of a record or of the index changes
CHUNK = 32  # frames of a chunk
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
    boxes: float32 [F, 4], the crop of each frame in the source video: left, top,
      right, bottom in pixels; all rows are equal unless the crop moves.
    frames: JPEG blobs of the square crop, one per frame.
    pose: float32 [F, persons, J, 3], metres, camera axes, not yet centred; NaN where
      nobody was seen.
    image_joints: float32 [F, persons, J, 2] in pixels of the crop; NaN where unknown.
    visibility: float32 [F, persons, J], 0 to 1; NaN where the source does not say, and
      0 where the pose was drawn across a gap.
  """

  name: str
  label: int
  attributes: dict[str, int | str]
  fps: float
  boxes: np.ndarray
  frames: Sequence[bytes]
  pose: np.ndarray
  image_joints: np.ndarray
  visibility: np.ndarray


_ARRAYS = ("boxes", "pose", "image_joints", "visibility")


def cut(record: Record, first: int, end: int) -> Record:
  """The frames from `first` to before `end` of a record."""
  arrays = {name: getattr(record, name)[first:end] for name in _ARRAYS}
  return dataclasses.replace(record, frames=record.frames[first:end], **arrays)


def encode_frame(frame: np.ndarray, quality: int = 92) -> bytes:
  """uint8 RGB [H, W, 3] -> JPEG, colours at half the resolution (4:2:0)."""
  return simplejpeg.encode_jpeg(
    np.ascontiguousarray(frame),
    quality=quality,
    colorspace="RGB",
    colorsubsampling="420",
  )


def decode_frame(blob: bytes) -> np.ndarray:
  """JPEG -> uint8 RGB [H, W, 3]; ValueError when it is not one."""
  return simplejpeg.decode_jpeg(blob, colorspace="RGB")


def frame_side(blob: bytes) -> int:
  """Side of a square JPEG in pixels, from its header."""
  return simplejpeg.decode_jpeg_header(blob)[0]


class Spool(Sequence):
  """Frames of a clip that is being made: in memory while few, else in a file.

  The file has no name and is gone with the process, however it ends.
  """

  def __init__(self, folder: str | pathlib.Path | None = None, *, memory: int = 2**25):
    """`folder` of the file, the system's when None; `memory` in bytes."""
    self._file = tempfile.SpooledTemporaryFile(memory, dir=folder)
    self._ends = [0]

  def append(self, blob: bytes) -> None:
    self._file.seek(self._ends[-1])
    self._file.write(blob)
    self._ends.append(self._ends[-1] + len(blob))

  def truncate(self, length: int) -> None:
    """Forgets the frames from `length` on."""
    del self._ends[length + 1 :]

  def __len__(self) -> int:
    return len(self._ends) - 1

  def __getitem__(self, i):
    if isinstance(i, slice):
      return tuple(self[j] for j in range(*i.indices(len(self))))
    i = range(len(self))[i]
    self._file.seek(self._ends[i])
    return self._file.read(self._ends[i + 1] - self._ends[i])

  def __del__(self):
    self._file.close()


# Bytes: a header, then chunks.


def num_payloads(num_frames: int) -> int:
  """How many ArrayRecord records a clip takes."""
  return 1 + -(-num_frames // CHUNK)


def encode(record: Record) -> Iterator[bytes]:
  """A record as payloads, header first; equal records give equal bytes."""
  fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
  for key in _ARRAYS:
    array = np.ascontiguousarray(fields[key], dtype="<f4")
    fields[key] = {"shape": array.shape, "data": array.tobytes()}
  fields["attributes"] = sorted(record.attributes.items())
  fields["frames"] = len(record.frames)
  yield msgpack.packb({"format": FORMAT, **fields})
  for first in range(0, len(record.frames), CHUNK):
    blobs = list(record.frames[first : first + CHUNK])
    yield msgpack.packb({"clip": record.name, "first": first, "frames": blobs})


def decode(payloads: Sequence[bytes], where: str = "record") -> Record:
  """Payloads as a record; RecordError names `where` when they are damaged.

  Args:
    payloads: as `encode` gives them; only the header is read at once, the chunks when
      a frame of theirs is asked for.
    where: for the message.
  """
  try:
    fields = msgpack.unpackb(payloads[0])
    if fields.pop("format") != FORMAT:
      raise RecordError(
        f"{where} has another format than {FORMAT}: run --job=prepare again."
      )
    for key in _ARRAYS:
      array = np.frombuffer(fields[key]["data"], "<f4")
      fields[key] = array.reshape(fields[key]["shape"])
    fields["attributes"] = dict(fields["attributes"])
    fields["frames"] = _Chunks(payloads, fields["frames"], fields["name"], where)
    return Record(**fields)
  except RecordError:
    raise
  except Exception as e:  # msgpack raises many kinds on damaged bytes
    raise _damaged(where, e) from e


def _damaged(where: str, error: Exception) -> RecordError:
  return RecordError(
    f"{where} is damaged ({type(error).__name__}: {error}): delete its shard and run "
    "--job=prepare again."
  )


class _Chunks(Sequence):
  """The frames of a stored clip; the chunks touched last stay in memory."""

  def __init__(self, payloads: Sequence[bytes], length: int, name: str, where: str):
    self._payloads, self._name, self._where = payloads, name, where
    self._length = int(length)
    self._chunks: dict[int, list[bytes]] = {}

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, i):
    if isinstance(i, slice):
      return tuple(self[j] for j in range(*i.indices(self._length)))
    chunk, place = divmod(range(self._length)[i], CHUNK)
    if chunk not in self._chunks:
      while len(self._chunks) >= 8:
        del self._chunks[next(iter(self._chunks))]
      self._chunks[chunk] = self._read(chunk)
    return self._chunks[chunk][place]

  def _read(self, chunk: int) -> list[bytes]:
    first = chunk * CHUNK
    try:
      content = msgpack.unpackb(self._payloads[1 + chunk])
      expected = self._name, first, min(CHUNK, self._length - first)
      found = content["clip"], content["first"], len(content["frames"])
    except RecordError:
      raise
    except Exception as e:
      raise _damaged(f"{self._where}, frames from {first}", e) from e
    if found != expected:
      raise RecordError(
        f"{self._where} has frames of {found} (clip, first, number), expected "
        f"{expected}: delete its shard and run --job=prepare again."
      )
    return content["frames"]


def summary(record: Record) -> dict:
  """What the index keeps of a record."""
  return {
    "name": record.name,
    "label": record.label,
    "attributes": record.attributes,
    "num_frames": len(record.frames),
  }


def write_shard(path: str | pathlib.Path, clips: Iterable[Record]) -> list[dict]:
  """Writes one ArrayRecord file, a record at a time; the caller renames it into place.

  Returns: the summaries of the records, in order.
  """
  summaries = []
  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
  try:
    for record in clips:
      for payload in encode(record):
        writer.write(payload)
      summaries.append(summary(record))
  finally:
    writer.close()
  return summaries


@dataclasses.dataclass(frozen=True)
class Index:
  """What is in a folder of records.

  Attributes:
    dataset: name of the raw dataset.
    class_names: in label order.
    skeleton: its name.
    skeleton_digest: `Skeleton.digest()` at the time of writing.
    crop: the crop recipe, plain values.
    source: what else the clips depend on, such as the estimator of their poses.
    shards: file name -> clips in it, in order, as `summary` gives them.
    skipped: number of clips left out.
  """

  dataset: str
  class_names: tuple[str, ...]
  skeleton: str
  skeleton_digest: str
  crop: dict
  shards: dict[str, list[dict]]
  source: dict = dataclasses.field(default_factory=dict)
  skipped: int = 0

  def clips(self) -> list[dict]:
    """All clips in order, each with its shard and the place of its header in it."""
    entries = []
    for shard, clips in sorted(self.shards.items()):
      position = 0
      for clip in clips:
        entries.append({**clip, "shard": shard, "position": position})
        position += num_payloads(clip["num_frames"])
    return entries

  def digest(self) -> str:
    """16 hex digits over everything in the index."""
    text = json.dumps(dataclasses.asdict(self), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

  def save(self, folder: pathlib.Path) -> None:
    """Writes index.json at once or not at all."""
    content = {"format": FORMAT, "digest": self.digest(), **dataclasses.asdict(self)}
    files.write_text(pathlib.Path(folder) / INDEX_FILE, json.dumps(content, indent=1))


def read_index(folder: str | pathlib.Path) -> Index:
  """Reads index.json and checks its digest.

  Raises: FileNotFoundError when the folder holds no index, RecordError when the index
    was changed, belongs to another format or names a shard in another folder.
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
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
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
  for shard in index.shards:
    if "/" in shard or shard in ("", ".", "..") or not shard.isprintable():
      raise RecordError(
        f"{path} names the shard {shard!r}, expected a file beside it: run "
        "--job=prepare again."
      )
  return index


class Source:
  """Random access to chosen clips, as grain expects it: `len` and `[i] -> Record`.

  Readers open on first use, so that a source travels to worker processes. The frames of
  a record are read when they are asked for.
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
    record = decode(_Payloads(self, clip, where), where)
    found = record.name, len(record.frames)
    expected = clip["name"], clip["num_frames"]
    if found != expected:
      raise RecordError(
        f"{where} holds {found[0]} with {found[1]} frames, the index says "
        f"{expected[0]} with {expected[1]}: delete the folder and run --job=prepare "
        "again."
      )
    return record

  def _reader(self, shard: str):
    if shard not in self._readers:
      self._readers[shard] = array_record_module.ArrayRecordReader(
        str(self.folder / shard), "readahead_buffer_size:0"
      )
    return self._readers[shard]

  def __getstate__(self):
    return {**self.__dict__, "_readers": {}}


class _Payloads(Sequence):
  """The payloads of one clip, read one by one."""

  def __init__(self, source: Source, clip: dict, where: str):
    self._source, self._clip, self._where = source, clip, where

  def __len__(self) -> int:
    return num_payloads(self._clip["num_frames"])

  def __getitem__(self, i: int) -> bytes:
    place = self._clip["position"] + range(len(self))[i]
    try:
      return self._source._reader(self._clip["shard"]).read([place])[0]
    except Exception as e:  # the reader raises many kinds on a damaged file
      raise RecordError(
        f"{self._where} cannot be read ({' '.join(str(e).split())[:200]}): look for "
        "more with --job=prepare --config.prepare.verify=True, delete the shard and "
        "run --job=prepare again."
      ) from e
