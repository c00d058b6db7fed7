"""The two ceilings of the device: products of matrices, and copies of memory."""

import statistics

import jax
import numpy as np

from benchmarks import timing
from benchmarks.gpu_check import plan as plan_lib

COLUMNS = ("TFLOP/s", "GB/s")


def cases(plan: plan_lib.Plan) -> list[dict]:
  return [{"case": "products and copies"}]


def measure(plan: plan_lib.Plan, case: dict) -> list[dict]:
  """Random data: some devices are faster on zeros."""
  programs = {p.name: p for p in timing.peak_programs("bfloat16")}
  if jax.default_backend() == "cpu":  # else both types are among them
    programs |= {p.name: p for p in timing.peak_programs("float32")}
  rng = np.random.default_rng(0)
  x = jax.device_put(rng.standard_normal(plan.copied // 4, np.float32))
  add = jax.jit(lambda x: x + 1).lower(x).compile()
  copy = timing.Program(
    f"reading and writing {plan.copied >> 20} MiB",
    lambda: jax.block_until_ready(add(x)),
    0,
  )
  times = timing.timed([*programs.values(), copy], plan.repeats)
  seconds = {name: statistics.median(t) for name, t in times.items()}
  rows = [
    {"what": name, "TFLOP/s": p.flops / seconds[name] / 1e12}
    for name, p in programs.items()
  ]
  rate = 2 * x.nbytes / seconds[copy.name] / 1e9
  return [*rows, {"what": copy.name, "GB/s": rate}]
