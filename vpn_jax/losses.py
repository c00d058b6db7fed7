"""The losses of the paper, eq. 4 to 9: pure functions, one value per clip."""

import jax
import jax.numpy as jnp
import optax

EMBEDDING_LOSSES = ("euclidean", "kl_fp", "kl_pf", "kl_bi")


def classification_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Cross-entropy of the true class, in nats.

  Args:
    logits: float [B, K].
    labels: int [B], 0-based.
  Returns: L_C per clip, float [B].
  Source: section 3.3.
  """
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def unit(x: jax.Array, *, epsilon: float = 1e-12) -> jax.Array:
  """Vectors of length one: the hat of eq. 4.

  Args:
    x: float [B, D].
    epsilon: added under the root, so that a zero vector stays zero.
  Returns: float [B, D].
  Source: appendix eq. 7.
  """
  return x / jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + epsilon)


def _same_shape(video_embedding: jax.Array, pose_embedding: jax.Array) -> None:
  if video_embedding.shape != pose_embedding.shape:
    raise ValueError(
      f"video_embedding has shape {video_embedding.shape}, pose_embedding "
      f"{pose_embedding.shape}: expected the same [B, D]; project both to one D."
    )


def embedding_loss(
  video_embedding: jax.Array, pose_embedding: jax.Array, *, epsilon: float = 1e-12
) -> jax.Array:
  """Squared distance on the unit sphere: 0 when parallel, 4 when opposite.

  Args:
    video_embedding: f_e, float [B, D].
    pose_embedding: P_e, float [B, D].
    epsilon: added under the root of each norm; positive.
  Returns: L_e per clip, float [B], no unit. The caller averages.
  Raises: ValueError when the shapes differ (at trace time).
  Source: eq. 4; epsilon, appendix eq. 7.
  Reading: ||T_v|| = ||T_p|| = 1 is kept by `embedding.py`; here vectors only.
  Released code: L1 distance of sigmoid outputs instead.
  """
  _same_shape(video_embedding, pose_embedding)
  difference = unit(video_embedding, epsilon=epsilon) - unit(
    pose_embedding, epsilon=epsilon
  )
  return jnp.sum(difference**2, axis=-1)


def kl_divergence(p_logits: jax.Array, q_logits: jax.Array) -> jax.Array:
  """D_KL(p || q) of two embeddings turned into distributions, in nats.

  Args:
    p_logits: float [B, D].
    q_logits: float [B, D].
  Returns: float [B], not negative.
  Raises: ValueError when the shapes differ (at trace time).
  Source: appendix eq. 8 and 9.
  Reading: the paper names no normaliser; softmax over D makes both distributions, and
    the sum runs over D, one value per clip.
  """
  _same_shape(p_logits, q_logits)
  log_p = jax.nn.log_softmax(p_logits, axis=-1)
  log_q = jax.nn.log_softmax(q_logits, axis=-1)
  return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def alignment_loss(
  kind: str,
  video_embedding: jax.Array,
  pose_embedding: jax.Array,
  *,
  epsilon: float = 1e-12,
) -> jax.Array:
  """The embedding loss of a row of table 3, float [B].

  Args:
    kind: "euclidean" (eq. 4), "kl_fp" D_KL(f_e || P_e) (eq. 8), "kl_pf" D_KL(P_e ||
      f_e) (eq. 9), or "kl_bi", their sum.
    video_embedding: f_e, float [B, D].
    pose_embedding: P_e, float [B, D].
    epsilon: of `embedding_loss`.
  Raises: ValueError for an unknown kind.
  """
  f, p = video_embedding, pose_embedding
  if kind == "euclidean":
    return embedding_loss(f, p, epsilon=epsilon)
  if kind == "kl_fp":
    return kl_divergence(f, p)
  if kind == "kl_pf":
    return kl_divergence(p, f)
  if kind == "kl_bi":
    return kl_divergence(f, p) + kl_divergence(p, f)
  raise ValueError(f"unknown embedding loss {kind!r}, expected {EMBEDDING_LOSSES}.")


def attention_penalty(
  spatial_attention: jax.Array, temporal_attention: jax.Array | None
) -> jax.Array:
  """Keeps the attention from vanishing in time and from saturating in space.

  Args:
    spatial_attention: A_S, float [B, M, N].
    temporal_attention: A_T, float [B, T]; None for spatial attention alone.
  Returns: L_a per clip, float [B].
  Source: eq. 6.
  Reading: the norm of a scalar is its absolute value.
  Released code: the squared distance from 1 of the sum over the whole batch, which
    depends on the batch size.
  """
  penalty = jnp.sum(jnp.abs(spatial_attention), axis=(1, 2))
  if temporal_attention is not None:
    penalty += jnp.sum((1.0 - temporal_attention) ** 2, axis=1)
  return penalty


def total_loss(
  logits: jax.Array,
  out: dict,
  labels: jax.Array,
  *,
  embedding: str = "euclidean",
  classification_weight: float = 0.8,
  attention_weight: float = 1e-5,
  epsilon: float = 1e-3,
) -> tuple[jax.Array, dict]:
  """The training objective, per clip.

  Args:
    logits: float [B, K].
    out: what the network returned beside the logits; the embedding loss needs
      `video_embedding` and `pose_embedding`, the penalty `spatial_attention` and, where
      there is one, `temporal_attention`.
    labels: int [B].
    embedding: a kind of `alignment_loss`; ignored when there is no embedding in `out`.
    classification_weight: lambda_1.
    attention_weight: lambda_2.
    epsilon: of eq. 7. z1, and with it P_e, starts at zero, where the gradient of L_e
      grows with 1 / sqrt(epsilon): at 1e-12 the first step saturates A_S.
  Returns: L [B] and its terms by name, each [B].
  Source: eq. 5.
  Reading: without an embedding lambda_1 is 1, without attention lambda_2 is 0.
  """
  terms = {"classification_loss": classification_loss(logits, labels)}
  loss = terms["classification_loss"]
  if "video_embedding" in out:
    terms["embedding_loss"] = alignment_loss(
      embedding, out["video_embedding"], out["pose_embedding"], epsilon=epsilon
    )
    weight = classification_weight
    loss = weight * loss + (1.0 - weight) * terms["embedding_loss"]
  if "spatial_attention" in out:
    terms["attention_penalty"] = attention_penalty(
      out["spatial_attention"], out.get("temporal_attention")
    )
    loss = loss + attention_weight * terms["attention_penalty"]
  return loss, terms
