"""Groups of clips whose labels may be wrong.

A person or a camera whose clips of one class are all taken for another, while the same
class is recognized elsewhere, was perhaps labelled wrongly.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats

from vpn_jax.analysis import classes
from vpn_jax.evaluation.predictions import Predictions

SMALLEST_GROUP = 3  # clips
SHARE = 0.5  # of them that are taken for the other class, at least
SIGNIFICANCE = 0.01  # of all groups together


@dataclasses.dataclass(frozen=True)
class Group:
  """Clips of one class that share a value of an attribute.

  Attributes:
    attribute, value: such as "subject", 4.
    name: of the class, by its labels.
    taken_for: the class that networks predict.
    clips: names of the clips.
    taken: how many of them are taken for it.
    others: how many other clips the class has.
    others_taken: how many of those are taken for it.
    p_value: of so many by chance, times the number of groups that were tested.
  """

  attribute: str
  value: int | str
  name: str
  taken_for: str
  clips: tuple[str, ...]
  taken: int
  others: int
  others_taken: int
  p_value: float


def suspected(
  runs: Sequence[Predictions], attributes: Mapping[str, Mapping[str, int | str]]
) -> list[Group]:
  """Groups of clips that are taken for another class and the rest of theirs is not.

  The mean of the scores of all runs is the prediction. Whether the label is wrong, or
  the person acts differently, only the clips themselves can tell.

  Args:
    runs: one or more, of the same clips; networks that were not trained on them.
    attributes: clip -> the attributes that group it, such as {"subject": 4}.
  Returns: the groups of `SMALLEST_GROUP` clips or more of which at least `SHARE` is
    taken for one other class, and more than elsewhere with `SIGNIFICANCE` (Fisher's
    exact test, one-sided, times the number of groups and other classes; Bonferroni);
    the least likely first.
  Raises: ValueError unless the runs are of the same clips, labels and classes.
  """
  first = runs[0]
  for other in runs[1:]:
    classes.check_comparable(first, other)
  order = [{name: i for i, name in enumerate(p.names)} for p in runs]
  scores = sum(
    p.scores[[at[name] for name in first.names]] for p, at in zip(runs, order)
  )
  predicted = np.argmax(scores, axis=1)
  names, found, tests = first.class_names, [], 0
  for label in np.unique(first.labels):
    members = np.flatnonzero(first.labels == label)
    taken = {k: predicted[members] == k for k in range(len(names)) if k != label}
    for (attribute, value), inside in _groups(first.names, members, attributes):
      clips = int(inside.sum())
      if not SMALLEST_GROUP <= clips < len(members):
        continue
      tests += len(taken)
      for other, hit in taken.items():
        in_group, everywhere = int(hit[inside].sum()), int(hit.sum())
        if in_group < SHARE * clips:
          continue
        p = scipy.stats.hypergeom.sf(in_group - 1, len(members), everywhere, clips)
        found.append(
          Group(
            attribute, value, names[label], names[other],
            tuple(first.names[i] for i in members[inside]), in_group,
            len(members) - clips, everywhere - in_group, float(p),
          )
        )  # fmt: skip
  found = [dataclasses.replace(g, p_value=min(1.0, g.p_value * tests)) for g in found]
  found = [g for g in found if g.p_value < SIGNIFICANCE]
  return sorted(found, key=lambda g: g.p_value)


def _groups(names, members, attributes):
  """((attribute, value), which of the members have it: bool [n]), in a fixed order."""
  values = [attributes[names[i]] for i in members]
  keys = {(key, value) for one in values for key, value in one.items()}
  for key, value in sorted(keys, key=str):
    yield (key, value), np.array([one.get(key) == value for one in values])
