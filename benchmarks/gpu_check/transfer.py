"""Input: pixels to the device, and whether that happens while a step runs."""

import itertools
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks import step
from benchmarks.gpu_check import plan as plan_lib
from benchmarks.gpu_check import programs

COLUMNS = ("MiB", "ms", "GB/s", "overlap")
_BATCHES = 3
_LEAST = 0.02  # of a step: a shorter transfer cannot be seen beside it


def cases(plan: plan_lib.Plan) -> list[dict]:
  return [plan.main]


def measure(plan: plan_lib.Plan, case: dict) -> list[dict]:
  """One batch after the other, as the training loop takes them.

  A step is started and not waited for; the next batch is put on the device meanwhile.
  """
  config = programs.configuration(plan, case["network"], case["dtype"])
  program = programs.program(plan, case)
  batches = [step.noise_batch(config, case["batch"]) for _ in range(_BATCHES)]
  for i, batch in enumerate(batches):
    batch["frames"] = np.roll(batch["frames"], i, axis=2)
  turns = itertools.cycle(batches)
  pixels = [batch["frames"] for batch in batches]
  floats = [x.astype(np.float32) for x in pixels]
  rows = [
    _sent("uint8 frames", pixels, plan.repeats),
    _sent("float32 frames", floats, plan.repeats),
  ]
  kept = jax.device_put(batches[0])
  steps = 2 * plan.repeats

  def one(batch) -> None:
    jax.block_until_ready(program.start(batch))

  def in_turn() -> None:
    for _ in range(steps):
      one(jax.block_until_ready(jax.device_put(next(turns))))

  def as_in_training() -> None:
    for _ in range(steps):
      out = program.start(jax.device_put(next(turns)))
    jax.block_until_ready(out)

  alone = _median(lambda: one(kept), plan.repeats)
  waiting, overlapped = (_median(f, 3) / steps for f in (in_turn, as_in_training))
  sent = rows[0]["ms"] / 1e3
  hidden = (waiting - overlapped) / min(sent, alone) if sent > _LEAST * alone else None
  return [
    *rows,
    {"what": "step alone", "ms": 1e3 * alone},
    {"what": "transfer, then step", "ms": 1e3 * waiting},
    {"what": "as in training", "ms": 1e3 * overlapped, "overlap": hidden},
  ]


def _median(function: Callable[[], object], repeats: int) -> float:
  """Seconds of a call, after one that warms up."""
  times = []
  for _ in range(1 + repeats):
    began = time.perf_counter()
    function()
    times.append(time.perf_counter() - began)
  return statistics.median(times[1:])


def _sent(what: str, arrays: list[np.ndarray], repeats: int) -> dict:
  turns = itertools.cycle(arrays)
  seconds = _median(lambda: jax.block_until_ready(jax.device_put(next(turns))), repeats)
  size = arrays[0].nbytes
  row = {"what": what, "MiB": size / 2**20, "ms": 1e3 * seconds}
  return {**row, "GB/s": size / seconds / 1e9}
