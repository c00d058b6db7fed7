"""What the compiler made of the step: layouts, copies, and what waits for the host."""

import collections
import dataclasses
import math
import re
import statistics
import time
from collections.abc import Iterator

import jax

from benchmarks import step
from benchmarks.gpu_check import plan as plan_lib
from benchmarks.gpu_check import programs

COLUMNS = (
  "copies to another layout",
  "GiB copied",
  "transposes",
  "GiB transposed",
  "convolutions, by layout",
  "foreign calls",
  "with the host",
  "state donated",
  "dispatch, ms",
)
_SMALL = 1 << 16  # bytes; what is smaller costs nothing
_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}
_ARRAY = re.compile(r"\b(\w+)\[([\d,]*)\]")
_LINE = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = (.+?) ([\w-]+)\(([^)]*)\)(.*)$")
_HOST = ("infeed", "outfeed", "send", "recv", "send-done", "recv-done")


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A line of a compiled program.

  Attributes:
    name, opcode: as printed.
    shape: type, sizes and layout of its result.
    operands: names.
    rest: what follows the operands.
  """

  name: str
  shape: str
  opcode: str
  operands: tuple[str, ...]
  rest: str

  @property
  def size(self) -> int:
    """Bytes of its result."""
    return sum(
      math.prod(map(int, filter(None, sizes.split(",")))) * _width(kind)
      for kind, sizes in _ARRAY.findall(self.shape)
    )

  def attribute(self, name: str) -> str:
    """The value of `name=value` or `name="value"`, "" without it."""
    found = re.search(rf'\b{name}=(?:"([^"]*)"|([^\s",]+))', self.rest)
    return (found[1] or found[2]) if found else ""


def _width(kind: str) -> int:
  bits = re.fullmatch(r"[a-z]+(\d+)\w*", kind)
  return _BYTES.get(kind) or max(int(bits[1]) // 8 if bits else 0, 1)


def instructions(text: str) -> Iterator[Instruction]:
  """Those of all computations of `jax.stages.Compiled.as_text`, in order."""
  for line in text.splitlines():
    if found := _LINE.match(line):
      name, shape, opcode, operands, rest = found.groups()
      names = tuple(re.findall(r"%([\w.-]+)", operands))
      yield Instruction(name, shape, opcode, names, rest)


def layout(shape: str) -> str:
  """The order of the axes, "4,3,2,1,0" with the last one fastest; "" where none is."""
  found = re.search(r"\]\{([\d,]*)", shape)
  return found[1] if found else ""


def summary(text: str) -> dict:
  """What `COLUMNS` names that can be read off a compiled program."""
  found = list(instructions(text))
  shapes = {i.name: i.shape for i in found}
  large = [i for i in found if i.size >= _SMALL]
  copies = [
    i
    for i in large
    if i.opcode == "copy"
    and layout(shapes.get(i.operands[0] if i.operands else "", "")) != layout(i.shape)
  ]
  transposes = [i for i in large if i.opcode == "transpose"]
  convolutions, foreign, host = (collections.Counter() for _ in range(3))
  for i in found:
    target = i.attribute("custom_call_target")
    if labels := i.attribute("dim_labels"):
      convolutions[f"{labels} {_ARRAY.search(i.shape)[1]}"] += 1
    if i.opcode == "custom-call":
      foreign[target] += 1
    if i.opcode in _HOST or "callback" in target or "MoveTo" in target:
      host[target or i.opcode] += 1
  return {
    "copies to another layout": len(copies),
    "GiB copied": sum(i.size for i in copies) / 2**30,
    "transposes": len(transposes),
    "GiB transposed": sum(i.size for i in transposes) / 2**30,
    "convolutions, by layout": dict(convolutions.most_common()),
    "foreign calls": dict(foreign.most_common()),
    "with the host": dict(host) or "none",
  }


def cases(plan: plan_lib.Plan) -> list[dict]:
  if plan.narrow:
    return [plan.main]
  others = ({"nhwc": True}, {"network": "vpn_rnx"}, {"network": "i3d"})
  return [plan.main, *({**plan.main, **other} for other in others)]


def measure(plan: plan_lib.Plan, case: dict) -> list[dict]:
  """Also takes steps during which no array may move between host and device unasked."""
  program = programs.program(plan, case)
  times = []
  with jax.transfer_guard("disallow"):
    for _ in range(1 + plan.repeats):
      began = time.perf_counter()
      out = program.start()
      times.append(time.perf_counter() - began)
      jax.block_until_ready(out)
  state, _ = out
  held = sum(x.nbytes for x in jax.tree.leaves(state))
  row = {"what": "step", **summary(program.compiled.as_text())}
  if memory := step.memory_of(program.compiled):
    row["state donated"] = f"{memory.alias_size_in_bytes / held:.0%}"
  row["dispatch, ms"] = 1e3 * statistics.median(times[1:])
  return [row]
