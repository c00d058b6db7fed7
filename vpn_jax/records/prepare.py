"""Raw dataset -> person crops -> JPEG -> records, in parallel and resumable.

With `config.data.frames=False` the records hold the poses alone.

The folder of records holds `plan.json` (what is being made), one ArrayRecord file and
one json for each finished shard (`shards`), `skipped.tsv`, and at the end `index.json`.
The bytes depend on the plan and the files of the clips alone, never on the number of
processes, machines or interruptions, nor on what was there before: clips that were
added, changed or removed since are made again, and the others are kept (`reuse`).
"""

import hashlib
import json
import pathlib
import time
from collections.abc import Callable

import ml_collections

from vpn_jax import cores, file_locks, files
from vpn_jax.datasets import base, registry, skeleton_files, skeletons
from vpn_jax.datasets.base import Clip, Dataset
from vpn_jax.records import (
  crop,
  make_record,
  record_format,
  reuse,
  shards,
  store,
  summary,
  workers,
)

PLAN_FILE = "plan.json"
SKIPPED_FILE = "skipped.tsv"
# Of the plan: what changes with the clips. Those concerned are made again.
BY_CLIP = ("num_clips", "clip_list", "class_names")
# Of the file of locks: byte i stands for shard i, the last one for the decision what to
# make.
_SHARDS, _DECISION = range(2**40), range(2**40, 2**40 + 1)


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
    or all of them, cannot be used (then no index is written); OSError for a full disk.
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
  for line in summary.of_listing(dataset, clips, left_out):
    say(line)
  if parts > 1:
    span = f"{mine[0]} to {mine[-1]}" if mine else "none"
    say(f"  part {part} of {parts}: {num_own:,} clips, shards {span}")
  if settings.dry_run:
    for line in summary.of_parts(data, dataset.name, clips, dataset.class_names):
      say(line)
    return None
  if not clips:
    remedy = "" if recipe["kind"] == "none" else "; with model=pose none needs a video"
    raise ValueError(f"no clip of {dataset.name} can be used; see the reasons{remedy}.")

  base.check(dataset)
  if recipe["kind"] == "joints" and not base.joints_in_image(dataset):
    raise ValueError(
      f"the poses of {dataset.name} have no joints in the image, which the crop goes "
      "around: add --config.data.boxes=<file, or mediapipe> for a crop around "
      "detections, or --config.prepare.crop=full for the whole frame."
    )
  folder = pathlib.Path(data.records)
  plan = _plan(dataset, clips, recipe, settings.clips_per_shard)
  busy = (
    f"another run is preparing {folder}: wait for it, set config.data.shard to another "
    "part, or config.data.records to another folder."
  )
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with file_locks.FileLock(folder, busy) as lock:
      with lock.held(_DECISION, wait=True):
        found = reuse.compare(folder, dataset, planned, settings.retry)
        noted = getattr(dataset, "noted_by_clip", ())
        before = _check_plan(folder, plan, found, noted)
        if before is not None:
          plan = _keep_version(folder, before, plan, found, planned, say)
        if found.aside or before not in (None, plan):
          with lock.held(_SHARDS):  # nobody else makes them by the plan of before
            reuse.set_aside(folder, found, planned, dataset)
        if before != plan:
          files.write_text(folder / PLAN_FILE, json.dumps(plan, indent=1))
        lock.hold(mine)
      for line in found.lines():
        say(f"  {line}")
      taken = reuse.taken_over(
        folder,
        dataset,
        [clip for shard in own for clip in shard.clips],
        frames=recipe["kind"] != "none",
        retry=settings.retry,
      )
      work = shards.Work(folder, dataset, recipe, settings.clip_seconds, taken)
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
      index, skipped = _finish(work, planned, left_out, settings.max_skipped)
      reuse.clear(folder, planned)
  except OSError as e:
    if e.errno is None and not isinstance(e, store.DiskError):  # a process died
      raise
    raise OSError(
      f"preparing {folder} stopped ({e.strerror or e}): look at the space and the "
      "rights of that disk, then give the same command again; finished shards are kept."
    ) from e

  for line in summary.of_parts(data, dataset.name, index.clips(), index.class_names):
    say(line)
  _say_size(folder, index, say)
  for line in summary.by_reason(skipped):
    say(f"    {line}")
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
  return len(cores.usable()) if setting == -1 else setting


# The plan: what the bytes depend on, and nothing else.


def _plan(
  dataset: Dataset, clips: list[Clip], recipe: dict, clips_per_shard: int
) -> dict:
  listed = [[c.name, c.label, sorted(c.attributes.items())] for c in clips]
  text = json.dumps(listed)
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
    "version": make_record.VERSION,
    **({} if coordinates == "world" else {"coordinates": coordinates}),
    **{f"crop.{key}": value for key, value in recipe.items()},
  }


