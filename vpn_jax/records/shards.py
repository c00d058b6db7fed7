"""Shards: how the clips are divided into files, and how one of these is made.

A shard is finished when its sidecar, a json beside it, is there: both are written under
another name and renamed, the json last.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import pathlib
from collections.abc import Callable, Container

from vpn_jax import files
from vpn_jax.datasets import base
from vpn_jax.datasets.base import BadClip, Clip, Dataset
from vpn_jax.records import make_record, origins, record_format, store
from vpn_jax.records.earlier_clip import EarlierClip

# Not the fault of a clip.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclasses.dataclass(frozen=True)
class Work:
  """What all shards have in common.

  Attributes:
    folder: of the records.
    dataset: where the clips come from.
    recipe: `crop.recipe` with "jpeg_quality".
    clip_seconds: a clip that takes a process longer is skipped; 0 for no limit.
    taken: clips of an earlier run that are not made again, by name.
  """

  folder: pathlib.Path
  dataset: Dataset
  recipe: dict
  clip_seconds: float
  taken: dict[str, EarlierClip] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of records.

  Attributes:
    name: of the file.
    first: position of its first clip among all clips.
    clips: to be read, in order.
  """

  name: str
  first: int
  clips: tuple[Clip, ...]

  @property
  def stem(self) -> str:
    return self.name.removesuffix(".array_record")

  def sidecar(self, folder: pathlib.Path) -> pathlib.Path:
    return folder / (self.stem + ".json")

  def read_sidecar(self, folder: pathlib.Path) -> dict:
    """What the sidecar holds.

    "clips", the entries of the index; "skipped", (name, reason) of the others; "bytes";
    and "made_from", the note of each clip (`origins`), which old sidecars lack.
    """
    return json.loads(self.sidecar(folder).read_text())

  def write_sidecar(self, folder: pathlib.Path, content: dict) -> None:
    """Writes the sidecar, which makes the shard a finished one."""
    content = {**content, "digest": _digest(content)}
    files.write_text(self.sidecar(folder), json.dumps(content))

  def is_finished(self, folder: pathlib.Path) -> bool:
    """Whether the sidecar is sound and the shard has the size that it states."""
    try:
      content = self.read_sidecar(folder)
      digest = _digest(content)
      size = (folder / self.name).stat().st_size if content["clips"] else 0
      sound = size == content["bytes"] and content.get("digest", digest) == digest
      for entry in content["clips"]:
        sound &= {"name", "label", "attributes", "num_frames"} <= entry.keys()
      return sound and all(len(pair) == 2 for pair in content["skipped"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
      return False


def divide(clips: list[Clip], clips_per_shard: int) -> list[Shard]:
  """The shards of all clips, in order."""
  starts = range(0, len(clips), clips_per_shard)
  return [
    Shard(
      f"clips-{i:05d}-of-{len(starts):05d}.array_record",
      start,
      tuple(clips[start : start + clips_per_shard]),
    )
    for i, start in enumerate(starts)
  ]


def _digest(content: dict) -> str:
  """16 hex digits over the content of a sidecar; old sidecars do not store them."""
  fields = [content[key] for key in ("clips", "skipped", "bytes")]
  if "made_from" in content:
    fields.append(content["made_from"])
  text = json.dumps(fields)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(
  work: Work,
  shard: Shard,
  after_clip: Callable[[], None],
  before_clip: Callable[[int], None] = lambda position: None,
  deadly: Container[str] = (),
) -> None:
  """Writes a shard and then its sidecar, which must not exist yet.

  Args:
    work: what all shards have in common.
    shard: which.
    after_clip: called after each clip.
    before_clip: called before each clip with its position among all clips, and at the
      end with -1.
    deadly: names of the clips to skip, because they end the process that reads them.
  Raises: OSError for a full disk or too little memory; other errors skip their clip.
  """
  skipped, made_from = [], {}

  def records():
    for position, clip in enumerate(shard.clips, shard.first):
      before_clip(position)
      try:
        if clip.name in deadly:
          raise BadClip(
            "the process that read it died: a crash of the decoder, or more than "
            f"{work.clip_seconds:g} s (config.prepare.clip_seconds)"
          )
        yield _take_or_make(work, clip, made_from)
      except BadClip as e:
        skipped.append([clip.name, str(e)])
      except GeneratorExit:
        raise
      except MemoryError as e:
        raise OSError(
          f"no memory for clip {clip.name}: run again with fewer "
          "config.prepare.workers; finished shards are kept."
        ) from e
      except Exception as e:  # one odd file must not stop a week of work; it is listed
        if isinstance(e, OSError) and e.errno in _DISK:
          raise
        skipped.append([clip.name, f"unexpected {type(e).__name__}: {e}"])
      after_clip()
    before_clip(-1)

  path, partial = work.folder / shard.name, work.folder / f"{shard.name}.partial"
  clips = store.write_shard(partial, records())
  for entry in clips:
    if digest := origins.digest(made_from[entry["name"]]):
      entry["made_from"] = digest
  size = partial.stat().st_size if clips else 0
  if clips:
    partial.rename(path)
  else:
    partial.unlink()
    path.unlink(missing_ok=True)
  content = {"clips": clips, "skipped": skipped, "bytes": size, "made_from": made_from}
  shard.write_sidecar(work.folder, content)


def _take_or_make(work: Work, clip: Clip, made_from: dict) -> record_format.Record:
  """The record of a clip, from an earlier run where it did not change.

  Args:
    work: what all shards have in common.
    clip: which.
    made_from: takes its note, also when it is skipped.
  Raises: as `make_record.make_record`.
  """
  if taken := work.taken.get(clip.name):
    made_from[clip.name] = taken.noted
    if taken.place is None:
      raise BadClip(taken.reason)
    with contextlib.suppress(record_format.RecordError):  # damaged: made anew
      return taken.read(work.folder, clip)
  origin = base.origin(work.dataset, clip)
  before = origins.stamps(origin)
  try:
    return make_record.make_record(work.dataset, clip, work.recipe, work.folder)
  finally:
    made_from[clip.name] = origins.note(origin, before)
