"""From pose features to attention: eq. 2 and the coupler of section 3.2."""

import flax.linen as nn
import jax

from vpn_jax import ops
from vpn_jax.models import checks

NORMS = ("batch", "none")


def couple(spatial_attention: jax.Array, temporal_attention: jax.Array) -> jax.Array:
  """Inflates A_S over time and A_T over space and multiplies them.

  Args:
    spatial_attention: A_S, float [B, M, N]; or [B, T, M, N], inflated or of each step.
    temporal_attention: A_T, float [B, T].
  Returns: A_ST, float [B, T, M, N].
  Source: section 3.2, A_ST = inflate(A_S) o inflate(A_T).
  Released code: its spatial inflation mixes positions and frames (a reshape in the
    wrong order), so that one map is spread over time.
  """
  if spatial_attention.ndim == 3:
    spatial_attention = spatial_attention[:, None]
  return spatial_attention * temporal_attention[:, :, None, None]


def modulate(features: jax.Array, attention: jax.Array) -> jax.Array:
  """f' = f + A f, the residual that keeps the visual features.

  Args:
    features: f, float [B, T, M, N, C].
    attention: float, [B, T, M, N] or broadcastable to it (extent 1).
  Returns: float [B, T, M, N, C].
  """
  return features * (1.0 + attention[..., None])


def resize_spatial(spatial_attention: jax.Array, grid: tuple[int, int]) -> jax.Array:
  """A_S on another grid, for frames of another size than in training.

  Args:
    spatial_attention: A_S, float [B, M, N].
    grid: (M', N') of the features of these frames.
  Returns: float [B, M', N'], interpolated linearly between the centres of the cells.
  Source: the fully convolutional inference of section 4.1. Reading: the paper does not
    say how the 7 x 7 weights fit a larger map.
  """
  if spatial_attention.shape[1:] == grid:
    return spatial_attention
  shape = (spatial_attention.shape[0], *grid)
  return jax.image.resize(spatial_attention, shape, "linear")


class AttentionNetwork(nn.Module):
  """Spatial and temporal attention from pose (eq. 2).

  Attributes:
    grid: (T, M, N) of the feature map that the weights will multiply.
    hidden: width of the tanh layer in front of each map; not given in the paper.
    temporal: also compute A_T; False for the spatial attention of table 4.
    joints: J, also compute a weight for each joint, for `joint_maps.around_joints`; 0
      for none.
    norm: "batch" normalizes W h* + b over the batch before the tanh; "none" is eq. 2 to
      the letter.
    bn_momentum: of the running statistics of that normalization.

  Reading: the default normalizes. Without it the part of tanh(.) that all clips share
    acts as a bias with some hundred times the learning rate: A_S and A_T saturate at
    one map for every clip within an epoch, and the pose never gets through.
  """

  grid: tuple[int, int, int]
  hidden: int = 256
  temporal: bool = True
  joints: int = 0
  norm: str = "batch"
  bn_momentum: float = 0.9

  def _logits(self, name: str, size: int, pose_features: jax.Array, train: bool):
    """z_r = W tanh(W h* + b) + b. Reading: W and b of z_r start at zero."""
    x = nn.Dense(self.hidden, name=f"{name}_hidden")(pose_features)
    if self.norm == "batch":
      norm = ops.BatchNorm(
        use_scale=True, momentum=self.bn_momentum, name=f"{name}_norm"
      )
      x = norm(x, train=train)
    zero = nn.initializers.zeros
    return nn.Dense(size, kernel_init=zero, name=f"{name}_logits")(nn.tanh(x))

  @nn.compact
  def __call__(
    self, pose_features: jax.Array, *, train: bool = False
  ) -> dict[str, jax.Array]:
    """Maps h* [B, _] to A_S [B, M, N], A_T [B, T] and their logits z1, z2.

    Also to joint_weights [B, J], 0 to 1, where it has `joints`.

    Raises: ValueError for an unknown `norm` (at trace time).
    """
    checks.one_of("config.model.attention_norm", self.norm, NORMS)
    t, m, n = self.grid
    z1 = self._logits("spatial", m * n, pose_features, train)
    out = {
      "spatial_logits": z1,
      "spatial_attention": nn.sigmoid(z1).reshape(-1, m, n),
    }
    if self.temporal:
      z2 = self._logits("temporal", t, pose_features, train)
      out.update(temporal_logits=z2, temporal_attention=nn.softmax(z2))
    if self.joints:
      z3 = self._logits("joints", self.joints, pose_features, train)
      out["joint_weights"] = nn.sigmoid(z3)
    return out
