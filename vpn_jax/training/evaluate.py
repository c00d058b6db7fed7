"""A network on the test part: what is computed, written and returned."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Sequence

import jax
import ml_collections

from vpn_jax import device_mesh
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation import scoring
from vpn_jax.inputs import example, multi_view, other_poses, pipeline, protocol_data
from vpn_jax.models import networks
from vpn_jax.training import checkpoint, run_summary


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """A trained network on the test part.

  Attributes:
    step: of the checkpoint.
    metrics: top1, top5, mean_class, in percent, and clips, their number; also
      shuffled_top1, shuffled_mean_class, rest_top1 and rest_mean_class with the poses
      of the controls, where the network takes poses.
    predictions: the scores of every clip.
    inference: how clips were scored.
    folder: where the files are.
    unwritten: why they could not be written; "" when they are there.
  """

  step: int
  metrics: dict[str, float]
  predictions: predictions_lib.Predictions
  inference: multi_view.Inference
  folder: pathlib.Path
  unwritten: str = ""

  def check(self) -> None:
    """Raises OSError when the files could not be written."""
    if self.unwritten:
      raise OSError(
        f"{self.folder} cannot be written ({self.unwritten}): look at the space and "
        "the rights of that disk, or set --config.output to another folder."
      )


def test_folder(
  workdir: str | pathlib.Path,
  inferred: multi_view.Inference,
  *,
  corrected: bool,
) -> pathlib.Path:
  """Where an evaluation goes: workdir/test, or a folder beside it.

  That is test_<poses> with others than own, and test_corrected with other labels than
  those of the test after training.
  """
  words = ["test"]
  words += [inferred.poses] if inferred.poses != "own" else []
  words += ["corrected"] if corrected else []
  return pathlib.Path(workdir) / "_".join(words)


def batches(
  part: pipeline.Part,
  config: ml_collections.ConfigDict,
  inferred: multi_view.Inference,
  others: Sequence[other_poses.Kind] = (),
) -> Iterator[pipeline.Batch]:
  """The share of this process in the batches of a test; see `Part.eval_batches`.

  Args:
    part: whose clips.
    config: of the run.
    inferred: which views.
    others: other poses that come with them.
  """
  return part.eval_batches(
    config.train.eval_batch_size,
    inferred,
    others=others,
    shard=(jax.process_index(), jax.process_count()),
    threads=config.data.threads,
  )


def write(
  workdir: str | pathlib.Path,
  step: int,
  found: dict[str, predictions_lib.Predictions],
  inferred: multi_view.Inference,
  *,
  corrected: bool = False,
) -> Evaluation:
  """Computes the metrics of a test, and writes it to `test_folder`.

  A folder that cannot be written is noted in the result, which is not lost by that.

  Args:
    workdir: of the run, or another folder.
    step: of the checkpoint.
    found: scores from `scoring.score_part`, by the poses they come from.
    inferred: how they were made.
    corrected: as for `test_folder`.
  """
  controls = predictions_lib.control_metrics(found)
  evaluation = Evaluation(
    step=step,
    metrics={**predictions_lib.metrics(found["own"]), **controls},
    predictions=found["own"],
    inference=inferred,
    folder=test_folder(workdir, inferred, corrected=corrected),
  )
  if device_mesh.is_main():
    about = {**controls, **dataclasses.asdict(inferred)}
    try:
      predictions_lib.write(evaluation.folder, found["own"], about)
    except OSError as e:
      return dataclasses.replace(evaluation, unwritten=e.strerror or str(e))
  return evaluation


def evaluate(config: ml_collections.ConfigDict, workdir: str) -> Evaluation:
  """Restores the best checkpoint of `workdir` and evaluates it on the test part.

  The network and its example settings are those of the checkpoint; the records, the
  protocol and the inference are those of `config`. Works on any number and kind of
  devices. The files go to `config.output`, or to the workdir; there, the controls also
  go into a summary.json that describes the same test.

  >>> _ = vpn_jax.train(config, "runs/new")
  >>> evaluation = vpn_jax.evaluate(config, "runs/new")
  >>> evaluation.predictions.scores.shape  # [test clips, K]
  (8, 4)

  Raises: FileNotFoundError without a checkpoint or records, ValueError when dataset,
    classes, skeleton, crop or protocol differ from the training's
    (`Provenance.check_part`); with `config.on_mismatch` "warn", records may lack
    classes.
  """
  inferred = multi_view.Inference(**config.inference)
  step, found = score(config, workdir, inferred)
  corrected = _relabelled(config, workdir)
  evaluation = write(
    config.output or workdir, step, found, inferred, corrected=corrected
  )
  if device_mesh.is_main() and not (config.output or evaluation.unwritten or corrected):
    _complete_summary(workdir, evaluation)
  return evaluation


def _relabelled(config: ml_collections.ConfigDict, workdir: str) -> bool:
  """Whether the test has corrected labels, unlike that after training."""
  with checkpoint.reading(workdir) as runs:
    trained = runs.about(runs.best_step()).config["data"]
  now = bool(config.data.get("correct_test"))
  return now and not trained.get("correct_test", False)


def score(
  config: ml_collections.ConfigDict,
  workdir: str,
  inferred: multi_view.Inference,
  others: Sequence[other_poses.Kind] | None = None,
) -> tuple[int, dict[str, predictions_lib.Predictions]]:
  """The scores of the best checkpoint of `workdir` on the test part.

  Args:
    config, workdir: as in `evaluate`.
    inferred: the views, and the poses that are called "own".
    others: other poses; None for the controls that `scoring.controls` names.
  Returns: the step of the checkpoint, and scores by the poses they come from. A network
    without a pose has only "own".
  Raises: as `evaluate`.
  """
  with checkpoint.reading(workdir) as runs:
    step = runs.best_step()
    about = runs.about(step)
    trained = about.config
    data = config.data.copy_and_resolve_references()
    data.example = trained["data"]["example"]
    index, parts = protocol_data.open_parts(data, ("test",))
    part = parts["test"]
    about.provenance.check_part(index, part, config.on_mismatch)
    devices = device_mesh.make_mesh()
    device_mesh.check_batch_size(
      "config.train.eval_batch_size", config.train.eval_batch_size
    )
    variables = jax.device_put(runs.restore_variables(step), device_mesh.whole(devices))
  fields = networks.inference_fields(
    trained["model"], trained["data"]["example"], inferred.views
  )
  model = networks.build(trained["network"], fields)
  if others is None:
    others = scoring.controls(model, part, inferred)
  elif not example.poses_of(model.inputs):
    others = ()
  found = scoring.score_part(
    scoring.ScoreStep(model),
    variables,
    part,
    batches(part, config, inferred, others),
    device_mesh.make_placer(devices),
    inferred,
  )
  return step, found


def _complete_summary(workdir: str, evaluation: Evaluation) -> None:
  """Adds the controls to the summary of a run, when it is of this test.

  That is, one of the same inference, number of clips and accuracies: a control is only
  worth something beside the accuracy that belongs to it.
  """
  path = pathlib.Path(workdir) / run_summary.SUMMARY_FILE
  if not path.exists():
    return
  summary = run_summary.read_summary(path)
  result, values = summary["result"], evaluation.metrics
  same = ("top1", "mean_class", "clips")
  inferred = multi_view.Inference(**result.get("inference", {}))
  if inferred == evaluation.inference and all(
    result.get(name) == values[name] for name in same
  ):
    controls = {k: v for k, v in values.items() if k not in (*same, "top5")}
    summary["result"] = {**result, **controls}
    path.write_text(json.dumps(summary, indent=1) + "\n")
