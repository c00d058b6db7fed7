"""Accuracies and the confusion matrix of class scores."""

import numpy as np


def confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int):
  """Counts of clips, int [K, K]: row = true class, column = predicted one."""
  matrix = np.zeros((num_classes, num_classes), np.int64)
  np.add.at(matrix, (labels, predicted), 1)
  return matrix
