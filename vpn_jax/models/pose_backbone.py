"""The pose backbone: 3D poses -> h*.

By graph convolutions (section 3.2, eq. 1), by LSTMs, the paper's baseline (appendix 2,
tables 2 and 4), or by deeper networks over joints (`joint_blocks.py`). `PoseBranch` is
what the networks use: it chooses one of them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax import ops
from vpn_jax.datasets import skeletons
from vpn_jax.models import agcn, checks, ctrgcn, pose_alignment, pose_streams, stgcn
from vpn_jax.models import graph as graph_lib

# Those of blocks over joints.
BLOCKS = {"stgcn": stgcn.stgcn, "ctrgcn": ctrgcn.ctrgcn, "agcn": agcn.agcn}
GRAPHS = ("gcn", *BLOCKS)  # kinds with features of joints
KINDS = (*GRAPHS, "lstm")
INPUT_NORMS = ("batch", "none")
OUTPUTS = ("steps", "last")
# Variance of a coordinate, in square metres, below which it counts as noise: (1 cm)^2.
INPUT_EPSILON = 1e-4


class GraphPoseBackbone(nn.Module):
  """Graph convolutions per step, then 2D convolutions over (step, joint).

  Attributes:
    normalized_adjacency: float [J, J], of `graph.normalized_adjacency`.
    graph_features: channels after the graph.
    conv_features: channels of the three convolutions; pooled 2x2 after the 2nd and 3rd.
    identity_filter: adds a second support, the identity, to the graph convolution, so
      that a joint keeps its own coordinates beside its neighbours' (released code).
    dropout: rate after the graph. Reading: 0.3, and ELU, as in the released code.
    bn_momentum: of the running statistics.
  """

  normalized_adjacency: np.ndarray
  graph_features: int = 64
  conv_features: tuple[int, int, int] = (64, 64, 128)
  identity_filter: bool = False
  dropout: float = 0.3
  bn_momentum: float = 0.9

  @nn.compact
  def __call__(self, pose: jax.Array, *, train: bool = False):
    """Maps P [B, S, J, 3] to h* [B, _] and {"joint_features": [B, S, J, 64]}.

    Raises: ValueError when two 2x2 poolings do not fit S or J (at trace time).
    Reading: the residual with the raw pose is a concatenation of channels.
    Reading: pooling drops an odd last row, as in the released code.
    """
    b, s, j, x = pose.shape
    if s < 4 or j < 4:
      raise ValueError(
        f"got {s} poses of {j} joints, expected at least 4 of each: two poolings by 2 "
        "must fit; raise config.data.example.pose_steps."
      )
    graph = jnp.asarray(self.normalized_adjacency, pose.dtype)
    init = nn.initializers.glorot_uniform(batch_axis=0)
    kernel = self.param("graph_kernel", init, (s, x, self.graph_features))
    y = graph_lib.graph_convolution(pose, graph, kernel)
    if self.identity_filter:
      own = self.param("identity_kernel", init, (s, x, self.graph_features))
      y = y + jnp.einsum("bsjx,sxy->bsjy", pose, own)
    y = joint_features = nn.elu(y)
    y = nn.Dropout(self.dropout, deterministic=not train)(y)
    y = jnp.concatenate([y, pose], axis=-1)
    for i, features in enumerate(self.conv_features, start=1):
      y = nn.Conv(features, (3, 3), use_bias=False, name=f"conv{i}")(y)
      y = ops.BatchNorm(
        use_scale=True, relu=True, momentum=self.bn_momentum, name=f"bn{i}"
      )(y, train=train)
      if i > 1:
        y = y[:, : y.shape[1] // 2 * 2, : y.shape[2] // 2 * 2]
        y = ops.max_pool(y, (2, 2), (2, 2))
    return y.reshape(b, -1), {"joint_features": joint_features}


class RecurrentPoseBackbone(nn.Module):
  """Stacked LSTMs over the pose steps; all joints of a step are one vector.

  Attributes:
    layers: number of LSTMs.
    features: width of each.
    output: "steps", h* is the last layer at all steps; "last", at the last step alone.

  Source: appendix 2 and its reference [8], three layers of 512. The residual with the
    raw pose, which the appendix tried without gain, is left out.
  Released code: classifies the last step of the last layer, which is also what
    Separable STA and P-I3D take; here, as in the appendix, h* is all steps, also for
    the classifier that trains it.
  """

  layers: int = 3
  features: int = 512
  output: str = "steps"

  @nn.compact
  def __call__(self, pose: jax.Array, *, train: bool = False):
    """Maps P [B, S, J, 3] to h* and {"step_features": [B, S, features]}.

    Returns: h*, float [B, S*features], or [B, features] for the last step alone.
    """
    del train  # the same in both
    checks.one_of("recurrent_output", self.output, OUTPUTS)
    b, s, _, _ = pose.shape
    y = pose.reshape(b, s, -1)
    for i in range(1, self.layers + 1):
      y = nn.RNN(nn.OptimizedLSTMCell(self.features, name=f"lstm{i}"))(y)
    h = y[:, -1] if self.output == "last" else y.reshape(b, -1)
    return h, {"step_features": y}


class PoseBranch(nn.Module):
  """The pose backbone, with the graph of a skeleton where it has one.

  Attributes:
    skeleton: name in `skeletons.SKELETONS`.
    persons: people in the pose, one graph block each.
    kind: "gcn" for eq. 1, "lstm", or one of `BLOCKS`.
    frozen: whether weights and statistics stay as they are in training; the LSTM's do,
      once it was trained alone (appendix 2).
    coordinates: "world" for metres, "image" for x, y and the score of joints in the
      image.
    align: "view" turns each clip to face the camera, "body" each step, "upright" each
      clip with its trunk vertical; "none" takes the pose in camera axes; "auto" is
      "view" for joints in the world, "none" for those in the image. See
      `pose_alignment.align_pose`.
    align_by: of "view", the angle of the "first" step, or of the "mean" over all.
    scale: "torso" divides each clip by the length of its torso; "none" keeps the unit.
    stream: of `pose_streams.stream`: joints, bones, or the motion of either.
    input_norm: "batch" normalizes every coordinate of every joint by its mean and
      variance over the clips and steps of the batch; "none" takes the pose as it is.
    bone_weight, other_weight, other_pairs: alpha, beta and who gets beta (eq. 1).
    identity_filter, dropout, bn_momentum: see `GraphPoseBackbone`.
    recurrent_layers, recurrent_features, recurrent_output: see
      `RecurrentPoseBackbone`.
    blocks, block_features: their number, and channels of the first ones, of a kind in
      `BLOCKS`; 10 and 64 are the published networks.
    block_output: "mean", h* is the mean over steps and joints; "steps" keeps the steps.
    dtype: of the computation of these kinds; parameters and results stay float32.

  Reading: the paper takes the pose as it is. In metres its coordinates differ by tenths
    between clips, and the first layers hardly respond to them. So by default the input
    is normalized as in ST-GCN (Yan et al., AAAI 2018); eq. 1 then mixes the normalized
    coordinates.
  """

  skeleton: str = "kinect_v2"
  persons: int = 1
  kind: str = "gcn"
  frozen: bool = False
  coordinates: str = "world"
  align: str = "none"
  align_by: str = "first"
  scale: str = "none"
  stream: str = "joint"
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
  blocks: int = 10
  block_features: int = 64
  block_output: str = "mean"
  dtype: str = "float32"

  @nn.compact
  def __call__(self, pose: jax.Array, *, train: bool = False):
    """Maps P [B, S, persons*J, 3] to h* [B, _] and its steps.

    Raises: ValueError for an unknown setting, another number of joints, or joints in
      the image that are to be turned (at trace time).
    """
    checks.one_of("pose_backbone", self.kind, KINDS)
    checks.one_of(
      "config.model.pose.coordinates", self.coordinates, pose_streams.COORDINATES
    )
    checks.one_of("config.model.pose.scale", self.scale, pose_streams.SCALES)
    checks.one_of("config.model.pose.input_norm", self.input_norm, INPUT_NORMS)
    skeleton = skeletons.get(self.skeleton)
    joints = skeleton.num_joints * self.persons
    if pose.shape[2] != joints:
      raise ValueError(
        f"got poses of {pose.shape[2]} joints, expected {joints}: {self.persons} x "
        f"skeleton {self.skeleton!r}; set config.data.skeleton and "
        "config.data.example.persons."
      )
    train = train and not self.frozen
    people = pose.reshape(pose.shape[0], -1, self.persons, skeleton.num_joints * 3)
    present = (people != 0).any(axis=(1, 3))  # [B, persons]; nobody is zeros
    pose = self._normalized(pose, skeleton)
    if self.input_norm == "batch":
      norm = ops.BatchNorm(
        use_scale=True,
        epsilon=INPUT_EPSILON,
        momentum=self.bn_momentum,
        name="input_norm",
      )
      pose = norm(pose.reshape(*pose.shape[:2], -1), train=train).reshape(pose.shape)
    if self.kind in BLOCKS:
      result = self._blocks(skeleton)(pose, present, train=train)
    else:
      backbone = self._recurrent() if self.kind == "lstm" else self._graph(skeleton)
      result = backbone(pose, train=train)
    return jax.lax.stop_gradient(result) if self.frozen else result

  def _normalized(self, pose: jax.Array, skeleton: skeletons.Skeleton) -> jax.Array:
    """The pose aligned, scaled, and as the stream wants it."""
    in_image = self.coordinates == "image"
    align = self.align
    if align == "auto":
      align = "none" if in_image else "view"
    if align != "none":
      if in_image:
        raise ValueError(
          f"config.model.pose.align is {align!r}, expected 'none' for joints in "
          "the image, which cannot be turned: set it to none."
        )
      shoulders = skeleton.shoulders() if align == "upright" else ()
      pose = pose_alignment.align_pose(
        pose, *skeleton.hips(), align, shoulders, self.align_by
      )
    if self.scale == "torso":
      pose = pose_streams.scale_by_torso(
        pose, skeleton.hips(), skeleton.shoulders(), self.coordinates
      )
    return pose_streams.stream(pose, skeleton.parents(), self.stream, self.coordinates)

  def _graph(self, skeleton: skeletons.Skeleton) -> nn.Module:
    e = graph_lib.adjacency(
      skeleton,
      bone_weight=self.bone_weight,
      other_weight=self.other_weight,
      other_pairs=self.other_pairs,
      persons=self.persons,
    )
    return GraphPoseBackbone(
      normalized_adjacency=graph_lib.normalized_adjacency(e),
      identity_filter=self.identity_filter,
      dropout=self.dropout,
      bn_momentum=self.bn_momentum,
      name="graph",
    )

  def _blocks(self, skeleton: skeletons.Skeleton) -> nn.Module:
    return BLOCKS[self.kind](
      graph_lib.partitions(skeleton),
      persons=self.persons,
      features=self.block_features,
      blocks=self.blocks,
      output=self.block_output,
      bn_momentum=self.bn_momentum,
      dtype=self.dtype,
      name="graph",
    )

  def _recurrent(self) -> nn.Module:
    return RecurrentPoseBackbone(
      layers=self.recurrent_layers,
      features=self.recurrent_features,
      output=self.recurrent_output,
      name="recurrent",
    )
