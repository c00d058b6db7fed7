"""The processor cores that this process may use, which are not always all of them."""

import os


def usable() -> list[int]:
  """Numbers of the cores that this process may run on, in order.

  On Linux those that `taskset`, a container's cpuset or a job scheduler left to it;
  elsewhere all of the machine.
  """
  if hasattr(os, "sched_getaffinity"):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))
