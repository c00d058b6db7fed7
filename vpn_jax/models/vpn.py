"""The recognition model of figure 3, and its parts left out row by row (table 1, 2, 4).

Every network maps its `inputs` to (logits, out); `out` holds the steps on the way for
losses, analysis and figures.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax import ops
from vpn_jax.datasets import skeletons
from vpn_jax.models import attention as attention_lib
from vpn_jax.models import backbones, non_local, pose_alignment, pose_backbone
from vpn_jax.models import embedding as embedding_lib
from vpn_jax.models import graph as graph_lib

ATTENTIONS = ("spatiotemporal", "spatial", "none")
POSE_BACKBONES = ("gcn", "lstm")
INPUT_NORMS = ("batch", "none")
HEADS = ("mean", "time")
SCALES = ("sum", "mean")
# Variance of a coordinate, in square metres, below which it counts as noise: (1 cm)^2.
INPUT_EPSILON = 1e-4


def check(name: str, value, known: tuple) -> None:
  """ValueError unless `value` is one of `known`."""
  if value not in known:
    raise ValueError(f"{name} is {value!r}, expected one of {known}.")


class PoseBranch(nn.Module):
  """The pose backbone, with the graph of a skeleton where it has one.

  Attributes:
    skeleton: name in `skeletons.SKELETONS`.
    persons: people in the pose, one graph block each.
    kind: "gcn" or "lstm".
    frozen: whether weights and statistics stay as they are in training; the LSTM's do,
      once it was trained alone (appendix 2).
    align: "view" turns each clip to face the camera, "body" each step; "none" takes the
      pose in camera axes. See `pose_alignment.align_pose`.
    input_norm: "batch" normalizes every coordinate of every joint by its mean and
      variance over the clips and steps of the batch; "none" takes the pose as it is.
    bone_weight, other_weight, other_pairs: alpha, beta and who gets beta (eq. 1).
    identity_filter, dropout, bn_momentum: see `GraphPoseBackbone`.
    recurrent_layers, recurrent_features, recurrent_output: see
      `RecurrentPoseBackbone`.

  Reading: the paper takes the pose as it is. In metres its coordinates differ by tenths
    between clips, and the first layers hardly respond to them. So by default the input
    is normalized as in ST-GCN (Yan et al., AAAI 2018); eq. 1 then mixes the normalized
    coordinates.
  """

  skeleton: str = "kinect_v2"
  persons: int = 1
  kind: str = "gcn"
  frozen: bool = False
  align: str = "none"
  input_norm: str = "batch"
  bone_weight: float = 5.0
  other_weight: float = 2.0
  other_pairs: str = "all"
  identity_filter: bool = False
  dropout: float = 0.3
  bn_momentum: float = 0.9
  recurrent_layers: int = 3
  recurrent_features: int = 512
  recurrent_output: str = "steps"

  @nn.compact
  def __call__(self, pose: jax.Array, *, train: bool = False):
    """Maps P [B, S, persons*J, 3] to h* [B, _] and its steps."""
    check("pose_backbone", self.kind, POSE_BACKBONES)
    check("recurrent_output", self.recurrent_output, ("steps", "last"))
    check("config.model.pose.input_norm", self.input_norm, INPUT_NORMS)
    skeleton = skeletons.get(self.skeleton)
    joints = skeleton.num_joints * self.persons
    if pose.shape[2] != joints:
      raise ValueError(
        f"got poses of {pose.shape[2]} joints, expected {joints}: {self.persons} x "
        f"skeleton {self.skeleton!r}; set config.data.skeleton and config.data.persons."
      )
    train = train and not self.frozen
    if self.align != "none":
      pose = pose_alignment.align_pose(pose, *skeleton.hips(), self.align)
    if self.input_norm == "batch":
      norm = ops.BatchNorm(
        use_scale=True,
        epsilon=INPUT_EPSILON,
        momentum=self.bn_momentum,
        name="input_norm",
      )
      pose = norm(pose.reshape(*pose.shape[:2], -1), train=train).reshape(pose.shape)
    backbone = self._recurrent() if self.kind == "lstm" else self._graph(skeleton)
    result = backbone(pose, train=train)
    return jax.lax.stop_gradient(result) if self.frozen else result

  def _graph(self, skeleton: skeletons.Skeleton) -> nn.Module:
    e = graph_lib.adjacency(
      skeleton,
      bone_weight=self.bone_weight,
      other_weight=self.other_weight,
      other_pairs=self.other_pairs,
      persons=self.persons,
    )
    return pose_backbone.GraphPoseBackbone(
      normalized_adjacency=graph_lib.normalized_adjacency(e),
      identity_filter=self.identity_filter,
      dropout=self.dropout,
      bn_momentum=self.bn_momentum,
      name="graph",
    )

  def _recurrent(self) -> nn.Module:
    return pose_backbone.RecurrentPoseBackbone(
      layers=self.recurrent_layers,
      features=self.recurrent_features,
      output=self.recurrent_output,
      name="recurrent",
    )


class VPN(nn.Module):
  """Video-Pose Network over a 3D ConvNet (figure 3); with parts off, rows l1 to l7.

  Attributes:
    num_classes: K.
    from_features: whether the network is given f in place of the frames; the visual
      backbone is then never run, its variables are not needed.
    backbone: name in `backbones.BACKBONES`.
    width: multiplies every channel count of the backbone; 1 is the published network.
    endpoint: where f is taken; of I3D "Mixed_5c" in the paper.
    frozen_until: last layer of the backbone that is not trained; "" trains all.
    bn_momentum: of the running statistics of the backbone and the attention network.
    remat: whether the gradient computes the inside of its blocks again: less memory for
      more time.
    non_local: layers of the backbone that a non-local block follows (row I3D+NL).
    attention: "spatiotemporal"; "spatial" for A_S alone (table 4); "none" for the
      visual backbone alone (table 1, l1), which takes no pose.
    attention_hidden: width of the tanh layers of eq. 2.
    attention_norm: of `AttentionNetwork.norm`.
    attention_scale: "sum": A_T sums to 1 over time, as softmax leaves it. "mean": A_T
      times T modulates, so that its mean is 1, for study.
    attention_grid: (T, M, N) of the features in training, where inference is on larger
      frames (section 4.1): A_S is resized, and nothing is embedded, which serves the
      loss alone. () takes the features as they come.
    coupler: False for two separate streams, A_S f and A_T f, concatenated before the
      classifier (appendix 2, rows l4 and l5).
    embedding: whether f and z1 are projected for the embedding loss (l3 against l2).
    embedding_dim: D.
    pose_classifier: whether h* also gets a classifier of its own, for the auxiliary
      loss (`loss.pose_weight`); it never contributes to the prediction.
    head: "mean" pools f' over space and time. "time" pools over space alone and gives
      the classifier every step (Reading of the released code's head, which pools over
      space and keeps the order of the steps).
    dropout: rate before the classifier.
    pose: settings of `PoseBranch`.
    dtype: of the computation; parameters and statistics stay float32.
  """

  num_classes: int
  from_features: bool = False
  backbone: str = "i3d"
  width: float = 1.0
  endpoint: str = "Mixed_5c"
  frozen_until: str = ""
  bn_momentum: float = 0.9
  remat: bool = False
  non_local: tuple[str, ...] = ()
  attention: str = "spatiotemporal"
  attention_hidden: int = 256
  attention_norm: str = "batch"
  attention_scale: str = "sum"
  attention_grid: tuple[int, ...] = ()
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
    return (visual,) if self.attention == "none" else (visual, "pose")

  @nn.compact
  def __call__(
    self, frames: jax.Array, pose: jax.Array | None = None, *, train: bool = False
  ):
    """Maps frames uint8 [B, F, H, W, 3], pose float [B, S, J, 3] to logits [B, K].

    With `from_features`, frames are f, float [B, T, M, N, C].

    Returns: (logits, out) with, where the row has them, features [B, T, M, N, C],
      modulated (same, or 2C channels without the coupler), spatial_logits [B, M*N],
      spatial_attention [B, M, N], temporal_attention [B, T], attention [B, T, M, N],
      joint_features [B, S, J, 64] of the graph or step_features [B, S, 512] of the
      LSTM, video_embedding and pose_embedding [B, D], pose_logits [B, K], pooled [B, C]
      or [B, T*C] (the input of the classifier).
    Raises: ValueError for an unknown setting, poses of another skeleton, or a clip of
      another length than in training.
    """
    self._check_settings()
    features = frames if self.from_features else self._visual(frames, train)  # f
    out = {"features": features}
    if self.attention == "none":
      modulated = features
    else:
      branch = PoseBranch(**(self.pose or {}), name="pose_backbone")
      pose_features, steps = branch(pose, train=train)  # h*
      out.update(steps, pose_features=pose_features)
      out.update(self._attend(pose_features, features.shape[1:4], train))
      out["attention"], modulated = self._modulate(features, out)  # A_ST, f'
      grid = self.attention_grid or features.shape[1:4]
      if self.embedding and grid == features.shape[1:4]:
        embed = embedding_lib.SpatialEmbedding(self.embedding_dim, name="embedding")
        out.update(embed(features, out["spatial_logits"]))
      if self.pose_classifier:
        out["pose_logits"] = self._classify(pose_features, train, "pose_classifier")
    out["modulated"] = modulated
    pooled = jnp.mean(modulated, axis=(2, 3))  # [B, T, C]
    out["pooled"] = (
      pooled.mean(axis=1)
      if self.head == "mean"
      else pooled.reshape(pooled.shape[0], -1)
    )
    return self._classify(out["pooled"], train, "classifier"), out

  def _check_settings(self) -> None:
    check("attention", self.attention, ATTENTIONS)
    check("config.model.attention_scale", self.attention_scale, SCALES)
    check("config.model.head", self.head, HEADS)
    if self.embedding and self.attention == "none":
      raise ValueError(
        "embedding needs z1 of the attention network, attention is 'none': ask for "
        "embedding=none or for attention=spatial."
      )

  def _visual(self, frames: jax.Array, train: bool) -> jax.Array:
    """f of the visual backbone."""
    after = {
      name: non_local.NonLocalBlock(dtype=self.dtype, name=f"non_local_{name}")
      for name in self.non_local
    }
    return backbones.features(
      self.backbone,
      frames,
      train=train,
      after=after,
      width=self.width,
      final_endpoint=self.endpoint,
      frozen_until=self.frozen_until,
      bn_momentum=self.bn_momentum,
      remat=self.remat,
      dtype=self.dtype,
    )

  def _attend(self, pose_features: jax.Array, grid: tuple, train: bool) -> dict:
    """A_S on the grid (T, M, N) of the features, A_T, and their logits."""
    network = attention_lib.AttentionNetwork(
      grid=self.attention_grid or grid,
      hidden=self.attention_hidden,
      temporal=self.attention == "spatiotemporal",
      norm=self.attention_norm,
      bn_momentum=self.bn_momentum,
      name="attention",
    )
    out = network(pose_features, train=train)
    if network.grid[0] != grid[0]:
      raise ValueError(
        f"got features of {grid[0]} steps, expected {network.grid[0]} as in training: "
        "infer on clips of config.data.example.num_frames."
      )
    a_s = attention_lib.resize_spatial(out["spatial_attention"], grid[1:])
    return {**out, "spatial_attention": a_s}

  def _modulate(
    self, features: jax.Array, weights: dict
  ) -> tuple[jax.Array, jax.Array]:
    """f, A_S and A_T -> A_ST [B, T, M, N] and f', by the attention of this row."""
    a_s = weights["spatial_attention"]
    if self.attention == "spatial":
      attention = jnp.broadcast_to(a_s[:, None], features.shape[:4])
      return attention, attention_lib.modulate(features, attention)
    a_t = weights["temporal_attention"]
    if self.attention_scale == "mean":
      a_t = a_t * a_t.shape[1]
    attention = attention_lib.couple(a_s, a_t)
    if self.coupler:
      return attention, attention_lib.modulate(features, attention)
    spatial = features * a_s[:, None, :, :, None]
    temporal = features * a_t[:, :, None, None, None]
    return attention, jnp.concatenate([spatial, temporal], axis=-1)

  def _classify(self, x: jax.Array, train: bool, name: str) -> jax.Array:
    """Logits [B, K] of [B, _]."""
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(self.num_classes, name=name)(x)


class PoseClassifier(nn.Module):
  """Pose-only recognition: the pose backbone and a classifier.

  Attributes:
    num_classes: K.
    dropout: rate before the classifier.
    pose: settings of `PoseBranch`.
  """

  inputs = ("pose",)
  num_classes: int
  dropout: float = 0.3
  pose: dict | None = None

  @nn.compact
  def __call__(self, pose: jax.Array, *, train: bool = False):
    """Maps pose float [B, S, J, 3] to (logits [B, K], out)."""
    y, out = PoseBranch(**(self.pose or {}), name="pose_backbone")(pose, train=train)
    out["pooled"] = y
    y = nn.Dropout(self.dropout, deterministic=not train)(y)
    return nn.Dense(self.num_classes, name="classifier")(y), out
