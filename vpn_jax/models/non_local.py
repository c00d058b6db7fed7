"""Non-local block: self-attention over all positions and times of a feature map.

Source: Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018; the row
I3D+NL of table 6.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax import ops


class NonLocalBlock(nn.Module):
  """y = x + W_z softmax(theta(x) phi(x)^T) g(x), the embedded Gaussian form.

  Attributes:
    pool: side of the windows in M and N over which phi and g are max-pooled, which
      makes the pairs fewer; 1 for none.
    dtype: of the computation; parameters, softmax and sum are float32.

  Source: section 3.3 there. theta, phi and g have half the channels, pairs are
    subsampled by 2. Reading: W_z starts at zero, so that a pretrained network stays as
    it was without the BatchNorm of the reference.
  """

  pool: int = 2
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, M, N, C] to the same shape."""
    b, *_, c = x.shape
    dtype = jnp.dtype(self.dtype)
    inner = max(1, c // 2)
    few = ops.max_pool(x, (1, self.pool, self.pool), (1, self.pool, self.pool))
    dense = {"use_bias": True, "dtype": dtype}
    theta = nn.Dense(inner, name="theta", **dense)(x).reshape(b, -1, inner)
    phi = nn.Dense(inner, name="phi", **dense)(few).reshape(b, -1, inner)
    g = nn.Dense(inner, name="g", **dense)(few).reshape(b, -1, inner)
    scores = jnp.einsum("bqc,bkc->bqk", theta, phi, preferred_element_type=jnp.float32)
    weights = nn.softmax(scores).astype(dtype)
    y = jnp.einsum("bqk,bkc->bqc", weights, g).reshape(*x.shape[:-1], inner)
    zero = nn.initializers.zeros
    return x + nn.Dense(c, kernel_init=zero, name="output", **dense)(y)
