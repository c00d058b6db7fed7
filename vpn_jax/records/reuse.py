"""Which shards of an earlier run stay, and which of their clips are taken over.

A shard stays while its clips and what they were made from are the same. Others are set
aside in the folder `earlier`, from where each clip that did not change is copied; what
takes long, to decode a video or to estimate poses, is done for the others alone. The
records are then those of a folder made at once.
"""

import dataclasses
import json
import os
import pathlib
import shutil

from vpn_jax.datasets import base
from vpn_jax.datasets.base import Clip, Dataset
from vpn_jax.records import origins, record_format
from vpn_jax.records.earlier_clip import FOLDER, EarlierClip
from vpn_jax.records.shards import Shard


@dataclasses.dataclass
class Comparison:
  """An earlier run against the clips of now.

  Attributes:
    stay: shards that stay as they are, by stem.
    aside: stems of shards that do not.
    kept: how many clips stay or can be taken over.
    changed: name of a clip -> what changed, as "video".
    new, gone: names of clips.
    unknown: stems of shards of an earlier version, which did not note what they were
      made from, and hold other clips than now.
    old: how many clips are in shards of that version that stay.
  """

  stay: set[str] = dataclasses.field(default_factory=set)
  aside: list[str] = dataclasses.field(default_factory=list)
  kept: int = 0
  changed: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  new: list[str] = dataclasses.field(default_factory=list)
  gone: list[str] = dataclasses.field(default_factory=list)
  unknown: list[str] = dataclasses.field(default_factory=list)
  old: int = 0

  def lines(self) -> list[str]:
    """What a user should know, in words; none for a folder that is new."""
    lines = []
    if self.old:
      lines.append(
        f"{self.old:,} clips were made by an earlier version, which did not note from "
        "which files: they stay; delete the folder to be sure of them"
      )
    if not self.aside:
      return lines
    words = [f"{self.kept:,} clips are kept"]
    for what, names in (("to make", self.new), ("gone", self.gone)):
      if names:
        words.append(f"{len(names):,} {what} ({_some(names)})")
    if self.changed:
      named = [f"{name}: {' and '.join(what)}" for name, what in self.changed.items()]
      words.append(f"{len(named):,} changed, to make again ({_some(named)})")
    return [*lines, ", ".join(words)]


def _some(names: list[str]) -> str:
  return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def compare(
  folder: pathlib.Path, dataset: Dataset, planned: list[Shard], retry: bool
) -> Comparison:
  """Compares the finished shards of a folder with the clips of now; moves nothing.

  Args:
    folder: of the records.
    dataset: of the clips.
    planned: the shards of now.
    retry: whether shards with skipped clips are made again.
  """
  found = Comparison()
  clips = {clip.name: clip for shard in planned for clip in shard.clips}
  by_stem = {shard.stem: shard for shard in planned}
  seen = set()
  for stem in _finished(folder):
    content = _content(folder / f"{stem}.json")
    same = stem in by_stem and _holds(content, by_stem[stem].clips)
    names = [entry["name"] for entry in content["clips"]]
    names += [name for name, _ in content["skipped"]]
    seen.update(names)
    if "made_from" not in content:
      if same:
        found.old += len(names)
        found.stay.add(stem)
      else:
        found.unknown.append(stem)
      continue
    changed, noted = _changes(content["made_from"], dataset, clips)
    found.changed |= changed
    found.gone += [name for name in names if name not in clips]
    found.kept += sum(name in clips and name not in changed for name in names)
    if same and not changed and not (retry and content["skipped"]):
      found.stay.add(stem)
      if noted != content["made_from"]:  # other times, the same content
        by_stem[stem].write_sidecar(folder, {**content, "made_from": noted})
    else:
      found.aside.append(stem)
  if seen:
    found.new = [name for name in clips if name not in seen]
  return found


