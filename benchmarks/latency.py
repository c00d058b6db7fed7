"""Time from a clip in memory to its scores: as trained, folded, and exported.

  python -m benchmarks.latency
  python -m benchmarks.latency --size=cpu --row="VPN, RNX3D101" --repeats=50

Prints a table: seconds of the first call, with compiling or loading, then the median
and the 95 % quantile of the calls, which alternate between the three, and the median of
their time on all cores, which other work on the machine changes little. Random weights.
"""

import argparse
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import jax
import jax.export
import numpy as np

from configs import ntu60
from vpn_jax.datasets import skeletons
from vpn_jax.inference import export, serve, trained_network
from vpn_jax.inputs import example
from vpn_jax.jobs import command_line
from vpn_jax.models import networks
from vpn_jax.results import paper
from vpn_jax.training import checkpoint, initialization
from vpn_jax.training.provenance import Provenance

CLASSES = 60


def random_run(folder: str, row: str, size: str) -> None:
  """Writes a checkpoint of random weights of a row of the tables."""
  arg = ",".join(filter(None, ["cs", paper.ROWS[row].arg, f"size={size}"]))
  config = ntu60.get_config(arg)
  config.model.num_classes = CLASSES
  skeleton = skeletons.get(config.data.skeleton)
  model = networks.build(config.network, config.model.to_dict())
  settings = example.Settings(**config.data.example)
  joints = settings.persons * skeleton.num_joints
  provenance = Provenance(
    dataset="",
    class_names=tuple(f"class {k}" for k in range(CLASSES)),
    skeleton=skeleton.name,
    skeleton_digest=skeleton.digest(),
    crop={},
    protocol={},
    validation={},
    index_digest="",
  )
  runs = checkpoint.Checkpoints(folder)
  runs.save(
    1,
    initialization.fresh(model, settings, jax.random.key(0), joints),
    config=config.to_dict(),
    provenance=provenance,
  )
  runs.close()


def noise(shape, dtype) -> np.ndarray:
  """Pixels or coordinates."""
  rng = np.random.default_rng(0)
  if dtype == np.uint8:
    return rng.integers(0, 256, shape, np.uint8)
  return rng.normal(size=shape).astype(dtype)


def programs(row: str, size: str, batch: int) -> dict:
  """The three ways, by name: functions without arguments that return arrays."""
  with tempfile.TemporaryDirectory() as folder:
    random_run(folder, row, size)
    network = trained_network.load(folder)
    with checkpoint.reading(folder) as runs:
      unfolded = jax.device_put(runs.restore_variables())
    file = f"{folder}/network.zip"
    platform = jax.export.default_export_platform()
    export.export(network, file, batch, (platform,))
    _, call = serve.load(file)
  joints = network.settings.persons * network.skeleton.num_joints
  shapes = network.settings.example_shapes(joints)
  shown = {name: noise((batch, *x.shape), x.dtype) for name, x in shapes.items()}
  shapes = export.inputs(network, batch)
  raw = {name: noise(x.shape, x.dtype) for name, x in shapes.items()}
  return {
    "as trained": lambda: network.forward(unfolded, shown),
    "folded": lambda: network.forward(network.variables, shown),
    "exported": lambda: call(raw),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--row", default="VPN", choices=list(paper.ROWS), metavar="ROW")
  parser.add_argument("--size", default="cpu", choices=("full", "cpu", "tiny"))
  parser.add_argument("--batch", type=int, default=1)
  parser.add_argument("--repeats", type=int, default=30)
  flags = parser.parse_args()
  runs, first = programs(flags.row, flags.size, flags.batch), {}
  for name, run in runs.items():
    start = time.perf_counter()
    jax.block_until_ready(run())
    first[name] = time.perf_counter() - start
  times = {name: [] for name in runs}  # by the clock and on the cores, ms
  for _ in range(flags.repeats):
    for name, run in runs.items():
      start = np.array([time.perf_counter(), time.process_time()])
      jax.block_until_ready(run())
      stop = np.array([time.perf_counter(), time.process_time()])
      times[name].append(1000 * (stop - start))
  device = jax.devices()[0].device_kind
  print(f"{flags.row}, size={flags.size}, batch {flags.batch}, {device}")
  print("| network | first call, s | median, ms | 95 %, ms | CPU time, ms |")
  print("| --- | --- | --- | --- | --- |")
  for name, taken in times.items():
    (median, cores), (late, _) = np.percentile(taken, (50, 95), axis=0)
    print(f"| {name} | {first[name]:.1f} | {median:.1f} | {late:.1f} | {cores:.1f} |")


if __name__ == "__main__":
  command_line.keep_buffers()
  main()
