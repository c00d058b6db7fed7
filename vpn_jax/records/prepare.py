"""Raw dataset -> person crops -> JPEG -> records, in parallel and resumable.

The records folder holds `plan.json` (what is being made), one ArrayRecord file and one
json per finished shard (`shards`), `skipped.tsv`, and at the end `index.json`.
Bytes depend on the plan only, never on the number of processes, machines or
interruptions.
"""

import fcntl
import hashlib
import json
import os
import pathlib
import time

import ml_collections

from vpn_jax import files
from vpn_jax.datasets import protocols, registry, skeletons
from vpn_jax.datasets.base import Dataset
from vpn_jax.records import crop, make_record, shards, store

PLAN_FILE = "plan.json"
SKIPPED_FILE = "skipped.tsv"


def prepare(config: ml_collections.ConfigDict) -> store.Index | None:
  """Writes the records of `config.data` to the folder `config.data.records`.

  Args:
    config: `data` as `registry.open_dataset` reads it, with `records` and, to divide
      the work, `shard` "i/n": this run makes part i of n, counted from 0, and whichever
      run finishes the last part writes the index. `prepare` as in `jobs.settings`.
  Returns: the index; None when `dry_run`, or while other parts are not finished.
  Raises: FileNotFoundError without raw data; ValueError for a setting out of range, or
    when the folder was begun with another plan; SystemExit when more clips than
    `max_skipped` were lost, or all (then no index is written).
  """
  start = time.monotonic()
  settings = config.prepare
  for name, least in (("clips_per_shard", 1), ("workers", -1), ("clip_seconds", 0)):
    if settings[name] < least:
      raise ValueError(
        f"config.prepare.{name} is {settings[name]}, expected {least} or more."
      )
  recipe = _recipe(config)
  part, parts = parse_shard(config.data.get("shard") or "")
  dataset = registry.open_dataset(config.data)
  clips, left_out = dataset.clips()
  jobs = shards.divide(clips, settings.clips_per_shard)
  mine = range(part * len(jobs) // parts, (part + 1) * len(jobs) // parts)
  print(f"{dataset.name}: {len(clips):,} clips, {len(left_out):,} left out by name")
  for reason, number in _reasons(left_out):
    print(f"  {number:,} x {reason}")
  if parts > 1:
    number = sum(len(jobs[i].clips) for i in mine)
    print(f"  part {part} of {parts}: {number:,} clips, shards {_span(mine)}")
  if settings.dry_run:
    _print_counts(dataset, clips)
    return None
  if not clips:
    raise SystemExit(f"error: no clip of {dataset.name} can be used; see the reasons.")
  folder = pathlib.Path(config.data.records)
  folder.mkdir(parents=True, exist_ok=True)
  with _lock(folder, mine):
    _check_plan(
      folder, _plan(dataset, clips, left_out, recipe, settings.clips_per_shard)
    )
    workers = settings.workers
    workers = len(os.sched_getaffinity(0)) if workers == -1 else workers
    own = [jobs[i] for i in mine]
    work = shards.Work(folder, dataset, recipe, settings.clip_seconds)
    tried = shards.make(work, own, workers, settings.retry)
    seconds = time.monotonic() - start
    print(
      f"{folder}: {tried:,} of {sum(len(job.clips) for job in own):,} clips made, "
      f"{seconds:.1f} s, {tried / seconds:.1f} clips/s"
    )
    unfinished = [job for job in jobs if not shards.is_finished(folder, job)]
    if unfinished:
      print(
        f"  {len(unfinished):,} of {len(jobs):,} shards are left to other parts; the "
        f"last one to finish writes {store.INDEX_FILE}."
      )
      return None
    made = [json.loads(shards.sidecar(folder, job.name).read_text()) for job in jobs]
    index = _finish(
      folder, dataset, clips, left_out, recipe, jobs, made, settings.max_skipped
    )
  megabytes = sum(shard["bytes"] for shard in made) / 1e6
  _print_counts(dataset, index.clips())
  done = sum(len(clips) for clips in index.shards.values())
  print(
    f"  {done:,} clips, {index.skipped:,} skipped ({SKIPPED_FILE}), {megabytes:,.1f} MB"
  )
  return index


def parse_shard(text: str) -> tuple[int, int]:
  """Reads "i/n" as (i, n), and "" as (0, 1).

  Raises: ValueError when it is not of that form with 0 <= i < n.
  """
  first, _, second = (text or "0/1").partition("/")
  if not (
    first.isascii() and second.isascii() and first.isdigit() and second.isdigit()
  ):
    raise ValueError(f"config.data.shard is {text!r}, expected i/n such as 0/8.")
  part, parts = int(first), int(second)
  if part >= parts:
    raise ValueError(
      f"config.data.shard is {text!r}, expected i/n with i from 0 to n - 1."
    )
  return part, parts


def _recipe(config) -> dict:
  settings, boxes = config.prepare, config.data.get("boxes") or ""
  if settings.crop not in ("person", "full"):
    raise ValueError(
      f"config.prepare.crop is {settings.crop!r}, expected 'person' or 'full'."
    )
  if settings.crop == "full" and boxes:
    raise ValueError(
      f"config.prepare.crop is 'full', but config.data.boxes is {boxes!r}: leave one "
      "of them out."
    )
  kind = "full" if settings.crop == "full" else "boxes" if boxes else "joints"
  recipe = crop.recipe(
    kind,
    size=settings.size,
    slack=settings.slack,
    head_room=settings.head_room,
    moving=settings.moving,
  )
  return {**recipe, "jpeg_quality": int(settings.jpeg_quality)}


def _span(numbers: range) -> str:
  return f"{numbers[0]} to {numbers[-1]}" if numbers else "none"


# Plan: what the bytes depend on, and nothing else.


def _plan(dataset: Dataset, clips, left_out, recipe, clips_per_shard) -> dict:
  listed = [[c.name, c.label, sorted(c.attributes.items())] for c in clips]
  text = json.dumps([listed, [list(pair) for pair in left_out]])
  return {
    "format": store.FORMAT,
    "dataset": dataset.name,
    "num_clips": len(clips),
    "clip_list": hashlib.sha256(text.encode()).hexdigest()[:16],
    "class_names": list(dataset.class_names),
    "skeleton": dataset.skeleton,
    "skeleton_digest": skeletons.get(dataset.skeleton).digest(),
    "source": dataset.source,
    "clips_per_shard": clips_per_shard,
    "short_gap": make_record.SHORT_GAP,
    **{f"crop.{key}": value for key, value in recipe.items()},
  }


def _check_plan(folder: pathlib.Path, plan: dict) -> None:
  """Writes the plan into a new folder; refuses one begun with another plan."""
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
  if differing:
    sides = "; ".join(
      f"{k} was {str(old.get(k))[:60]}, now {str(plan.get(k))[:60]}" for k in differing
    )
    raise ValueError(
      f"{folder} was begun with another plan: {sides}. Delete that folder or set "
      "config.data.records to another."
    )


# The end: index, list of the skipped, summary.


def _finish(
  folder, dataset, clips, left_out, recipe, jobs, made, max_skipped
) -> store.Index:
  damaged = [tuple(pair) for shard in made for pair in shard["skipped"]]
  skipped = sorted(left_out + damaged)
  lines = [f"{_one_line(name)}\t{_one_line(reason)}\n" for name, reason in skipped]
  files.write_text(folder / SKIPPED_FILE, "".join(lines))
  if len(damaged) == len(clips) or len(damaged) > max_skipped * len(clips):
    (folder / store.INDEX_FILE).unlink(missing_ok=True)
    reasons = "; ".join(f"{n:,} x {reason}" for reason, n in _reasons(damaged)[:3])
    raise SystemExit(
      f"error: {len(damaged):,} of {len(clips):,} clips cannot be used, accepted are "
      f"{max_skipped:.1%}: {reasons}. {folder / SKIPPED_FILE} lists them; repair them "
      "and run again with --config.prepare.retry=True, or raise "
      "config.prepare.max_skipped."
    )
  index = store.Index(
    dataset=dataset.name,
    class_names=dataset.class_names,
    skeleton=dataset.skeleton,
    skeleton_digest=skeletons.get(dataset.skeleton).digest(),
    crop=recipe,
    shards={j.name: s["clips"] for j, s in zip(jobs, made) if s["clips"]},
    source=dataset.source,
    skipped=len(skipped),
  )
  index.save(folder)
  return index


def _reasons(skipped) -> list[tuple[str, int]]:
  """Reasons and how often, frequent first; without names and numbers in them."""
  counts: dict[str, int] = {}
  for name, reason in skipped:
    words = [w for w in reason.split() if not any(c.isdigit() for c in w)]
    short = " ".join(words).replace(name, "...")[:100]
    counts[short] = counts.get(short, 0) + 1
  return sorted(counts.items(), key=lambda item: -item[1])


def _print_counts(dataset: Dataset, clips) -> None:
  """One line per known protocol: what is here, and what the published split has."""
  for name in protocols.names(dataset.name):
    rule = protocols.get(dataset.name, name)
    print(
      f"  {protocols.describe(dataset.name, name, rule, clips, dataset.class_names)}"
    )


def _one_line(text: str) -> str:
  return " ".join(text.split())


class _lock:
  """Holds a range of shards of a records folder, so that no two runs make the same one.

  The system lets go of it when the process ends, however it ends.
  """

  def __init__(self, folder: pathlib.Path, shards: range):
    self._path, self._shards = folder / ".lock", shards

  def __enter__(self):
    self._file = open(self._path, "a")
    if not self._shards:  # a length of 0 would lock all
      return
    try:
      fcntl.lockf(
        self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, len(self._shards), self._shards[0]
      )
    except (BlockingIOError, PermissionError) as e:
      self._file.close()
      raise ValueError(
        f"another run is preparing {self._path.parent}: wait for it, set "
        "config.data.shard to another part, or config.data.records to another folder."
      ) from e
    except OSError:  # a file system without locks
      pass

  def __exit__(self, *_):
    self._file.close()
