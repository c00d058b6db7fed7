"""AGCN: a graph for all clips, one learnt, and one of each clip's own joints, summed.

Two of them, on joints and on bones, whose scores are added, are 2s-AGCN, the paper's
rival on poses alone (table 5). Source: Shi et al., CVPR 2019, and the settings of its
release. Differences from the release: layers in front of BatchNorm have no bias, which
it would cancel, nor has theta, whose bias the softmax would cancel.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax import ops
from vpn_jax.models import graph as graph_lib
from vpn_jax.models.joint_blocks import (
  RESIDUAL_ALONE,
  BatchNorm,
  JointBlocks,
  SpatialUnit,
)

TAPS = 9
REDUCTION = 4  # of the channels that compare joints
ADJACENCY_INIT = 1e-6


class AdaptiveGraphConvolution(nn.Module):
  """Mixes joints by A + B + C of each part, then channels.

  Attributes:
    features: of a joint, after it.
    partitions: A, float [P, J, J], fixed.
    dtype: of the computation.

  Source: eq. 3. B is learnt; C, eq. 5, compares the joints of the clip by embedded
    products. Reading: these are divided by the length of the embedding, as in the
    release.
  """

  features: int
  partitions: np.ndarray
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, S, J, C] to [B, S, J, features]."""
    parts, embedding = len(self.partitions), max(1, self.features // REDUCTION)
    init = nn.initializers.constant(ADJACENCY_INIT)
    learnt = self.param("adjacency", init, self.partitions.shape)
    kernel = self.param(
      "kernel", nn.initializers.he_normal(), (parts, x.shape[-1], self.features)
    )
    theta = self._embed(x, "theta", embedding, use_bias=False)
    phi = self._embed(x, "phi", embedding)
    # j compares with i over all steps and channels.
    affinity = jnp.einsum("bsjpe,bsipe->bpij", theta, phi) / (x.shape[1] * embedding)
    own = nn.softmax(affinity.astype(jnp.float32), axis=-1)  # C
    adjacency = (jnp.asarray(self.partitions) + learnt)[None] + own
    mixed = graph_lib.mix_joints(x, adjacency.astype(self.dtype))  # [B, S, J, P, C]
    kernel = kernel.astype(self.dtype).reshape(-1, self.features)
    return ops.linear(mixed.reshape(*x.shape[:3], -1), kernel)

  def _embed(self, x: jax.Array, name: str, size: int, use_bias=True) -> jax.Array:
    """[B, S, J, C] -> [B, S, J, P, size]."""
    shape = (len(self.partitions), size)
    return nn.DenseGeneral(shape, use_bias=use_bias, dtype=self.dtype, name=name)(x)


class TemporalUnit(nn.Module):
  """Convolution over nine steps.

  Attributes:
    features, stride, bn_momentum, dtype: see `joint_blocks.JointBlocks`.
  """

  features: int
  stride: int = 1
  bn_momentum: float = 0.9
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, S, J, C] to [B, ceil(S / stride), J, features]."""
    y = ops.TemporalConv(
      self.features, TAPS, self.stride, dtype=self.dtype, name="time_conv"
    )(x)
    return BatchNorm(momentum=self.bn_momentum, name="time_bn")(y, train=train)


def spatial_unit(partitions: np.ndarray) -> Callable[..., SpatialUnit]:
  """Makes spatial units on a graph, given as to `agcn`.

  As in its release, their residual alone passes at the start.
  """
  conv = functools.partial(AdaptiveGraphConvolution, partitions=partitions)
  return functools.partial(SpatialUnit, convolution=conv, scale_init=RESIDUAL_ALONE)


def agcn(partitions: np.ndarray, **settings) -> JointBlocks:
  """The network on a graph.

  Args:
    partitions: of `graph.partitions`.
    settings: other fields of `JointBlocks`.
  """
  return JointBlocks(spatial_unit(partitions), TemporalUnit, **settings)
