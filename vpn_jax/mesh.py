"""The devices: one axis, "data"; parameters are copied, batches are split."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


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


def check_batch_size(name: str, batch_size: int) -> None:
  """ValueError unless the devices share a batch evenly."""
  devices = jax.device_count()
  if batch_size < 1 or batch_size % devices:
    raise ValueError(
      f"{name} is {batch_size}, expected a positive multiple of the {devices} "
      "device(s) here."
    )
