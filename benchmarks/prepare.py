"""Prints how fast one process prepares clips, what it spends its time on, and memory.

python -m benchmarks.prepare                    # synthetic clips as H.264, 1920x1080
python -m benchmarks.prepare --frames=10000 --clips=1          # a long one: memory
python -m benchmarks.prepare --dataset=ntu60 --raw=data/ntu60/raw --clips=50

The stages are timed by this process's CPU time, so that other work on the machine
counts little. "Reading" is the skeletons and the header of the video.
"""

import argparse
import collections
import contextlib
import multiprocessing
import pathlib
import tempfile
import time

import cv2
import ml_collections
import numpy as np

from vpn_jax.datasets import registry, video, video_writer
from vpn_jax.datasets.synthetic import generator
from vpn_jax.jobs import command_line, settings
from vpn_jax.records import crop, make_record, record_format

STAGES = ("reading", "decoding", "resizing", "encoding", "the rest")


def synthetic_videos(
  folder: pathlib.Path, clips: int, frames: int
) -> ml_collections.ConfigDict:
  """Writes synthetic clips, enlarged to 1920x1080, with their joints beside them."""
  settings = generator.Settings(num_frames=min(frames, 90), height=270, width=480)
  (folder / "class").mkdir(parents=True)
  for i in range(clips):
    made = generator.make_clip(0, i, settings)
    order = np.arange(frames) % settings.num_frames
    path = folder / "class" / f"clip{i}.mp4"
    large = (cv2.resize(made.frames[t], (1920, 1080)) for t in order)
    video_writer.write_video(path, large, 30)
    image = made.image_joints[order] / np.float32([480, 270])
    np.savez(path.with_suffix(".npz"), world=made.pose[order], image=image)
  return ml_collections.ConfigDict(
    {"dataset": "custom", "raw": str(folder), "skeleton": "kinect_v2"}
  )


@contextlib.contextmanager
def stopwatch():
  """Times the stages of `make_record.make_record`; yields {stage: seconds of CPU}."""
  seconds = collections.Counter()
  kept = crop.crop_and_resize, record_format.encode_frame, video.read_frames

  def timed(function, stage):
    def call(*args, **kwargs):
      start = time.process_time()
      try:
        return function(*args, **kwargs)
      finally:
        seconds[stage] += time.process_time() - start

    return call

  def read_frames(*args, **kwargs):
    step = timed(kept[2](*args, **kwargs).__next__, "decoding")
    with contextlib.suppress(StopIteration):
      while True:
        yield step()

  crop.crop_and_resize = timed(kept[0], "resizing")
  record_format.encode_frame = timed(kept[1], "encoding")
  video.read_frames = read_frames
  try:
    yield seconds
  finally:
    crop.crop_and_resize, record_format.encode_frame, video.read_frames = kept


def measure(data: ml_collections.ConfigDict, most: int, folder: str) -> None:
  """Prepares up to `most` clips without keeping them; prints what that took."""
  cv2.setNumThreads(1)
  dataset = registry.open_dataset(data)
  clips = dataset.clips()[0][:most]
  recipe = {**crop.recipe(), "jpeg_quality": settings.prepare()["jpeg_quality"]}
  before, frames = peak(), 0
  with stopwatch() as seconds:
    start = time.process_time()
    for clip in clips:
      began, decoding = time.process_time(), seconds["decoding"]
      dataset.read(clip)
      seconds["reading"] += time.process_time() - began
      seconds["decoding"] = decoding  # a dataset may look at a frame
      frames += len(make_record.make_record(dataset, clip, recipe, folder).frames)
    total = time.process_time() - start - seconds["reading"]  # it was read twice
  seconds["the rest"] = total - sum(seconds.values())
  print(
    f"{len(clips)} clips of {dataset.name}, {frames} frames: {len(clips) / total:.2f} "
    f"clips/s and {frames / total:.0f} frames/s per core"
  )
  print(", ".join(f"{stage} {seconds[stage] / total:.0%}" for stage in STAGES))
  print(f"peak memory {peak():.2f} GiB, {before:.2f} GiB before the first clip")


def peak() -> float:
  """Largest resident memory of this process so far, GiB; Linux only.

  `resource.getrusage` would say that of the process which started this one.
  """
  status = pathlib.Path("/proc/self/status").read_text().splitlines()
  fields = dict(line.split(":", 1) for line in status)
  return int(fields["VmHWM"].split()[0]) / 2**20


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--dataset", default="", help="such as ntu60; synthetic without")
  parser.add_argument("--raw", default="", help="its folder")
  parser.add_argument("--clips", type=int, default=4)
  parser.add_argument("--frames", type=int, default=90, help="of a synthetic clip")
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    if flags.dataset:
      data = ml_collections.ConfigDict({"dataset": flags.dataset, "raw": flags.raw})
    else:
      data = synthetic_videos(pathlib.Path(folder) / "raw", flags.clips, flags.frames)
    # Another process, so that its memory is that of preparing alone.
    process = multiprocessing.get_context("spawn").Process(
      target=measure, args=(data, flags.clips, folder)
    )
    process.start()
    process.join()


if __name__ == "__main__":
  command_line.keep_buffers()
  main()
