"""A folder of records: shards, and the index over them.

A shard is an ArrayRecord file of group size 1 (random access) without compression
beyond JPEG. `index.json` names the clips, the classes, the skeleton and the crop
recipe, and holds a digest of all that.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Sequence

from array_record.python import array_record_module

from vpn_jax import files
from vpn_jax.datasets import skeleton_files
from vpn_jax.records import record_format
from vpn_jax.records.record_format import FORMAT, Record, RecordError

INDEX_FILE = "index.json"
# Fields that the first indices lack, with the value that stands for that. The digest
# leaves them out while they have it.
_ADDED = {"skeleton_definition": None, "frames": True, "coordinates": "world"}


class DiskError(OSError):
  """A shard cannot be written, such as on a full disk."""


def summary(record: Record) -> dict:
  """The entry of a record in the index."""
  return {
    "name": record.name,
    "label": record.label,
    "attributes": record.attributes,
    "num_frames": record.num_frames,
  }


def write_shard(path: str | pathlib.Path, clips: Iterable[Record]) -> list[dict]:
  """Writes an ArrayRecord file, a record at a time.

  Returns: the `summary` of each record, in order.
  Raises: DiskError when it cannot be written.
  """
  summaries = []
  try:
    writer = array_record_module.ArrayRecordWriter(
      str(path), "group_size:1,uncompressed"
    )
    with contextlib.closing(writer):
      for record in clips:
        for payload in record_format.encode(record):
          writer.write(payload)
        summaries.append(summary(record))
  except RuntimeError as e:  # the writer's own
    reason = " ".join(str(e).split("; ")[0].split())
    raise DiskError(f"{path} cannot be written ({reason})") from e
  return summaries


@dataclasses.dataclass(frozen=True)
class Index:
  """The content of a folder of records.

  Attributes:
    dataset: name of the raw dataset.
    class_names: in label order.
    skeleton: its name.
    skeleton_digest: `Skeleton.digest()` at the time of writing.
    crop: the crop recipe, plain values.
    source: what else the clips depend on; see `base.Dataset`.
    shards: file name -> the `summary` of each clip in it, in order.
    skipped: number of clips left out.
    skeleton_definition: `skeleton_files.definition(skeleton)`, so that a skeleton of
      one's own is known without its file.
    frames: whether the records hold frames; False for skeletons alone.
    coordinates: "world" for poses in metres, "image" for image joints alone.
  """

  dataset: str
  class_names: tuple[str, ...]
  skeleton: str
  skeleton_digest: str
  crop: dict
  shards: dict[str, list[dict]]
  source: dict = dataclasses.field(default_factory=dict)
  skipped: int = 0
  skeleton_definition: dict | None = None
  frames: bool = True
  coordinates: str = "world"

  def clips(self) -> list[dict]:
    """All clips in order, each with its shard, the position of its header there, and
    the number of its payloads."""
    entries = []
    for shard, clips in sorted(self.shards.items()):
      position = 0
      for clip in clips:
        count = record_format.num_payloads(clip["num_frames"] if self.frames else 0)
        place = {"shard": shard, "position": position, "payloads": count}
        entries.append({**clip, **place})
        position += count
    return entries

  def digest(self) -> str:
    """16 hex digits over everything in the index."""
    content = dataclasses.asdict(self)
    for name, value in _ADDED.items():
      if content[name] == value:
        del content[name]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

  def save(self, folder: pathlib.Path) -> None:
    """Writes index.json atomically."""
    content = {"format": FORMAT, "digest": self.digest(), **dataclasses.asdict(self)}
    files.write_text(pathlib.Path(folder) / INDEX_FILE, json.dumps(content, indent=1))


def read_index(folder: str | pathlib.Path) -> Index:
  """Reads index.json, checks its digest and registers a skeleton of one's own.

  Raises: FileNotFoundError when the folder holds no index; RecordError when the index
    was edited, has another format or names a shard in another folder; ValueError when
    its skeleton is not the one of that name in this process.
  """
  path = pathlib.Path(folder) / INDEX_FILE
  if not path.exists():
    raise FileNotFoundError(f"no {INDEX_FILE} in {folder}: run --job=prepare first.")
  try:
    content = json.loads(path.read_text())
    if content.pop("format") != FORMAT:
      raise RecordError(
        f"{path} does not have format {FORMAT}: run --job=prepare again."
      )
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
  skeleton_files.restore(index.skeleton_definition, str(path))
  return index


class RecordReader:
  """Random access to chosen records, as grain expects it: `len` and `[i] -> Record`.

  Files open on first use, so that a reader can be pickled for worker processes. The
  frames of a record are read on demand.
  """

  def __init__(self, folder: str | pathlib.Path, clips: list[dict]):
    """`clips` are entries of `Index.clips()`; nothing is read yet."""
    self.folder = pathlib.Path(folder)
    self.clips = clips
    self._files = {}

  def __len__(self) -> int:
    return len(self.clips)

  def __getitem__(self, i: int) -> Record:
    clip = self.clips[i]
    where = f"{self.folder / clip['shard']}, record {clip['position']}"
    record = record_format.decode(_Payloads(self, clip, where), where)
    found = record.name, record.num_frames
    expected = clip["name"], clip["num_frames"]
    if found != expected:
      raise RecordError(
        f"{where} holds {found[0]} with {found[1]} frames, the index has "
        f"{expected[0]} with {expected[1]}: delete the folder and run --job=prepare "
        "again."
      )
    return record

  def _file(self, shard: str):
    if shard not in self._files:
      self._files[shard] = array_record_module.ArrayRecordReader(
        str(self.folder / shard), "readahead_buffer_size:0"
      )
    return self._files[shard]

  def __getstate__(self):
    return {**self.__dict__, "_files": {}}


class _Payloads(Sequence):
  """The payloads of one clip, read on demand."""

  def __init__(self, reader: RecordReader, clip: dict, where: str):
    self._reader, self._clip, self._where = reader, clip, where

  def __len__(self) -> int:
    return self._clip["payloads"]

  def __getitem__(self, i: int) -> bytes:
    position = self._clip["position"] + range(len(self))[i]
    try:
      return self._reader._file(self._clip["shard"]).read([position])[0]
    except Exception as e:  # the reader raises many kinds on a damaged file
      raise RecordError(
        f"{self._where} cannot be read ({' '.join(str(e).split())[:200]}): find "
        "others with --job=prepare --config.prepare.verify=True, delete the shard and "
        "run --job=prepare again."
      ) from e
