"""Forward and train step of each network: clips a second, share of the peak, memory."""

from benchmarks import timing
from benchmarks.gpu_check import plan as plan_lib
from benchmarks.gpu_check import programs

COLUMNS = (
  "s",
  "clips/s",
  "GFLOP/clip",
  "GFLOP/s",
  "of the peak",
  "ready, s",
  "planned, GiB",
  "peak, GiB",
)


def cases(plan: plan_lib.Plan) -> list[dict]:
  return list(plan.speed)


def measure(plan: plan_lib.Plan, case: dict) -> list[dict]:
  """The peak is the largest of all programs so far, other than what is planned."""
  program = programs.program(plan, case)
  peak = programs.peak(case["dtype"])
  row = timing.rows([program], [peak], plan.repeats, case["batch"])[-1]
  return [{**row, "planned, GiB": programs.planned_gib(program)}]
