"""Raw dataset -> person crops -> JPEG -> records, in parallel and resumable.

The records folder holds `plan.json` (what is being made), one ArrayRecord file and one
json per finished shard, `skipped.tsv`, and at the end `index.json`. A shard is finished
when its json is there: both are written under another name and renamed, the json last.
Bytes depend on the plan only, never on the number of processes, machines or
interruptions. A worker holds one frame and a few megabytes of JPEG, however long the
video.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import fcntl
import glob
import hashlib
import itertools
import json
import multiprocessing
import os
import pathlib
import sys
import threading
import time

import cv2
import ml_collections
import numpy as np
import tqdm

from vpn_jax import crop, protocols, raw, records, skeletons
from vpn_jax.raw import BadClip, Clip, Dataset

PLAN_FILE = "plan.json"
SKIPPED_FILE = "skipped.tsv"
SHORT_GAP = 10  # frames; a person lost for no longer is interpolated
LENGTH_TOLERANCE = 0.1  # of the longer: how far poses and video may differ in length
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # says nothing about the clip


def default_config() -> ml_collections.ConfigDict:
  """The fields of `config.prepare` and their defaults."""
  return ml_collections.ConfigDict(
    {
      "workers": -1,  # processes; -1: one per core, 0: none beside this one
      "clips_per_shard": 32,
      "max_skipped": 0.1,  # share of the clips that may be damaged
      "retry": False,  # make shards with skipped clips again
      "dry_run": False,  # only count
      "verify": False,  # only read the records again, and draw some of them
      "crop": "person",  # around joints or config.data.boxes; "full": the whole frame
      "size": 256,  # side of the crop, pixels
      "slack": 0.1,  # of the person's extent, on each side
      "head_room": 0.1,  # of it, above the joints; not above boxes
      "moving": 0,  # 0: one box per clip; else it follows, smoothed over these frames
      "jpeg_quality": 92,
    }
  )


def run(config: ml_collections.ConfigDict, workdir: str = "") -> None:
  """The job "prepare"; `workdir` is not used."""
  if config.prepare.verify:
    from vpn_jax import verify  # which draws: later in the list of modules

    verify.verify(config)
  else:
    prepare(config)


def prepare(config: ml_collections.ConfigDict) -> records.Index | None:
  """Writes the records of `config.data` to the folder `config.data.records`.

  Args:
    config: `data` as `raw.open_dataset` reads it, with `records` and, to divide the
      work, `shard` "i/n": this run makes part i of n, counted from 0, and whichever
      run finishes the last part writes the index. `prepare` as in `default_config`.
  Returns: the index; None when `dry_run`, or while other parts are not finished.
  Raises: FileNotFoundError without raw data; ValueError for a setting out of range, or
    when the folder was begun with another plan; SystemExit when more clips than
    `max_skipped` were lost, or all (then no index is written).
  """
  start = time.monotonic()
  settings = config.prepare
  if settings.clips_per_shard < 1 or settings.workers < -1:
    raise ValueError(
      f"config.prepare has clips_per_shard {settings.clips_per_shard} and workers "
      f"{settings.workers}, expected at least 1 and -1."
    )
  recipe = _recipe(config)
  part, parts = parse_shard(config.data.get("shard") or "")
  dataset = raw.open_dataset(config.data)
  clips, left_out = dataset.clips()
  jobs = _jobs(clips, settings.clips_per_shard)
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
    made = _make_shards(folder, dataset, recipe, own, workers, settings.retry)
    seconds = time.monotonic() - start
    print(
      f"{folder}: {made:,} of {sum(len(job.clips) for job in own):,} clips made, "
      f"{seconds:.1f} s, {made / seconds:.1f} clips/s"
    )
    unfinished = [job for job in jobs if not _is_finished(folder, job)]
    if unfinished:
      print(
        f"  {len(unfinished):,} of {len(jobs):,} shards are left to other parts; the "
        f"last one to finish writes {records.INDEX_FILE}."
      )
      return None
    shards = [json.loads(_sidecar(folder, job.name).read_text()) for job in jobs]
    index = _finish(
      folder, dataset, clips, left_out, recipe, jobs, shards, settings.max_skipped
    )
  megabytes = sum(shard["bytes"] for shard in shards) / 1e6
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
    "format": records.FORMAT,
    "dataset": dataset.name,
    "num_clips": len(clips),
    "clip_list": hashlib.sha256(text.encode()).hexdigest()[:16],
    "class_names": list(dataset.class_names),
    "skeleton": dataset.skeleton,
    "skeleton_digest": skeletons.get(dataset.skeleton).digest(),
    "source": dataset.source,
    "clips_per_shard": clips_per_shard,
    "short_gap": SHORT_GAP,
    **{f"crop.{key}": value for key, value in recipe.items()},
  }


def _check_plan(folder: pathlib.Path, plan: dict) -> None:
  """Writes the plan into a new folder; refuses one begun with another plan."""
  path = folder / PLAN_FILE
  if not path.exists():
    strangers = [p.name for p in folder.glob("*.array_record")]
    if strangers or (folder / records.INDEX_FILE).exists():
      raise ValueError(
        f"{folder} holds records ({', '.join(strangers[:2])}) but no {PLAN_FILE}: set "
        "config.data.records to an empty folder."
      )
    records.write_text(path, json.dumps(plan, indent=1))
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


# Shards: what a worker process does.


@dataclasses.dataclass(frozen=True)
class _Job:
  name: str  # file name of the shard
  first: int  # place of its first clip among all
  clips: tuple[Clip, ...]


def _jobs(clips: list[Clip], clips_per_shard: int) -> list[_Job]:
  starts = range(0, len(clips), clips_per_shard)
  return [
    _Job(
      f"clips-{i:05d}-of-{len(starts):05d}.array_record",
      start,
      tuple(clips[start : start + clips_per_shard]),
    )
    for i, start in enumerate(starts)
  ]


def _stem(shard: str) -> str:
  return shard.removesuffix(".array_record")


def _sidecar(folder: pathlib.Path, shard: str) -> pathlib.Path:
  return folder / (_stem(shard) + ".json")


def _is_finished(folder: pathlib.Path, job: _Job) -> bool:
  """True when the json is there, undamaged, and the shard has the size that it says."""
  try:
    content = json.loads(_sidecar(folder, job.name).read_text())
    digest = _digest(content)
    size = (folder / job.name).stat().st_size if content["clips"] else 0
    return size == content["bytes"] and content.get("digest", digest) == digest
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
    return False


def _digest(content: dict) -> str:
  """16 hex digits over a shard's json; older ones have none in them."""
  text = json.dumps([content[key] for key in ("clips", "skipped", "bytes")])
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lost_clips(folder: pathlib.Path, job: _Job) -> bool:
  return bool(json.loads(_sidecar(folder, job.name).read_text())["skipped"])


