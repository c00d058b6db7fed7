"""Forward and train step of a network: speed, share of the machine's peak, memory.

  python -m benchmarks.step --model=i3d,vpn,vpn_rnx --size=cpu --batch=4
  python -m benchmarks.step --versus=torch --size=full --batch=8 --dtype=bfloat16
  python -m benchmarks.step --model=stgcn,ctrgcn --batch=16 --versus=torch

Each network runs in a process of its own, on noise and random weights. "forward" is
inference mode with all steps on the way, "train" is loss, gradients and update. All
programs of a network run in turn, again and again. A time is the median, a ratio the
median of those of each round. One program is a product of two matrices, whose rate is
the peak that the others are held against. GFLOP: multiply-adds x 2 of the plain form
(benchmarks/flops.py), also where what runs needs fewer. Ready: compiling, or PyTorch's
first run. Peak memory is the device's; on a CPU the process's.

--versus=torch runs a twin in PyTorch beside ours, each in a process of its own: pip
install -r requirements-benchmark.txt; --versus=torch-eager leaves out torch.compile,
which takes minutes. On a machine with other work its threads wait for each other much
longer than XLA's do: compare on a quiet one, or with one core for both (taskset -c 0,
--threads=1).
"""

import argparse
import functools
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from vpn_jax.jobs import command_line

MODELS = {
  "i3d": "model=i3d",
  "vpn": "model=vpn",
  "vpn_rnx": "backbone=resnext3d",
  "stgcn": "model=pose,pose_backbone=stgcn",
  "ctrgcn": "model=pose,pose_backbone=ctrgcn",
}
# What is compared with -> whether by torch.compile, for each program of PyTorch.
VERSUS = {"": (), "torch": (False, True), "torch-eager": (False,)}
CLASSES, JOINTS = 60, 25
STEPS = 64  # of poses alone, of any size


def configuration(model: str, size: str, dtype: str):
  """The configuration of a network of this script, with the shapes of NTU-60."""
  from configs import ntu60

  config = ntu60.get_config(f"cs,{MODELS[model]},size={size}")
  config.model.num_classes = CLASSES
  if config.network == "pose":
    config.data.example.pose_steps = STEPS
    config.model.pose.dtype = dtype
  else:
    config.model.dtype = dtype
  return config


def noise_batch(config, batch_size: int) -> dict:
  """A batch of a configuration's shapes: label, frames and pose, NumPy arrays."""
  import numpy as np

  from vpn_jax.inputs import example

  rng = np.random.default_rng(0)
  settings = example.Settings(**config.data.example)
  batch = {"label": np.arange(batch_size, dtype=np.int32) % config.model.num_classes}
  for name, x in settings.example_shapes(JOINTS).items():
    shape = (batch_size, *x.shape)
    whole = x.dtype == np.uint8
    noise = rng.integers(0, 256, shape, x.dtype) if whole else rng.normal(size=shape)
    batch[name] = noise.astype(x.dtype)
  return batch


def shapes(config) -> dict:
  """The shapes of a network's variables; nothing is computed."""
  import jax

  from vpn_jax.models import networks

  model = networks.build(config.network, config.model.to_dict())
  init = functools.partial(model.init, train=False)
  batch = noise_batch(config, 1)
  found = jax.eval_shape(init, jax.random.key(0), *networks.inputs(model, batch))
  return {"params": found["params"], "batch_stats": found["batch_stats"]}


def forward_function(config):
  """Our network in inference mode: (variables, batch) -> (logits, out)."""
  from vpn_jax.models import networks

  model = networks.build(config.network, config.model.to_dict())

  def forward(variables, batch):
    return model.apply(variables, *networks.inputs(model, batch), train=False)

  return forward


def train_functions(
  config,
  params: dict,
  accumulate: int = 1,
  *,
  steps_per_epoch: float = 1000.0,
  steps: int = 30_000,
):
  """Our train step, and what makes its first state of the network's variables.

  Args:
    config: the configuration of a network.
    params: its parameters, or their shapes.
    accumulate: micro-batches of a step.
    steps_per_epoch, steps: of the schedule; by default one that does not end.
  """
  from vpn_jax.models import networks
  from vpn_jax.training import optimizer as optimizer_lib
  from vpn_jax.training import train_step

  model = networks.build(config.network, config.model.to_dict())
  optimizer = optimizer_lib.make_optimizer(config.optimizer, steps_per_epoch, steps)
  trainable = optimizer_lib.trainable(model, params, config.optimizer.rates.to_dict())
  step = train_step.make_train_step(
    model, optimizer, config.loss.to_dict(), accumulate, trainable
  )

  def start(variables):
    return train_step.TrainState.start(variables, optimizer, trainable)

  return step, start


def forward_program(config, variables: dict, batch: dict, **given):
  """Our network in inference mode, as a `timing.Program`.

  Args:
    config: its configuration.
    variables, batch: as the network takes them.
    given: `options` of the compiler, and `work`, the operations where they are known;
      see `_compile`.
  """
  import jax

  args = jax.device_put((variables, batch))
  program = _compile(jax.jit(forward_function(config)), args, **given)
  program.start = lambda batch=args[1]: program.compiled(args[0], batch)
  return _seen(program)