def set_aside(
  folder: pathlib.Path, found: Comparison, planned: list[Shard], dataset: Dataset
) -> None:
  """Moves the shards that do not stay to `FOLDER`, or to their new name.

  Nobody else may be making records in the folder. A run that is killed here, and
  started again, goes on.
  """
  aside = folder / FOLDER
  for stem in found.aside:
    aside.mkdir(exist_ok=True)
    number = len(list(aside.glob("*.json")))
    _move(folder / stem, aside / f"{number:05d}-{stem}")
  clips = {clip.name: clip for shard in planned for clip in shard.clips}
  todo = {
    tuple(clip.name for clip in shard.clips): shard
    for shard in planned
    if shard.stem not in found.stay
  }
  for stem in _finished(aside):  # a shard of which the number alone changed
    content = _content(aside / f"{stem}.json")
    shard = todo.get(tuple(entry["name"] for entry in content["clips"]))
    if shard is None or not _holds(content, shard.clips):
      continue
    if not _changes(content["made_from"], dataset, clips)[0]:
      _move(aside / stem, folder / shard.stem)


def _move(source: pathlib.Path, target: pathlib.Path) -> None:
  """Moves a shard and then its sidecar, without which it is nothing."""
  old, new = (path.with_name(f"{path.name}.array_record") for path in (source, target))
  if old.exists():
    new.unlink(missing_ok=True)
    try:
      os.link(old, new)  # so that a kill here loses nothing
    except OSError:  # a file system without links
      os.replace(old, new)
  os.replace(source.with_name(f"{source.name}.json"), new.with_suffix(".json"))
  old.unlink(missing_ok=True)


def taken_over(
  folder: pathlib.Path,
  dataset: Dataset,
  clips: list[Clip],
  *,
  frames: bool,
  retry: bool,
) -> dict[str, EarlierClip]:
  """The clips that need not be made, by name, as `set_aside` left them.

  Args:
    folder: of the records.
    dataset: of the clips.
    clips: those that are asked for.
    frames: whether the records hold frames.
    retry: whether skipped clips are made again.
  """
  found, wanted = {}, {clip.name: clip for clip in clips}
  for stem in _finished(folder / FOLDER):
    content = _content(folder / FOLDER / f"{stem}.json")
    changed, noted = _changes(content["made_from"], dataset, wanted)
    position = 0
    for entry in content["clips"]:
      name = entry["name"]
      count = record_format.num_payloads(entry["num_frames"] if frames else 0)
      place = {
        "shard": f"{stem}.array_record", "position": position, "payloads": count
      }  # fmt: skip
      position += count
      if name in wanted and name not in changed:
        found[name] = EarlierClip({**entry, **place}, "", noted[name])
    for name, reason in content["skipped"]:
      if name in wanted and name not in changed and not retry:
        found[name] = EarlierClip(None, reason, noted[name])
  return found


def clear(folder: pathlib.Path, planned: list[Shard]) -> None:
  """Deletes what is left of an earlier run, once all is made."""
  shutil.rmtree(folder / FOLDER, ignore_errors=True)
  stems = {shard.stem for shard in planned}
  for path in folder.glob("clips-*-of-*"):
    if path.name.partition(".")[0] not in stems:
      path.unlink(missing_ok=True)


def _finished(folder: pathlib.Path) -> list[str]:
  """The stems of the finished shards in a folder."""
  stems = sorted(path.stem for path in folder.glob("*clips-*-of-*.json"))
  return [s for s in stems if Shard(f"{s}.array_record", 0, ()).is_finished(folder)]


def _content(path: pathlib.Path) -> dict:
  return json.loads(path.read_text())


def _holds(content: dict, clips: tuple[Clip, ...]) -> bool:
  """Whether a shard holds these clips, with their classes and attributes, in order."""
  skipped = {name for name, _ in content["skipped"]}
  made = [
    [clip.name, clip.label, clip.attributes]
    for clip in clips
    if clip.name not in skipped
  ]
  listed = [[e["name"], e["label"], e["attributes"]] for e in content["clips"]]
  return made == listed and skipped <= {clip.name for clip in clips}


def _changes(
  made_from: dict, dataset: Dataset, clips: dict[str, Clip]
) -> tuple[dict[str, list[str]], dict]:
  """Name -> what changed, of the clips that are still there; and the notes of now."""
  changed, notes = {}, dict(made_from)
  for name, noted in made_from.items():
    if name in clips:
      what, notes[name] = origins.compare(noted, base.origin(dataset, clips[name]))
      if what:
        changed[name] = what
  return changed, notes
