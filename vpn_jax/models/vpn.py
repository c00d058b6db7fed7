"""Video-Pose Network: figure 3, and parts of it left out (tables 1, 2 and 4)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax.datasets import skeletons
from vpn_jax.models import attention as attention_lib
from vpn_jax.models import backbones, checks, joint_maps, non_local, pose_backbone
from vpn_jax.models import embedding as embedding_lib

ATTENTIONS = ("spatiotemporal", "spatial", "aligned", "none")
HEADS = ("mean", "time", "joints")
GUIDES = ("pose", "features")
SCALES = ("sum", "mean")


class VPN(nn.Module):
  """Video-Pose Network on a 3D ConvNet (figure 3); with parts off, rows l1 to l7.

  Attributes:
    num_classes: K.
    from_features: whether the network takes features instead of the frames: the output
      of layer `features_of`. The layers up to it are then never applied, and their
      variables are not needed.
    features_of: a layer of the visual backbone; "" for `endpoint`, whose output is f.
    backbone: name in `backbones.BACKBONES`.
    width: multiplies every channel count of the backbone; 1 is the published network.
    endpoint: where f is taken; of I3D "Mixed_5c" in the paper.
    frozen_until: last layer of the backbone that is not trained; "" trains all.
    bn_momentum: of the running statistics of the backbone and the attention network.
    bn_frozen: whether the backbone keeps its running statistics (`trunk.Trunk`).
    remat: whether the gradient computes the inside of its blocks again: less memory for
      more time.
    non_local: layers of the backbone that a non-local block follows (row I3D+NL).
    attention: "spatiotemporal"; "spatial" for A_S alone (table 4); "none" for the
      visual backbone alone (table 1, l1), which takes no pose. "aligned", which is not
      in the paper, puts A_S around the joints in the frames, weighted by h*
      (`joint_maps.around_joints`).
    joint_sigma: of the Gaussians of "aligned", cells of f.
    guide: what the attention is computed from: "pose" for h*. "features", which is not
      in the paper, for a student that takes no pose: f pooled over space, step by step.
    attention_hidden: width of the tanh layers of eq. 2.
    attention_norm: of `AttentionNetwork.norm`.
    attention_scale: "sum": A_T sums to 1 over time, as softmax leaves it. "mean": A_T
      times T modulates, so that its mean is 1. Reading: frozen features need the latter
      (docs/results.md); eq. 2 has the former.
    attention_grid: (T, M, N) of the features in training, where inference is on larger
      frames (section 4.1): A_S is resized, and nothing is embedded, which serves the
      loss alone. () takes the features as they come.
    coupler: False for two separate streams, A_S f and A_T f, concatenated before the
      classifier (appendix 2, rows l4 and l5).
    embedding: whether f and z1 are projected for the embedding loss (l3, not l2).
    embedding_dim: D.
    pose_classifier: whether h* also gets a classifier of its own, for the auxiliary
      loss (`loss.pose_weight`); it never contributes to the prediction.
    head: "mean" pools f' over space and time. "time" pools over space alone and gives
      the classifier every step (Reading of the released code's head, which pools over
      space and keeps the order of the steps). "joints", which is not in the paper, adds
      f' read at the joints in the frames (`joint_maps.read_parts`) to that mean.
    dropout: rate before the classifier.
    pose: settings of `pose_backbone.PoseBranch`.
    dtype: of the computation; parameters and statistics stay float32.
  """

  num_classes: int
  from_features: bool = False
  features_of: str = ""
  backbone: str = "i3d"
  width: float = 1.0
  endpoint: str = "Mixed_5c"
  frozen_until: str = ""
  bn_momentum: float = 0.9
  bn_frozen: bool = False
  remat: bool = False
  non_local: tuple[str, ...] = ()
  attention: str = "spatiotemporal"
  guide: str = "pose"
  attention_hidden: int = 256
  attention_norm: str = "batch"
  attention_scale: str = "sum"
  attention_grid: tuple[int, ...] = ()
  joint_sigma: float = 0.75
  coupler: bool = True
  embedding: bool = True
  embedding_dim: int = 256
  pose_classifier: bool = False
  head: str = "mean"
  dropout: float = 0.3
  pose: dict | None = None
  dtype: str = "float32"

  @property
  def inputs(self) -> tuple[str, ...]:
    """Names of what `__call__` takes, in order."""
    visual = "features" if self.from_features else "frames"
    if self.attention == "aligned" or self.head == "joints":
      return visual, "pose", "frame_joints"
    by_pose = self.attention != "none" and self.guide == "pose"
    return (visual, "pose") if by_pose else (visual,)

  @nn.compact
  def __call__(
    self,
    frames: jax.Array,
    pose: jax.Array | None = None,
    frame_joints: jax.Array | None = None,
    *,
    train: bool = False,
  ):
    """Maps frames uint8 [B, F, H, W, 3], pose float [B, S, J, 3] to logits [B, K].

    With `from_features`, frames are features, float [B, T, M, N, C]. frame_joints float
    [B, F, J, 3] are the joints in the frames (`frame_joints.frame_joints`); a network
    that takes them is also given a pose, even where it uses none.

    Returns: (logits, out) with, where the row has them, features [B, T, M, N, C],
      modulated (same, or 2C channels without the coupler), spatial_logits [B, M*N],
      spatial_attention [B, M, N], temporal_attention [B, T], attention [B, T, M, N],
      joint_features [B, S', J, C] of the graphs or step_features [B, S, 512] of the
      LSTM, video_embedding and pose_embedding [B, D], pose_logits [B, K], joint_weights
      [B, J], pooled [B, C], [B, T*C] or [B, (1 + P)*C] (the input of the classifier).
    Raises: ValueError for an unknown setting, poses of another skeleton, or a clip of
      another length than in training.
    """
    self._check_settings()
    joints = self._main_actor(frame_joints)
    features = self._visual_backbone(frames, train=train)  # f
    if self.attention == "none":  # row l1
      return self._classify(features, {"features": features}, joints, train=train)
    if self.guide == "pose":
      pose_features, out = self._pose_backbone(pose, train=train)  # h*
    else:  # a student
      pose_features, out = features.mean(axis=(2, 3)).reshape(len(features), -1), {}
    weights = self._attend(pose_features, features, train=train)  # A_S, A_T (eq. 2)
    attention = self._couple(weights, features, joints)  # A_ST
    modulated = self._modulate(features, attention, weights)  # f'; or two streams
    out |= {"features": features, "pose_features": pose_features, **weights}
    out["attention"] = attention
    if self.embedding:
      out |= self._embed(features, weights)  # eq. 3
    if self.pose_classifier:
      out["pose_logits"] = self._logits(pose_features, "pose_classifier", train)
    return self._classify(modulated, out, joints, train=train)

  def _check_settings(self) -> None:
    checks.one_of("attention", self.attention, ATTENTIONS)
    checks.one_of("config.model.attention_scale", self.attention_scale, SCALES)
    checks.one_of("config.model.head", self.head, HEADS)
    checks.one_of("config.model.guide", self.guide, GUIDES)
    if self.embedding and self.attention == "none":
      raise ValueError(
        "embedding needs z1 of the attention network, attention is 'none': ask for "
        "embedding=none or for attention=spatial."
      )
    if self.attention == "aligned" and not self.coupler:
      raise ValueError(
        "attention is 'aligned' and coupler False, expected the coupler, which takes "
        "attention that moves with the joints: leave out coupler=False."
      )

  def _visual_backbone(self, frames: jax.Array, *, train: bool) -> jax.Array:
    """Frames, or the features that are given instead, -> f."""
    given = (self.features_of or self.endpoint) if self.from_features else ""
    if given == self.endpoint:
      return frames
    after = {
      name: non_local.NonLocalBlock(dtype=self.dtype, name=f"non_local_{name}")
      for name in self.non_local
    }
    return backbones.features(
      self.backbone,
      frames,
      train=train,
      after=after,
      start_after=given,
      width=self.width,
      final_endpoint=self.endpoint,
      frozen_until=self.frozen_until,
      bn_momentum=self.bn_momentum,
      bn_frozen=self.bn_frozen,
      remat=self.remat,
      dtype=self.dtype,
    )

  def _pose_backbone(self, pose: jax.Array, *, train: bool) -> tuple[jax.Array, dict]:
    """P -> h* and the steps of the pose backbone."""
    branch = pose_backbone.PoseBranch(**(self.pose or {}), name="pose_backbone")
    return branch(pose, train=train)

  def _grid(self, features: jax.Array) -> tuple[int, ...]:
    """(T, M, N) of the features in training."""
    return self.attention_grid or features.shape[1:4]

  def _attend(
    self, pose_features: jax.Array, features: jax.Array, *, train: bool
  ) -> dict[str, jax.Array]:
    """h* -> A_S on the grid of f, A_T, and their logits z1, z2 (eq. 2)."""
    grid = self._grid(features)
    if grid[0] != features.shape[1]:
      raise ValueError(
        f"got features of {features.shape[1]} steps, expected {grid[0]} as in "
        "training: infer on clips of config.data.example.num_frames."
      )
    network = attention_lib.AttentionNetwork(
      grid=grid,
      hidden=self.attention_hidden,
      temporal=self.attention != "spatial",
      joints=self._skeleton().num_joints if self.attention == "aligned" else 0,
      norm=self.attention_norm,
      bn_momentum=self.bn_momentum,
      name="attention",
    )
    out = network(pose_features, train=train)
    a_s = attention_lib.resize_spatial(out["spatial_attention"], features.shape[2:4])
    return out | {"spatial_attention": a_s}

  def _skeleton(self) -> skeletons.Skeleton:
    usual = pose_backbone.PoseBranch.skeleton
    return skeletons.get((self.pose or {}).get("skeleton", usual))

  def _main_actor(self, frame_joints: jax.Array | None) -> jax.Array | None:
    """The joints of the first person, [B, F, J, 3]."""
    if frame_joints is None:
      return None
    return frame_joints[:, :, : self._skeleton().num_joints]

  def _temporal(self, weights: dict[str, jax.Array]) -> jax.Array:
    """A_T [B, T] as it modulates: times T, or as it is."""
    a_t = weights["temporal_attention"]
    return a_t * a_t.shape[1] if self.attention_scale == "mean" else a_t

  def _couple(
    self,
    weights: dict[str, jax.Array],
    features: jax.Array,
    joints: jax.Array | None,
  ) -> jax.Array:
    """A_S, A_T -> A_ST [B, T, M, N] on the grid of f; "aligned" with the joints."""
    a_s = weights["spatial_attention"]
    if self.attention == "spatial":
      return jnp.broadcast_to(a_s[:, None], features.shape[:4])
    if self.attention == "aligned":
      grid = features.shape[1:4]
      maps, seen = joint_maps.gaussian_maps(joints, grid, self.joint_sigma)
      a_s = joint_maps.around_joints(a_s, weights["joint_weights"], maps, seen)
    return attention_lib.couple(a_s, self._temporal(weights))

  def _modulate(
    self, features: jax.Array, attention: jax.Array, weights: dict[str, jax.Array]
  ) -> jax.Array:
    """f, A_ST -> f'; without the coupler the two streams A_S f and A_T f."""
    if self.coupler or self.attention == "spatial":
      return attention_lib.modulate(features, attention)
    spatial = features * weights["spatial_attention"][:, None, :, :, None]
    temporal = features * self._temporal(weights)[:, :, None, None, None]
    return jnp.concatenate([spatial, temporal], axis=-1)

  def _embed(self, features: jax.Array, weights: dict[str, jax.Array]) -> dict:
    """f and z1 -> f_e and P_e (eq. 3); nothing on a larger grid than in training."""
    if self._grid(features) != features.shape[1:4]:
      return {}
    embed = embedding_lib.SpatialEmbedding(self.embedding_dim, name="embedding")
    return embed(features, weights["spatial_logits"])

  def _classify(
    self, modulated: jax.Array, out: dict, joints: jax.Array | None, *, train: bool
  ) -> tuple[jax.Array, dict]:
    """f' -> logits [B, K], and `out` with f' and what the classifier takes of it."""
    pooled = jnp.mean(modulated, axis=(2, 3))  # [B, T, C]
    if self.head != "time":
      pooled = pooled.mean(axis=1)
    pooled = pooled.reshape(pooled.shape[0], -1)
    if self.head == "joints":
      maps, seen = joint_maps.bilinear_maps(joints, modulated.shape[1:4])
      parts = self._skeleton().parts()
      read = joint_maps.read_parts(modulated, maps, seen, parts)  # [B, P, C]
      pooled = jnp.concatenate([pooled, read.reshape(read.shape[0], -1)], axis=-1)
    logits = self._logits(pooled, "classifier", train)
    return logits, out | {"modulated": modulated, "pooled": pooled}

  def _logits(self, x: jax.Array, name: str, train: bool) -> jax.Array:
    """[B, _] -> [B, K], by dropout and a linear layer."""
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(self.num_classes, name=name)(x)
