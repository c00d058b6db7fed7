"""CTR-GCN: graphs that are refined channel by channel from the pose itself.

Source: Chen et al., ICCV 2021, and the settings of its release. Differences from the
release: layers in front of BatchNorm have no bias, which it would cancel; what relates
two joints averages over the steps before its linear layers, not after them, which is
the same; and the second of these layers has no bias, since the first one has.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.models.joint_blocks import (
  RESIDUAL_ALONE,
  JointBlocks,
  SpatialUnit,
  TemporalBranches,
)

DILATIONS, TAPS = (1, 2), 5
FEWEST_RELATIONS, REDUCTION = 8, 8


class RefinedGraphConvolution(nn.Module):
  """Mixes joints by graphs of their own for every channel and clip.

  Attributes:
    features: of a joint, after it.
    partitions: float [P, J, J], what the learnt graphs start from.
    dtype: of the computation.

  Source: section 3.2. Two joints relate by tanh(psi(x_i) - phi(x_j)), its M_1; xi makes
    a number for every channel of that, Q; alpha Q refines A, which is shared.
  """

  features: int
  partitions: np.ndarray
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, S, J, C] to [B, S, J, features]."""
    b, s, j, c = x.shape
    parts, y = len(self.partitions), self.features
    relations = max(FEWEST_RELATIONS, c // REDUCTION)
    adjacency = self.param("adjacency", lambda _: jnp.asarray(self.partitions))
    alpha = self._parameter("alpha", nn.initializers.zeros_init(), ())
    psi, phi = self._kernel("psi", c, relations), self._kernel("phi", c, relations)
    xi, kernel = self._kernel("xi", relations, y), self._kernel("kernel", c, y)
    psi_bias, xi_bias, bias = (
      self._parameter(name, nn.initializers.zeros_init(), (parts, size))
      for name, size in (("psi_bias", relations), ("xi_bias", y), ("bias", y))
    )

    mean = x.mean(axis=1)  # [B, J, C]
    target = jnp.einsum("bic,pcr->bpri", mean, psi) + psi_bias[None, :, :, None]
    source = jnp.einsum("bjc,pcr->bprj", mean, phi)
    relation = nn.tanh(target[..., :, None] - source[..., None, :])
    relation = relation.reshape(b, parts, relations, j * j)
    q = jnp.matmul(xi.swapaxes(1, 2)[None], relation) + xi_bias[None, :, :, None]
    shared = adjacency.astype(q.dtype).reshape(1, parts, 1, j * j)
    refined = (alpha * q + shared).reshape(b, parts, y, j, j)

    # Channels before joints and steps from here, for one product of matrices a channel.
    # A channel of ones takes the bias into that product.
    first = x.transpose(0, 3, 2, 1).reshape(b, c, j * s)
    first = jnp.pad(first, ((0, 0), (0, 1), (0, 0)), constant_values=1)
    rows = jnp.concatenate([kernel, bias[:, None]], axis=1).swapaxes(1, 2)
    rows = jnp.broadcast_to(rows.reshape(-1, c + 1), (b, parts * y, c + 1))
    moved = jnp.matmul(rows, first)
    mixed = jnp.matmul(refined, moved.reshape(b, parts, y, j, s)).sum(axis=1)
    return mixed.transpose(0, 3, 2, 1)

  def _parameter(self, name: str, init, shape: tuple[int, ...]) -> jax.Array:
    return self.param(name, init, shape).astype(self.dtype)

  def _kernel(self, name: str, inputs: int, outputs: int) -> jax.Array:
    init = nn.initializers.he_normal(batch_axis=0)
    return self._parameter(name, init, (len(self.partitions), inputs, outputs))


# Four branches (section 3.3): two spans of time, the maximum, and the step itself.
temporal_unit = functools.partial(
  TemporalBranches, dilations=DILATIONS, taps=TAPS, transform=False
)


def spatial_unit(partitions: np.ndarray) -> Callable[..., SpatialUnit]:
  """Makes spatial units on a graph, given as to `ctrgcn`.

  As in its release, their residual alone passes at the start.
  """
  conv = functools.partial(RefinedGraphConvolution, partitions=partitions)
  return functools.partial(SpatialUnit, convolution=conv, scale_init=RESIDUAL_ALONE)


def ctrgcn(partitions: np.ndarray, **settings) -> JointBlocks:
  """The network on a graph.

  Args:
    partitions: of `graph.partitions`.
    settings: other fields of `JointBlocks`.
  """
  return JointBlocks(spatial_unit(partitions), temporal_unit, **settings)
