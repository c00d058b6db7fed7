"""Worker processes that make shards; one that dies is noticed, with the clip it read.

A worker holds one frame and a few megabytes of JPEG, however long the video.
"""

import concurrent.futures
import contextlib
import glob
import multiprocessing
import os
import pathlib
import signal
import sys
import threading

import cv2
import tqdm

from vpn_jax.datasets.base import Clip
from vpn_jax.records import make_record, shards, store
from vpn_jax.records.shards import Shard, Work


def make(work: Work, wanted: list[Shard], workers: int, retry: bool) -> int:
  """Makes the shards that are not finished, with a progress bar over all clips.

  Args:
    work: what all shards have in common.
    wanted: the shards.
    workers: processes; 0 for none beside this one.
    retry: whether shards that skipped clips are made again.
  Returns: the number of clips that were tried, without those of an earlier run.
  Raises: OSError for a full disk, or processes that die whatever they read.
  """
  folder = work.folder
  _remove_partials(folder, wanted)
  for partial in folder.glob(f"{store.INDEX_FILE}.*.partial"):
    partial.unlink(missing_ok=True)
  todo = [
    shard
    for shard in wanted
    if not shard.is_finished(folder)
    or (retry and shard.read_sidecar(folder)["skipped"])
  ]
  if todo:  # the index would name shards that are not there
    (folder / store.INDEX_FILE).unlink(missing_ok=True)
  for shard in todo:
    shard.sidecar(folder).unlink(missing_ok=True)
  total = sum(len(shard.clips) for shard in wanted)
  tried = sum(len(shard.clips) for shard in todo)
  made = sum(clip.name not in work.taken for shard in todo for clip in shard.clips)
  bar = tqdm.tqdm(
    mininterval=0.5 if sys.stderr.isatty() else 15.0,
    total=total,
    initial=total - tried,
    unit="clip",
    desc="prepare",
    smoothing=0.05,
  )
  with bar:
    if workers == 0:
      for shard in todo:
        shards.write(work, shard, lambda: bar.update(1))
      return made
    deadly: set[str] = set()
    while todo:
      suspects = _run_pool(work, todo, workers, deadly, bar)
      if not suspects:
        break
      todo = [shard for shard in todo if not shard.is_finished(folder)]
      found = {clip.name for clip in suspects if _kills(work, clip)}
      if not found:
        names = ", ".join(sorted(clip.name for clip in suspects))
        raise OSError(
          f"a worker process died while these were read: {names}; none of them alone "
          "ends a process, so the memory may be too small for all: run again with "
          "fewer config.prepare.workers; finished shards are kept."
        )
      deadly |= found
      _remove_partials(folder, todo)
      bar.reset()
      bar.update(total - sum(len(shard.clips) for shard in todo))
  return made


def _remove_partials(folder: pathlib.Path, wanted: list[Shard]) -> None:
  for shard in wanted:
    for partial in folder.glob(glob.escape(shard.stem) + ".*partial"):
      partial.unlink()


def _run_pool(
  work: Work, todo: list[Shard], workers: int, deadly: set[str], bar: tqdm.tqdm
) -> list[Clip]:
  """Makes shards with several processes, until all are made or a process dies.

  Args:
    deadly: names of the clips to skip, because they end the process that reads them.
  Returns: the clips that were being read when a process died; none when all is well.
  """
  context = multiprocessing.get_context("spawn")
  workers = min(workers, len(todo))
  begun, counter = bar.n, context.Value("q", 0)
  reading = context.Array("q", [-1] * workers)  # position of the clip, by worker
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
    waiting = {pool.submit(_write, shard) for shard in todo}
    while waiting:
      done, waiting = concurrent.futures.wait(
        waiting, timeout=0.5, return_when=concurrent.futures.FIRST_EXCEPTION
      )
      bar.update(begun + counter.value - bar.n)
      for future in done:
        future.result()
  except concurrent.futures.process.BrokenProcessPool as e:
    clips = {i: c for shard in todo for i, c in enumerate(shard.clips, shard.first)}
    found = [clips[position] for position in reading if position >= 0]
    if not found:
      raise OSError(
        "a worker process died before it read a clip: run again with fewer "
        "config.prepare.workers; finished shards are kept."
      ) from e
    return found
  finally:
    pool.shutdown(wait=True, cancel_futures=True)
  return []


def _kills(work: Work, clip: Clip) -> bool:
  """Whether a process of its own dies when it reads a clip."""
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
  with contextlib.suppress(Exception):  # reported when the shard is made
    make_record.make_record(work.dataset, clip, work.recipe, work.folder)
  _end_after(0)


def _end_after(seconds: float) -> None:
  """Lets the system end this process after so many seconds; 0 cancels that.

  An exception would not do: a decoder that hangs may never return to Python.
  """
  signal.signal(signal.SIGALRM, signal.SIG_DFL)
  signal.setitimer(signal.ITIMER_REAL, seconds)


_worker: dict = {}  # the state of a worker process


def _start_worker(work: Work, deadly: set[str], counter, reading, free) -> None:
  """Runs once in each process: one thread for OpenCV, and an end with the parent's."""
  _worker.update(work=work, deadly=deadly)
  _worker.update(counter=counter, reading=reading, slot=free.get())
  cv2.setNumThreads(1)

  def follow_parent():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=follow_parent, daemon=True).start()


def _write(shard: Shard) -> None:
  """Writes a shard in a worker process."""

  def after_clip():
    with _worker["counter"].get_lock():
      _worker["counter"].value += 1

  def before_clip(position: int):
    _worker["reading"][_worker["slot"]] = position
    _end_after(_worker["work"].clip_seconds if position >= 0 else 0)

  shards.write(_worker["work"], shard, after_clip, before_clip, _worker["deadly"])
