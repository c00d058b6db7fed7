"""The job "train": the stages of a row, then the row."""

import shlex
import sys

import ml_collections

from vpn_jax import device_mesh, interrupt, text
from vpn_jax.inputs import multi_view
from vpn_jax.jobs import evaluate
from vpn_jax.training import stages


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """The job "train": the stages of a row, then the row; a summary line of each."""
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of the run.")
  command = shlex.join(["python", *text.joined_flags(sys.argv)])
  try:
    stages.train(
      config,
      workdir,
      command,
      say=_say,
      finished=lambda stage, result: _say(_summary(stage, result)),
    )
  except interrupt.Interrupted as e:
    if device_mesh.is_main():
      print(e, file=sys.stderr)
    sys.exit(interrupt.EXIT_CODE)


def _say(line: str) -> None:
  if device_mesh.is_main():
    print(line, flush=True)


def _summary(stage: stages.Stage, result: dict) -> str:
  """A line that says how training went."""
  tested = "no test clips among the records"
  if "top1" in result:
    inferred = multi_view.Inference(**stage.config.inference)
    tested = evaluate.in_words(result) + evaluate.inference_in_words(inferred)
  return (
    f"{stage.workdir}: {tested}; loss {result['loss']:.4f} after {result['steps']} "
    f"steps, {result['seconds_per_step']:.3f} s/step, "
    f"{result['train_clips_per_second']:.1f} clips/s, "
    f"{result['peak_memory_gib']:.2f} GiB peak, {result['seconds']:.0f} s in all"
  )
