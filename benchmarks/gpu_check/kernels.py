"""A profile of the step: the operations that take most of its time."""

import collections
import pathlib
import re
import tempfile
import warnings

import jax

from benchmarks.gpu_check import hlo, programs
from benchmarks.gpu_check import plan as plan_lib

COLUMNS = ("operation", "kind", "of", "ms a step", "share")
TOP = 10
_STEPS = 3
# Operations whose time is that of what they call.
_CALLERS = ("call", "while", "conditional")


def cases(plan: plan_lib.Plan) -> list[dict]:
  if plan.narrow:
    return [plan.main]
  return [plan.main, {**plan.main, "network": "vpn_rnx"}]


def measure(plan: plan_lib.Plan, case: dict) -> list[dict]:
  program = programs.program(plan, case)
  program.run()
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      for _ in range(_STEPS):
        program.run()
    (file,) = pathlib.Path(folder).rglob("*.xplane.pb")
    seconds = times(jax.profiler.ProfileData.from_file(str(file)))
  return rows(seconds, program.compiled.as_text(), _STEPS)


def times(profile) -> dict[str, float]:
  """Seconds by operation of the program with the most time, on the device.

  Args:
    profile: `jax.profiler.ProfileData`, or what looks like it.
  Raises: RuntimeError when the profile has no operation.
  """
  by_module = collections.defaultdict(collections.Counter)
  planes = list(profile.planes)
  devices = [p for p in planes if p.name.startswith("/device:") and any(p.lines)]
  for plane in devices or planes:
    lines = list(plane.lines)
    streams = [line for line in lines if line.name.startswith("Stream")]
    for line in streams or lines:
      for event in line.events:
        with warnings.catch_warnings():
          warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12
          stats = dict(event.stats)
        # Kernels of a CUDA graph may not say which operation they are of.
        name = stats.get("hlo_op") or (event.name if devices else "")
        if name:
          found = by_module[stats.get("hlo_module", "")]
          found[str(name)] += event.duration_ns / 1e9
  if not by_module:
    raise RuntimeError(
      f"the profile has no operation in {[p.name for p in planes]}: CUPTI may lack the "
      "right to trace the device."
    )
  named = [found for module, found in by_module.items() if module]
  return dict(max(named or by_module.values(), key=lambda found: found.total()))


def rows(seconds: dict[str, float], text: str, steps: int) -> list[dict]:
  """The operations and the kinds of operations that take longest.

  Args:
    seconds: of each operation in all steps.
    text: of the compiled program, which says what they are.
    steps: that were taken.
  """
  known = {i.name: i for i in hlo.instructions(text)}
  seconds = {
    name: s
    for name, s in seconds.items()
    if name not in known or known[name].opcode not in _CALLERS
  }
  total = sum(seconds.values())
  kinds, made = collections.Counter(), []
  for name, spent in sorted(seconds.items(), key=lambda item: -item[1]):
    kind = kind_of(name, known.get(name))
    kinds[kind] += spent
    if len(made) < TOP:
      of = known[name].attribute("op_name") if name in known else ""
      row = {"what": "operation", "operation": name, "kind": kind, "of": short(of)}
      made.append({**row, "ms a step": 1e3 * spent / steps, "share": spent / total})
  made += [
    {
      "what": "kind",
      "kind": kind,
      "ms a step": 1e3 * spent / steps,
      "share": spent / total,
    }
    for kind, spent in kinds.most_common(TOP)
  ]
  return made


def kind_of(name: str, instruction: hlo.Instruction | None) -> str:
  """The function behind a foreign call, or the name without its number."""
  target = instruction.attribute("custom_call_target") if instruction else ""
  return target or re.sub(r"[._]\d+", "", name)


def short(op_name: str) -> str:
  """The end of "jit(train_step)/transpose(jvp(VPN))/backbone/Mixed_3b/.../add"."""
  backward = "backward: " if "transpose(" in op_name else ""
  return backward + "/".join(op_name.split("/")[-4:])
