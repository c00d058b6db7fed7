"""Shards of records, made by processes: any of these may die, and is found out.

A shard is finished when its json is there: both are written under another name and
renamed, the json last. A worker holds one frame and a few megabytes of JPEG, however
long the video.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import glob
import hashlib
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import threading

import cv2
import tqdm

from vpn_jax import files
from vpn_jax.datasets.base import BadClip, Clip, Dataset
from vpn_jax.records import make_record, store

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # says nothing about the clip


@dataclasses.dataclass(frozen=True)
class Work:
  """What all shards have in common.

  Attributes:
    folder: of the records.
    dataset: where the clips are from.
    recipe: `crop.recipe` with "jpeg_quality".
    clip_seconds: a clip that takes a process longer is skipped; 0 for no limit.
  """

  folder: pathlib.Path
  dataset: Dataset
  recipe: dict
  clip_seconds: float


@dataclasses.dataclass(frozen=True)
class Job:
  """One shard.

  Attributes:
    name: of its file.
    first: place of its first clip among all.
    clips: to be read, in order.
  """

  name: str
  first: int
  clips: tuple[Clip, ...]


def divide(clips: list[Clip], clips_per_shard: int) -> list[Job]:
  """The shards of all clips, in order."""
  starts = range(0, len(clips), clips_per_shard)
  return [
    Job(
      f"clips-{i:05d}-of-{len(starts):05d}.array_record",
      start,
      tuple(clips[start : start + clips_per_shard]),
    )
    for i, start in enumerate(starts)
  ]


def _stem(shard: str) -> str:
  return shard.removesuffix(".array_record")


def sidecar(folder: pathlib.Path, shard: str) -> pathlib.Path:
  return folder / (_stem(shard) + ".json")


def is_finished(folder: pathlib.Path, job: Job) -> bool:
  """True when the json is there, undamaged, and the shard has the size that it says."""
  try:
    content = json.loads(sidecar(folder, job.name).read_text())
    digest = _digest(content)
    size = (folder / job.name).stat().st_size if content["clips"] else 0
    return size == content["bytes"] and content.get("digest", digest) == digest
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
    return False


def _digest(content: dict) -> str:
  """16 hex digits over a shard's json; older ones have none in them."""
  text = json.dumps([content[key] for key in ("clips", "skipped", "bytes")])
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _lost_clips(folder: pathlib.Path, job: Job) -> bool:
  return bool(json.loads(sidecar(folder, job.name).read_text())["skipped"])


def make(work: Work, jobs: list[Job], workers: int, retry: bool) -> int:
  """Makes what is not finished, with a bar over all clips; how many were tried.

  Args:
    workers: processes; 0 for none beside this one.
    retry: whether shards that lack clips are made again.
  Raises: OSError for a full disk, or processes that die whatever they read.
  """
  folder = work.folder
  _remove_partials(folder, jobs)
  for partial in folder.glob(f"{store.INDEX_FILE}.*.partial"):
    partial.unlink(missing_ok=True)
  todo = [
    job
    for job in jobs
    if not is_finished(folder, job) or (retry and _lost_clips(folder, job))
  ]
  if todo:  # an index of other shards than are there would mislead
    (folder / store.INDEX_FILE).unlink(missing_ok=True)
  for job in todo:
    sidecar(folder, job.name).unlink(missing_ok=True)
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
        _make_shard(work, job, lambda: bar.update(1))
      return left
    deadly: set[str] = set()
    while todo:
      suspects = _run_pool(work, todo, workers, deadly, bar)
      todo = [job for job in todo if not is_finished(folder, job)] if suspects else []
      found = {c.name for c in suspects if _kills(work, c)}
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


def _run_pool(work, jobs, workers, deadly, bar) -> list[Clip]:
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
    initargs=(work, deadly, counter, reading, free),
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


def _kills(work: Work, clip: Clip) -> bool:
  """Whether reading a clip ends the process that does, here one of its own."""
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    try:
      pool.submit(_try, work, clip).result()
    except concurrent.futures.process.BrokenProcessPool:
      return True
  return False


def _try(work: Work, clip: Clip) -> None:
  cv2.setNumThreads(1)
  _end_after(work.clip_seconds)
  with contextlib.suppress(Exception):  # those are told when the shard is made
    make_record.make_record(work.dataset, clip, work.recipe, work.folder)
  _end_after(0)


def _end_after(seconds: float) -> None:
  """Has the system end this process in so many seconds; 0 takes that back.

  Not by an exception: a decoder that hangs may never come back to Python.
  """
  signal.signal(signal.SIGALRM, signal.SIG_DFL)
  signal.setitimer(signal.ITIMER_REAL, seconds)


_worker: dict = {}


def _start_worker(work, deadly, counter, reading, free) -> None:
  """Runs once in each process: one thread each, and none outlives the parent."""
  _worker.update(work=work, deadly=deadly)
  _worker.update(counter=counter, reading=reading, slot=free.get())
  cv2.setNumThreads(1)

  def follow_parent():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=follow_parent, daemon=True).start()


def _work(job: Job) -> None:
  def tick():
    with _worker["counter"].get_lock():
      _worker["counter"].value += 1

  def begin(place: int):
    _worker["reading"][_worker["slot"]] = place
    _end_after(_worker["work"].clip_seconds if place >= 0 else 0)

  _make_shard(_worker["work"], job, tick, begin, _worker["deadly"])


def _make_shard(
  work: Work, job: Job, tick, begin=lambda place: None, deadly=()
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
          raise BadClip(
            "the process that read it died: a crash of the decoder, or more than "
            f"{work.clip_seconds:g} s (config.prepare.clip_seconds)"
          )
        yield make_record.make_record(work.dataset, clip, work.recipe, work.folder)
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

  path, partial = work.folder / job.name, work.folder / (job.name + ".partial")
  done = store.write_shard(partial, usable())
  size = partial.stat().st_size if done else 0
  if done:
    partial.rename(path)
  else:
    partial.unlink()
    path.unlink(missing_ok=True)
  content = {"clips": done, "skipped": skipped, "bytes": size}
  content["digest"] = _digest(content)
  files.write_text(sidecar(work.folder, job.name), json.dumps(content))