def _check_plan(
  folder: pathlib.Path, plan: dict, found: reuse.Comparison, noted: tuple[str, ...]
) -> dict | None:
  """Refuses a folder begun with another plan.

  Args:
    folder: of the records.
    plan: of now.
    found: what the folder has of it.
    noted: names of values of the plan's "source" that the notes of the clips cover.
  Returns: the plan in the folder; None for a new folder.
  """
  path = folder / PLAN_FILE
  if not path.exists():
    strangers = [p.name for p in folder.glob("*.array_record")]
    if strangers or (folder / store.INDEX_FILE).exists():
      raise ValueError(
        f"{folder} holds records ({', '.join(strangers[:2])}) but no {PLAN_FILE}: set "
        "config.data.records to an empty folder."
      )
    return None
  try:
    old = json.loads(path.read_text())
    differing = [k for k in {**old, **plan} if old.get(k) != plan.get(k)]
    before = {k: v for k, v in old.get("source", {}).items() if k not in noted}
  except (ValueError, TypeError, AttributeError, RecursionError) as e:
    raise ValueError(f"{path} is damaged ({e}): delete {folder} and run again.") from e
  _check_frames(folder, old, plan)
  allowed = {"version", *([] if found.unknown else BY_CLIP)}  # `_keep_version` follows
  now = {k: v for k, v in plan["source"].items() if k not in noted}
  if before == now and not (found.unknown or found.old):
    allowed.add("source")
  differing = [k for k in differing if k not in allowed]
  if differing:
    sides = "; ".join(
      f"{k} was {str(old.get(k))[:60]}, now {str(plan.get(k))[:60]}" for k in differing
    )
    raise ValueError(
      f"{folder} was begun with another plan: {sides}. Delete that folder or set "
      "config.data.records to another."
    )
  return old


def _keep_version(
  folder: pathlib.Path,
  before: dict,
  plan: dict,
  found: reuse.Comparison,
  planned: list[shards.Shard],
  say: Callable[[str], None],
) -> dict:
  """The plan of now, with the version of the code that has made all of the records.

  Raises: ValueError when that is another one than now, and something is to be made.
  """
  old, now = before.get("version", 1), plan["version"]
  if old == now:
    return plan
  if len(found.stay) < len(planned):
    raise ValueError(
      f"{folder} was begun with version {old} of the code that makes records, now it "
      f"is {now}, which makes others of the same files (CHANGELOG.md): delete that "
      "folder or set config.data.records to another."
    )
  say(
    f"  all records are of version {old}, and stay; this version, {now}, makes others "
    "of the same files (CHANGELOG.md): delete the folder to have them"
  )
  return {**plan, "version": old}


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
  work: shards.Work,
  planned: list[shards.Shard],
  left_out: summary.Reasons,
  max_skipped: float,
) -> tuple[store.Index, summary.Reasons]:
  """Writes `SKIPPED_FILE` and, unless too many clips are damaged, the index.

  Returns: the index, and the clips that are damaged.
  """
  folder, dataset = work.folder, work.dataset
  made = [shard.read_sidecar(folder) for shard in planned]
  total = sum(len(shard.clips) for shard in planned)
  damaged = [tuple(pair) for content in made for pair in content["skipped"]]
  skipped = sorted(left_out + damaged)
  lines = [
    f"{summary.one_line(name)}\t{summary.one_line(reason)}\n"
    for name, reason in skipped
  ]
  files.write_text(folder / SKIPPED_FILE, "".join(lines))
  if len(damaged) == total or len(damaged) > max_skipped * total:
    (folder / store.INDEX_FILE).unlink(missing_ok=True)
    reasons = "; ".join(summary.by_reason(damaged)[:3])
    remedy = "" if len(damaged) == total else ", or raise config.prepare.max_skipped"
    raise ValueError(
      f"{len(damaged):,} of {total:,} clips cannot be used, accepted are "
      f"{max_skipped:.1%}: {reasons}. {folder / SKIPPED_FILE} lists them; repair them "
      f"and run again{remedy}."
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
  return index, damaged


def _say_size(
  folder: pathlib.Path, index: store.Index, say: Callable[[str], None]
) -> None:
  megabytes = sum((folder / name).stat().st_size for name in index.shards) / 1e6
  say(
    f"  {len(index.clips()):,} clips, {index.skipped:,} skipped ({SKIPPED_FILE}), "
    f"{megabytes:,.1f} MB"
  )
