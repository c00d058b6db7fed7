"""Late fusion: the weighted mean of the scores of networks on the same clips."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from vpn_jax.evaluation.predictions import Predictions

JOIN = " + "  # between the rows of the parts


def fuse(
  predictions: Sequence[Predictions],
  weights: Sequence[float],
  sources: Sequence[str] = (),
) -> Predictions:
  """The weighted mean of the scores of several networks on the same clips.

  The scores of a clip are first divided by their sum, network by network: a maximum
  over views need not sum to 1, and a network that is unsure in different ways from view
  to view would weigh more than the others.

  Args:
    predictions: of the same clips, which may come in any order; two or more.
    weights: one a network, not negative; only their ratios matter.
    sources: what messages call each of the predictions; by default their numbers.
  Returns: the clips in the order of the first, with scores that sum to 1.
  Raises: ValueError when the clips, labels or class names differ, or for weights that
    give no mean.
  """
  sources = sources or [f"predictions {i + 1}" for i in range(len(predictions))]
  if len(predictions) < 2:
    raise ValueError(
      f"got {len(predictions)} run(s) to fuse, expected two or more: name finished "
      "runs as --workdir=A,B."
    )
  if len(weights) != len(predictions):
    raise ValueError(
      f"got {len(weights)} weights {tuple(weights)}, expected {len(predictions)}: give "
      "one for each run."
    )
  total = math.fsum(weights)
  if not (np.isfinite(weights).all() and min(weights) >= 0 and total > 0):
    raise ValueError(
      f"weights are {tuple(weights)}, expected numbers that are not negative, with one "
      "above 0: give such as 1,1."
    )
  first = predictions[0]
  fused = np.zeros(first.scores.shape, np.float64)
  for found, weight, source in zip(predictions, weights, sources, strict=True):
    places = _matched(first, found, sources[0], source)
    scores = found.scores[places].astype(np.float64)
    sums = scores.sum(axis=1, keepdims=True)
    if not (np.isfinite(scores).all() and scores.min() >= 0 and sums.min() > 0):
      raise ValueError(
        f"{source} has scores of {scores.min()} to {scores.max()}, expected a softmax: "
        "run --job=evaluate on it again."
      )
    fused += weight / total * (scores / sums)
  return dataclasses.replace(first, scores=fused.astype(np.float32))


def _matched(
  first: Predictions, other: Predictions, first_source: str, source: str
) -> np.ndarray:
  """The places in `other` of the clips of `first`, int [n]; ValueError without."""
  remedy = "evaluate both on the same records and protocol."
  if other.class_names != first.class_names:
    differ = sorted({*first.class_names} ^ {*other.class_names})
    difference = (
      f"{', '.join(differ[:3])} are not in both" if differ else "in another order"
    )
    raise ValueError(
      f"{source} has {len(other.class_names)} classes, expected the "
      f"{len(first.class_names)} of {first_source} ({difference}): {remedy}"
    )
  place = {name: i for i, name in enumerate(other.names)}
  differ = sorted({*first.names} ^ set(place))
  if differ or len(other.names) != len(first.names):
    difference = f"{', '.join(differ[:3])} are not in both" if differ else "some twice"
    raise ValueError(
      f"{source} has {len(other.names)} clips, expected the {len(first.names)} of "
      f"{first_source} ({difference}): {remedy}"
    )
  places = np.array([place[name] for name in first.names])
  wrong = np.flatnonzero(other.labels[places] != first.labels)
  if len(wrong):
    i = wrong[0]
    got, expected = (
      first.class_names[k] for k in (other.labels[places[i]], first.labels[i])
    )
    raise ValueError(
      f"{source} has {first.names[i]} as {got}, expected {expected} as in "
      f"{first_source}, and so for {len(wrong)} clips: {remedy}"
    )
  return places
