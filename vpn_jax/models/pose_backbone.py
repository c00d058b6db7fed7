"""The pose backbone: 3D poses -> h*.

By graph convolutions (section 3.2, eq. 1), or by LSTMs, the paper's baseline (appendix
2, tables 2 and 4).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax import ops
from vpn_jax.models import graph as graph_lib


class GraphPoseBackbone(nn.Module):
  """Graph convolutions per step, then 2D convolutions over (step, joint).

  Attributes:
    normalized_adjacency: float [J, J] as nested tuples or array (`skeletons`).
    graph_features: channels after the graph.
    conv_features: channels of the three convolutions; pooled 2x2 after the 2nd and 3rd.
    identity_filter: adds a second support, the identity, to the graph convolution, so
      that a joint keeps its own coordinates beside its neighbours' (released code).
    dropout: rate after the graph. Reading: 0.3, and ELU, as in the released code.
    bn_momentum: of the running statistics.
  """

  normalized_adjacency: tuple
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
        "must fit; raise config.data.pose_steps."
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
    b, s, _, _ = pose.shape
    y = pose.reshape(b, s, -1)
    for i in range(1, self.layers + 1):
      y = nn.RNN(nn.OptimizedLSTMCell(self.features, name=f"lstm{i}"))(y)
    h = y[:, -1] if self.output == "last" else y.reshape(b, -1)
    return h, {"step_features": y}
