"""Raw dataset -> person crops -> JPEG -> records, in parallel and resumable.

With `config.data.frames=False` the records hold the poses alone.

The folder of records holds `plan.json` (what is being made), one ArrayRecord file and
one json for each finished shard (`shards`), `skipped.tsv`, and at the end `index.json`.
The bytes depend on the plan alone, never on the number of processes, machines or
interruptions.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator

import ml_collections

from vpn_jax import files
from vpn_jax.datasets import base, protocols, registry, skeleton_files, skeletons
from vpn_jax.datasets.base import Clip, Dataset
from vpn_jax.records import crop, make_record, record_format, shards, store, workers

PLAN_FILE = "plan.json"
SKIPPED_FILE = "skipped.tsv"
Reasons = list[tuple[str, str]]  # (name of a clip, why it is left out)


def prepare(
  data: ml_collections.ConfigDict,
  settings: ml_collections.ConfigDict,
  say: Callable[[str], None] = lambda line: None,
) -> store.Index | None:
  """Writes the records of a dataset to the folder `data.records`.

  Args:
    data: `config.data` as `registry.open_dataset` reads it, with `records` and, to
      divide the work, `shard` "i/n": this run makes part i of n, counted from 0, and
      whichever run finishes the last part writes the index.
    settings: `config.prepare`; see `jobs.settings`.
    say: receives what is found and done, a line at a time.
  Returns: the index; None when `dry_run`, or while other parts are not finished.
  Raises: FileNotFoundError without raw data; ValueError for a setting out of range,
    when the folder was begun with another plan, or when more clips than `max_skipped`,
    or all of them, cannot be used (then no index is written).
  """
  start = time.monotonic()
  recipe = _recipe(settings, data.get("boxes") or "", data.get("frames", True))
  part, parts = parse_shard(data.get("shard") or "")
  dataset = registry.open_dataset(data)
  clips, left_out = dataset.clips()
  planned = shards.divide(clips, settings.clips_per_shard)
  mine = range(part * len(planned) // parts, (part + 1) * len(planned) // parts)
  own = [planned[i] for i in mine]
  num_own = sum(len(shard.clips) for shard in own)
  _say_clips(dataset, clips, left_out, say)
  if parts > 1:
    span = f"{mine[0]} to {mine[-1]}" if mine else "none"
    say(f"  part {part} of {parts}: {num_own:,} clips, shards {span}")
  if settings.dry_run:
    _say_splits(dataset, clips, say)
    return None
  if not clips:
    remedy = "" if recipe["kind"] == "none" else "; with model=pose none needs a video"
    raise ValueError(f"no clip of {dataset.name} can be used; see the reasons{remedy}.")

  folder = pathlib.Path(data.records)
  folder.mkdir(parents=True, exist_ok=True)
  with _lock(folder, mine):
    plan = _plan(dataset, clips, left_out, recipe, settings.clips_per_shard)
    _check_plan(folder, plan)
    work = shards.Work(folder, dataset, recipe, settings.clip_seconds)
    tried = workers.make(work, own, _num_workers(settings.workers), settings.retry)
    seconds = time.monotonic() - start
    say(
      f"{folder}: {tried:,} of {num_own:,} clips made, {seconds:.1f} s, "
      f"{tried / seconds:.1f} clips/s"
    )
    unfinished = sum(not shard.is_finished(folder) for shard in planned)
    if unfinished:
      say(
        f"  {unfinished:,} of {len(planned):,} shards are left to other parts; the "
        f"last one to finish writes {store.INDEX_FILE}."
      )
      return None
    index = _finish(work, planned, left_out, settings.max_skipped)

  _say_splits(dataset, index.clips(), say)
  _say_size(folder, index, say)
  return index


def parse_shard(text: str) -> tuple[int, int]:
  """Reads "i/n" as (i, n), and "" as (0, 1).

  Raises: ValueError when it is not of that form with 0 <= i < n.
  """
  first, _, second = (text or "0/1").partition("/")
  if not all(word.isascii() and word.isdigit() for word in (first, second)):
    raise ValueError(f"config.data.shard is {text!r}, expected i/n such as 0/8.")
  part, parts = int(first), int(second)
  if part >= parts:
    raise ValueError(
      f"config.data.shard is {text!r}, expected i/n with i from 0 to n - 1."
    )
  return part, parts


def _recipe(settings: ml_collections.ConfigDict, boxes: str, frames: bool) -> dict:
  """The settings of the crop, and checks of all settings."""
  for name, least in (("clips_per_shard", 1), ("workers", -1), ("clip_seconds", 0)):
    if settings[name] < least:
      raise ValueError(
        f"config.prepare.{name} is {settings[name]}, expected {least} or more."
      )
  if settings.crop not in ("person", "full"):
    raise ValueError(
      f"config.prepare.crop is {settings.crop!r}, expected 'person' or 'full'."
    )
  if settings.crop == "full" and boxes:
    raise ValueError(
      f"config.prepare.crop is 'full', but config.data.boxes is {boxes!r}: leave one "
      "of them out."
    )
  if not frames:
    return crop.recipe("none")
  kind = "full" if settings.crop == "full" else "boxes" if boxes else "joints"
  fields = ("size", "slack", "head_room", "moving")
  recipe = crop.recipe(kind, **{name: settings[name] for name in fields})
  return {**recipe, "jpeg_quality": int(settings.jpeg_quality)}


def _num_workers(setting: int) -> int:
  return len(os.sched_getaffinity(0)) if setting == -1 else setting


# The plan: what the bytes depend on, and nothing else.


def _plan(
  dataset: Dataset,
  clips: list[Clip],
  left_out: Reasons,
  recipe: dict,
  clips_per_shard: int,
) -> dict:
  listed = [[c.name, c.label, sorted(c.attributes.items())] for c in clips]
  text = json.dumps([listed, [list(pair) for pair in left_out]])
  coordinates = base.coordinates(dataset)
  return {
    "format": record_format.FORMAT,
    "dataset": dataset.name,
    "num_clips": len(clips),
    "clip_list": hashlib.sha256(text.encode()).hexdigest()[:16],
    "class_names": list(dataset.class_names),
    "skeleton": dataset.skeleton,
    "skeleton_digest": skeletons.get(dataset.skeleton).digest(),
    "source": dataset.source,
    "clips_per_shard": clips_per_shard,
    "short_gap": make_record.SHORT_GAP,
    **({} if coordinates == "world" else {"coordinates": coordinates}),
    **{f"crop.{key}": value for key, value in recipe.items()},
  }


def _check_plan(folder: pathlib.Path, plan: dict) -> None:
  """Writes the plan into a new folder; refuses a folder begun with another plan."""
  path = folder / PLAN_FILE
  if not path.exists():
    strangers = [p.name for p in folder.glob("*.array_record")]
    if strangers or (folder / store.INDEX_FILE).exists():
      raise ValueError(
        f"{folder} holds records ({', '.join(strangers[:2])}) but no {PLAN_FILE}: set "
        "config.data.records to an empty folder."
      )
    files.write_text(path, json.dumps(plan, indent=1))
    return
  try:
    old = json.loads(path.read_text())
    differing = [k for k in {**old, **plan} if old.get(k) != plan.get(k)]
  except (ValueError, TypeError, AttributeError, RecursionError) as e:
    raise ValueError(f"{path} is damaged ({e}): delete {folder} and run again.") from e
  _check_frames(folder, old, plan)
  if differing:
    sides = "; ".join(
      f"{k} was {str(old.get(k))[:60]}, now {str(plan.get(k))[:60]}" for k in differing
    )
    raise ValueError(
      f"{folder} was begun with another plan: {sides}. Delete that folder or set "
      "config.data.records to another."
    )


def _check_frames(folder: pathlib.Path, old: dict, plan: dict) -> None:
  """Refuses a folder begun with frames to go on without them, and the reverse."""
  before, now = (p.get("crop.kind") != "none" for p in (old, plan))
  if before and not now:
    raise ValueError(
      f"{folder} was begun with frames, from which model=pose trains just as well: use "
      "it as it is, or set config.data.records to another folder for records without "
      "frames."
    )
  if now and not before:
    raise ValueError(
      f"{folder} was begun without frames (config.data.frames=False, as model=pose "
      "sets it), which this row needs: set config.data.records to another folder, or "
      "delete that one."
    )


# The end: the index, the list of skipped clips, the summary.


def _finish(
  work: shards.Work, planned: list[shards.Shard], left_out: Reasons, max_skipped: float
) -> store.Index:
  """Writes `SKIPPED_FILE` and, unless too many clips are damaged, the index."""
  folder, dataset = work.folder, work.dataset
  made = [shard.read_sidecar(folder) for shard in planned]
  total = sum(len(shard.clips) for shard in planned)
  damaged = [tuple(pair) for content in made for pair in content["skipped"]]
  skipped = sorted(left_out + damaged)
  lines = [f"{_one_line(name)}\t{_one_line(reason)}\n" for name, reason in skipped]
  files.write_text(folder / SKIPPED_FILE, "".join(lines))
  if len(damaged) == total or len(damaged) > max_skipped * total:
    (folder / store.INDEX_FILE).unlink(missing_ok=True)
    frequent = _count_reasons(damaged)[:3]
    reasons = "; ".join(f"{n:,} x {reason}" for reason, n in frequent)
    raise ValueError(
      f"{len(damaged):,} of {total:,} clips cannot be used, accepted are "
      f"{max_skipped:.1%}: {reasons}. {folder / SKIPPED_FILE} lists them; repair them "
      "and run again with --config.prepare.retry=True, or raise "
      "config.prepare.max_skipped."
    )
  index = store.Index(
    dataset=dataset.name,
    class_names=dataset.class_names,
    skeleton=dataset.skeleton,
    skeleton_digest=skeletons.get(dataset.skeleton).digest(),
    crop=work.recipe,
    shards={
      shard.name: content["clips"]
      for shard, content in zip(planned, made)
      if content["clips"]
    },
    source=dataset.source,
    skipped=len(skipped),
    skeleton_definition=skeleton_files.definition(dataset.skeleton),
    frames=work.recipe["kind"] != "none",
    coordinates=base.coordinates(dataset),
  )
  index.save(folder)
  return index


def _count_reasons(skipped: Reasons) -> list[tuple[str, int]]:
  """Reasons without names and numbers, and how often each occurs; frequent first."""
  counts: dict[str, int] = {}
  for name, reason in skipped:
    words = [w for w in reason.split() if not any(c.isdigit() for c in w)]
    short = " ".join(words).replace(name, "...")[:100]
    counts[short] = counts.get(short, 0) + 1
  return sorted(counts.items(), key=lambda item: -item[1])


def _say_clips(
  dataset: Dataset, clips: list[Clip], left_out: Reasons, say: Callable[[str], None]
) -> None:
  say(f"{dataset.name}: {len(clips):,} clips, {len(left_out):,} left out by name")
  for reason, number in _count_reasons(left_out):
    say(f"  {number:,} x {reason}")


def _say_size(
  folder: pathlib.Path, index: store.Index, say: Callable[[str], None]
) -> None:
  megabytes = sum((folder / name).stat().st_size for name in index.shards) / 1e6
  say(
    f"  {len(index.clips()):,} clips, {index.skipped:,} skipped ({SKIPPED_FILE}), "
    f"{megabytes:,.1f} MB"
  )


def _say_splits(dataset: Dataset, clips: list, say: Callable[[str], None]) -> None:
  """A line for each protocol: what is here, and what the published split has."""
  for name, rule in protocols.applicable(dataset.name, clips).items():
    line = protocols.describe(dataset.name, name, rule, clips, dataset.class_names)
    say(f"  {line}")


def _one_line(text: str) -> str:
  return " ".join(text.split())


@contextlib.contextmanager
def _lock(folder: pathlib.Path, span: range) -> Iterator[None]:
  """Holds a range of shards of a folder, so that no two runs make the same ones.

  The system releases it when the process ends, however it ends.
  """
  with open(folder / ".lock", "a") as file:
    try:
      if span:  # a length of 0 would lock all
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, len(span), span[0])
    except (BlockingIOError, PermissionError) as e:
      raise ValueError(
        f"another run is preparing {folder}: wait for it, set config.data.shard to "
        "another part, or config.data.records to another folder."
      ) from e
    except OSError:  # a file system without locks
      pass
    yield
