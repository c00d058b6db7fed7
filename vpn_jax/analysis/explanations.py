"""Explains the answers of a network on a clip, and tests the explanations.

Grad-CAM, the attention A_ST and the activations of the joints are the explanations;
`faithfulness.py` has the tests.
"""

import dataclasses
import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.analysis import activations, faithfulness, grad_cam
from vpn_jax.analysis.ground_truth import GroundTruth
from vpn_jax.inference import trained_network
from vpn_jax.inputs import example, multi_view, sampling
from vpn_jax.records import record_format

CAM, ATTENTION, JOINTS = "Grad-CAM", "A_ST", "joint activations"
OTHER = "A_ST, pose of another clip"  # the control of A_ST
# Explanation -> its baseline: the same pixels or joints in random order.
RANDOM = {
  CAM: "random places",
  ATTENTION: "random places",
  OTHER: "random places",
  JOINTS: "random joints",
}
CURVES = ("deletion", "insertion")  # in the order of `faithfulness.deletion_insertion`
KEPT = ("features", "attention", "joint_features")


def _attention_from(model: nn.Module, variables: dict, batch: dict) -> jax.Array:
  """A_ST [T, M, N] of a batch of one clip with `features` and its poses."""
  head = model.clone(from_features=True)
  return trained_network.forward(head, variables, batch)[1]["attention"][0]


def _pose_scores(model: nn.Module, variables: dict, batch: dict, features, poses):
  """Softmax [n, K] of a clip under other poses [n, S, J, 3], its frames unchanged."""
  if features is not None:
    features = jnp.broadcast_to(features, (len(poses), *features.shape[1:]))
  batch = {**batch, "pose": poses}
  logits = grad_cam.logits_from(model, variables, batch, features)
  return jax.nn.softmax(logits.astype("float32"), axis=-1)


@dataclasses.dataclass(frozen=True)
class ClipResult:
  """Tests of the explanations of one clip.

  Attributes:
    correct: whether the network predicted the true class.
    score: softmax of the predicted class.
    pointing: explanation -> hit, and that of a position drawn at random, of the frame's
      centre, and of a joint of the whole body drawn at random; 0 to 1, NaN where there
      is none. Empty where the truth is not known.
    curves: explanation or baseline -> from `faithfulness.deletion_insertion`.
  """

  correct: bool
  score: float
  pointing: dict[str, tuple[float, float, float, float]]
  curves: dict[str, np.ndarray]


