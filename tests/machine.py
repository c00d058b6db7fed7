"""The machine that runs the tests, for the head of the report."""

import os
import pathlib
import platform
import re

import jax
import jaxlib


def processor(cpuinfo="/proc/cpuinfo") -> str:
  """The model, and the flags that decide which instructions XLA uses."""
  path = pathlib.Path(cpuinfo)
  if not path.exists():  # not Linux
    return platform.processor() or platform.machine()
  first = path.read_text().partition("\n\n")[0]
  facts = dict(re.findall(r"^(.*?)\s*: (.*)$", first, re.MULTILINE))
  name = facts.get("model name", platform.machine())
  if "cpu family" in facts:
    name += f" (family {facts['cpu family']}, model {facts['model']})"
  flags = re.findall(r"\b(?:amx|avx|fma|sse4)\w*", facts.get("flags", ""))
  return " ".join([f"{name}:", *sorted(flags)])


def header() -> list[str]:
  """What a report of a failure needs to say of the machine."""
  return [
    f"processor: {os.cpu_count()} x {processor()}",
    f"jax {jax.__version__}, jaxlib {jaxlib.__version__}",
  ]
