"""The recognition model of figure 3, and its parts left out row by row (table 1, 2, 4).

Every network maps its `inputs` to (logits, out); `out` holds the steps on the way for
losses, analysis and figures.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax import skeletons
from vpn_jax.models import attention as attention_lib
from vpn_jax.models import backbones, non_local, pose_backbone
from vpn_jax.models import embedding as embedding_lib

ATTENTIONS = ("spatiotemporal", "spatial", "none")
POSE_BACKBONES = ("gcn", "lstm")


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
    bone_weight, other_weight, other_pairs: alpha, beta and who gets beta (eq. 1).
    identity_filter, dropout, bn_momentum: see `GraphPoseBackbone`.
    recurrent_layers, recurrent_features, recurrent_output: see
      `RecurrentPoseBackbone`.
  """

  skeleton: str = "kinect_v2"
  persons: int = 1
  kind: str = "gcn"
  frozen: bool = False
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
    skeleton = skeletons.get(self.skeleton)
    joints = skeleton.num_joints * self.persons
    if pose.shape[2] != joints:
      raise ValueError(
        f"got poses of {pose.shape[2]} joints, expected {joints}: {self.persons} x "
        f"skeleton {self.skeleton!r}; set config.data.skeleton and config.data.persons."
      )
    backbone = self._recurrent() if self.kind == "lstm" else self._graph(skeleton)
    result = backbone(pose, train=train and not self.frozen)
    return jax.lax.stop_gradient(result) if self.frozen else result

  def _graph(self, skeleton: skeletons.Skeleton) -> nn.Module:
    e = skeletons.adjacency(
      skeleton,
      bone_weight=self.bone_weight,
      other_weight=self.other_weight,
      other_pairs=self.other_pairs,
      persons=self.persons,
    )
    return pose_backbone.GraphPoseBackbone(
      normalized_adjacency=skeletons.normalized_adjacency(e),
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
    backbone: name in `backbones.BACKBONES`.
    width: multiplies every channel count of the backbone; 1 is the published network.
    endpoint: where f is taken; of I3D "Mixed_5c" in the paper.
    frozen_until: last layer of the backbone that is not trained; "" trains all.
    bn_momentum: of the running statistics of the backbone.
    remat: whether the gradient computes the inside of its blocks again: less memory for
      more time.
    non_local: layers of the backbone that a non-local block follows (row I3D+NL).
    attention: "spatiotemporal"; "spatial" for A_S alone (table 4); "none" for the
      visual backbone alone (table 1, l1), which takes no pose.
    coupler: False for two separate streams, A_S f and A_T f, concatenated before the
      classifier (appendix 2, rows l4 and l5).
    embedding: whether f and z1 are projected for the embedding loss (l3 against l2).
    embedding_dim: D.
    attention_hidden: width of the tanh layers of eq. 2.
    attention_grid: (T, M, N) of the features in training, where inference is on larger
      frames (section 4.1): A_S is resized, and nothing is embedded, which serves the
      loss alone. () takes the features as they come.
    dropout: rate before the classifier.
    pose: settings of `PoseBranch`.
    dtype: of the computation; parameters and statistics stay float32.
  """

  inputs = ("frames", "pose")
  num_classes: int
  backbone: str = "i3d"
  width: float = 1.0
  endpoint: str = "Mixed_5c"
  frozen_until: str = ""
  bn_momentum: float = 0.9
  remat: bool = False
  non_local: tuple[str, ...] = ()
  attention: str = "spatiotemporal"
  coupler: bool = True
  embedding: bool = True
  embedding_dim: int = 256
  attention_hidden: int = 256
  attention_grid: tuple[int, ...] = ()
  dropout: float = 0.3
  pose: dict | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(self, frames: jax.Array, pose: jax.Array, *, train: bool = False):
    """Maps frames uint8 [B, F, H, W, 3], pose float [B, S, J, 3] to logits [B, K].

    Returns: (logits, out) with, where the row has them, features [B, T, M, N, C],
      modulated (same, or 2C channels without the coupler), spatial_logits [B, M*N],
      spatial_attention [B, M, N], temporal_attention [B, T], attention [B, T, M, N],
      joint_features [B, S, J, 64] of the graph or step_features [B, S, 512] of the
      LSTM, video_embedding and pose_embedding [B, D], pooled [B, C] (the input of the
      classifier).
    Raises: ValueError for an unknown setting, poses of another skeleton, or a clip of
      another length than in training.
    """
    check("attention", self.attention, ATTENTIONS)
    if self.embedding and self.attention == "none":
      raise ValueError(
        "embedding needs z1 of the attention network, attention is 'none': ask for "
        "embedding=none or for attention=spatial."
      )
    after = {
      name: non_local.NonLocalBlock(dtype=self.dtype, name=f"non_local_{name}")
      for name in self.non_local
    }
    features = backbones.features(
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
    out = {"features": features}

    if self.attention == "none":
      modulated = features
    else:
      pose_features, steps = PoseBranch(**(self.pose or {}), name="pose_backbone")(
        pose, train=train
      )
      out.update(steps, pose_features=pose_features)
      network = attention_lib.AttentionNetwork(
        grid=self.attention_grid or features.shape[1:4],
        hidden=self.attention_hidden,
        temporal=self.attention == "spatiotemporal",
        name="attention",
      )
      out.update(network(pose_features))
      if network.grid[0] != features.shape[1]:
        raise ValueError(
          f"got features of {features.shape[1]} steps, expected {network.grid[0]} as "
          "in training: infer on clips of config.data.example.num_frames."
        )
      a_s = attention_lib.resize_spatial(out["spatial_attention"], features.shape[2:4])
      out["spatial_attention"] = a_s
      modulated = self._modulate(features, out)
      if self.embedding and network.grid == features.shape[1:4]:
        embed = embedding_lib.SpatialEmbedding(self.embedding_dim, name="embedding")
        out.update(embed(features, out["spatial_logits"]))

    out["modulated"] = modulated
    out["pooled"] = y = jnp.mean(modulated, axis=(1, 2, 3))
    y = nn.Dropout(self.dropout, deterministic=not train)(y)
    return nn.Dense(self.num_classes, name="classifier")(y), out

  def _modulate(self, features: jax.Array, out: dict) -> jax.Array:
    """f -> f' by the attention of this row; adds `attention` to `out`."""
    a_s = out["spatial_attention"]
    if self.attention == "spatial":
      out["attention"] = jnp.broadcast_to(a_s[:, None], features.shape[:4])
      return attention_lib.modulate(features, out["attention"])
    a_t = out["temporal_attention"]
    out["attention"] = attention_lib.couple(a_s, a_t)
    if self.coupler:
      return attention_lib.modulate(features, out["attention"])
    spatial = features * a_s[:, None, :, :, None]
    temporal = features * a_t[:, :, None, None, None]
    return jnp.concatenate([spatial, temporal], axis=-1)


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
