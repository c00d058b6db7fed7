"""Prints how fast batches are read: frames a second per core, clips a second, memory.

python -m benchmarks.input
python -m benchmarks.input --records=data/ntu60 --dataset=ntu60 --protocol=cs

Without `--records`, made-up clips of 128 frames are prepared in a temporary folder.
"Per core" divides by the CPU time of all threads, so that other work on the machine
counts little; "by the clock" does not.
"""

import argparse
import pathlib
import resource
import tempfile
import time

import ml_collections
import numpy as np

import launch
from vpn_jax import pipeline, prepare, records


def made_up(folder: pathlib.Path, clips: int, size: int) -> ml_collections.ConfigDict:
  """Prepares made-up clips; returns the data block that reads them."""
  data = ml_collections.ConfigDict(
    {
      "dataset": "synthetic",
      "protocol": "cs",
      "seed": 0,
      "num_clips": clips,
      "clip_frames": 128,
      "frame_height": 360,
      "frame_width": 480,
      "records": str(folder),
    }
  )
  config = ml_collections.ConfigDict(
    {"data": data, "prepare": prepare.default_config()}
  )
  config.prepare.size = size
  prepare.prepare(config)
  return data


def measure(part: pipeline.Part, batch_size: int, batches: int, threads: int) -> str:
  """Reads batches from one thread pool; a line of what that took."""
  stream = part.train_batches(batch_size, 0, threads=threads)
  for _ in range(3):  # memory that is touched for the first time costs more
    next(stream)
  wall, cpu = time.perf_counter(), time.process_time()
  for _ in range(batches):
    next(stream)
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  frames = batches * batch_size * part.settings.num_frames
  return (
    f"{threads} thread(s): {frames / cpu:7,.0f} frames/s per core, "
    f"{frames / wall:7,.0f} frames/s and {batches * batch_size / wall:6.1f} clips/s by "
    "the clock"
  )


def decoding(part: pipeline.Part, folder: str) -> str:
  """JPEG alone, the bound of all else; a line."""
  source = records.Source(folder, part.clips[:4])
  blobs = [blob for i in range(len(source)) for blob in source[i].frames]
  cpu = time.process_time()
  for blob in blobs:
    records.decode_frame(blob)
  cpu = time.process_time() - cpu
  side = records.decode_frame(blobs[0]).shape[0]
  return (
    f"JPEG alone, {side} pixels, {np.mean([len(b) for b in blobs]) / 1e3:.1f} kB a "
    f"frame: {len(blobs) / cpu:7,.0f} frames/s per core"
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--records", default="", help="folder; made-up clips without")
  parser.add_argument("--dataset", default="ntu60", help="of these records")
  parser.add_argument("--protocol", default="cs", help="whose training part is read")
  parser.add_argument("--record_size", type=int, default=256, help="of made-up clips")
  parser.add_argument("--size", type=int, default=224, help="pixels")
  parser.add_argument("--frames", type=int, default=64)
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--batches", type=int, default=20)
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    if flags.records:
      data = ml_collections.ConfigDict(
        {
          "dataset": flags.dataset,
          "protocol": flags.protocol,
          "records": flags.records,
        }
      )
    else:
      data = made_up(pathlib.Path(folder) / "records", 20, flags.record_size)
    data.example = {"num_frames": flags.frames, "frame_size": flags.size}
    _, parts = pipeline.open_parts(data, ("train",))
    print(decoding(parts["train"], data.records))
    for threads in (1, 2, 4):
      print(measure(parts["train"], flags.batch, flags.batches, threads))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
  launch.keep_buffers()
  main()
