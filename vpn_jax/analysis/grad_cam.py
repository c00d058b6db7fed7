"""Grad-CAM: which positions of a feature map speak for a class."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax.models import networks


def grad_cam(score: Callable[[jax.Array], jax.Array], features: jax.Array) -> jax.Array:
  """The part of a feature map that raises the score of a class.

  Args:
    score: of the class before the softmax, features -> float [].
    features: f, float [T, M, N, C].
  Returns: float [T, M, N]; 0 where nothing speaks for the class.
  Source: Selvaraju et al., ICCV 2017, eq. 1 and 2, with time as a third axis.
  """
  weights = jax.grad(score)(features).mean(axis=(0, 1, 2))  # alpha, [C]
  return jax.nn.relu(jnp.einsum("tmnc,c->tmn", features, weights))


def class_map(
  model: nn.Module, variables: dict, batch: dict, features: jax.Array, label
) -> jax.Array:
  """Grad-CAM of a class on the features [1, T, M, N, C] of a clip, float [T, M, N]."""

  def score(f):
    return logits_from(model, variables, batch, f[None])[0, label]

  return grad_cam(score, features[0])


def logits_from(
  model: nn.Module, variables: dict, batch: dict, features: jax.Array | None
) -> jax.Array:
  """Logits [B, K] of a network that is given features instead of frames.

  Args:
    model: the network; its visual backbone does not run.
    batch: its other inputs.
    features: f [B, T, M, N, C]; None for a network without a visual backbone.
  """
  if features is not None:
    model, batch = model.clone(from_features=True), {**batch, "features": features}
  logits, _ = model.apply(variables, *networks.inputs(model, batch), train=False)
  return logits