def train_program(config, variables: dict, batch: dict, **given):
  """Our train step; every run goes on from the state that the last one left.

  Args: as in `forward_program`.
  """
  import jax
  import jax.numpy as jnp

  variables, batch = jax.device_put((variables, batch))
  step, first = train_functions(config, variables["params"])
  # A copy: the step takes the memory of its state.
  state = first(jax.tree.map(jnp.copy, variables))
  key = jax.random.key(1)
  jitted = jax.jit(step, donate_argnums=0)
  program = _compile(jitted, (state, batch, key), **given)

  def start(batch=batch):
    nonlocal state
    state, metrics = program.compiled(state, batch, key)
    return state, metrics

  program.start = start
  return _seen(program)


def _compile(function, args: tuple, options: dict | None = None, work: int = 0):
  """Compiles a jitted function to a Program that does not run yet.

  Args:
    function, args: what to call, and with what.
    options: of the compiler, such as {"xla_gpu_force_conv_nhwc": True}.
    work: operations of a run; 0 counts them.
  """
  from benchmarks import flops, timing

  began = time.perf_counter()
  compiled = function.lower(*args).compile(compiler_options=options)
  ready = time.perf_counter() - began
  memory = memory_of(compiled)
  work = work or flops.count(function, *args)
  program = timing.Program("ours", None, work, ready, compiled=compiled)
  program.temporaries = memory.temp_size_in_bytes / 2**30 if memory else None
  return program


def memory_of(compiled):
  """What the compiler plans; None where a stored program does not say it."""
  import jax

  try:
    return compiled.memory_analysis()
  except jax.errors.JaxRuntimeError:
    return None


def _seen(program):
  """Runs a program of ours once, and notes the peak of the memory so far."""
  import jax

  from vpn_jax.training import metrics_writer

  program.run = lambda: jax.block_until_ready(program.start())
  program.run()
  stats = jax.local_devices()[0].memory_stats()
  device = stats["peak_bytes_in_use"] / 2**30 if stats else None
  program.peak = metrics_writer.peak_memory_gib() if device is None else device
  return program


def measure(
  config,
  batch_size: int,
  *,
  repeats: int,
  versus: str = "",
  threads: int = 0,
  whats: tuple[str, ...] = ("forward", "train"),
  variables: dict | None = None,
) -> list[dict]:
  """The rows of one network, in this process.

  Args:
    config: its configuration.
    batch_size: B.
    repeats: timed runs of every program.
    versus: of `VERSUS`, for the twin beside it.
    threads: of PyTorch, see `apart.torch_program`.
    whats: which of its programs.
    variables: of the network; None draws them.
  """
  import jax

  from benchmarks import apart, timing
  from vpn_jax.inputs import example
  from vpn_jax.models import networks
  from vpn_jax.training import initialization

  if variables is None:
    settings = example.Settings(**config.data.example)
    model = networks.build(config.network, config.model.to_dict())
    variables = initialization.fresh(model, settings, jax.random.key(0), JOINTS)
  batch = noise_batch(config, batch_size)
  make = {"forward": forward_program, "train": train_program}
  ours = {what: make[what](config, variables, batch) for what in whats}
  of_poses = config.network == "pose"
  peaks = timing.peak_programs((config.model.pose if of_poses else config.model).dtype)
  made = []
  for what, program in ours.items():
    programs, twin = [program], (what, config, variables, batch, program.flops)
    for compiled in VERSUS[versus]:
      programs.append(apart.torch_program(*twin, compiled=compiled, threads=threads))
    found = timing.rows(programs, peaks, repeats, batch_size)
    made += [{"what": what, **row} for row in found]
    for twin in programs[1:]:
      twin.close()
  return made


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--model", default="vpn", help=f"of {', '.join(MODELS)}; separated by ,"
  )
  parser.add_argument("--size", default="cpu", choices=("full", "cpu", "tiny"))
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
  parser.add_argument("--versus", default="", choices=tuple(VERSUS))
  parser.add_argument(
    "--threads", type=int, default=0, help="of PyTorch; 0: its own choice"
  )
  parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
  args = parser.parse_args()
  names = args.model.split(",")
  if unknown := set(names) - set(MODELS):
    parser.error(f"unknown --model {sorted(unknown)}, expected some of {list(MODELS)}")
  if args.one:
    one(args)
    return
  # JAX takes the memory of the device as it needs it: PyTorch gets the rest.
  env = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
  head = None
  for name in names:
    words = [*sys.orig_argv, f"--model={name}", "--one"]
    found = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if found.returncode:
      last = (found.stderr.strip().splitlines() or ["no message"])[-1]
      print(f"{name} failed with {found.returncode}: {last}", flush=True)
      continue
    result = json.loads(found.stdout.strip().splitlines()[-1])
    if head is None:
      head = result["head"]
      print(head)
    print("\n".join(result["lines"]), flush=True)


def one(args):
  """Measures one network and prints its lines, as JSON."""
  import jax

  from benchmarks import timing

  jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed
  config = configuration(args.model, args.size, args.dtype)
  rows = measure(
    config,
    args.batch,
    repeats=args.repeats,
    versus=args.versus,
    threads=args.threads,
  )
  lines = [timing.line({"network": args.model, **row}) for row in rows]
  about = timing.about(args.versus, args.threads)
  print(json.dumps({"head": f"{about}\n\n{timing.head()}", "lines": lines}))


if __name__ == "__main__":
  command_line.keep_buffers()
  main()
