"""ST-GCN++: graphs that are learnt, and convolutions over several spans of time.

Sources: ST-GCN (Yan et al., AAAI 2018) and its successor in PYSKL (Duan et al., ACM MM
2022, section 3.3), whose release has the settings that the paper leaves out. Difference
from the release: layers in front of BatchNorm have no bias, which it would cancel.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax import ops
from vpn_jax.models import graph as graph_lib
from vpn_jax.models.joint_blocks import JointBlocks, SpatialUnit, TemporalBranches

DILATIONS = (1, 2, 3, 4)
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


# Six branches: four spans of time, the maximum, and the step itself.
temporal_unit = functools.partial(
  TemporalBranches, dilations=DILATIONS, taps=TAPS, transform=True
)


def spatial_unit(partitions: np.ndarray) -> Callable[..., SpatialUnit]:
  """Makes spatial units on a graph, given as to `stgcn`."""
  conv = functools.partial(GraphConvolution, partitions=partitions)
  return functools.partial(SpatialUnit, convolution=conv)


def stgcn(partitions: np.ndarray, **settings) -> JointBlocks:
  """The network on a graph.

  Args:
    partitions: of `graph.partitions`.
    settings: other fields of `JointBlocks`.
  """
  return JointBlocks(spatial_unit(partitions), temporal_unit, **settings)
