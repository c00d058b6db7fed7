"""ST-GCN++: graphs that are learnt, and convolutions over several spans of time.

Sources: ST-GCN (Yan et al., AAAI 2018) and its successor in PYSKL (Duan et al., ACM MM
2022, section 3.3), whose release has the settings that the paper leaves out. Difference
from the release: layers in front of BatchNorm have no bias, which it would cancel.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax import ops
from vpn_jax.models import graph as graph_lib
from vpn_jax.models.joint_blocks import BatchNorm, JointBlocks

DILATIONS = (1, 2, 3, 4)
BRANCHES = len(DILATIONS) + 2  # and the maximum, and the step itself
TAPS = 3


class GraphConvolution(nn.Module):
  """Mixes joints by each graph, then channels: the sum of A_p X W_p + b_p over p.

  Attributes:
    features: of a joint, after it.
    partitions: float [P, J, J], what the learnt graphs start from.
    dtype: of the computation.

  Source: eq. 10 of ST-GCN, with A_p learnt instead of the edges' importance (PYSKL).
  """

  features: int
  partitions: np.ndarray
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, S, J, C] to [B, S, J, features]."""
    parts, init = len(self.partitions), nn.initializers.he_normal()
    adjacency = self.param("adjacency", lambda _: jnp.asarray(self.partitions))
    kernel = self.param("kernel", init, (parts, x.shape[-1], self.features))
    zero = nn.initializers.zeros_init()
    bias = self.param("bias", zero, (parts, self.features))
    # A bias is mixed as the features are.
    bias = jnp.einsum("pij,py->iy", adjacency, bias)
    adjacency, kernel, bias = (a.astype(self.dtype) for a in (adjacency, kernel, bias))
    mixed = graph_lib.mix_joints(x, adjacency)  # [B, S, J, P, C]
    y = ops.linear(mixed.reshape(*x.shape[:3], -1), kernel.reshape(-1, self.features))
    return y + bias[None, None]


class SpatialUnit(nn.Module):
  """Graph convolution with a residual of its own.

  Attributes:
    partitions: see `GraphConvolution`.
    features, bn_momentum, dtype: see `JointBlocks`.
  """

  partitions: np.ndarray
  features: int
  bn_momentum: float = 0.9
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, S, J, C] to [B, S, J, features]."""
    y = GraphConvolution(self.features, self.partitions, self.dtype, name="graph_conv")(
      x
    )
    y = BatchNorm(momentum=self.bn_momentum, name="graph_bn")(y, train=train)
    if x.shape[-1] != self.features:
      x = ops.TemporalConv(self.features, dtype=self.dtype, name="down_conv")(x)
      x = BatchNorm(momentum=self.bn_momentum, name="down_bn")(x, train=train)
    return nn.relu(x + y)


class TemporalUnit(nn.Module):
  """Six branches side by side: four spans of time, the maximum, and the step itself.

  Attributes:
    features, stride, bn_momentum, dtype: see `JointBlocks`.
  """

  features: int
  stride: int = 1
  bn_momentum: float = 0.9
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, S, J, C] to [B, ceil(S / stride), J, features].

    Raises: ValueError for fewer features than branches (at trace time).
    """
    if self.features < BRANCHES:
      raise ValueError(
        f"got {self.features} features for {BRANCHES} branches over time, expected as "
        f"many at least: raise config.model.pose.block_features."
      )
    conv = functools.partial(ops.TemporalConv, dtype=self.dtype)
    norm = functools.partial(BatchNorm, momentum=self.bn_momentum)
    width = self.features // BRANCHES
    widths = [self.features - (BRANCHES - 1) * width] + [width] * (BRANCHES - 2)
    # The branches but the last begin alike, so they begin in one product.
    y = conv(sum(widths), name="enter_conv")(x)
    y = norm(relu=True, name="enter_bn")(y, train=train)
    ends = np.cumsum(widths)[:-1].tolist()
    *spans, largest = jnp.split(y, ends, axis=-1)
    made = [
      conv(
        span.shape[-1], TAPS, self.stride, dilation, name=f"dilation{dilation}_conv"
      )(span)
      for span, dilation in zip(spans, DILATIONS, strict=True)
    ]
    made.append(ops.max_pool(largest, (3, 1), (self.stride, 1), ((1, 1), (0, 0))))
    made.append(conv(width, stride=self.stride, name="point_conv")(x))
    y = norm(relu=True, name="branches_bn")(jnp.concatenate(made, -1), train=train)
    y = conv(self.features, name="transform_conv")(y)
    return norm(name="transform_bn")(y, train=train)


def stgcn(partitions: np.ndarray, **settings) -> JointBlocks:
  """The network on a graph.

  Args:
    partitions: of `graph.partitions`.
    settings: other fields of `JointBlocks`.
  """
  spatial = functools.partial(SpatialUnit, partitions=partitions)
  return JointBlocks(spatial, TemporalUnit, **settings)
