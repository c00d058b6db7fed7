"""The layers of I3D in each form, value and gradients; see `benchmarks.ops`."""

import jax
import jax.numpy as jnp

from benchmarks import ops, timing
from benchmarks.gpu_check import plan as plan_lib

COLUMNS = ("plain, ms", "plain, channels last, ms", "for a CPU, ms")
_FORMS = {
  "plain, ms": ("plain", None),
  "plain, channels last, ms": ("plain", plan_lib.NHWC),
  "for a CPU, ms": ("cpu", None),
}


def cases(plan: plan_lib.Plan) -> list[dict]:
  return [{"case": name} for name in plan.layers]


def measure(plan: plan_lib.Plan, case: dict) -> list[dict]:
  """Medians of runs in turn, bfloat16."""
  layers = {name: rest for name, *rest in ops.layers(*plan.clips)}
  function, shapes = layers[case["case"]]
  args = [
    jax.random.normal(jax.random.key(i), shape, jnp.bfloat16)
    for i, shape in enumerate(shapes)
  ]
  wrt = len(args) - case["case"].endswith("stem")  # no gradient of the frames
  programs, row = [], {"what": case["case"]}
  for name, (form, options) in _FORMS.items():
    run = ops.compiled(form, function, args, wrt, options)
    programs.append(
      timing.Program(name, lambda run=run: jax.block_until_ready(run(*args)), 0)
    )
  for name, times in timing.timed(programs, plan.repeats).items():
    row[name] = 1e3 * sorted(times)[len(times) // 2]
  return [row]
