"""Convolutions over steps: both forms have the same values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax import ops


@pytest.mark.parametrize(
  ("taps", "channels", "stride", "dilation"),
  [(1, 4, 2, 1), (3, 4, 1, 2), (5, 4, 2, 2), (3, 80, 1, 1)],
)
def test_both_forms_are_the_same(taps, channels, stride, dilation):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 7, 3, channels)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(taps, channels, 5)), jnp.float32)

  def value(x, kernel):
    y = ops.temporal_conv(x, kernel, stride, dilation)
    return jnp.sum(jnp.sin(y)), y

  found = {}
  for form in ("plain", "cpu"):
    with ops.use_formulation(form):
      grad = jax.jit(jax.grad(value, argnums=(0, 1), has_aux=True))
      found[form] = jax.tree.leaves(grad(x, kernel))
  for plain, cpu in zip(*found.values(), strict=True):
    assert np.abs(plain).max() > 0.1
    np.testing.assert_allclose(cpu, plain, rtol=1e-4, atol=1e-4)
  assert found["cpu"][-1].shape == (2, -(-7 // stride), 3, 5)


def test_messages():
  x = jnp.zeros((1, 4, 3, 2))
  with pytest.raises(
    ValueError, match=r"got x \(1, 4, 3, 2\) and kernel \(2, 2, 5\), "
  ):
    ops.temporal_conv(x, jnp.zeros((2, 2, 5)))
  with pytest.raises(ValueError, match=r"with an odd k: give the kernel a middle tap"):
    ops.temporal_conv(x, jnp.zeros((3, 4, 5)))
