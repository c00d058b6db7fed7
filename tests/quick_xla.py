"""Flags that make XLA compile quickly, which takes most of the time of the tests."""

FLAGS = (
  "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
  "--xla_cpu_parallel_codegen_split_count=1"
)


def flags(devices: int) -> str:
  """XLA_FLAGS, for a process that has not started jax yet."""
  return f"--xla_force_host_platform_device_count={devices} {FLAGS}"
