"""A trained network on one clip: what explains its answer, and how true that is."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.analysis import activations, explanations
from vpn_jax.analysis.hand_truth import Truth
from vpn_jax.inference import trained_network
from vpn_jax.inputs import multi_view, pipeline
from vpn_jax.models import networks
from vpn_jax.records import store

CAM, ATTENTION, JOINTS = "Grad-CAM", "A_ST", "joint activations"
OTHER = "A_ST, pose of another clip"  # the control of A_ST
# Explanation -> what it is compared with: the same places in an order drawn at random.
RANDOM = {
  CAM: "random places",
  ATTENTION: "random places",
  OTHER: "random places",
  JOINTS: "random joints",
}
KEPT = ("features", "attention", "joint_features")


def logits_on(model: nn.Module, variables: dict, batch: dict, features):
  """Logits [B, K] of a network on features f [B, T, M, N, C] in place of its frames.

  Its visual backbone is not run; one without (features are None then) is as it is.
  """
  if features is not None:
    model, batch = model.clone(from_features=True), {**batch, "features": features}
  logits, _ = model.apply(variables, *networks.inputs(model, batch), train=False)
  return logits


def class_map(model: nn.Module, variables: dict, batch: dict, features, label):
  """Grad-CAM of a class on f [1, T, M, N, C] of a clip, float [T, M, N]."""

  def score(f):
    return logits_on(model, variables, batch, f[None])[0, label]

  return explanations.grad_cam(score, features[0])


def attention_on(model: nn.Module, variables: dict, batch: dict):
  """A_ST [T, M, N] of a batch of one clip with `features` and `pose`."""
  head = model.clone(from_features=True)
  return trained_network.forward(head, variables, batch)[1]["attention"][0]


def pose_scores(model: nn.Module, variables: dict, batch: dict, features, poses):
  """Softmax [n, K] of a clip under other poses [n, S, J, 3], the frames as they are."""
  if features is not None:
    features = jnp.broadcast_to(features, (len(poses), *features.shape[1:]))
  logits = logits_on(model, variables, {**batch, "pose": poses}, features)
  return jax.nn.softmax(logits.astype("float32"), axis=-1)


@dataclasses.dataclass(frozen=True)
class Judged:
  """The explanations of one clip.

  Attributes:
    right: whether the network named the true class.
    score: softmax of the class that it named.
    pointing: explanation -> hit, and that of a place drawn at random, of the frame's
      centre, and of a joint drawn at random of the whole body; 0 to 1, NaN where there
      is none. Empty where the truth is not known.
    curves: explanation and what it is compared with -> from `deletion_insertion`.
  """

  right: bool
  score: float
  pointing: dict[str, tuple[float, float, float, float]]
  curves: dict[str, np.ndarray]


class Judge:
  """Explains a network's answers, and holds that against the truth and the scores.

  Grad-CAM points for the true class, as the game asks for a thing in the image. The
  curves are of the class that the network named: that is what is to be explained. A_ST
  and the joint activations are of no class.

  Args:
    network: whose answers; with a visual backbone, the graph of joints, or both.
    rest_pose: where a joint stands that was taken away, float [persons*J, 3], metres.
    steps: of the curves over frames; those over joints go joint by joint.

  Reading: frames are compared with a random map as coarse as f, enlarged as the others
    are, so that the two differ in the order alone: single pixels in random order would
    also spoil the texture.
  Reading: a joint's relevance is its mean activation over the steps, and it is taken
    away from all of them; the frames stay.
  """

  def __init__(
    self, network: trained_network.TrainedNetwork, rest_pose: np.ndarray, steps: int
  ):
    self.network, self.rest_pose, self.steps = network, rest_pose, steps
    look = functools.partial(trained_network.forward, network.model, kept=KEPT)
    self._look = jax.jit(look)
    self._attention = jax.jit(functools.partial(attention_on, network.model))
    self._class_map = jax.jit(functools.partial(class_map, network.model))
    self._pose_scores = jax.jit(functools.partial(pose_scores, network.model))

  def judge(
    self,
    record: store.Record,
    label: int,
    truth: Truth | None,
    rng: np.random.Generator,
    other: store.Record | None = None,
  ) -> Judged:
    """One clip, as evaluation shows it.

    Args:
      record: the clip.
      label: its class, as the network counts.
      truth: of the record, where it is known.
      rng: of the random orders, which also decide between equal relevances.
      other: a clip whose pose gives the control of A_ST; None for no control.
    Raises: ValueError for hands of a record without image joints.
    """
    network = self.network
    given = pipeline.example(record, network.settings, network.skeleton, None)
    batch = {name: given[name][None] for name in network.model.inputs}
    scores, out = self._look(network.variables, batch)
    scores = jax.device_get(scores[0])
    named = int(np.argmax(scores))
    judged = Judged(named == label, float(scores[named]), {}, {})
    if "features" in out and out["features"].ndim == 5:  # not three parts, as P-I3D
      control = None
      if other is not None and "attention" in out:
        control = self._attention_by(other, out["features"])
      classes = label, named
      self._judge_frames(judged, record, batch, out, classes, truth, rng, control)
    if "joint_features" in out:
      self._judge_joints(judged, record, batch, out, named, truth, rng)
    return judged

  def _attention_by(self, other: store.Record, features):
    """A_ST [T, M, N] of features [1, T, M, N, C] by another clip's pose."""
    settings = dataclasses.replace(self.network.settings, inputs=("pose",))
    given = pipeline.example(other, settings, self.network.skeleton, None)
    batch = {"features": features, "pose": given["pose"][None]}
    return self._attention(self.network.variables, batch)

  def _judge_frames(
    self, judged, record, batch, out, classes, truth, rng, control
  ) -> None:
    variables, features = self.network.variables, out["features"]
    frames = batch["frames"][0]
    grid, shape = features.shape[1:4], frames.shape[:3]
    maps = {CAM: [self._class_map(variables, batch, features, k) for k in classes]}
    if "attention" in out:
      maps[ATTENTION] = [out["attention"][0]] * 2
    if control is not None:
      maps[OTHER] = [control] * 2
    maps = {
      name: [explanations.enlarge(jax.device_get(x), shape) for x in both]
      for name, both in maps.items()
    }
    if truth is not None:
      body, targets = self._in_frames(record, truth)
      reach = explanations.tolerance(grid[1:], shape[1:])
      hits = explanations.near(targets, shape[1:], reach)
      if hits.any():
        baselines = (
          hits, hits[:, shape[1] // 2, shape[2] // 2],
          explanations.within(body, targets, reach),
        )  # fmt: skip
        chances = [float(x.mean()) for x in baselines]
        for name, (of_label, _) in maps.items():
          judged.pointing[name] = explanations.pointing(of_label, hits), *chances

    def score(clips):
      many = {
        name: np.broadcast_to(x, (len(clips), *x.shape[1:]))
        for name, x in batch.items()
      }
      scores, _ = self.network.forward(variables, {**many, "frames": clips})
      return jax.device_get(scores)[:, classes[1]]

    empty, unclear = explanations.mean_coloured(frames), explanations.blurred(frames)
    noise = explanations.enlarge(rng.random(grid), shape)
    relevance = {name: of_named for name, (_, of_named) in maps.items()}
    for name, x in {**relevance, RANDOM[CAM]: noise}.items():
      rank = explanations.ranks(x, noise)
      judged.curves[name] = explanations.deletion_insertion(
        score, frames, empty, unclear, rank, self.steps
      )

  def _judge_joints(self, judged, record, batch, out, named, truth, rng) -> None:
    joint_features = jax.device_get(out["joint_features"][0])  # [S, J, 64]
    relevance = activations.joint_activation(joint_features).mean(axis=0)
    if truth is not None:
      hits = np.zeros(len(relevance), bool)
      acting = truth.acting[self._window(record)].any(axis=0)
      hits[: len(acting)] = acting  # the main actor's joints come first
      if hits.any():
        hit, none = explanations.pointing(relevance, hits), float("nan")
        judged.pointing[JOINTS] = hit, float(hits.mean()), none, none
    features = out.get("features")

    def score(poses):
      scores = self._pose_scores(self.network.variables, batch, features, poses)
      return jax.device_get(scores)[:, named]

    pose = batch["pose"][0]
    rest = np.broadcast_to(self.rest_pose.astype(pose.dtype), pose.shape)
    noise = rng.random(len(relevance))
    for name, x in {JOINTS: relevance, RANDOM[JOINTS]: noise}.items():
      rank = explanations.ranks(x, noise)
      judged.curves[name] = explanations.deletion_insertion(
        score, pose, rest, rest, rank, len(noise)
      )

  def _window(self, record: store.Record) -> np.ndarray:
    """Frames of the record that the network sees."""
    return pipeline.frame_window(
      len(record.frames), self.network.settings.num_frames, None
    )

  def _in_frames(self, record: store.Record, truth: Truth) -> list[np.ndarray]:
    """All joints [F, J, 2], and the targets, in pixels of the network's frames.

    Returns: float, and of the targets, acting joints and the object, [F, J + 1, 2] with
      NaN for what is none.
    """
    settings, skeleton = self.network.settings, self.network.skeleton
    window = self._window(record)
    cut = pipeline.cuts(
      record, settings, skeleton, window, multi_view.MIDDLE, None, False
    )["frames"]
    corner, side = cut.squares[:, None, :2], cut.squares[:, None, 2:]
    acting = np.where(truth.acting[..., None], truth.joints, np.nan)
    targets = np.concatenate([acting, truth.held], axis=1)
    return [(x[window] - corner) * cut.size / side for x in (truth.joints, targets)]
