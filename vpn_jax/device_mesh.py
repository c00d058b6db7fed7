"""The devices: one axis, "data"; parameters are copied, batches are split."""

import os
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def connect(environment: Mapping[str, str] = os.environ) -> None:
  """Joins the processes of one run, before anything else uses JAX; else does nothing.

  In a SLURM step of several tasks the scheduler's variables are enough. Elsewhere each
  process has JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and
  JAX_PROCESS_ID in its environment.

  Raises: ValueError when some of these three are missing or are not numbers.
  """
  names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
  given = {name: environment[name] for name in names if environment.get(name)}
  if not given:
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
      jax.distributed.initialize()
    return
  if len(given) < len(names) or not all(given[n].isdigit() for n in names[1:]):
    raise ValueError(
      f"the environment has {given}, expected all of {names}, the last two as numbers: "
      "set them in every process, or none of them for a single one."
    )
  address, count, this = (given[name] for name in names)
  jax.distributed.initialize(address, int(count), int(this))


def is_main() -> bool:
  """Whether this is the process that writes what the run leaves beside checkpoints."""
  return jax.process_index() == 0


def make_mesh() -> Mesh:
  """All devices along one axis, "data"."""
  return Mesh(np.array(jax.devices()), ("data",))


def whole(mesh: Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
  """The first axis divided among the devices."""
  return NamedSharding(mesh, PartitionSpec("data"))


def make_placer(mesh: Mesh) -> Callable[[dict], dict]:
  """Puts a host batch, this process's share of it, on the devices, split."""
  sharding = split(mesh)

  def place(batch):
    return {
      name: jax.make_array_from_process_local_data(sharding, value)
      for name, value in batch.items()
    }

  return place


def check_batch_size(name: str, batch_size: int, parts: int = 1) -> None:
  """ValueError unless the devices share each of the equal parts of a batch evenly."""
  devices = jax.device_count()
  if batch_size < 1 or parts < 1 or batch_size % (parts * devices):
    times = f"{parts} micro-batches times " if parts != 1 else ""
    raise ValueError(
      f"{name} is {batch_size}, expected a positive multiple of {times}the {devices} "
      "device(s) here."
    )
