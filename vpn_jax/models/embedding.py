"""The spatial embedding of video and pose, eq. 3."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def project(x: jax.Array, projection: jax.Array) -> jax.Array:
  """x T / ||T||, a projection of Frobenius norm one.

  Args:
    x: float [B, N].
    projection: T, float [N, D].
  Returns: float [B, D]. The result is divided, not T, which has millions of entries: so
    a step passes over them less often.
  Source: the constraint of eq. 4. Reading: the norm is Frobenius'; the embedding loss
    does not depend on the scale of T, so that any norm keeps the constraint.
  """
  return jnp.dot(x, projection) / jnp.sqrt(jnp.sum(projection**2) + 1e-12)


class SpatialEmbedding(nn.Module):
  """Projects the features and the spatial attention logits into one space.

  Attributes:
    dim: D, width of the common space; not given in the paper, 256 in the released code.
  """

  dim: int = 256

  @nn.compact
  def __call__(self, features: jax.Array, spatial_logits: jax.Array) -> dict:
    """Maps f [B, T, M, N, C] and z1 [B, M*N] to f_e and P_e, each [B, D].

    Source: eq. 3, without bias.
    Released code: the flattened f and A_S, each through a sigmoid layer.
    """
    pooled = jnp.sum(features, axis=1).reshape(features.shape[0], -1)  # f_s [B, MNC]
    init = nn.initializers.lecun_normal()
    t_v = self.param("video_projection", init, (pooled.shape[-1], self.dim))
    t_p = self.param("pose_projection", init, (spatial_logits.shape[-1], self.dim))
    return {
      "pooled_features": pooled,
      "video_embedding": project(pooled, t_v),
      "pose_embedding": project(spatial_logits, t_p),
    }
