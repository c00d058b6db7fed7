"""The job "train": the stages of a row, then the row."""

import shlex
import sys

import ml_collections

from vpn_jax import device_mesh, interrupt
from vpn_jax.inputs import multi_view
from vpn_jax.jobs import evaluate
from vpn_jax.training import (
  loop,
  stages,
)


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """The job "train": the stages of a row, then the row; a summary line of each."""
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of the run.")
  command = shlex.join(["python", *sys.argv])
  planned = stages.plan(config, workdir, command)
  try:
    for number, stage in enumerate(planned, start=1):
      line = f"stage {number} of {len(planned) + 1}, {stage.kind} backbone alone"
      if stage.done():
        _say(f"{line}: finished in {stage.workdir}")
        if changes := stage.changes():
          _say(f"with other settings than now: {'; '.join(changes)}")
        continue
      _say(f"{line}: {stage.workdir}")
      _say(_summary(stage.config, stage.workdir, stage.command))
    config = stages.started_from(config, planned)
    if planned:
      _say(f"stage {len(planned) + 1} of {len(planned) + 1}, the whole: {workdir}")
    _say(_summary(config, workdir, command))
  except interrupt.Interrupted as e:
    if device_mesh.is_main():
      print(e, file=sys.stderr)
    sys.exit(interrupt.EXIT_CODE)


def _say(line: str) -> None:
  if device_mesh.is_main():
    print(line, flush=True)


def _summary(config, workdir: str, command: str) -> str:
  """Trains, and says how it went."""
  result = loop.train(config, workdir, command)
  tested = "no test clips among the records"
  if "top1" in result:
    tested = (
      f"top-1 {result['top1']:.1f}, top-5 {result['top5']:.1f}, mean class "
      f"{result['mean_class']:.1f} on {result['clips']} test clips"
      f"{evaluate.told(multi_view.Inference(**config.inference))}"
    )
  return (
    f"{workdir}: {tested}; loss {result['loss']:.4f} after {result['steps']} steps, "
    f"{result['seconds_per_step']:.3f} s/step, "
    f"{result['train_clips_per_second']:.1f} clips/s, "
    f"{result['peak_memory_gib']:.2f} GiB peak, {result['seconds']:.0f} s in all"
  )
