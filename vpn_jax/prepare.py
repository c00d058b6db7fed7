"""Raw dataset -> person crops -> JPEG -> records, in parallel and resumable.

The records folder holds `plan.json` (what is being made), one ArrayRecord file and one
json per finished shard, `skipped.tsv`, and at the end `index.json`. A shard is finished
when its json is there: both are written under another name and renamed, the json last.
Bytes depend on the plan only, never on the number of processes or on interruptions.
"""

import concurrent.futures
import dataclasses
import fcntl
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


def default_config() -> ml_collections.ConfigDict:
  """The fields of `config.prepare` and their defaults."""
  return ml_collections.ConfigDict(
    {
      "workers": -1,  # processes; -1: one per core, 0: none beside this one
      "clips_per_shard": 32,
      "max_skipped": 0.1,  # share of the clips that may be damaged
      "dry_run": False,  # only count
      "crop": "joints",  # around the person; "full": the whole frame
      "size": 256,  # side of the crop, pixels
      "slack": 0.1,  # of the joints' extent, on each side
      "jpeg_quality": 92,
    }
  )


def run(config: ml_collections.ConfigDict, workdir: str = "") -> None:
  """`prepare`, as launch.py calls it; `workdir` is not used."""
  prepare(config)


def prepare(config: ml_collections.ConfigDict) -> records.Index | None:
  """Writes the records of `config.data` to the folder `config.data.records`.

  Args:
    config: `data` as `raw.open_dataset` reads it, with `records`; `prepare` as in
      `default_config`.
  Returns: the index; None when `dry_run`.
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
  dataset = raw.open_dataset(config.data)
  clips, left_out = dataset.clips()
  recipe = crop.recipe(settings.crop, size=settings.size, slack=settings.slack)
  recipe["jpeg_quality"] = int(settings.jpeg_quality)
  print(f"{dataset.name}: {len(clips):,} clips, {len(left_out):,} left out by name")
  for reason, number in _reasons(left_out):
    print(f"  {number:,} x {reason}")
  if settings.dry_run:
    _print_counts(dataset, clips)
    return None
  if not clips:
    raise SystemExit(f"error: no clip of {dataset.name} can be used; see the reasons.")
  folder = pathlib.Path(config.data.records)
  folder.mkdir(parents=True, exist_ok=True)
  with _lock(folder):
    _check_plan(
      folder, _plan(dataset, clips, left_out, recipe, settings.clips_per_shard)
    )
    jobs = _jobs(clips, settings.clips_per_shard)
    workers = settings.workers
    workers = len(os.sched_getaffinity(0)) if workers == -1 else workers
    _make_shards(folder, dataset, recipe, jobs, workers)
    shards = [json.loads(_sidecar(folder, job.name).read_text()) for job in jobs]
    index = _finish(
      folder, dataset, clips, left_out, recipe, jobs, shards, settings.max_skipped
    )
  seconds = time.monotonic() - start
  megabytes = sum(shard["bytes"] for shard in shards) / 1e6
  _print_counts(dataset, index.clips())
  done = sum(len(clips) for clips in index.shards.values())
  print(
    f"{folder}: {done:,} clips, {index.skipped:,} skipped ({SKIPPED_FILE}), "
    f"{megabytes:,.1f} MB, {seconds:.1f} s, {len(clips) / seconds:.1f} clips/s"
  )
  return index


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
    _write(path, json.dumps(plan, indent=1))
    return
  try:
    old = json.loads(path.read_text())
    differing = [k for k in {**old, **plan} if old.get(k) != plan.get(k)]
  except (ValueError, TypeError, AttributeError) as e:
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
  clips: tuple[Clip, ...]


def _jobs(clips: list[Clip], clips_per_shard: int) -> list[_Job]:
  starts = range(0, len(clips), clips_per_shard)
  return [
    _Job(
      f"clips-{i:05d}-of-{len(starts):05d}.array_record",
      tuple(clips[start : start + clips_per_shard]),
    )
    for i, start in enumerate(starts)
  ]


def _sidecar(folder: pathlib.Path, shard: str) -> pathlib.Path:
  return folder / (shard.removesuffix(".array_record") + ".json")


def _is_finished(folder: pathlib.Path, job: _Job) -> bool:
  """True when the json is there and the shard has the size that it says."""
  try:
    content = json.loads(_sidecar(folder, job.name).read_text())
    size = (folder / job.name).stat().st_size if content["clips"] else 0
    return size == content["bytes"]
  except (OSError, ValueError, KeyError, TypeError):
    return False


def _make_shards(folder, dataset, recipe, jobs, workers) -> None:
  """Makes what is not finished, with a bar over all clips."""
  for partial in folder.glob("*.partial"):
    partial.unlink()
  todo = [job for job in jobs if not _is_finished(folder, job)]
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
      return
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    pool = concurrent.futures.ProcessPoolExecutor(
      min(workers, len(todo)),
      mp_context=context,
      initializer=_start_worker,
      initargs=(folder, dataset, recipe, counter),
    )
    try:
      waiting = {pool.submit(_work, job) for job in todo}
      while waiting:
        done, waiting = concurrent.futures.wait(
          waiting, timeout=0.5, return_when=concurrent.futures.FIRST_EXCEPTION
        )
        bar.update(total - left + counter.value - bar.n)
        for future in done:
          future.result()
    except concurrent.futures.process.BrokenProcessPool as e:
      raise OSError(
        "a worker process died (out of memory, or a video that crashes the decoder): "
        "run again, with fewer config.prepare.workers; finished shards are kept."
      ) from e
    finally:
      pool.shutdown(wait=True, cancel_futures=True)


_worker: dict = {}


def _start_worker(folder, dataset, recipe, counter) -> None:
  """Runs once in each process: one thread each, and none outlives the parent."""
  _worker.update(folder=folder, dataset=dataset, recipe=recipe, counter=counter)
  cv2.setNumThreads(1)

  def follow_parent():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=follow_parent, daemon=True).start()


def _work(job: _Job) -> None:
  def tick():
    with _worker["counter"].get_lock():
      _worker["counter"].value += 1

  _make_shard(_worker["folder"], _worker["dataset"], _worker["recipe"], job, tick)


def _make_shard(folder, dataset, recipe, job: _Job, tick) -> None:
  """Writes one shard and then its json; `tick` is called after each clip."""
  payloads, done, skipped = [], [], []
  for clip in job.clips:
    try:
      record = make_record(dataset, clip, recipe)
      payloads.append(records.encode(record))
      done.append(records.summary(record))
    except BadClip as e:
      skipped.append([clip.name, str(e)])
    except MemoryError:
      raise
    except Exception as e:  # one odd file must not stop a week of work; it is listed
      skipped.append([clip.name, f"unexpected {type(e).__name__}: {e}"])
    tick()
  path = folder / job.name
  size = 0
  if payloads:
    partial = folder / (job.name + ".partial")
    records.write_shard(partial, payloads)
    size = partial.stat().st_size
    partial.rename(path)
  content = {"clips": done, "skipped": skipped, "bytes": size}
  _write(_sidecar(folder, job.name), json.dumps(content))


def make_record(dataset: Dataset, clip: Clip, recipe: dict) -> records.Record:
  """Reads, crops and compresses one clip.

  Args:
    dataset: where the clip is from.
    clip: which.
    recipe: `crop.recipe` with "jpeg_quality".
  Raises: BadClip when it cannot be used.
  """
  opened = dataset.read(clip)
  pose, image_joints = opened.pose, opened.image_joints
  if not np.isfinite(pose).all(axis=-1).any():
    raise BadClip("nobody in any frame")
  if recipe["kind"] == "joints" and np.isnan(image_joints).all():
    raise BadClip(
      "no joints in the image to crop by; config.prepare.crop=full takes all"
    )
  most = int(len(pose) / (1 - LENGTH_TOLERANCE))
  size, box, blobs = recipe["size"], None, []
  for frame in opened.frames():
    if len(blobs) == most:
      raise BadClip(_lengths(len(pose), f"more than {most}"))
    if box is None:
      height, width = frame.shape[:2]
      if recipe["kind"] == "full":
        box = crop.full_box(width, height)
      else:
        box = crop.joint_box(
          image_joints,
          width,
          height,
          slack=recipe["slack"],
          head_room=recipe["head_room"],
        )
    cut = crop.crop_and_resize(frame, box, size)
    blobs.append(records.encode_frame(cut, recipe["jpeg_quality"]))
  if not blobs:
    raise BadClip("the video holds no frame")
  common = min(len(pose), len(blobs))
  if common < (1 - LENGTH_TOLERANCE) * max(len(pose), len(blobs)):
    raise BadClip(_lengths(len(pose), len(blobs)))
  pose = fill_gaps(pose)[:common]
  if not np.isfinite(pose).all(axis=-1).any():
    raise BadClip(f"nobody in the first {common} frames, where the video ends")
  return records.Record(
    name=clip.name,
    label=clip.label,
    attributes=clip.attributes,
    fps=opened.fps,
    box=box,
    frames=tuple(blobs[:common]),
    pose=pose,
    image_joints=crop.to_crop(fill_gaps(image_joints)[:common], box, size),
  )


def _lengths(poses: int, frames: int | str) -> str:
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
  _write(folder / SKIPPED_FILE, "".join(lines))
  if len(damaged) == len(clips) or len(damaged) > max_skipped * len(clips):
    (folder / records.INDEX_FILE).unlink(missing_ok=True)
    reasons = "; ".join(f"{n:,} x {reason}" for reason, n in _reasons(damaged)[:3])
    raise SystemExit(
      f"error: {len(damaged):,} of {len(clips):,} clips cannot be used, accepted are "
      f"{max_skipped:.1%}: {reasons}. {folder / SKIPPED_FILE} lists them; repair them "
      "and delete the folder, or raise config.prepare.max_skipped and run again."
    )
  index = records.Index(
    dataset=dataset.name,
    class_names=dataset.class_names,
    skeleton=dataset.skeleton,
    skeleton_digest=skeletons.get(dataset.skeleton).digest(),
    crop=recipe,
    shards={j.name: s["clips"] for j, s in zip(jobs, shards) if s["clips"]},
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
    protocol = protocols.get(dataset.name, name)
    counts = protocols.count(protocol, clips, dataset.class_names)
    published = protocols.EXPECTED_COUNTS.get((dataset.name, name), ())
    expected = dict(zip(("train", "test"), published))
    parts = [
      f"{part} {n:,}" + (f" of {expected[part]:,}" if part in expected else "")
      for part, n in counts.items()
      if n or part in expected
    ]
    differing = protocols.check_counts(dataset.name, name, clips, dataset.class_names)
    state = " (complete)" if expected and not differing else ""
    print(f"  {dataset.name} {name}: {', '.join(parts) or 'none'}{state}")


def _one_line(text: str) -> str:
  return " ".join(text.split())


def _write(path: pathlib.Path, text: str) -> None:
  """Writes a small file at once or not at all."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text, encoding="utf-8")
  partial.rename(path)


class _lock:
  """Holds a records folder, so that two runs never write to it together.

  The system lets go of it when the process ends, however it ends.
  """

  def __init__(self, folder: pathlib.Path):
    self._path = folder / ".lock"

  def __enter__(self):
    self._file = open(self._path, "w")
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
      self._file.close()
      raise ValueError(
        f"another run is preparing {self._path.parent}: wait for it, or set "
        "config.data.records to another folder."
      ) from e
    except OSError:  # a file system without locks
      pass

  def __exit__(self, *_):
    self._file.close()
