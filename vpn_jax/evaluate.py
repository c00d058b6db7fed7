"""Evaluation: scores of every clip once, the metrics, and the files they go to.

Where a network takes poses, the same with poses that say nothing about the clip.
"""

import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from vpn_jax import checkpoint, controls, inference, mesh, models, pipeline, tables
from vpn_jax.provenance import Provenance


@dataclasses.dataclass(frozen=True)
class Predictions:
  """Scores of a part, in the order of its clips.

  Attributes:
    names: clip names, n of them.
    labels: true class, int [n].
    scores: softmax, float32 [n, K]; a maximum over views need not sum to 1.
    class_names: K of them.
  """

  names: tuple[str, ...]
  labels: np.ndarray
  scores: np.ndarray
  class_names: tuple[str, ...]


def confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int):
  """Counts of clips, int [K, K]: row = true class, column = predicted one."""
  matrix = np.zeros((num_classes, num_classes), np.int64)
  np.add.at(matrix, (labels, predicted), 1)
  return matrix


def metrics(predictions: Predictions) -> dict[str, float]:
  """Accuracies in percent.

  Returns: top1, top5 (K when there are fewer than five classes), mean_class: the mean
    over the classes present in the labels of the share of their clips that are right
    (the headline of Smarthome), and clips, their number.
  """
  labels, scores = predictions.labels, predictions.scores
  order = np.argsort(-scores, axis=1, kind="stable")
  matrix = confusion(labels, order[:, 0], scores.shape[1])
  count = matrix.sum(axis=1)
  present = count > 0
  return {
    "top1": float(100 * np.mean(order[:, 0] == labels)),
    "top5": float(100 * np.mean((order[:, :5] == labels[:, None]).any(axis=1))),
    "mean_class": float(100 * np.mean(np.diag(matrix)[present] / count[present])),
    "clips": len(labels),
  }


class ScoreStep:
  """(variables, batch) -> softmax scores float32 [B, K] by the poses they come from.

  "own" are the scores with the poses of the batch; the batch may hold those of
  `controls.CONTROLS` as well. Of a network that can start from features (VPN with
  attention) the backbone is one program, and all that follows it another, which runs
  once for each pose: scores that differ do so by the pose alone. Other networks run as
  a whole.
  """

  def __init__(self, model):
    self._model = self._head = model
    self._features = None
    # VPN; one that is given features has no backbone to share
    if "pose" in model.inputs and getattr(model, "from_features", None) is False:
      self._head = model.clone(from_features=True)
      self._features = jax.jit(self._apply_backbone)
    self._scores = jax.jit(self._apply_head)

  def _apply_backbone(self, variables, given: tuple) -> jax.Array:
    return self._model.apply(variables, *given, train=False)[1]["features"]

  def _apply_head(self, variables, given: tuple) -> jax.Array:
    logits, _ = self._head.apply(variables, *given, train=False)
    return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)

  def __call__(self, variables, batch: dict) -> dict[str, jax.Array]:
    given = models.inputs(self._model, batch)
    if self._features is not None:
      batch = {**batch, "features": self._features(variables, given)}
    batches = {"own": batch}
    for name in controls.CONTROLS:
      if f"pose_{name}" in batch:
        batches[name] = {**batch, "pose": batch[f"pose_{name}"]}
    return {
      name: self._scores(variables, models.inputs(self._head, shown))
      for name, shown in batches.items()
    }


def predict(
  score_step: Callable,
  variables,
  part,
  batches: Iterable,
  place: Callable,
  inferred: inference.Inference = inference.ONE_VIEW,
) -> dict[str, Predictions]:
  """Scores all clips of `part`, each exactly once, its views pooled.

  Args:
    score_step: (variables, batch) -> name -> scores [B, K], such as a `ScoreStep`.
    variables: {"params", "batch_stats"}.
    part: a `pipeline.Part`.
    batches: its `eval_batches`; of this process alone.
    place: puts a host batch on the devices.
    inferred: how the views of a clip become one; the batches hold those it asks for.
  Returns: by the names of the scores.
  """
  gathered = []
  for batch in batches:
    host = {name: batch.pop(name) for name in ("index", "valid")}
    found = {"scores": score_step(variables, place(batch)), **place(host)}
    found = multihost_utils.process_allgather(found, tiled=True)
    gathered.append(jax.tree.map(lambda x, valid=found["valid"]: x[valid], found))
  whole = jax.tree.map(lambda *x: np.concatenate(x), *gathered)
  made = {}
  for name, scores in whole["scores"].items():
    places, pooled = inferred.pooled(scores, whole["index"])
    clips = [part.clips[i] for i in places]
    made[name] = Predictions(
      names=tuple(clip["name"] for clip in clips),
      labels=np.array([clip["label"] for clip in clips]),
      scores=pooled,
      class_names=part.class_names,
    )
  return made


