"""Eq. 4 to 9 against slow loops, by hand, and by what the paper claims of them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.training import losses


def random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def slow_embedding_loss(f, p, epsilon):
  """Eq. 4 and 7, one number at a time."""
  result = []
  for a, b in zip(f.astype(np.float64), p.astype(np.float64)):
    norm_a = math.sqrt(sum(x * x for x in a) + epsilon)
    norm_b = math.sqrt(sum(x * x for x in b) + epsilon)
    result.append(sum((x / norm_a - y / norm_b) ** 2 for x, y in zip(a, b)))
  return result


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3])
def test_embedding_loss_is_eq_4_and_7(epsilon):
  f, p = random(5, 7), random(5, 7, seed=1)
  got = losses.embedding_loss(f, p, epsilon=epsilon)
  np.testing.assert_allclose(got, slow_embedding_loss(f, p, epsilon), rtol=1e-5)


def test_embedding_loss_by_hand():
  f = jnp.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
  p = jnp.array([[5.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
  # parallel: 0; opposite: |u - (-u)|^2 = 4; at right angles: 1 + 1 = 2
  np.testing.assert_allclose(losses.embedding_loss(f, p), [0.0, 4.0, 2.0], atol=1e-6)


def test_embedding_loss_ignores_scale():
  f, p = random(3, 8), random(3, 8, seed=1)
  np.testing.assert_allclose(
    losses.embedding_loss(f, p), losses.embedding_loss(100 * f, 0.1 * p), rtol=1e-4
  )


def test_embedding_loss_is_finite_at_zero():
  f, p = jnp.ones((2, 4)), jnp.zeros((2, 4))
  value, grad = jax.value_and_grad(
    lambda p: jnp.sum(losses.embedding_loss(f, p, epsilon=1e-3))
  )(p)
  assert np.isfinite(value)
  assert np.isfinite(grad).all()
  assert np.abs(grad).max() > 0


def test_label_smoothing_by_hand():
  """K = 2, logits (log 3, 0): p = 3/4, 1/4; targets of 0.2 are 0.9 and 0.1."""
  logits, labels = jnp.array([[math.log(3.0), 0.0]]), jnp.array([0])
  want = -0.9 * math.log(0.75) - 0.1 * math.log(0.25)
  got = losses.classification_loss(logits, labels, label_smoothing=0.2)
  np.testing.assert_allclose(got, [want], rtol=1e-6)
  out = {"pose_logits": logits}
  total, terms = losses.total_loss(
    logits, out, labels, pose_weight=0.5, label_smoothing=0.2
  )
  np.testing.assert_allclose(terms["pose_loss"], [want], rtol=1e-6)
  np.testing.assert_allclose(total, [1.5 * want], rtol=1e-6)
  with pytest.raises(
    ValueError, match=r"label_smoothing is 1.0, expected a share of 0"
  ):
    losses.total_loss(logits, {}, labels, label_smoothing=1.0)


def slow_kl(p, q):
  """Eq. 8 with softmax as normaliser."""
  result = []
  for a, b in zip(p.astype(np.float64), q.astype(np.float64)):
    a, b = np.exp(a) / np.exp(a).sum(), np.exp(b) / np.exp(b).sum()
    result.append(sum(x * math.log(x / y) for x, y in zip(a, b)))
  return np.array(result)


def test_kl_is_eq_8_and_9():
  f, p = random(4, 6), random(4, 6, seed=1)
  fp, pf = slow_kl(f, p), slow_kl(p, f)
  np.testing.assert_allclose(losses.alignment_loss("kl_fp", f, p), fp, rtol=1e-5)
  np.testing.assert_allclose(losses.alignment_loss("kl_pf", f, p), pf, rtol=1e-5)
  both = losses.alignment_loss("kl_bi", f, p)
  np.testing.assert_allclose(both, fp + pf, rtol=1e-5)
  assert (fp > 0).all()
  assert np.abs(fp - pf).max() > 1e-3  # the direction matters


def test_contrastive_loss_finds_the_own_pose_among_all():
  f, p = random(4, 6), random(4, 6, seed=1)
  a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (f, p))
  expected = []
  for i in range(4):
    row = [math.exp(a[i] @ b[j] / 0.1) for j in range(4)]
    column = [math.exp(a[j] @ b[i] / 0.1) for j in range(4)]
    expected.append(
      -(math.log(row[i] / sum(row)) + math.log(column[i] / sum(column))) / 2
    )
  got = losses.alignment_loss("contrastive", f, p, temperature=0.1)
  np.testing.assert_allclose(got, expected, rtol=1e-4)
  same = losses.contrastive_loss(f[:1].repeat(4, 0), p[:1].repeat(4, 0))
  np.testing.assert_allclose(same, math.log(4), rtol=1e-5)  # one direction: no answer


def test_mean_cosine_is_that_of_all_pairs():
  x = random(5, 3)
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  expected = [
    np.mean([unit[i] @ unit[j] for j in range(5) if j != i]) for i in range(5)
  ]
  np.testing.assert_allclose(losses.mean_cosine(x), expected, atol=1e-6)
  np.testing.assert_allclose(losses.mean_cosine(x[:1].repeat(3, 0)), 1.0, rtol=1e-5)
  np.testing.assert_array_equal(losses.mean_cosine(x[:1]), [0.0])


@pytest.mark.parametrize("kind", losses.EMBEDDING_LOSSES)
def test_embedding_gradient_of_the_video_alone_leaves_the_pose(kind):
  logits, labels, out = (
    jnp.asarray(random(3, 4)),
    jnp.array([0, 1, 3]),
    network_outputs(),
  )

  def gradients(embedding_gradient):
    def loss(f, p):
      given = {**out, "video_embedding": f, "pose_embedding": p}
      value, _ = losses.total_loss(
        logits, given, labels, embedding=kind, embedding_gradient=embedding_gradient
      )
      return value.sum()

    return jax.grad(loss, argnums=(0, 1))(out["video_embedding"], out["pose_embedding"])

  (f_both, p_both), (f_video, p_video) = gradients("both"), gradients("video")
  np.testing.assert_allclose(f_video, f_both, rtol=1e-5)
  assert np.abs(p_both).max() > 1e-3
  np.testing.assert_array_equal(p_video, 0)


def test_auxiliary_loss_is_the_cross_entropy_of_the_pose():
  logits, labels, pose_logits = random(3, 4), jnp.array([0, 1, 3]), random(3, 4, seed=2)
  out = {"pose_logits": jnp.asarray(pose_logits)}
  loss, terms = losses.total_loss(jnp.asarray(logits), out, labels, pose_weight=0.5)
  both = [
    losses.classification_loss(jnp.asarray(x), labels) for x in (logits, pose_logits)
  ]
  np.testing.assert_allclose(terms["pose_loss"], both[1], rtol=1e-6)
  np.testing.assert_allclose(loss, both[0] + 0.5 * both[1], rtol=1e-6)


def test_attention_penalty_is_eq_6():
  rng = np.random.default_rng(0)
  a_s = rng.random((3, 2, 4)).astype(np.float32)
  a_t = rng.random((3, 5)).astype(np.float32)
  slow = []
  for s, t in zip(a_s, a_t):
    slow.append(
      sum(abs(float(x)) for x in s.ravel()) + sum((1 - float(x)) ** 2 for x in t)
    )
  np.testing.assert_allclose(losses.attention_penalty(a_s, a_t), slow, rtol=1e-5)
  only = losses.attention_penalty(a_s, None)
  np.testing.assert_allclose(only, a_s.sum(axis=(1, 2)), rtol=1e-5)


def network_outputs():
  f = jnp.asarray(random(3, 6))
  return {
    "video_embedding": f,
    "pose_embedding": jnp.asarray(random(3, 6, seed=1)),
    "spatial_attention": jnp.full((3, 2, 2), 0.5),
    "temporal_attention": jnp.full((3, 4), 0.25),
  }


def test_total_loss_is_eq_5():
  logits, labels, out = (
    jnp.asarray(random(3, 4)),
    jnp.array([0, 1, 3]),
    network_outputs(),
  )
  loss, terms = losses.total_loss(logits, out, labels, epsilon=1e-12)
  probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  l_c = -np.log(probabilities[np.arange(3), labels])
  l_e = np.array(
    slow_embedding_loss(
      *(np.array(out[f"{k}_embedding"]) for k in ("video", "pose")), 0
    )
  )
  l_a = 4 * 0.5 + 4 * 0.75**2
  expected = 0.8 * l_c + 0.2 * l_e + 1e-5 * l_a
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  assert set(terms) == {
    "classification_loss",
    "embedding_loss",
    "video_cosine",
    "pose_cosine",
    "attention_penalty",
  }


def test_total_loss_without_embedding_is_cross_entropy():
  logits, labels = jnp.asarray(random(3, 4)), jnp.array([0, 1, 3])
  loss, terms = losses.total_loss(logits, {}, labels)
  np.testing.assert_allclose(loss, losses.classification_loss(logits, labels))
  assert set(terms) == {"classification_loss"}


def test_messages():
  with pytest.raises(
    ValueError, match=r"embedding_gradient is 'pose', expected one of"
  ):
    losses.total_loss(jnp.ones((1, 2)), {}, jnp.array([0]), embedding_gradient="pose")
  with pytest.raises(ValueError, match=r"shape \(2, 3\), pose_embedding \(2, 4\)"):
    losses.embedding_loss(jnp.ones((2, 3)), jnp.ones((2, 4)))
  with pytest.raises(ValueError, match=r"unknown embedding loss 'l1'.*kl_bi"):
    losses.alignment_loss("l1", jnp.ones((2, 3)), jnp.ones((2, 3)))
