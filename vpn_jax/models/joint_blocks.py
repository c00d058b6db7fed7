"""Blocks of graph convolutions over joints, then convolutions over steps.

The networks of `stgcn.py`, `ctrgcn.py` and `agcn.py` differ in the graph convolution
and in what convolves over time; what is around them is here.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax import ops
from vpn_jax.models import checks

OUTPUTS = ("mean", "steps")
STAGES = 3  # each but the first doubles the channels and halves the steps
EPSILON = 1e-5  # of BatchNorm, as PyTorch's
# The factor of a BatchNorm beside a residual, which alone passes at the start.
RESIDUAL_ALONE = 1e-6


def plan(blocks: int, features: int) -> list[tuple[int, int]]:
  """Channels and stride of each block.

  Ten of them are 4, 3 and 3 of 64, 128 and 256 channels; other numbers are divided as
  evenly, the first stages getting what is left over.
  """
  stages = [len(stage) for stage in np.array_split(np.arange(blocks), STAGES)]
  return [
    (features * 2**stage, 2 if stage and not i else 1)
    for stage, number in enumerate(stages)
    for i in range(number)
  ]


class BatchNorm(ops.BatchNorm):
  """Batch normalization with a factor, and the epsilon of these networks."""

  use_scale: bool = True
  epsilon: float = EPSILON


class SpatialUnit(nn.Module):
  """A graph convolution with a residual of its own.

  Attributes:
    convolution: makes it from features, dtype and name.
    features, bn_momentum, dtype: see `JointBlocks`.
    scale_init: of the BatchNorm behind it.
  """

  convolution: Callable[..., nn.Module]
  features: int
  bn_momentum: float = 0.9
  dtype: str = "float32"
  scale_init: float = 1.0

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, S, J, C] to [B, S, J, features]."""
    conv = self.convolution(features=self.features, dtype=self.dtype, name="graph_conv")
    norm = functools.partial(BatchNorm, momentum=self.bn_momentum)
    y = norm(scale_init=self.scale_init, name="graph_bn")(conv(x), train=train)
    if x.shape[-1] != self.features:
      x = ops.TemporalConv(self.features, dtype=self.dtype, name="down_conv")(x)
      x = norm(name="down_bn")(x, train=train)
    return nn.relu(x + y)


class TemporalBranches(nn.Module):
  """Branches side by side: spans of time, the maximum, and the step itself.

  Attributes:
    dilations: of the spans, a branch each.
    taps: of each span.
    transform: whether the branches are mixed in the end.
    features, stride, bn_momentum, dtype: see `JointBlocks`.
  """

  dilations: tuple[int, ...]
  taps: int
  transform: bool
  features: int
  stride: int = 1
  bn_momentum: float = 0.9
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, S, J, C] to [B, ceil(S / stride), J, features].

    Raises: ValueError for fewer features than branches (at trace time).
    """
    branches = len(self.dilations) + 2
    if self.features < branches:
      raise ValueError(
        f"got {self.features} features for {branches} branches over time, expected as "
        "many at least: raise config.model.pose.block_features."
      )
    conv = functools.partial(ops.TemporalConv, dtype=self.dtype)
    norm = functools.partial(BatchNorm, momentum=self.bn_momentum)
    width = self.features // branches
    widths = [self.features - (branches - 1) * width] + [width] * (branches - 2)
    # The branches but the last begin alike, so they begin in one product.
    y = conv(sum(widths), name="enter_conv")(x)
    y = norm(relu=True, name="enter_bn")(y, train=train)
    *spans, largest = jnp.split(y, np.cumsum(widths)[:-1].tolist(), axis=-1)
    made = [
      conv(span.shape[-1], self.taps, self.stride, d, name=f"dilation{d}_conv")(span)
      for span, d in zip(spans, self.dilations, strict=True)
    ]
    made.append(ops.max_pool(largest, (3, 1), (self.stride, 1), ((1, 1), (0, 0))))
    made.append(conv(width, stride=self.stride, name="point_conv")(x))
    y = jnp.concatenate(made, axis=-1)
    y = norm(relu=self.transform, name="branches_bn")(y, train=train)
    if not self.transform:
      return y
    y = conv(self.features, name="transform_conv")(y)
    return norm(name="transform_bn")(y, train=train)


class Block(nn.Module):
  """A graph unit and a temporal unit, with a residual around both.

  Attributes:
    spatial, temporal: units without a name; each maps [B, S, J, C] to its own channels,
      the second by the stride of the block.
    residual: whether the block adds its input, by a linear layer where the shapes
      differ.
    features, stride, bn_momentum, dtype: see `JointBlocks`.
  """

  spatial: Callable[..., nn.Module]
  temporal: Callable[..., nn.Module]
  features: int
  stride: int = 1
  residual: bool = True
  bn_momentum: float = 0.9
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, S, J, C] to [B, ceil(S / stride), J, features]."""
    shared = {"bn_momentum": self.bn_momentum, "dtype": self.dtype}
    y = self.spatial(features=self.features, **shared, name="spatial")(x, train=train)
    y = self.temporal(
      features=self.features, stride=self.stride, **shared, name="temporal"
    )(y, train=train)
    if not self.residual:
      return nn.relu(y)
    if x.shape != y.shape:
      x = ops.TemporalConv(
        self.features, stride=self.stride, dtype=self.dtype, name="residual_conv"
      )(x)
      x = BatchNorm(momentum=self.bn_momentum, name="residual_bn")(x, train=train)
    return nn.relu(x + y)