def _make_shards(folder, dataset, recipe, jobs, workers, retry) -> int:
  """Makes what is not finished, with a bar over all clips; how many were tried."""
  _remove_partials(folder, jobs)
  todo = [
    job
    for job in jobs
    if not _is_finished(folder, job) or (retry and _lost_clips(folder, job))
  ]
  if todo:  # an index of other shards than are there would mislead
    (folder / records.INDEX_FILE).unlink(missing_ok=True)
  for job in todo:
    _sidecar(folder, job.name).unlink(missing_ok=True)
  total = sum(len(job.clips) for job in jobs)
  left = sum(len(job.clips) for job in todo)
  bar = tqdm.tqdm(
    mininterval=0.5 if sys.stderr.isatty() else 15.0,
    total=total,
    initial=total - left,
    unit="clip",
    desc="prepare",
    smoothing=0.05,
  )
  with bar:
    if workers == 0 or len(todo) == 0:
      for job in todo:
        _make_shard(folder, dataset, recipe, job, lambda: bar.update(1))
      return left
    deadly: set[str] = set()
    while todo:
      suspects = _run_pool(folder, dataset, recipe, todo, workers, deadly, bar)
      todo = [job for job in todo if not _is_finished(folder, job)] if suspects else []
      found = {c.name for c in suspects if _kills(folder, dataset, recipe, c)}
      if suspects and not found:
        names = ", ".join(sorted(clip.name for clip in suspects))
        raise OSError(
          f"a worker process died, while these were read: {names}; none of them does "
          "it alone, so the memory may not do for all: run again, with fewer "
          "config.prepare.workers; finished shards are kept."
        )
      deadly |= found
      _remove_partials(folder, todo)
      bar.reset()
      bar.update(total - sum(len(job.clips) for job in todo))
  return left


def _remove_partials(folder, jobs) -> None:
  for job in jobs:
    for partial in folder.glob(glob.escape(_stem(job.name)) + ".*partial"):
      partial.unlink()