class Explainer:
  """Explains a network's answers and tests that against the truth and the scores.

  Grad-CAM points for the true class, as the game asks for an object in the image. The
  curves are of the predicted class, which is the answer to explain. A_ST and the joint
  activations are the same for all classes.

  Args:
    network: with a visual backbone, the graph of joints, or both.
    rest_pose: where a removed joint goes, float [persons*J, 3], metres.
    steps: of the curves over frames; those over joints go joint by joint.

  Reading: the baseline over frames is a random map as coarse as f, enlarged as the
    others are, so that the order alone differs: single pixels in random order would
    also destroy the texture.
  Reading: a joint's relevance is its mean activation over the steps. It is removed from
    all steps, and the frames stay.
  """

  def __init__(
    self, network: trained_network.TrainedNetwork, rest_pose: np.ndarray, steps: int
  ):
    self.network, self.rest_pose, self.steps = network, rest_pose, steps
    model = network.model
    forward = functools.partial(trained_network.forward, model, kept=KEPT)
    self._forward = jax.jit(forward)
    self._attention = jax.jit(functools.partial(_attention_from, model))
    self._class_map = jax.jit(functools.partial(grad_cam.class_map, model))
    self._pose_scores = jax.jit(functools.partial(_pose_scores, model))

  def explain(
    self,
    record: record_format.Record,
    label: int,
    truth: GroundTruth | None,
    rng: np.random.Generator,
    other: record_format.Record | None = None,
  ) -> ClipResult:
    """Explains one clip, prepared as for evaluation, and tests the explanations.

    Args:
      record: the clip.
      label: its class, as the network counts.
      truth: of the record, where it is known.
      rng: for the random orders, which also decide between equal relevances.
      other: a clip whose pose gives the control of A_ST; None for no control.
    Raises: ValueError for hands of a record without image joints.
    """
    network = self.network
    inputs = example.make(record, network.settings, network.skeleton, None)
    batch = {name: inputs[name][None] for name in network.model.inputs}
    scores, out = self._forward(network.variables, batch)
    scores = jax.device_get(scores[0])
    predicted = int(np.argmax(scores))
    pointing, curves = {}, {}
    features = out.get("features")
    if features is not None and features.ndim == 5:  # not one map a part, as P-I3D
      of_label, of_predicted = self._maps(batch, out, (label, predicted), other)
      grid, shape = features.shape[1:4], batch["frames"].shape[1:4]
      if truth is not None:
        pointing |= self._point_in_frames(record, truth, of_label, grid)
      noise = faithfulness.enlarge(rng.random(grid), shape)
      curves |= self._frame_curves(batch, predicted, of_predicted, noise)
    if "joint_features" in out:
      joint_features = jax.device_get(out["joint_features"][0])  # [S, J, C]
      relevance = activations.joint_activation(joint_features).mean(axis=0)
      if truth is not None:
        pointing |= self._point_at_joints(record, truth, relevance)
      noise = rng.random(len(relevance))
      curves |= self._joint_curves(batch, features, predicted, relevance, noise)
    return ClipResult(predicted == label, float(scores[predicted]), pointing, curves)

  def _maps(
    self,
    batch: dict,
    out: dict,
    classes: Sequence[int],
    other: record_format.Record | None,
  ) -> list[dict[str, np.ndarray]]:
    """For each of the classes: explanation -> map in every pixel, float [F, H, W]."""
    variables, features = self.network.variables, out["features"]
    by_class = [self._class_map(variables, batch, features, k) for k in classes]
    of_all = {}
    if "attention" in out:
      of_all[ATTENTION] = out["attention"][0]
      if other is not None:
        of_all[OTHER] = self._attention_by(other, features)
    shape = batch["frames"].shape[1:4]
    enlarged = [
      faithfulness.enlarge(jax.device_get(x), shape)
      for x in (*of_all.values(), *by_class)
    ]
    of_all = dict(zip(of_all, enlarged))
    return [{CAM: x, **of_all} for x in enlarged[len(of_all) :]]

  def _attention_by(
    self, other: record_format.Record, features: jax.Array
  ) -> jax.Array:
    """A_ST [T, M, N] of features [1, T, M, N, C] by another clip's pose."""
    poses = example.poses_of(self.network.model.inputs)
    settings = dataclasses.replace(self.network.settings, inputs=poses)
    inputs = example.make(other, settings, self.network.skeleton, None)
    batch = {"features": features, **{name: inputs[name][None] for name in poses}}
    return self._attention(self.network.variables, batch)

  def _point_in_frames(self, record, truth, maps, grid) -> dict[str, tuple]:
    """The pointing game of maps [F, H, W], enlarged from a grid (T, M, N)."""
    size = maps[CAM].shape[1:]
    body, targets = self._in_frames(record, truth)
    tolerance = faithfulness.tolerance(grid[1:], size)
    hits = faithfulness.near(targets, size, tolerance)
    if not hits.any():
      return {}
    centre = hits[:, size[0] // 2, size[1] // 2]
    on_body = faithfulness.within(body, targets, tolerance)
    chances = [float(x.mean()) for x in (hits, centre, on_body)]
    return {
      name: (faithfulness.pointing(heat, hits), *chances) for name, heat in maps.items()
    }

  def _frame_curves(self, batch, predicted, maps, noise) -> dict[str, np.ndarray]:
    """Deletion and insertion over the frames, by maps and by noise [F, H, W]."""
    frames = batch["frames"][0]

    def score(clips):
      many = {
        name: np.broadcast_to(x, (len(clips), *x.shape[1:]))
        for name, x in batch.items()
      }
      scores, _ = self.network.forward(
        self.network.variables, {**many, "frames": clips}
      )
      return jax.device_get(scores)[:, predicted]

    empty, unclear = faithfulness.mean_coloured(frames), faithfulness.blurred(frames)
    return {
      name: faithfulness.deletion_insertion(
        score, frames, empty, unclear, faithfulness.ranks(x, noise), self.steps
      )
      for name, x in {**maps, RANDOM[CAM]: noise}.items()
    }

  def _point_at_joints(self, record, truth, relevance) -> dict[str, tuple]:
    """The pointing game over joints: is the joint of largest relevance [J] acting?"""
    hits = np.zeros(len(relevance), bool)
    acting = truth.acting[self._window(record)].any(axis=0)
    hits[: len(acting)] = acting  # the main actor's joints come first
    if not hits.any():
      return {}
    hit, none = faithfulness.pointing(relevance, hits), float("nan")
    return {JOINTS: (hit, float(hits.mean()), none, none)}

  def _joint_curves(
    self, batch, features, predicted, relevance, noise
  ) -> dict[str, np.ndarray]:
    """Deletion and insertion over the joints, by relevance and by noise [J]."""

    def score(poses):
      scores = self._pose_scores(self.network.variables, batch, features, poses)
      return jax.device_get(scores)[:, predicted]

    pose = batch["pose"][0]
    rest = np.broadcast_to(self.rest_pose.astype(pose.dtype), pose.shape)
    return {
      name: faithfulness.deletion_insertion(
        score, pose, rest, rest, faithfulness.ranks(x, noise), len(noise)
      )
      for name, x in {JOINTS: relevance, RANDOM[JOINTS]: noise}.items()
    }

  def _window(self, record: record_format.Record) -> np.ndarray:
    """Frames of the record that the network sees."""
    return sampling.frame_window(
      record.num_frames, self.network.settings.num_frames, None
    )

  def _in_frames(
    self, record: record_format.Record, truth: GroundTruth
  ) -> list[np.ndarray]:
    """All joints [F, J, 2], and the targets, in pixels of the network's frames.

    Returns: float; the targets are the acting joints and the object, [F, J + 1, 2] with
      NaN for a joint that does not act.
    """
    settings, skeleton = self.network.settings, self.network.skeleton
    window = self._window(record)
    cut = example.cuts(
      record, settings, skeleton, window, multi_view.MIDDLE, None, False
    )["frames"]
    corner, side = cut.squares[:, None, :2], cut.squares[:, None, 2:]
    acting = np.where(truth.acting[..., None], truth.joints, np.nan)
    targets = np.concatenate([acting, truth.held], axis=1)
    return [(x[window] - corner) * cut.size / side for x in (truth.joints, targets)]
