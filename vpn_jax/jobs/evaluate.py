"""The job "evaluate": a trained network on the test part."""

import dataclasses
import json
import pathlib

import jax

from vpn_jax import device_mesh
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation import scoring
from vpn_jax.inputs import multi_view, pipeline
from vpn_jax.models import networks
from vpn_jax.training import checkpoint, run_summary
from vpn_jax.training.provenance import Provenance


def test_folder(workdir: str | pathlib.Path, inferred: multi_view.Inference):
  """Where an evaluation goes: workdir/test, or test_shuffled or test_rest."""
  name = "test" if inferred.poses == "own" else f"test_{inferred.poses}"
  return pathlib.Path(workdir) / name


def evaluate(config, workdir: str) -> dict[str, float]:
  """Restores the best checkpoint of `workdir` and evaluates it on the test part.

  The network and its example settings are those of the checkpoint; the records, the
  protocol and the inference are those of `config`. Works on any number and kind of
  devices.

  Returns: `metrics` and `control_metrics`, also written to `test_folder` with the
    predictions. The controls also go into a summary.json that tells of the same test.
  Raises: FileNotFoundError without a checkpoint or records, ValueError when dataset,
    classes, skeleton, crop or protocol differ from the training's
    (`Provenance.check`).
  """
  inferred = multi_view.Inference(**config.inference)
  with checkpoint.reading(workdir) as runs:
    step = runs.best_step()
    about = runs.about(step)
    trained = about.config
    data = config.data.copy_and_resolve_references()
    data.example = trained["data"]["example"]
    index, parts = pipeline.open_parts(data, ("test",))
    found = Provenance.of(index, parts["test"].protocol)
    about.provenance.check(found, on_mismatch=config.on_mismatch)
    devices = device_mesh.make_mesh()
    device_mesh.check_batch_size(
      "config.train.eval_batch_size", config.train.eval_batch_size
    )
    variables = jax.device_put(runs.restore_variables(step), device_mesh.whole(devices))
  fields = networks.inference_fields(
    trained["model"], trained["data"]["example"], inferred.views
  )
  model = networks.build(trained["network"], fields)
  batches = parts["test"].eval_batches(
    config.train.eval_batch_size,
    inferred,
    with_controls=scoring.has_controls(model, parts["test"], inferred),
    shard=(jax.process_index(), jax.process_count()),
    threads=data.threads,
  )
  found = scoring.predict(
    scoring.ScoreStep(model),
    variables,
    parts["test"],
    batches,
    device_mesh.make_placer(devices),
    inferred,
  )
  predictions, extra = found["own"], predictions_lib.control_metrics(found)
  values = {**predictions_lib.metrics(predictions), **extra}
  if device_mesh.is_main():
    about = {**extra, **dataclasses.asdict(inferred)}
    predictions_lib.write(test_folder(workdir, inferred), predictions, about)
    _complete_summary(workdir, values, extra, inferred)
  return {"step": step, **values}


def _complete_summary(
  workdir: str,
  values: dict[str, float],
  extra: dict[str, float],
  inferred: multi_view.Inference,
) -> None:
  """Adds the controls `extra` to the summary of a run, when it is of this test.

  That is, one of the same inference, number of clips and accuracies: a control is only
  worth something beside the accuracy that belongs to it.
  """
  path = pathlib.Path(workdir) / run_summary.SUMMARY_FILE
  if not path.exists():
    return
  summary = run_summary.read_summary(path)
  result = summary["result"]
  same = ("top1", "mean_class", "clips")
  if multi_view.Inference(**result.get("inference", {})) == inferred and all(
    result.get(name) == values[name] for name in same
  ):
    summary["result"] = {**result, **extra}
    path.write_text(json.dumps(summary, indent=1) + "\n")


def told(inferred: multi_view.Inference) -> str:
  """What a printed line adds about the inference: nothing for the default."""
  return "" if inferred == multi_view.ONE_VIEW else f" ({inferred})"


def run(config, workdir: str) -> None:
  """The job "evaluate": prints one summary line, and one of the controls."""
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of a trained run.")
  inferred = multi_view.Inference(**config.inference)
  result = evaluate(config, workdir)
  if not device_mesh.is_main():
    return
  print(
    f"{workdir}, step {result['step']}: top-1 {result['top1']:.1f}, top-5 "
    f"{result['top5']:.1f}, mean class {result['mean_class']:.1f} on "
    f"{result['clips']} test clips{told(inferred)}; "
    f"predictions in {test_folder(workdir, inferred)}"
  )
  if "shuffled_top1" in result:
    print(
      f"{workdir}, top-1 with poses of other clips {result['shuffled_top1']:.1f}, with "
      f"joints at rest {result['rest_top1']:.1f}"
    )