def _run_pool(folder, dataset, recipe, jobs, workers, deadly, bar) -> list[Clip]:
  """Makes shards by processes, until all are made or one of these dies.

  Args:
    deadly: names of the clips to skip, because they end the process that reads them.
  Returns: the clips that were being read when one died; none when all is well.
  """
  context = multiprocessing.get_context("spawn")
  workers = min(workers, len(jobs))
  begun, counter = bar.n, context.Value("q", 0)
  reading = context.Array("q", [-1] * workers)  # place of the clip, by worker
  free = context.SimpleQueue()
  for slot in range(workers):
    free.put(slot)
  pool = concurrent.futures.ProcessPoolExecutor(
    workers,
    mp_context=context,
    initializer=_start_worker,
    initargs=(folder, dataset, recipe, deadly, counter, reading, free),
  )
  try:
    waiting = {pool.submit(_work, job) for job in jobs}
    while waiting:
      done, waiting = concurrent.futures.wait(
        waiting, timeout=0.5, return_when=concurrent.futures.FIRST_EXCEPTION
      )
      bar.update(begun + counter.value - bar.n)
      for future in done:
        future.result()
  except concurrent.futures.process.BrokenProcessPool as e:
    clips = {job.first + i: clip for job in jobs for i, clip in enumerate(job.clips)}
    found = [clips[place] for place in reading if place >= 0]
    if not found:
      raise OSError(
        "a worker process died before it read a clip: run again, with fewer "
        "config.prepare.workers; finished shards are kept."
      ) from e
    return found
  finally:
    pool.shutdown(wait=True, cancel_futures=True)
  return []


def _kills(folder, dataset, recipe, clip: Clip) -> bool:
  """Whether reading a clip ends the process that does, here one of its own."""
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    try:
      pool.submit(_try, dataset, clip, recipe, folder).result()
    except concurrent.futures.process.BrokenProcessPool:
      return True
  return False


def _try(dataset, clip: Clip, recipe, folder) -> None:
  cv2.setNumThreads(1)
  with contextlib.suppress(Exception):  # those are told when the shard is made
    make_record(dataset, clip, recipe, folder)


_worker: dict = {}


def _start_worker(folder, dataset, recipe, deadly, counter, reading, free) -> None:
  """Runs once in each process: one thread each, and none outlives the parent."""
  _worker.update(folder=folder, dataset=dataset, recipe=recipe, deadly=deadly)
  _worker.update(counter=counter, reading=reading, slot=free.get())
  cv2.setNumThreads(1)

  def follow_parent():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=follow_parent, daemon=True).start()


def _work(job: _Job) -> None:
  def tick():
    with _worker["counter"].get_lock():
      _worker["counter"].value += 1

  def begin(place: int):
    _worker["reading"][_worker["slot"]] = place

  _make_shard(
    _worker["folder"],
    _worker["dataset"],
    _worker["recipe"],
    job,
    tick,
    begin,
    _worker["deadly"],
  )


def _make_shard(
  folder, dataset, recipe, job: _Job, tick, begin=lambda place: None, deadly=()
) -> None:
  """Writes one shard and then its json, which is not there yet.

  Args:
    tick: called after each clip.
    begin: called before each clip with its place among all, and at the end with -1.
    deadly: names of the clips to skip.
  """
  skipped = []

  def usable():
    for i, clip in enumerate(job.clips):
      begin(job.first + i)
      try:
        if clip.name in deadly:
          raise BadClip("the process that read it died: a crash of the decoder")
        yield make_record(dataset, clip, recipe, folder)
      except BadClip as e:
        skipped.append([clip.name, str(e)])
      except GeneratorExit:
        raise
      except MemoryError as e:
        raise OSError(
          f"no memory for clip {clip.name}: run again, with fewer "
          "config.prepare.workers; finished shards are kept."
        ) from e
      except Exception as e:  # one odd file must not stop a week of work; it is listed
        if isinstance(e, OSError) and e.errno in _DISK_FULL:
          raise
        skipped.append([clip.name, f"unexpected {type(e).__name__}: {e}"])
      tick()
    begin(-1)

  path, partial = folder / job.name, folder / (job.name + ".partial")
  done = records.write_shard(partial, usable())
  size = partial.stat().st_size if done else 0
  if done:
    partial.rename(path)
  else:
    partial.unlink()
    path.unlink(missing_ok=True)
  content = {"clips": done, "skipped": skipped, "bytes": size}
  content["digest"] = _digest(content)
  records.write_text(_sidecar(folder, job.name), json.dumps(content))


