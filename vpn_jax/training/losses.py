"""The losses of the paper, eq. 4 to 9: pure functions, one value per clip."""

import jax
import jax.numpy as jnp
import optax

EMBEDDING_LOSSES = ("euclidean", "kl_fp", "kl_pf", "kl_bi", "contrastive")
EMBEDDING_GRADIENTS = ("both", "video")


def check_label_smoothing(share: float) -> None:
  """ValueError for a share that is not in [0, 1)."""
  if not 0.0 <= share < 1.0:
    raise ValueError(
      f"config.loss.label_smoothing is {share}, expected a share of 0 or more, below 1."
    )


def classification_loss(
  logits: jax.Array, labels: jax.Array, *, label_smoothing: float = 0.0
) -> jax.Array:
  """Cross-entropy of the true class, in nats.

  Args:
    logits: float [B, K].
    labels: int [B], 0-based.
    label_smoothing: share of the target that is spread evenly over all K classes, in
      [0, 1).
  Returns: L_C per clip, float [B].
  Raises: ValueError for another share (at trace time).
  Source: section 3.3; smoothing, Szegedy et al., CVPR 2016, section 7.
  """
  check_label_smoothing(label_smoothing)
  if not label_smoothing:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  right = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
  return optax.softmax_cross_entropy(
    logits, optax.smooth_labels(right, label_smoothing)
  )


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


def contrastive_loss(
  video_embedding: jax.Array,
  pose_embedding: jax.Array,
  *,
  temperature: float = 0.1,
  epsilon: float = 1e-12,
) -> jax.Array:
  """Cross-entropy of finding the own pose among those of the batch, and vice versa.

  The distance of eq. 4 alone is smallest when all clips share one direction; the other
  clips of the batch as negatives rule that out.

  Args:
    video_embedding: f_e, float [B, D].
    pose_embedding: P_e, float [B, D].
    temperature: divides the cosines; positive.
    epsilon: added under the root of each norm; positive.
  Returns: the mean of both directions per clip, float [B], in nats; about log(B) when
    the embeddings say nothing of the clip. B is the batch of all devices, or one
    micro-batch of an accumulated step.
  Raises: ValueError when the shapes differ (at trace time).
  Source: the symmetric loss of CLIP (Radford et al., ICML 2021); not in the paper.
  """
  _same_shape(video_embedding, pose_embedding)
  f = unit(video_embedding, epsilon=epsilon)
  p = unit(pose_embedding, epsilon=epsilon)
  logits = jnp.einsum("bd,cd->bc", f, p) / temperature
  own = jnp.arange(logits.shape[0])
  video_to_pose = classification_loss(logits, own)
  pose_to_video = classification_loss(logits.T, own)
  return (video_to_pose + pose_to_video) / 2


def mean_cosine(embedding: jax.Array, *, epsilon: float = 1e-12) -> jax.Array:
  """Mean cosine of each clip's embedding with those of the other clips of the batch.

  Near 1 for all clips, the embedding has collapsed to one direction.

  Args:
    embedding: float [B, D].
  Returns: float [B]; 0 for a batch of one clip.
  """
  u = unit(embedding, epsilon=epsilon)
  others = jnp.sum(u, axis=0, keepdims=True) - u
  return jnp.sum(u * others, axis=-1) / max(u.shape[0] - 1, 1)


def alignment_loss(
  kind: str,
  video_embedding: jax.Array,
  pose_embedding: jax.Array,
  *,
  epsilon: float = 1e-12,
  temperature: float = 0.1,
) -> jax.Array:
  """The embedding loss of a row of table 3, or its contrastive form, float [B].

  Args:
    kind: "euclidean" (eq. 4), "kl_fp" D_KL(f_e || P_e) (eq. 8), "kl_pf" D_KL(P_e ||
      f_e) (eq. 9), "kl_bi", their sum, or "contrastive" (`contrastive_loss`).
    video_embedding: f_e, float [B, D].
    pose_embedding: P_e, float [B, D].
    epsilon: of `embedding_loss` and `contrastive_loss`.
    temperature: of `contrastive_loss`.
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
  if kind == "contrastive":
    return contrastive_loss(f, p, temperature=temperature, epsilon=epsilon)
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
  embedding_gradient: str = "both",
  classification_weight: float = 0.8,
  attention_weight: float = 1e-5,
  pose_weight: float = 0.0,
  epsilon: float = 1e-3,
  temperature: float = 0.1,
  label_smoothing: float = 0.0,
) -> tuple[jax.Array, dict]:
  """The training objective, per clip.

  Args:
    logits: float [B, K].
    out: what the network returned beside the logits; the embedding loss needs
      `video_embedding` and `pose_embedding`, the penalty `spatial_attention` and, where
      there is one, `temporal_attention`, the auxiliary loss `pose_logits`.
    labels: int [B].
    embedding: a kind of `alignment_loss`; ignored when there is no embedding in `out`.
    embedding_gradient: "both" embeddings learn from the embedding loss, as in the
      paper, or f_e alone ("video"): it follows P_e, which z1, also the attention, gives
      up nothing for.
    classification_weight: lambda_1; the embedding loss weighs 1 - lambda_1. Released
      code: 0.99.
    attention_weight: lambda_2.
    pose_weight: of an auxiliary cross-entropy on h*, 0 for none; not in the paper.
    epsilon: of eq. 7. z1, and with it P_e, starts at zero, where the gradient of L_e
      grows with 1 / sqrt(epsilon): at 1e-12 the first step saturates A_S.
    temperature: of the contrastive kind.
    label_smoothing: of the two cross-entropies over classes.
  Returns: L [B] and its terms by name, each [B]; with an embedding also the mean
    cosines between clips of f_e (`video_cosine`) and of P_e (`pose_cosine`).
  Raises: ValueError for an unknown kind or gradient, or smoothing that is not a share
    (at trace time).
  Source: eq. 5.
  Reading: without an embedding lambda_1 is 1, without attention lambda_2 is 0.
  """
  if embedding_gradient not in EMBEDDING_GRADIENTS:
    raise ValueError(
      f"config.loss.embedding_gradient is {embedding_gradient!r}, expected one of "
      f"{EMBEDDING_GRADIENTS}."
    )
  smoothed = {"label_smoothing": label_smoothing}
  terms = {"classification_loss": classification_loss(logits, labels, **smoothed)}
  loss = terms["classification_loss"]
  if "video_embedding" in out:
    f, p = out["video_embedding"], out["pose_embedding"]
    if embedding_gradient == "video":
      p = jax.lax.stop_gradient(p)
    terms["embedding_loss"] = alignment_loss(
      embedding, f, p, epsilon=epsilon, temperature=temperature
    )
    terms["video_cosine"], terms["pose_cosine"] = mean_cosine(f), mean_cosine(p)
    weight = classification_weight
    loss = weight * loss + (1.0 - weight) * terms["embedding_loss"]
  if "spatial_attention" in out:
    terms["attention_penalty"] = attention_penalty(
      out["spatial_attention"], out.get("temporal_attention")
    )
    loss = loss + attention_weight * terms["attention_penalty"]
  if "pose_logits" in out:
    terms["pose_loss"] = classification_loss(out["pose_logits"], labels, **smoothed)
    loss = loss + pose_weight * terms["pose_loss"]
  return loss, terms
