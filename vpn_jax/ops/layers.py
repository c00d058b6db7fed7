"""The operations as Flax modules, with their parameters and running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax.ops import convolution, normalization, temporal_convolution


class Conv3D(nn.Module):
  """`conv3d` with its kernel.

  Attributes:
    features: Cout.
    kernel_size: (kt, kh, kw).
    strides: steps along T, M and N.
    padding: "SAME", or a pair (before, after) for each of T, M and N.
    groups: parts of the channels that do not mix.
    use_bias: whether a bias is added.
    dtype: type of the computation; parameters are float32.
  """

  features: int
  kernel_size: tuple[int, int, int]
  strides: tuple[int, int, int] = (1, 1, 1)
  padding: str | tuple[tuple[int, int], ...] = "SAME"
  groups: int = 1
  use_bias: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32
  kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, T, M, N, Cin] to [B, T', M', N', Cout]."""
    shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
    kernel = self.param("kernel", self.kernel_init, shape).astype(self.dtype)
    x = x.astype(self.dtype)
    y = convolution.conv3d(x, kernel, self.strides, self.padding, self.groups)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
      y = y + normalization.per_channel(bias.astype(self.dtype), y)
    return y


class TemporalConv(nn.Module):
  """`temporal_conv` with its kernel.

  Attributes:
    features: Cout.
    kernel_size: taps, odd.
    stride, dilation: of `temporal_conv`.
    use_bias: whether a bias is added.
    dtype: type of the computation; parameters are float32.
  """

  features: int
  kernel_size: int = 1
  stride: int = 1
  dilation: int = 1
  use_bias: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, S, J, Cin] to [B, ceil(S / stride), J, Cout]."""
    init = nn.initializers.he_normal()
    shape = (self.kernel_size, x.shape[-1], self.features)
    kernel = self.param("kernel", init, shape).astype(self.dtype)
    y = temporal_convolution.temporal_conv(
      x.astype(self.dtype), kernel, self.stride, self.dilation
    )
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
      y = y + normalization.per_channel(bias.astype(self.dtype), y)
    return y


# The parameter of a BatchNorm whose factors went into the convolution before it.
FOLDED_BIAS = "folded_bias"


class BatchNorm(nn.Module):
  """Batch normalization over all axes but the last, with ReLU if asked for.

  One that `weights.folding.fold` left with a folded bias alone only adds it.

  Attributes:
    use_scale: whether a factor per channel is learnt beside the bias.
    relu: whether max(., 0) follows.
    epsilon: added to the variance.
    scale_init: the factor at the start.
    momentum: running = momentum * running + (1 - momentum) * batch, for the mean and
      the biased variance, in the collection "batch_stats".
  """

  use_scale: bool = False
  relu: bool = False
  epsilon: float = 1e-3
  momentum: float = 0.9
  scale_init: float = 1.0

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [..., C] to the same; in training by the statistics of the batch.

    Raises: ValueError when a folded one is to be trained (at trace time).
    """
    if self.has_variable("params", FOLDED_BIAS):
      if train:
        raise ValueError(
          f"{'/'.join(self.path)} got folded variables, expected those of training: "
          "train what the checkpoint holds, fold what is only applied."
        )
      bias = self.get_variable("params", FOLDED_BIAS)
      y = x.astype(jnp.float32) + normalization.per_channel(bias, x)
      return (jnp.maximum(y, 0) if self.relu else y).astype(x.dtype)
    shape = (x.shape[-1],)
    first, zeros = (nn.initializers.constant(x) for x in (self.scale_init, 0.0))
    scale = self.param("scale", first, shape) if self.use_scale else None
    bias = self.param("bias", zeros, shape)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
    running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
    settings = {"epsilon": self.epsilon, "relu": self.relu}
    if not train:
      stats = running_mean.value, running_var.value
      return normalization.batch_norm(x, *stats, scale, bias, **settings)
    y, mean, var = normalization.batch_norm_train(x, scale, bias, **settings)
    if not self.is_initializing():
      new, old = 1 - self.momentum, self.momentum
      running_mean.value = old * running_mean.value + new * mean
      running_var.value = old * running_var.value + new * var
    return y
