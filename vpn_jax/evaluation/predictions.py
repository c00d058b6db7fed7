"""The scores of a part of the data, their metrics, and the files they go to."""

import csv
import dataclasses
import io
import json
import pathlib

import numpy as np

from vpn_jax.evaluation import metrics as metrics_lib
from vpn_jax.inputs import multi_view, pose_controls

METRICS_FILE = "metrics.json"


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


def metrics(predictions: Predictions) -> dict[str, float]:
  """Accuracies and the calibration error in percent.

  Returns: top1, top5 (100 when there are no more than five classes), mean_class (see
    `metrics.mean_class_accuracy`), calibration_error, and clips, their number.
  """
  labels, scores = predictions.labels, predictions.scores
  return {
    "top1": metrics_lib.top_k_accuracy(labels, scores, 1),
    "top5": metrics_lib.top_k_accuracy(labels, scores, 5),
    "mean_class": metrics_lib.mean_class_accuracy(labels, scores),
    "calibration_error": metrics_lib.calibration_error(labels, scores),
    "clips": len(labels),
  }


def control_metrics(found: dict[str, Predictions]) -> dict[str, float]:
  """shuffled_top1, shuffled_mean_class, rest_top1, rest_mean_class, in percent.

  Args:
    found: from `scoring.score_part`; only the controls that it has.
  """
  values = {
    name: metrics(found[name]) for name in pose_controls.CONTROLS if name in found
  }
  return {
    f"{name}_{metric}": value[metric]
    for name, value in values.items()
    for metric in ("top1", "mean_class")
  }


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
      `multi_view.Inference` that it was; by default those of one view.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  values = metrics(predictions)
  about = dataclasses.asdict(multi_view.ONE_VIEW) if about is None else about
  content = {**values, **about}
  (folder / METRICS_FILE).write_text(json.dumps(content, indent=1) + "\n")
  names = predictions.class_names
  order = metrics_lib.ranking(predictions.scores)
  with (folder / "predictions.csv").open("w", newline="") as f:
    writer = csv.writer(f)
    writer.writerow(["clip", "true", "predicted", "score", "top5"])
    for name, label, score, ranked in zip(
      predictions.names, predictions.labels, predictions.scores, order
    ):
      top5 = "; ".join(names[k] for k in ranked[:5])
      best = ranked[0]
      writer.writerow([name, names[label], names[best], f"{score[best]:.4f}", top5])
  matrix = metrics_lib.confusion(predictions.labels, predictions.scores)
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
    reason = " ".join(f"{type(e).__name__}: {e}".split())[:200]
    raise ValueError(
      f"{path} is damaged ({reason}): run --job=evaluate on that workdir again."
    ) from e


def read_metrics(folder: str | pathlib.Path) -> dict[str, float]:
  """The metrics and those of the controls of the metrics.json in a folder.

  Raises: as `read_inference`.
  """
  content = _read_content(folder)
  names = [field.name for field in dataclasses.fields(multi_view.Inference)]
  return {
    name: value
    for name, value in content.items()
    if name not in names and isinstance(value, (int, float))
  }


def read_inference(folder: str | pathlib.Path) -> multi_view.Inference:
  """The inference of the metrics.json in a folder.

  A field that an older file lacks is as in `multi_view.ONE_VIEW`.
  Raises: FileNotFoundError when there is nothing, ValueError when it is damaged.
  """
  content = _read_content(folder)
  names = [field.name for field in dataclasses.fields(multi_view.Inference)]
  try:
    return multi_view.Inference(**{k: content[k] for k in names if k in content})
  except (ValueError, TypeError) as e:
    raise _damaged(folder, e) from e


def _read_content(folder: str | pathlib.Path) -> dict:
  """The content of the metrics.json in a folder."""
  path = pathlib.Path(folder) / METRICS_FILE
  if not path.exists():
    raise FileNotFoundError(f"no {path}: run --job=evaluate on that workdir first.")
  try:
    return dict(json.loads(path.read_text()))
  except (ValueError, TypeError, RecursionError) as e:
    raise _damaged(folder, e) from e


def _damaged(folder: str | pathlib.Path, error: Exception) -> ValueError:
  return ValueError(
    f"{pathlib.Path(folder) / METRICS_FILE} is damaged ({type(error).__name__}: "
    f"{error}): run --job=evaluate on that workdir again."
  )