def make_record(
  dataset: Dataset,
  clip: Clip,
  recipe: dict,
  folder: str | pathlib.Path | None = None,
) -> records.Record:
  """Reads, crops and compresses one clip.

  Args:
    dataset: where the clip is from.
    clip: which.
    recipe: `crop.recipe` with "jpeg_quality".
    folder: for the frames of a long clip until they are written; see `records.Spool`.
  Raises: BadClip when it cannot be used.
  """
  opened = dataset.read(clip)
  pose = opened.pose
  if not np.isfinite(pose).all(axis=-1).any():
    raise BadClip("nobody in any frame")
  points = _crop_points(opened, recipe["kind"])
  most = int(len(pose) / (1 - LENGTH_TOLERANCE))
  boxes, blobs = None, records.Spool(folder)
  for t, frame in enumerate(opened.frames()):
    if t == most:
      raise BadClip(lengths(len(pose), f"more than {most}"))
    if boxes is None:
      height, width = frame.shape[:2]
      boxes = crop.clip_boxes(recipe, points, width, height)
    cut = crop.crop_and_resize(frame, boxes[min(t, len(boxes) - 1)], recipe["size"])
    blobs.append(records.encode_frame(cut, recipe["jpeg_quality"]))
  if not blobs:
    raise BadClip("the video holds no frame")
  common = min(len(pose), len(blobs))
  if common < (1 - LENGTH_TOLERANCE) * max(len(pose), len(blobs)):
    raise BadClip(lengths(len(pose), len(blobs)))
  blobs.truncate(common)
  filled = fill_gaps(pose)[:common]
  seen = np.isfinite(pose[:common]).all(axis=-1)
  if not np.isfinite(filled).all(axis=-1).any():
    raise BadClip(f"nobody in the first {common} frames, where the video ends")
  visibility = np.full(pose.shape[:-1], np.nan, np.float32)
  if opened.visibility is not None:
    visibility = opened.visibility
  drawn = np.isfinite(filled).all(axis=-1) & ~seen
  image_joints = fill_gaps(opened.image_joints)[:common]
  return records.Record(
    name=clip.name,
    label=clip.label,
    attributes=clip.attributes,
    fps=opened.fps,
    boxes=boxes[:common],
    frames=blobs,
    pose=filled,
    image_joints=crop.to_crop(image_joints, boxes[:common], recipe["size"]),
    visibility=np.where(drawn, np.float32(0), visibility[:common]),
  )


def _crop_points(opened: raw.RawClip, kind: str) -> np.ndarray:
  """What the crop goes around, float [F, people, K, 2] in pixels of the video."""
  if kind == "boxes":
    if opened.boxes is None or np.isnan(opened.boxes).all():
      raise BadClip("nobody was detected in any frame")
    return opened.boxes.reshape(*opened.boxes.shape[:2], 2, 2)
  if kind == "joints" and np.isnan(opened.image_joints).all():
    raise BadClip(
      "no joints in the image to crop by: give detections (config.data.boxes), or take "
      "the whole frame (config.prepare.crop=full)"
    )
  return opened.image_joints


def lengths(poses: int, frames: int | str) -> str:
  """Why poses and video are no pair; see LENGTH_TOLERANCE."""
  return (
    f"{poses} poses but {frames} video frames, expected a difference of at most "
    f"{LENGTH_TOLERANCE:.0%}"
  )


def fill_gaps(joints: np.ndarray, longest: int = SHORT_GAP) -> np.ndarray:
  """Draws straight lines across short gaps between two sightings.

  Args:
    joints: float [F, persons, J, C]; NaN where not seen.
    longest: frames; longer gaps stay NaN, and so do those at the start and the end.
  Returns: a copy without the short gaps; each joint is filled on its own.
  """
  shape = joints.shape
  flat = np.array(joints, np.float32).reshape(shape[0], -1, shape[-1])
  seen = np.isfinite(flat).all(axis=-1)
  for j in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
    frames = np.flatnonzero(seen[:, j])
    for a, b in itertools.pairwise(frames):
      if 1 < b - a <= longest + 1:
        part = ((np.arange(a + 1, b) - a) / np.float32(b - a))[:, None]
        line = (1 - part) * flat[a, j] + part * flat[b, j]
        flat[a + 1 : b, j] = line.astype(np.float32)
  return flat.reshape(shape)


# The end: index, list of the skipped, summary.


def _finish(
  folder, dataset, clips, left_out, recipe, jobs, shards, max_skipped
) -> records.Index:
  damaged = [tuple(pair) for shard in shards for pair in shard["skipped"]]
  skipped = sorted(left_out + damaged)
  lines = [f"{_one_line(name)}\t{_one_line(reason)}\n" for name, reason in skipped]
  records.write_text(folder / SKIPPED_FILE, "".join(lines))
  if len(damaged) == len(clips) or len(damaged) > max_skipped * len(clips):
    (folder / records.INDEX_FILE).unlink(missing_ok=True)
    reasons = "; ".join(f"{n:,} x {reason}" for reason, n in _reasons(damaged)[:3])
    raise SystemExit(
      f"error: {len(damaged):,} of {len(clips):,} clips cannot be used, accepted are "
      f"{max_skipped:.1%}: {reasons}. {folder / SKIPPED_FILE} lists them; repair them "
      "and run again with --config.prepare.retry=True, or raise "
      "config.prepare.max_skipped."
    )
  index = records.Index(
    dataset=dataset.name,
    class_names=dataset.class_names,
    skeleton=dataset.skeleton,
    skeleton_digest=skeletons.get(dataset.skeleton).digest(),
    crop=recipe,
    shards={j.name: s["clips"] for j, s in zip(jobs, shards) if s["clips"]},
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
