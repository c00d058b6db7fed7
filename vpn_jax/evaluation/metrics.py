"""Accuracies and the confusion matrix of class scores, one function each.

`labels` are int [n] and `scores` float [n, K]; the class with the highest score is the
predicted one, the first of equals. Accuracies are in percent.
"""

import numpy as np


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
