"""PyTorch in a process of its own, which runs on request: nothing is shared.

In one process the two keep each other's memory and threads waiting.
"""

import multiprocessing
import os
import time
from unittest import mock

import jax
import numpy as np

from benchmarks import absent, timing


def torch_program(
  what: str,
  config,
  variables: dict,
  batch: dict,
  flops: int,
  *,
  compiled: bool,
  threads: int = 0,
) -> timing.Program:
  """The PyTorch twin; one that does not run says why. Lasts until `close`.

  Args:
    what: "forward" or "train".
    config, variables, batch: of our network.
    flops: of our network, for both.
    compiled: whether by torch.compile.
    threads: of PyTorch on a CPU; 0 for its own choice.
  """
  name = "torch.compile" if compiled else "torch eager"
  program = timing.Program(name, None, flops)
  context = multiprocessing.get_context("spawn")
  pipe, theirs = context.Pipe()
  arrays = jax.tree.map(np.asarray, (variables, batch))
  process = context.Process(
    target=_serve, args=(theirs, what, config, *arrays, compiled, threads), daemon=True
  )
  # PyTorch's best: its backward pass allocates in a thread of its own, whose large
  # buffers glibc would return to the system. Read when a process starts.
  with mock.patch.dict(os.environ, MALLOC_ARENA_MAX="1"):
    process.start()
  theirs.close()

  def close():
    pipe.close()  # which ends the process
    process.join()

  def run():
    pipe.send("run")
    return pipe.recv()

  try:
    program.failed, program.ready, program.peak = pipe.recv()
  except EOFError:
    process.join()
    program.failed = f"PyTorch's process ended with {process.exitcode}"
  if program.failed:
    close()
  else:
    program.run, program.close = run, close
  return program


def _serve(pipe, what, config, variables, batch, compiled, threads) -> None:
  """Sends ("why it does not run", seconds of the first run, peak GiB), then runs."""
  absent.stand_in()
  try:
    from benchmarks.twin import training

    training.use_threads(threads)
    make = {"forward": training.forward, "train": training.train_step}[what]
    run = make(config, variables, batch, compiled=compiled)
    began = time.perf_counter()
    run()
    ready = time.perf_counter() - began
    pipe.send(("", ready, training.peak_memory_gib(run)))
  except Exception as e:  # whatever PyTorch and its compiler raise
    first = (str(e).strip().splitlines() or ["no message"])[0]
    pipe.send((f"{type(e).__name__}: {first}", None, None))
    return
  try:
    while pipe.recv():
      run()
      pipe.send(True)
  except EOFError:
    return
