"""Explanations of many clips, and their summary."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from vpn_jax.analysis import faithfulness, ground_truth
from vpn_jax.analysis.explanations import CURVES, RANDOM, ClipResult, Explainer
from vpn_jax.inference import trained_network
from vpn_jax.inputs import example, pipeline, pose_controls
from vpn_jax.records import record_format, store

BASELINES = ("chance", "centre", "body")  # of the pointing game


def sample_clips(labels: np.ndarray, number: int) -> list[int]:
  """Positions of up to `number` clips of each class, spread evenly over its clips."""
  positions = []
  for label in np.unique(labels):
    own = np.flatnonzero(labels == label)
    count = min(number, len(own))
    positions += own[((np.arange(count) + 0.5) * len(own) / count).astype(int)].tolist()
  return positions


def rest_pose(
  clips: list[record_format.Record], network: trained_network.TrainedNetwork
) -> np.ndarray:
  """`pose_controls.rest_pose` of these clips, as the network sees them.

  Reading: it stands for a joint that is removed.
  """
  settings = dataclasses.replace(network.settings, inputs=("pose",))
  examples = (example.make(clip, settings, network.skeleton, None) for clip in clips)
  return pose_controls.rest_pose(example["pose"] for example in examples)


def explain_clips(
  network: trained_network.TrainedNetwork,
  index: store.Index,
  part: pipeline.Part,
  records: str,
  *,
  clips_per_class: int,
  steps: int,
  seed: int,
  progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[list[str], list[ClipResult]]:
  """Explains clips of every class of a part, and tests the explanations.

  Args:
    network: of these records.
    index, part, records: of the clips; `records` is their folder.
    clips_per_class: at most, from `sample_clips`.
    steps: of the curves over frames.
    seed: of the random orders.
    progress: wraps the clips, such as tqdm.
  Returns: the names of the clips, and the result of each.
  """
  labels = np.array([clip["label"] for clip in part.clips])
  chosen = sample_clips(labels, clips_per_class)
  source = store.RecordReader(records, part.clips)
  clips = [source[i] for i in chosen]
  explainer = Explainer(network, rest_pose(clips, network), steps)
  known = not ground_truth.unknown(index)
  others = [None] * len(clips)
  if len(clips) > 1:
    others = [clips[k] for k in pose_controls.donors([clip.name for clip in clips])]
  results = []
  for i, clip, other in zip(progress(chosen), clips, others):
    truth = ground_truth.of(clip, index) if known else None
    rng = np.random.default_rng([seed, i])
    results.append(explainer.explain(clip, int(labels[i]), truth, rng, other))
  return [clip.name for clip in clips], results


def mean_curves(results: list[ClipResult]) -> dict[str, np.ndarray]:
  """Explanation or baseline -> mean curves over clips, float [2, n + 1]."""
  return {
    order: np.mean([one.curves[order] for one in results], axis=0)
    for order in results[0].curves
  }


def summary(results: list[ClipResult]) -> dict[str, dict]:
  """Summarises the results of clips, as `explanations.json` holds them.

  Returns: explanation -> its values.
    pointing: share of the clips that hit, and the baselines: of pixels or joints drawn
      at random (chance), of the frame's centre, and of any joint of the body; None
      where the truth is not known.
    deletion, insertion: area, that of random orders, and the mean difference of the two
      over clips.
    Hit and difference have their standard error.
  """
  methods = {}
  for name in [name for name in RANDOM if name in results[0].curves]:
    methods[name] = {"pointing": _pointing_summary(results, name)}
    own, random = (
      np.array([faithfulness.area(one.curves[order]) for one in results])
      for order in (name, RANDOM[name])
    )  # [clips, 2] each
    for i, curve in enumerate(CURVES):
      difference, error = _mean_and_error((own - random)[:, i])
      methods[name][curve] = {
        "area": float(own[:, i].mean()),
        "random": float(random[:, i].mean()),
        "difference": difference,
        "standard_error": error,
      }
  return methods


def _pointing_summary(results: list[ClipResult], name: str) -> dict | None:
  values = np.array([one.pointing[name] for one in results if name in one.pointing])
  if not len(values):
    return None
  hit, error = _mean_and_error(values[:, 0])
  means = [None if np.isnan(x) else x for x in values[:, 1:].mean(axis=0).tolist()]
  return {
    "hit": hit,
    "standard_error": error,
    **dict(zip(BASELINES, means)),
    "clips": len(values),
  }


def _mean_and_error(values: np.ndarray) -> tuple[float, float | None]:
  """Mean over clips, and its standard error; None for a single clip."""
  if len(values) == 1:
    return float(values[0]), None
  return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)