def has_controls(model, part, inferred: inference.Inference) -> bool:
  """Whether the test of a network is repeated with the poses of `controls`.

  Not of a network without a pose, of a single clip, or where the poses are already not
  the clips' own.
  """
  return "pose" in model.inputs and len(part) > 1 and inferred.poses == "own"


def control_metrics(found: dict[str, Predictions]) -> dict[str, float]:
  """shuffled_top1, shuffled_mean_class, rest_top1, rest_mean_class, in percent.

  Args:
    found: from `predict`; only the controls that it has.
  """
  values = {name: metrics(found[name]) for name in controls.CONTROLS if name in found}
  return {
    f"{name}_{metric}": value[metric]
    for name, value in values.items()
    for metric in ("top1", "mean_class")
  }


def test_folder(workdir: str | pathlib.Path, inferred: inference.Inference):
  """Where an evaluation goes: workdir/test, or test_shuffled or test_rest."""
  name = "test" if inferred.poses == "own" else f"test_{inferred.poses}"
  return pathlib.Path(workdir) / name


def write(
  folder: str | pathlib.Path,
  predictions: Predictions,
  about: dict | None = None,
) -> dict[str, float]:
  """Writes metrics.json, predictions.csv, confusion.csv and scores.npz; the metrics.

  Args:
    folder: where they go.
    predictions: predictions.csv has a line a clip: clip, true, predicted, score, top5.
    about: what metrics.json says beside the metrics, such as the fields of the
      `inference.Inference` that it was; by default those of one view.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  values = metrics(predictions)
  about = dataclasses.asdict(inference.ONE_VIEW) if about is None else about
  content = {**values, **about}
  (folder / "metrics.json").write_text(json.dumps(content, indent=1) + "\n")
  names = predictions.class_names
  order = np.argsort(-predictions.scores, axis=1, kind="stable")
  with (folder / "predictions.csv").open("w", newline="") as f:
    writer = csv.writer(f)
    writer.writerow(["clip", "true", "predicted", "score", "top5"])
    for name, label, score, ranked in zip(
      predictions.names, predictions.labels, predictions.scores, order
    ):
      top5 = "; ".join(names[k] for k in ranked[:5])
      best = ranked[0]
      writer.writerow([name, names[label], names[best], f"{score[best]:.4f}", top5])
  matrix = confusion(predictions.labels, order[:, 0], len(names))
  with (folder / "confusion.csv").open("w", newline="") as f:
    writer = csv.writer(f)
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, matrix.tolist()))
  np.savez_compressed(
    folder / "scores.npz",
    names=np.array(predictions.names),
    labels=predictions.labels,
    scores=predictions.scores,
    class_names=np.array(names),
  )
  return values


def read(folder: str | pathlib.Path) -> Predictions:
  """Reads back what `write` wrote.

  Raises: FileNotFoundError when there is nothing, ValueError when it is damaged.
  """
  path = pathlib.Path(folder) / "scores.npz"
  if not path.exists():
    raise FileNotFoundError(f"no {path}: run --job=evaluate on that workdir first.")
  try:
    content = io.BytesIO(path.read_bytes())  # NumPy leaves damaged files open
    with np.load(content, allow_pickle=False) as data:
      found = Predictions(
        names=tuple(data["names"].tolist()),
        labels=data["labels"],
        scores=data["scores"],
        class_names=tuple(data["class_names"].tolist()),
      )
    clips, classes = len(found.names), len(found.class_names)
    if found.labels.shape != (clips,) or found.scores.shape != (clips, classes):
      raise ValueError(
        f"{clips} names, labels {found.labels.shape}, scores {found.scores.shape}"
      )
    if not np.isin(found.labels, range(classes)).all():
      raise ValueError(f"labels beyond the {classes} classes")
    return found
  except Exception as e:  # zipfile, zlib and NumPy raise many kinds on damaged files
    told = " ".join(f"{type(e).__name__}: {e}".split())[:200]
    raise ValueError(
      f"{path} is damaged ({told}): run --job=evaluate on that workdir again."
    ) from e


def read_inference(folder: str | pathlib.Path) -> inference.Inference:
  """The inference of the metrics.json in a folder.

  A field that an older file lacks is as in `inference.ONE_VIEW`.
  Raises: FileNotFoundError when there is nothing, ValueError when it is damaged.
  """
  path = pathlib.Path(folder) / "metrics.json"
  if not path.exists():
    raise FileNotFoundError(f"no {path}: run --job=evaluate on that workdir first.")
  try:
    content = json.loads(path.read_text())
    names = [field.name for field in dataclasses.fields(inference.Inference)]
    return inference.Inference(**{k: content[k] for k in names if k in content})
  except (ValueError, TypeError, RecursionError) as e:
    raise ValueError(
      f"{path} is damaged ({type(e).__name__}: {e}): run --job=evaluate on that "
      "workdir again."
    ) from e


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
  inferred = inference.Inference(**config.inference)
  with checkpoint.reading(workdir) as runs:
    step = runs.best_step()
    about = runs.about(step)
    trained = about.config
    data = config.data.copy_and_resolve_references()
    data.example = trained["data"]["example"]
    index, parts = pipeline.open_parts(data, ("test",))
    found = Provenance.of(index, parts["test"].protocol)
    about.provenance.check(found, on_mismatch=config.on_mismatch)
    devices = mesh.make_mesh()
    mesh.check_batch_size("config.train.eval_batch_size", config.train.eval_batch_size)
    variables = jax.device_put(runs.restore_variables(step), mesh.whole(devices))
  fields = inferred.network_fields(trained["model"], trained["data"]["example"])
  model = models.build(trained["network"], fields)
  batches = parts["test"].eval_batches(
    config.train.eval_batch_size,
    inferred,
    with_controls=has_controls(model, parts["test"], inferred),
    shard=(jax.process_index(), jax.process_count()),
    threads=data.threads,
  )
  found = predict(
    ScoreStep(model),
    variables,
    parts["test"],
    batches,
    mesh.make_placer(devices),
    inferred,
  )
  predictions, extra = found["own"], control_metrics(found)
  values = {**metrics(predictions), **extra}
  if mesh.is_main():
    about = {**extra, **dataclasses.asdict(inferred)}
    write(test_folder(workdir, inferred), predictions, about)
    _complete_summary(workdir, values, extra, inferred)
  return {"step": step, **values}


def _complete_summary(
  workdir: str,
  values: dict[str, float],
  extra: dict[str, float],
  inferred: inference.Inference,
) -> None:
  """Adds the controls `extra` to the summary of a run, when it is of this test.

  That is, one of the same inference, number of clips and accuracies: a control is only
  worth something beside the accuracy that belongs to it.
  """
  path = pathlib.Path(workdir) / tables.SUMMARY_FILE
  if not path.exists():
    return
  summary = tables.read_summary(path)
  result = summary["result"]
  same = ("top1", "mean_class", "clips")
  if inference.Inference(**result.get("inference", {})) == inferred and all(
    result.get(name) == values[name] for name in same
  ):
    summary["result"] = {**result, **extra}
    path.write_text(json.dumps(summary, indent=1) + "\n")


def told(inferred: inference.Inference) -> str:
  """What a printed line adds about the inference: nothing for the default."""
  return "" if inferred == inference.ONE_VIEW else f" ({inferred})"


def run(config, workdir: str) -> None:
  """The job "evaluate": prints one summary line, and one of the controls."""
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of a trained run.")
  inferred = inference.Inference(**config.inference)
  result = evaluate(config, workdir)
  if not mesh.is_main():
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
