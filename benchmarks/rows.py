"""One real train step of every row of the tables, at the size of the paper.

  python -m benchmarks.rows
  python -m benchmarks.rows --size=cpu --rows="VPN;VPN, RNX3D101"

Each row runs in a process of its own, on noise and random weights, and prints one line:
parameters, seconds of the first step (with compiling) and of the second, the loss, and
the peak memory of the process. Kept results are skipped: --out names their file.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from vpn_jax.jobs import command_line


def measure(row: str, size: str, batch_size: int, remat: bool) -> dict:
  """Two steps of one row, in this process."""
  import jax
  import numpy as np

  from benchmarks import step as step_benchmark
  from configs import ntu60
  from vpn_jax.inputs import example
  from vpn_jax.models import networks
  from vpn_jax.results import paper
  from vpn_jax.training import initialization, metrics_writer, provenance, train_step
  from vpn_jax.training import optimizer as optimizer_lib

  arg = ",".join(filter(None, ["cs", paper.ROWS[row].arg, f"size={size}"]))
  config = ntu60.get_config(arg)
  config.model.num_classes = step_benchmark.CLASSES
  if config.network != "pose":
    config.model.remat = remat
  model = networks.build(config.network, config.model.to_dict())
  settings = example.Settings(**config.data.example)
  variables = initialization.fresh(
    model, settings, jax.random.key(0), step_benchmark.JOINTS
  )
  optimizer = optimizer_lib.make_optimizer(config.optimizer, 1000.0, 30_000)
  trainable = optimizer_lib.trainable(
    model, variables["params"], config.optimizer.rates.to_dict()
  )
  state = train_step.TrainState.start(variables, optimizer, trainable)
  batch = jax.device_put(step_benchmark.noise_batch(config, batch_size))
  step = jax.jit(
    train_step.make_train_step(
      model, optimizer, config.loss.to_dict(), trainable=trainable
    ),
    donate_argnums=0,
  )
  seconds = []
  for _ in range(2):
    began = time.monotonic()
    state, metrics = step(state, batch, jax.random.key(1))
    loss = float(metrics["loss"])
    seconds.append(time.monotonic() - began)
    if not np.isfinite(loss):
      raise FloatingPointError(f"loss of {row} is {loss}")
  return {
    "row": row,
    "size": size,
    "batch": batch_size,
    "remat": remat,
    "parameters": sum(p.size for p in jax.tree.leaves(state.params)),
    "first_seconds": seconds[0],
    "step_seconds": seconds[1],
    "loss": loss,
    "peak_gib": metrics_writer.peak_memory_gib(),
    "commit": provenance.code_commit(),
  }


def main():
  from vpn_jax.results import paper

  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--rows", default=";".join(paper.ROWS), help='separated by ";"')
  parser.add_argument("--size", default="full", choices=("full", "cpu", "tiny"))
  parser.add_argument("--batch", type=int, default=1)
  parser.add_argument("--remat", action="store_true", help="compute blocks again")
  parser.add_argument("--out", default="", help="json lines, appended")
  parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
  args = parser.parse_args()
  rows = args.rows.split(";")
  if args.one:
    print(json.dumps(measure(rows[0], args.size, args.batch, args.remat)))
    return
  out = pathlib.Path(args.out) if args.out else None
  kept = out.read_text().splitlines() if out and out.exists() else []
  settings = ("row", "size", "batch", "remat")
  done = {tuple(k[name] for name in settings) for k in map(json.loads, kept)}
  print("| row | parameters | first step, s | step, s | loss | peak, GiB |", flush=True)
  for row in rows:
    if (row, args.size, args.batch, args.remat) in done:
      continue
    words = [sys.executable, "-m", "benchmarks.rows", "--one", f"--rows={row}"]
    words += [f"--size={args.size}", f"--batch={args.batch}"]
    words += ["--remat"] * args.remat
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    if found.returncode:
      last = (found.stderr.strip().splitlines() or ["no message"])[-1]
      print(f"| {row} | failed with {found.returncode}: {last} |", flush=True)
      continue
    line = found.stdout.strip().splitlines()[-1]
    r = json.loads(line)
    print(
      f"| {row} | {r['parameters'] / 1e6:.2f} M | {r['first_seconds']:.0f} | "
      f"{r['step_seconds']:.1f} | {r['loss']:.3f} | {r['peak_gib']:.1f} |",
      flush=True,
    )
    if out:
      with out.open("a") as f:
        f.write(line + "\n")


if __name__ == "__main__":
  command_line.keep_buffers()
  main()
