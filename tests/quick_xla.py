"""Flags that make XLA compile quickly, which takes most of the time of the tests."""

import importlib.metadata

JAXLIB = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2]))
FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if JAXLIB < (0, 12):  # later ones do not know the flag, and refuse it
  FLAGS += " --xla_cpu_use_fusion_emitters=false"


def flags(devices: int) -> str:
  """XLA_FLAGS, for a process that has not started jax yet."""
  return f"--xla_force_host_platform_device_count={devices} {FLAGS}"
