"""Prints how fast batches are read, and whether a network has to wait for them.

python -m benchmarks.input
python -m benchmarks.input --records=data/ntu60 --dataset=ntu60 --protocol=cs
python -m benchmarks.input --train=cpu

Without `--records`, synthetic clips of 128 frames are prepared in a temporary folder.
"Per core" divides by the CPU time of all threads, so that other work on the machine
counts little; "by the clock" does not.

With `--train`, VPN of that size takes train steps from the records and on a batch that
is there already, in turn; medians. On a CPU, reading and training share the cores.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import ml_collections
import numpy as np

from configs import common
from vpn_jax.inputs import pipeline, protocol_data
from vpn_jax.jobs import command_line, settings
from vpn_jax.records import prepare, record_format, store
from vpn_jax.training import metrics_writer


def synthetic_records(
  folder: pathlib.Path, clips: int, size: int
) -> ml_collections.ConfigDict:
  """Prepares synthetic clips; returns the data block that reads them."""
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
  config = ml_collections.ConfigDict({"data": data, "prepare": settings.prepare()})
  config.prepare.size = size
  prepare.prepare(config.data, config.prepare)
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
  source = store.RecordReader(folder, part.clips[:4])
  blobs = [blob for i in range(len(source)) for blob in source[i].frames]
  cpu = time.process_time()
  for blob in blobs:
    record_format.decode_frame(blob)
  cpu = time.process_time() - cpu
  side = record_format.decode_frame(blobs[0]).shape[0]
  return (
    f"JPEG alone, {side} pixels, {np.mean([len(b) for b in blobs]) / 1e3:.1f} kB a "
    f"frame: {len(blobs) / cpu:7,.0f} frames/s per core"
  )


def _clips_per_second(batches, count: int, use=lambda batch: None) -> float:
  """Seconds of taking so many batches one after the other."""
  clips, began = 0, time.perf_counter()
  for _ in range(count):
    batch = next(batches)
    clips += len(batch["label"])
    use(batch)
  return clips / (time.perf_counter() - began)


def training(data, size: str, batch_size: int, steps: int, threads: int) -> str:
  """Train steps from records against steps on one batch; a line.

  Args:
    data: the block that reads the records.
    size: of VPN, "full", "cpu" or "tiny".
    batch_size, threads: of reading.
    steps: in each of five rounds.
  """
  import jax

  from benchmarks import step
  from vpn_jax import device_mesh
  from vpn_jax.models import networks
  from vpn_jax.training import initialization, train_step

  config = step.configuration("vpn", size, "float32")
  data.example = config.data.example.to_dict()
  _, parts = protocol_data.open_parts(data, ("train",))
  part = parts["train"]
  config.model.num_classes = len(part.class_names)
  model = networks.build(config.network, config.model.to_dict())
  key = jax.random.key(0)
  variables = initialization.fresh(model, part.settings, key, part.skeleton.num_joints)
  devices = device_mesh.make_mesh()
  place = device_mesh.make_placer(devices)
  step_function, start = step.train_functions(config, variables["params"])
  state = jax.device_put(start(variables), device_mesh.whole(devices))
  step_function = train_step.compile_step(step_function, devices)

  def train(batch):
    nonlocal state
    fields = {name: x for name, x in batch.items() if name != "index"}
    state, metrics = step_function(state, place(fields), key)
    jax.block_until_ready(metrics)

  stream = part.train_batches(batch_size, 0, threads=threads)
  kept = next(stream)
  train(kept)  # compiles
  rates = {"loader": [], "kept": [], "records": []}
  for _ in range(5):
    rates["loader"].append(_clips_per_second(stream, 4 * steps))
    rates["kept"].append(_clips_per_second(iter([kept] * steps), steps, train))
    rates["records"].append(_clips_per_second(stream, steps, train))
  loader, cached, found = (statistics.median(rates[name]) for name in rates)
  f, h = part.settings.num_frames, part.settings.frame_size
  return (
    f"VPN, {f}x{h}x{h}, batch {batch_size}, {threads} threads: loader {loader:.2f}, "
    f"train steps on a batch in memory {cached:.2f}, from records {found:.2f} clips/s "
    f"({found / cached:.1%})"
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--records", default="", help="folder; synthetic clips without")
  parser.add_argument("--dataset", default="ntu60", help="of these records")
  parser.add_argument("--protocol", default="cs", help="whose training part is read")
  parser.add_argument("--record_size", type=int, default=256, help="of synthetic clips")
  parser.add_argument("--size", type=int, default=224, help="pixels")
  parser.add_argument("--frames", type=int, default=64)
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--batches", type=int, default=20)
  parser.add_argument(
    "--train", default="", choices=("", *common.SIZES), help="size of VPN"
  )
  parser.add_argument("--steps", type=int, default=4, help="of a round of --train")
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
      data = synthetic_records(pathlib.Path(folder) / "records", 20, flags.record_size)
    if flags.train:
      print(training(data, flags.train, flags.batch, flags.steps, threads=4))
      return
    data.example = {"num_frames": flags.frames, "frame_size": flags.size}
    _, parts = protocol_data.open_parts(data, ("train",))
    print(decoding(parts["train"], data.records))
    for threads in (1, 2, 4):
      print(measure(parts["train"], flags.batch, flags.batches, threads))
  print(f"peak memory {metrics_writer.peak_memory_gib():.2f} GiB")


if __name__ == "__main__":
  command_line.keep_buffers()
  main()
