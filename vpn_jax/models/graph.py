"""The graph of the body and the convolution over it, eq. 1."""

import jax
import jax.numpy as jnp
import numpy as np

from vpn_jax.datasets import skeletons

# The six pairs that the released code weighs with beta, by the role of the joints.
_LISTED_ROLES = (
  ("right_hand", "right_ankle"),
  ("right_elbow", "right_knee"),
  ("left_elbow", "left_knee"),
  ("left_hand", "left_ankle"),
  ("right_hand", "left_hand"),
  ("right_elbow", "left_elbow"),
)


def adjacency(
  skeleton: skeletons.Skeleton,
  *,
  bone_weight: float = 5.0,
  other_weight: float = 2.0,
  other_pairs: str = "all",
  persons: int = 1,
) -> np.ndarray:
  """Weighted graph of the body, E.

  Args:
    skeleton: joints and bones.
    bone_weight: alpha, weight of a bone.
    other_weight: beta, weight of two joints without a bone.
    other_pairs: "all" gives beta to every such pair (the paper); "listed" only to
      the six hand, elbow, knee and ankle pairs, and 0 to the rest.
    persons: blocks on the diagonal, one per person; nothing connects two people.
  Returns: E, float32 [persons*J, persons*J], symmetric, zero diagonal.
  Raises: ValueError for an unknown `other_pairs` or persons < 1.
  Source: section 3.2 (I). Released code: the listed pairs.
  """
  if other_pairs not in ("all", "listed"):
    raise ValueError(f"other_pairs is {other_pairs!r}, expected 'all' or 'listed'.")
  if persons < 1:
    raise ValueError(f"persons is {persons}, expected 1 or more.")
  size = skeleton.num_joints
  e = np.full((size, size), other_weight if other_pairs == "all" else 0.0)
  if other_pairs == "listed":
    roles = dict(skeleton.roles)
    for pair in _LISTED_ROLES:
      i, j = (skeleton.index(roles.get(r, r)) for r in pair)
      e[i, j] = e[j, i] = other_weight
  for i, j in skeleton.bone_indices():
    e[i, j] = e[j, i] = bone_weight
  np.fill_diagonal(e, 0.0)
  return np.kron(np.eye(persons), e).astype(np.float32)


def normalized_adjacency(e: np.ndarray) -> np.ndarray:
  """Symmetric normalisation of the graph with self-loops: D^-1/2 (E+I) D^-1/2.

  Args:
    e: adjacency, float [J, J], not negative.
  Returns: float32 [J, J].
  Source: eq. 1; D is diagonal with the row sums of E+I.
  """
  e = np.asarray(e, np.float64) + np.eye(len(e))
  scale = 1.0 / np.sqrt(e.sum(axis=1))
  return (scale[:, None] * e * scale[None, :]).astype(np.float32)


def partitions(skeleton: skeletons.Skeleton) -> np.ndarray:
  """The graph of the body in three parts, by which of two joints is nearer to its root.

  Args:
    skeleton: joints and bones.
  Returns: float32 [3, J, J]: the joint itself and neighbours as far from the origin as
    it is, neighbours nearer to it (centripetal), and farther ones (centrifugal). Each
    row is the mean over the joints of its part, or zeros where it has none.
  Source: spatial configuration partitioning, eq. 8 of ST-GCN (Yan et al., AAAI 2018),
    which measures the distance to the gravity centre; here it is the number of bones to
    the origin (`Skeleton.hops`), as in the releases.
  """
  size, hops = skeleton.num_joints, skeleton.hops()
  neighbours = np.eye(size)
  for i, j in skeleton.bone_indices():
    neighbours[i, j] = neighbours[j, i] = 1.0
  nearer = np.sign(hops[None, :] - hops[:, None])  # of j as seen from i
  parts = np.stack([neighbours * (nearer == sign) for sign in (0, -1, 1)])
  return (parts / np.maximum(parts.sum(axis=2, keepdims=True), 1.0)).astype(np.float32)


def mix_joints(joints: jax.Array, adjacency: jax.Array) -> jax.Array:
  """Sums the features of the joints by the rows of several graphs.

  Args:
    joints: float [B, S, J, C].
    adjacency: float [P, J, J], the same for all clips, or [B, P, J, J].
  Returns: float [B, S, J, P, C].
  """
  b, s, j, c = joints.shape
  parts = adjacency.shape[-3]
  rows = adjacency.swapaxes(-3, -2).reshape(-1, 1, j * parts, j)
  # Broadcast, so that each step is one product of small matrices: XLA would transpose
  # all joints for one large one.
  rows = jnp.broadcast_to(rows, (b, s, j * parts, j))
  return jnp.matmul(rows, joints).reshape(b, s, j, parts, c)


def graph_convolution(
  pose: jax.Array, normalized_adjacency: jax.Array, kernel: jax.Array
) -> jax.Array:
  """Mixes joints along the graph, then channels, each pose step with its own weights.

  Args:
    pose: P, float [B, S, J, X].
    normalized_adjacency: D^-1/2 (E+I) D^-1/2, float [J, J].
    kernel: W_t for every step, float [S, X, Y].
  Returns: f_t^+ before the activation, float [B, S, J, Y].
  Source: eq. 1.
  """
  mixed = jnp.einsum("ij,bsjx->bsix", normalized_adjacency, pose)
  return jnp.einsum("bsix,sxy->bsiy", mixed, kernel)
