"""Loss curves of VPN in float32 and in bfloat16, from the same start on the same clips.

  python -m benchmarks.precision
  python -m benchmarks.precision --steps=300 --width=1 --frames=16 --size=64

All layers of the trunk, at a fraction of their width, on synthetic clips, in the plain
form of the operations, which a GPU runs. Each line has the mean loss of some steps: in
float32, in float32 with dropout drawn anew, which says how far two equal runs lie
apart, and in bfloat16.
"""

import argparse
import pathlib
import tempfile
import time

import jax
import numpy as np

from benchmarks import input as input_benchmark
from benchmarks import step
from vpn_jax import device_mesh, ops
from vpn_jax.inputs import protocol_data
from vpn_jax.jobs import command_line
from vpn_jax.models import networks
from vpn_jax.training import initialization, train_step

# Name -> type of the computation, seed of dropout.
RUNS = {
  "float32": ("float32", 1),
  "float32, other dropout": ("float32", 2),
  "bfloat16": ("bfloat16", 1),
}


def configuration(flags, dtype: str):
  """VPN from Conv3d_1a_7x7 to Mixed_5c, all of it trained."""
  config = step.configuration("vpn", "tiny", dtype)
  config.data.example.update(num_frames=flags.frames, frame_size=flags.size)
  config.model.update(endpoint="Mixed_5c", frozen_until="", width=flags.width)
  config.optimizer.learning_rate = flags.learning_rate
  return config


def losses(flags, data, dtype: str, seed: int) -> np.ndarray:
  """The loss of each step of a run."""
  config = configuration(flags, dtype)
  data.example = config.data.example.to_dict()
  _, parts = protocol_data.open_parts(data, ("train",))
  part = parts["train"]
  config.model.num_classes = len(part.class_names)
  model = networks.build(config.network, config.model.to_dict())
  variables = initialization.fresh(
    model, part.settings, jax.random.key(0), part.skeleton.num_joints
  )
  function, start = step.train_functions(
    config,
    variables["params"],
    steps_per_epoch=len(part) / flags.batch,
    steps=flags.steps,
  )
  devices = device_mesh.make_mesh()
  state = jax.device_put(start(variables), device_mesh.whole(devices))
  function = train_step.compile_step(function, devices)
  place, found = device_mesh.make_placer(devices), []
  stream = part.train_batches(flags.batch, 0, threads=1)
  for _ in range(flags.steps):
    batch = next(stream)
    del batch["index"]
    state, metrics = function(state, place(batch), jax.random.key(seed))
    found.append(metrics["loss"])
  return np.asarray(jax.device_get(found))


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--steps", type=int, default=80)
  parser.add_argument("--batch", type=int, default=8)
  parser.add_argument("--clips", type=int, default=60)
  parser.add_argument("--frames", type=int, default=8)
  parser.add_argument("--size", type=int, default=48)
  parser.add_argument("--width", type=float, default=0.25)
  parser.add_argument("--learning_rate", type=float, default=0.01)
  parser.add_argument("--lines", type=int, default=8, help="of the table")
  flags = parser.parse_args()
  curves = {}
  with tempfile.TemporaryDirectory() as folder:
    data = input_benchmark.synthetic_records(
      pathlib.Path(folder), flags.clips, flags.size
    )
    for name, (dtype, seed) in RUNS.items():
      began = time.perf_counter()
      with ops.use_formulation("plain"):
        curves[name] = losses(flags, data, dtype, seed)
      print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
  print(f"| steps | {' | '.join(curves)} |\n|{' --- |' * (1 + len(curves))}")
  for steps in np.array_split(np.arange(flags.steps), flags.lines):
    cells = [f"{curve[steps].mean():.3f}" for curve in curves.values()]
    print(f"| {steps[0] + 1} to {steps[-1] + 1} | {' | '.join(cells)} |")


if __name__ == "__main__":
  command_line.keep_buffers()
  main()
