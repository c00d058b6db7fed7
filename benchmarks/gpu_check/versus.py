"""The same networks in PyTorch, run in turn with ours; see `benchmarks.step`."""

import importlib.util

from benchmarks import step
from benchmarks.gpu_check import plan as plan_lib
from benchmarks.gpu_check import programs

COLUMNS = (
  "program",
  "s",
  "clips/s",
  "of the peak",
  "ready, s",
  "peak, GiB",
  "ours / best torch",
)


def cases(plan: plan_lib.Plan) -> list[dict]:
  return list(plan.versus)


def measure(plan: plan_lib.Plan, case: dict) -> list[dict]:
  if importlib.util.find_spec("torch") is None:
    raise plan_lib.Skip("PyTorch is not installed: requirements-benchmark.txt")
  config = programs.configuration(plan, case["network"], case["dtype"])
  found = step.measure(
    config,
    case["batch"],
    repeats=plan.repeats,
    versus=case["versus"],
    whats=(case["what"],),
    variables=programs.variables(plan, case["network"]),
  )
  return [row for row in found if not row["program"].startswith("jnp.dot")]
