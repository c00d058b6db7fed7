"""I3D: Inception-v1 inflated to three dimensions, frames -> features f.

Source: Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, and the
endpoint names and widths of google-deepmind/kinetics-i3d; VPN uses f = Mixed_5c.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from vpn_jax import ops
from vpn_jax.models import trunk

# Convolutions outside the blocks: width, kernel, stride. Pools: window, stride.
_CONVS = {
  "Conv3d_1a_7x7": (64, (7, 7, 7), (2, 2, 2)),
  "Conv3d_2b_1x1": (64, (1, 1, 1), (1, 1, 1)),
  "Conv3d_2c_3x3": (192, (3, 3, 3), (1, 1, 1)),
}
_POOLS = {
  "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
  "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
  "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
  "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
# Blocks: branch 0; branch 1 reduced, full; branch 2 reduced, full; branch 3.
_BLOCKS = {
  "Mixed_3b": (64, 96, 128, 16, 32, 32),
  "Mixed_3c": (128, 128, 192, 32, 96, 64),
  "Mixed_4b": (192, 96, 208, 16, 48, 64),
  "Mixed_4c": (160, 112, 224, 24, 64, 64),
  "Mixed_4d": (128, 128, 256, 24, 64, 64),
  "Mixed_4e": (112, 144, 288, 32, 64, 64),
  "Mixed_4f": (256, 160, 320, 32, 128, 128),
  "Mixed_5b": (256, 160, 320, 32, 128, 128),
  "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
ENDPOINTS = (
  "Conv3d_1a_7x7",
  "MaxPool3d_2a_3x3",
  "Conv3d_2b_1x1",
  "Conv3d_2c_3x3",
  "MaxPool3d_3a_3x3",
  "Mixed_3b",
  "Mixed_3c",
  "MaxPool3d_4a_3x3",
  "Mixed_4b",
  "Mixed_4c",
  "Mixed_4d",
  "Mixed_4e",
  "Mixed_4f",
  "MaxPool3d_5a_2x2",
  "Mixed_5b",
  "Mixed_5c",
)


def endpoints_until(final_endpoint: str) -> tuple[str, ...]:
  """The endpoints in order, up to and with the given one; ValueError if unknown."""
  return trunk.until(ENDPOINTS, final_endpoint)


def scaled_width(channels: int, width: float) -> int:
  """A published width times `width`, rounded to a multiple of 4, at least 4."""
  return channels if width == 1 else max(4, 4 * round(channels * width / 4))


def feature_shape(
  num_frames: int,
  height: int,
  width: int,
  width_multiplier: float = 1.0,
  final_endpoint: str = "Mixed_5c",
) -> tuple[int, int, int, int]:
  """The shape (T, M, N, C) of what I3D makes of F frames of H x W pixels.

  Source: (8, 7, 7, 1024) for 64 frames of 224 x 224 and Mixed_5c (section 4.1).
  """
  shape, channels = (num_frames, height, width), 3
  for name in endpoints_until(final_endpoint):
    if name in _BLOCKS:
      b0, _, b1, _, b2, b3 = _BLOCKS[name]
      channels = sum(scaled_width(c, width_multiplier) for c in (b0, b1, b2, b3))
      continue
    if name in _CONVS:
      channels = scaled_width(_CONVS[name][0], width_multiplier)
    *_, strides = _CONVS.get(name) or _POOLS[name]
    shape = tuple(-(-size // s) for size, s in zip(shape, strides, strict=True))
  return (*shape, channels)


def normalize_frames(frames) -> jax.Array:
  """Maps pixels, uint8 [...], to float32 [...] in [-1, 1], what I3D was trained on.

  Raises: ValueError for another type, so that nothing is normalized twice.
  """
  if frames.dtype != jnp.uint8:
    raise ValueError(
      f"frames are {frames.dtype}, expected uint8 in [0, 255]: pass the pixels as "
      "decoded, they are normalized here."
    )
  return jnp.asarray(frames).astype(jnp.float32) / 255 * 2 - 1


class Unit(nn.Module):
  """Convolution without bias, BatchNorm without scale, ReLU.

  Attributes:
    features: output channels.
    kernel_size: (kt, kh, kw).
    strides: steps along T, M and N.
    bn_momentum: of the running statistics.
    dtype: type of the computation.
  """

  features: int
  kernel_size: tuple[int, int, int]
  strides: tuple[int, int, int] = (1, 1, 1)
  bn_momentum: float = 0.9
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, T, M, N, Cin] to [B, T', M', N', features]."""
    x = ops.Conv3D(
      self.features, self.kernel_size, self.strides, dtype=self.dtype, name="conv"
    )(x)
    norm = ops.BatchNorm(relu=True, momentum=self.bn_momentum, name="bn")
    return norm(x, train=train)


