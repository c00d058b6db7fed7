"""Accuracies, calibration and the confusion matrix of class scores, a function each.

`labels` are int [n] and `scores` float [n, K]; the class with the highest score is the
predicted one, the first of equals, and that score its confidence. Accuracies are in
percent.
"""

import numpy as np
import scipy.optimize

# Temperatures between which `best_temperature` looks.
COLDEST, HOTTEST = 0.05, 50.0


def ranking(scores: np.ndarray) -> np.ndarray:
  """The classes of each clip, best first, int [n, K]; equals stay in their order."""
  return np.argsort(-scores, axis=1, kind="stable")


def top_k_accuracy(labels: np.ndarray, scores: np.ndarray, k: int) -> float:
  """Share of the clips whose true class is among the k best."""
  best = ranking(scores)[:, :k]
  return float(100 * np.mean((best == labels[:, None]).any(axis=1)))


def confusion(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
  """Counts of clips, int [K, K]: row = true class, column = predicted one."""
  matrix = np.zeros((scores.shape[1],) * 2, np.int64)
  np.add.at(matrix, (labels, scores.argmax(axis=1)), 1)
  return matrix


def row_percent(matrix: np.ndarray) -> np.ndarray:
  """Rows of counts as percent of their sum; NaN for a class without clips."""
  total = matrix.sum(axis=1, keepdims=True)
  with np.errstate(invalid="ignore"):
    return np.where(total > 0, 100.0 * matrix / np.maximum(total, 1), np.nan)


def mean_class_accuracy(labels: np.ndarray, scores: np.ndarray) -> float:
  """Mean accuracy over the classes that have clips: the headline of Smarthome."""
  matrix = confusion(labels, scores)
  count = matrix.sum(axis=1)
  present = count > 0
  return float(100 * np.mean(np.diag(matrix)[present] / count[present]))


def reliability(
  labels: np.ndarray, scores: np.ndarray, bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Confidence and accuracy of the clips, in equal bins of confidence from 0 to 1.

  Returns: the number of clips in each bin, int [bins]; their mean confidence and their
    accuracy in percent, float [bins], NaN in an empty bin.
  """
  confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
  place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
  count, *sums = (
    np.bincount(place, weights, minlength=bins) for weights in (None, confidence, right)
  )
  with np.errstate(invalid="ignore", divide="ignore"):
    said, found = (100.0 * each / count for each in sums)
  return count, said, found


def calibration_error(labels: np.ndarray, scores: np.ndarray, bins: int = 15) -> float:
  """Mean distance between confidence and accuracy, in percent; 0 is calibrated.

  Source: the expected calibration error of Guo et al., ICML 2017, with their 15 bins.
  """
  count, said, found = reliability(labels, scores, bins)
  there = count > 0
  return float(np.average(np.abs(found - said)[there], weights=count[there]))


def accuracy_by_coverage(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
  """Accuracy of the 1, 2, ..., n clips with the highest confidence, percent, float [n].

  Its last number is the accuracy of all. Source: the accuracy-coverage curve of
  selective classification (Geifman and El-Yaniv, NeurIPS 2017).
  """
  order = np.argsort(-scores.max(axis=1), kind="stable")
  right = (scores.argmax(axis=1) == labels)[order]
  return 100.0 * np.cumsum(right) / np.arange(1, len(right) + 1)


def tempered(scores: np.ndarray, temperature: float) -> np.ndarray:
  """The softmax of logits divided by a temperature, from their softmax at 1.

  Above 1 it is less confident. The order of the classes stays.
  """
  if temperature == 1.0:
    return scores
  logits = np.log(np.maximum(scores.astype(np.float64), 1e-38)) / temperature
  odds = np.exp(logits - logits.max(axis=1, keepdims=True))
  return (odds / odds.sum(axis=1, keepdims=True)).astype(scores.dtype)


def best_temperature(labels: np.ndarray, scores: np.ndarray) -> float:
  """The temperature at which the true classes are most likely.

  Args:
    labels, scores: softmax at temperature 1, of clips that the network was not trained
      on.
  Source: temperature scaling, Guo et al., ICML 2017, section 4.2.
  """
  clips = np.arange(len(labels))

  def loss(log_temperature: float) -> float:
    given = tempered(scores.astype(np.float64), np.exp(log_temperature))
    return -np.mean(np.log(np.maximum(given[clips, labels], 1e-38)))

  bounds = np.log(COLDEST), np.log(HOTTEST)
  found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
  return float(np.exp(found.x))
