"""The programs of the cases: configurations, variables of noise, compiled steps."""

import functools

import jax
import numpy as np

from benchmarks import flops, step, timing
from benchmarks.gpu_check import plan as plan_lib
from vpn_jax import ops

# Of networks that are cut down: where their features are taken.
_ENDPOINTS = {"i3d": "Mixed_3b", "resnext3d": "layer1"}


def configuration(plan: plan_lib.Plan, network: str, dtype: str, remat: bool = False):
  """The configuration of a network of `step.MODELS`."""
  config = step.configuration(network, plan.size, dtype)
  config.model.remat = remat
  if plan.narrow:
    config.data.example.update(num_frames=8, frame_size=32, pose_steps=4)
    config.model.update(width=0.125, embedding_dim=8, attention_hidden=8)
    config.model.update(endpoint=_ENDPOINTS[config.model.backbone], frozen_until="")
  return config


def noise(shapes: dict) -> dict:
  """Variables that keep activations near one, NumPy arrays.

  Drawn on the host: programs that draw a hundred kernels compile slowly.
  """
  rng = np.random.default_rng(0)

  def draw(path, x):
    leaf = path[-1].key
    value = rng.standard_normal(x.shape, np.float32)
    if leaf == "var":
      return 0.5 + np.abs(value)
    if leaf == "scale":
      return 1 + np.float32(0.1) * value
    if len(x.shape) > 1:
      return value * np.float32(np.sqrt(2 / np.prod(x.shape[:-1])))
    return np.float32(0.1) * value

  return jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def variables(plan: plan_lib.Plan, network: str) -> dict:
  """Those of a network of `step.MODELS`, of noise."""
  return noise(step.shapes(configuration(plan, network, "float32")))


@functools.cache
def work(plan: plan_lib.Plan, network: str, what: str) -> int:
  """Operations of one clip, without those that remat does again."""
  config = configuration(plan, network, "float32")
  batch, tree = step.noise_batch(config, 1), step.shapes(config)
  if what == "forward":
    return flops.count(step.forward_function(config), tree, batch)
  function, first = step.train_functions(config, tree["params"])
  state = jax.eval_shape(first, tree)
  return flops.count(function, state, batch, jax.random.key(0))


def options(case: dict) -> dict | None:
  """Those of the compiler."""
  return plan_lib.NHWC if case.get("nhwc") else None


def program(plan: plan_lib.Plan, case: dict) -> timing.Program:
  """Compiles the program of a case, and runs it once."""
  config = configuration(plan, case["network"], case["dtype"], case.get("remat", False))
  make = {"forward": step.forward_program, "train": step.train_program}[case["what"]]
  with ops.use_formulation(case.get("form", "plain")):
    return make(
      config,
      variables(plan, case["network"]),
      step.noise_batch(config, case["batch"]),
      options=options(case),
      work=case["batch"] * work(plan, case["network"], case["what"]),
    )


@functools.cache
def peak(dtype: str) -> timing.Program:
  """The product of matrices of a type."""
  return timing.peak_programs(dtype)[-1]


def planned_gib(program: timing.Program) -> float | None:
  """Memory that the compiler plans for a program with its arguments, GiB."""
  memory = step.memory_of(program.compiled)
  if not memory:
    return None
  held = memory.argument_size_in_bytes + memory.output_size_in_bytes
  return (held + memory.temp_size_in_bytes - memory.alias_size_in_bytes) / 2**30