class Branch(nn.Module):
  """One branch of an Inception block: units after each other, maybe a pool before.

  Attributes:
    units: (name, features, size of the cubic kernel) of each unit.
    pool: whether a 3 x 3 x 3 maximum, stride 1, comes first.
    bn_momentum, dtype: as in `Unit`.
  """

  units: tuple[tuple[str, int, int], ...]
  pool: bool = False
  bn_momentum: float = 0.9
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, T, M, N, C] to [B, T, M, N, features of the last unit]."""
    if self.pool:
      x = ops.max_pool(x, (3, 3, 3), (1, 1, 1))
    for name, features, size in self.units:
      unit = Unit(
        features,
        (size,) * 3,
        bn_momentum=self.bn_momentum,
        dtype=self.dtype,
        name=name,
      )
      x = unit(x, train=train)
    return x


class Mixed(nn.Module):
  """An Inception block: four branches over the same input, concatenated.

  Attributes:
    widths: channels in the order of `_BLOCKS`.
    bn_momentum, dtype: as in `Unit`.
  """

  widths: tuple[int, ...]
  bn_momentum: float = 0.9
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, T, M, N, Cin] to [B, T, M, N, C]."""
    b0, b1_reduced, b1, b2_reduced, b2, b3 = self.widths
    # DeepMind's checkpoints name this one unit of Mixed_5b so, by an oversight.
    last = "Conv3d_0a_3x3" if self.name == "Mixed_5b" else "Conv3d_0b_3x3"
    branches = (
      (("Conv3d_0a_1x1", b0, 1),),
      (("Conv3d_0a_1x1", b1_reduced, 1), ("Conv3d_0b_3x3", b1, 3)),
      (("Conv3d_0a_1x1", b2_reduced, 1), (last, b2, 3)),
      (("Conv3d_0b_1x1", b3, 1),),
    )
    settings = {"bn_momentum": self.bn_momentum, "dtype": self.dtype}
    outputs = [
      Branch(units, pool=i == 3, **settings, name=f"Branch_{i}")(x, train=train)
      for i, units in enumerate(branches)
    ]
    return jnp.concatenate(outputs, axis=-1)


class I3D(trunk.Trunk):
  """The trunk of I3D, without the Kinetics head; see `trunk.Trunk`."""

  ENDPOINTS = ENDPOINTS

  def layer(self, name: str, x: jax.Array, train: bool) -> jax.Array:
    if name in _POOLS:
      return ops.max_pool(x, *_POOLS[name])
    settings = {"bn_momentum": self.bn_momentum, "dtype": self.dtype, "name": name}
    if name in _CONVS:
      features, kernel_size, strides = _CONVS[name]
      features = scaled_width(features, self.width)
      part = Unit(features, kernel_size, strides, **settings)
    else:
      widths = tuple(scaled_width(c, self.width) for c in _BLOCKS[name])
      part = Mixed(widths, **settings)
    return trunk.call(part, x, train=train, remat=self.remat)


class KineticsI3D(nn.Module):
  """I3D with the published classification head.

  Attributes:
    num_classes: K; 400 for the published weights.
    width, bn_momentum, dtype: as in `I3D`.
  """

  num_classes: int = 400
  width: float = 1.0
  bn_momentum: float = 0.9
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, frames: jax.Array, *, train: bool = False):
    """Maps frames [B, F, H, W, 3] in [-1, 1] to logits [B, K] and the endpoints.

    Reading: on maps other than 7 x 7 the window is clipped to the map, and logits
      are averaged over the positions and steps that remain.
    """
    settings = {"bn_momentum": self.bn_momentum, "dtype": self.dtype}
    features, out = I3D(self.width, **settings, name="backbone")(frames, train=train)
    window = tuple(map(min, (2, 7, 7), features.shape[1:4]))
    pooled = nn.pool(features, 0.0, lax.add, window, (1, 1, 1), "VALID")
    pooled = pooled / math.prod(window)
    head = ops.Conv3D(
      self.num_classes, (1, 1, 1), use_bias=True, dtype=self.dtype, name="Logits"
    )
    logits = out["Logits"] = head(pooled).astype(jnp.float32).mean((1, 2, 3))
    return logits, out
