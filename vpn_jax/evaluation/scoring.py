"""Scores of every clip, each exactly once."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from vpn_jax.evaluation import metrics
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.inputs import example, multi_view, pose_controls
from vpn_jax.models import networks


class ScoreStep:
  """(variables, batch) -> softmax scores float32 [B, K] by the poses they come from.

  "own" are the scores with the poses of the batch; the batch may hold others as well
  (`pipeline.Part.eval_batches`), which a network without a pose ignores. Where a
  network can start from features (VPN with attention), the backbone is one program, and
  all that follows it another, which runs once for each pose: scores that differ do so
  by the pose alone. Other networks run as a whole.
  """

  def __init__(self, model):
    self._model = self._head = model
    self._features = None
    # VPN; one that is given features has no backbone to share
    if (
      example.poses_of(model.inputs) and getattr(model, "from_features", None) is False
    ):
      self._head = model.clone(from_features=True)
      self._features = jax.jit(self._apply_backbone)
    self._scores = jax.jit(self._apply_head)

  def _apply_backbone(self, variables, given: tuple) -> jax.Array:
    return self._model.apply(variables, *given, train=False)[1]["features"]

  def _apply_head(self, variables, given: tuple) -> jax.Array:
    logits, _ = self._head.apply(variables, *given, train=False)
    return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)

  def __call__(self, variables, batch: dict) -> dict[str, jax.Array]:
    given = networks.inputs(self._model, batch)
    if self._features is not None:
      batch = {**batch, "features": self._features(variables, given)}
    batches = {"own": batch}
    for key, pose in batch.items():
      for x in example.poses_of(self._model.inputs):
        if key.startswith(f"{x}_"):
          name = key.removeprefix(f"{x}_")
          batches[name] = {**batches.get(name, batch), x: pose}
    return {
      name: self._scores(variables, networks.inputs(self._head, shown))
      for name, shown in batches.items()
    }


def score_part(
  score_step: Callable,
  variables,
  part,
  batches: Iterable,
  place: Callable,
  inferred: multi_view.Inference = multi_view.ONE_VIEW,
) -> dict[str, predictions_lib.Predictions]:
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
    scores = metrics.tempered(scores, inferred.temperature)
    places, pooled = inferred.pooled(scores, whole["index"])
    clips = [part.clips[i] for i in places]
    made[name] = predictions_lib.Predictions(
      names=tuple(clip["name"] for clip in clips),
      labels=np.array([clip["label"] for clip in clips]),
      scores=pooled,
      class_names=part.class_names,
    )
  return made


def controls(model, part, inferred: multi_view.Inference) -> tuple[str, ...]:
  """The `pose_controls.CONTROLS` with which the test of a network is repeated.

  None for a network without a pose, for a single clip, or where the poses are already
  not the clips' own.
  """
  has_pose = bool(example.poses_of(model.inputs))
  repeated = has_pose and len(part) > 1 and inferred.poses == "own"
  return pose_controls.CONTROLS if repeated else ()