class JointBlocks(nn.Module):
  """Blocks over the joints of each person, pooled over steps, joints and people.

  Attributes:
    spatial, temporal: make the units of a block, see `Block`.
    persons: people in the pose; they share all weights and count as clips.
    features: channels of the first blocks.
    blocks: their number, see `plan`.
    output: "mean", h* is the mean over steps, joints and people, as in the sources;
      "steps" keeps the steps, one after the other. Reading: with the mean, temporal
      attention knows of time only what the channels say.
    bn_momentum: of the running statistics.
    dtype: of the computation; parameters, statistics and results are float32.
  """

  spatial: Callable[..., nn.Module]
  temporal: Callable[..., nn.Module]
  persons: int = 1
  features: int = 64
  blocks: int = 10
  output: str = "mean"
  bn_momentum: float = 0.9
  dtype: str = "float32"

  @nn.compact
  def __call__(self, pose: jax.Array, present: jax.Array, *, train: bool = False):
    """Maps poses to h* and the features of the joints after the last block.

    Args:
      pose: float [B, S, persons*J, X].
      present: bool [B, persons], who is in the clip. Another person is zeros to the
        first block and does not count in h*, but does in the statistics of a batch, as
        in the releases of these networks.
      train: whether the statistics are those of the batch.
    Returns: h*, float [B, C] or [B, S'*C], the mean over the joints of everybody
      present, zeros for nobody; and joint_features, float [B, S', persons*J, C], those
      of an absent person zeros. S' is a quarter of S, rounded up, from three blocks on;
      C is 4 * features.
    Raises: ValueError for fewer than one block, or an unknown output (at trace time).
    """
    checks.one_of("config.model.pose.block_output", self.output, OUTPUTS)
    if self.blocks < 1:
      raise ValueError(
        f"config.model.pose.blocks is {self.blocks}, expected 1 or more: the published "
        "networks have 10."
      )
    b, s, joints, x = pose.shape
    people, j = self.persons, joints // self.persons
    y = pose.reshape(b, s, people, j, x).swapaxes(1, 2)
    there = present[:, :, None, None, None]
    y = jnp.where(there, y, 0).reshape(b * people, s, j, x).astype(self.dtype)
    for i, (features, stride) in enumerate(plan(self.blocks, self.features), start=1):
      block = Block(
        self.spatial,
        self.temporal,
        features=features,
        stride=stride,
        residual=i > 1,
        bn_momentum=self.bn_momentum,
        dtype=self.dtype,
        name=f"block{i}",
      )
      y = block(y, train=train)
    y = y.astype(jnp.float32).reshape(b, people, *y.shape[1:])
    y = jnp.where(there, y, 0)
    count = jnp.maximum(present.sum(axis=1, dtype=y.dtype), 1)
    h = y.mean(axis=3).sum(axis=1) / count[:, None, None]  # [B, S', C]
    h = h.mean(axis=1) if self.output == "mean" else h.reshape(b, -1)
    joint_features = y.swapaxes(1, 2).reshape(b, -1, joints, y.shape[-1])
    return h, {"joint_features": joint_features}
