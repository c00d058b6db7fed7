"""The job "evaluate": a trained network on the test part."""

from vpn_jax import device_mesh
from vpn_jax.inputs import multi_view
from vpn_jax.training import evaluate


def in_words(metrics: dict[str, float]) -> str:
  """The accuracies of a test as a part of a line."""
  return (
    f"top-1 {metrics['top1']:.1f}, top-5 {metrics['top5']:.1f}, mean class "
    f"{metrics['mean_class']:.1f} on {metrics['clips']} test clips"
  )


def inference_in_words(inferred: multi_view.Inference) -> str:
  """What a line adds about the inference: nothing for the default."""
  return "" if inferred == multi_view.ONE_VIEW else f" ({inferred})"


def run(config, workdir: str) -> None:
  """The job "evaluate": prints one summary line, and one of the controls."""
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of a trained run.")
  evaluation = evaluate.evaluate(config, workdir)
  if not device_mesh.is_main():
    return
  metrics = evaluation.metrics
  written = f"predictions in {evaluation.folder}"
  if evaluation.unwritten:
    written = "predictions not written"
  print(
    f"{workdir}, step {evaluation.step}: {in_words(metrics)}"
    f"{inference_in_words(evaluation.inference)}; {written}"
  )
  if "shuffled_top1" in metrics:
    print(
      f"{workdir}, top-1 with poses of other clips {metrics['shuffled_top1']:.1f}, "
      f"with joints at rest {metrics['rest_top1']:.1f}"
    )
  evaluation.check()
