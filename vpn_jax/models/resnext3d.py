"""3D ResNeXt-101: frames -> features f, the second visual backbone of table 5.

Source: Hara, Kataoka and Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D
CNNs and ImageNet?", CVPR 2018 (32 groups, shortcut B), and the geometry of
kenshohara/3D-ResNets-PyTorch, models/resnext.py. VPN uses f = layer4.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax import ops
from vpn_jax.models import trunk

GROUPS = 32
EXPANSION = 2  # a stage's output channels over those of its grouped convolutions
# Stages: channels of the grouped convolutions, stride of the first block.
_STAGES = {"layer1": (128, 1), "layer2": (256, 2), "layer3": (512, 2)}
_STAGES["layer4"] = (1024, 2)
_STEM = 64
ENDPOINTS = ("conv1", "maxpool", *_STAGES)
# Red, green, blue, of pixels in [0, 255].
_MEAN = (114.7748, 107.7354, 99.4750)
# As in the released code; the fan counts the outputs of all groups.
_KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def endpoints_until(final_endpoint: str) -> tuple[str, ...]:
  """The endpoints in order, up to and with the given one; ValueError if unknown."""
  return trunk.until(ENDPOINTS, final_endpoint)


def scaled_width(channels: int, width: float) -> int:
  """A published width times `width`, rounded to a multiple of the 32 groups."""
  return max(GROUPS, GROUPS * round(channels * width / GROUPS))


def feature_shape(
  num_frames: int,
  height: int,
  width: int,
  width_multiplier: float = 1.0,
  final_endpoint: str = "layer4",
) -> tuple[int, int, int, int]:
  """The shape (T, M, N, C) of what 3D ResNeXt-101 makes of F frames of H x W pixels.

  Symmetric padding by half the kernel gives ceil(size / stride), as "SAME" does: (4,
  7, 7, 2048) for 64 frames of 224 x 224, (1, 4, 4, 2048) for the 16 of 112 x 112
  that the network was published with.
  """
  shape, channels = (num_frames, height, width), 3
  for name in endpoints_until(final_endpoint):
    strides = (2, 2, 2)
    if name == "conv1":
      channels, strides = scaled_width(_STEM, width_multiplier), (1, 2, 2)
    elif name in _STAGES:
      middle, stride = _STAGES[name]
      channels = EXPANSION * scaled_width(middle, width_multiplier)
      strides = (stride,) * 3
    shape = tuple(-(-size // s) for size, s in zip(shape, strides, strict=True))
  return (*shape, channels)


def normalize_frames(frames) -> jax.Array:
  """Maps RGB pixels, uint8 [..., 3], to float32 [..., 3], the scale kept, mean removed.

  Raises: ValueError for another type or number of channels.
  Source: the mean and the order (PIL's) are those of the authors'
    video-classification-3d-cnn-pytorch, made for the weights released in 2017 and 2018;
    the scale and the division by no deviation are the defaults of the training code as
    its copies of that time have them. Weights of 2020 want another normalization.
  """
  if frames.dtype != jnp.uint8 or frames.shape[-1] != 3:
    raise ValueError(
      f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [..., 3] in "
      "[0, 255]: pass the pixels as decoded, they are normalized here."
    )
  mean = jnp.array(_MEAN, jnp.float32).reshape((1,) * (frames.ndim - 1) + (3,))
  return jnp.asarray(frames).astype(jnp.float32) - mean


class Bottleneck(nn.Module):
  """1x1x1, grouped 3x3x3 and 1x1x1 convolution beside a shortcut.

  Attributes:
    features: channels of the grouped convolution; twice as many come out.
    stride: of the grouped convolution, along T, M and N.
    project: whether the shortcut is a convolution (type B), not the identity.
    bn_momentum: of the running statistics.
    dtype: type of the computation.
  """

  features: int
  stride: int = 1
  project: bool = False
  bn_momentum: float = 0.9
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    """Maps [B, T, M, N, Cin] to [B, T', M', N', 2 * features]."""
    conv, norm = _layers(self.bn_momentum, self.dtype)
    strides = (self.stride,) * 3
    shortcut = x
    x = conv(self.features, (1, 1, 1), name="conv1")(x)
    x = norm(relu=True, name="bn1")(x, train=train)
    x = conv(
      self.features,
      (3, 3, 3),
      strides,
      padding=((1, 1),) * 3,
      groups=GROUPS,
      name="conv2",
    )(x)
    x = norm(relu=True, name="bn2")(x, train=train)
    x = conv(EXPANSION * self.features, (1, 1, 1), name="conv3")(x)
    x = norm(name="bn3")(x, train=train)
    if self.project:
      features = EXPANSION * self.features
      shortcut = conv(features, (1, 1, 1), strides, name="downsample_conv")(shortcut)
      shortcut = norm(name="downsample_bn")(shortcut, train=train)
    return nn.relu(x + shortcut)


def _layers(bn_momentum, dtype):
  """The convolution and the normalization that every part is made of."""

  def conv(*args, **kwargs):
    return ops.Conv3D(*args, **kwargs, dtype=dtype, kernel_init=_KERNEL_INIT)

  def norm(**kwargs):
    settings = {"use_scale": True, "epsilon": 1e-5, "momentum": bn_momentum}
    return ops.BatchNorm(**settings, **kwargs)

  return conv, norm


class ResNeXt3D(trunk.Trunk):
  """The trunk of 3D ResNeXt-101, without the Kinetics head; see `trunk.Trunk`.

  The endpoint "conv1" is what follows its normalization and ReLU.

  Attributes:
    blocks: bottlenecks in each of the four stages.
  """

  ENDPOINTS = ENDPOINTS

  blocks: tuple[int, int, int, int] = (3, 4, 23, 3)

  @classmethod
  def endpoint_of(cls, module: str) -> str:
    return super().endpoint_of("conv1" if module == "bn1" else module)

  def layer(self, name: str, x: jax.Array, train: bool) -> jax.Array:
    if name == "conv1":
      return self._stem(x, train)
    if name == "maxpool":
      return ops.max_pool(x, (3, 3, 3), (2, 2, 2), ((1, 1),) * 3)
    return self._stage(x, name, train)

  def _stem(self, x, train):
    conv, norm = _layers(self.bn_momentum, self.dtype)
    features, padding = scaled_width(_STEM, self.width), ((3, 3),) * 3
    x = conv(features, (7, 7, 7), (1, 2, 2), padding=padding, name="conv1")(x)
    return norm(relu=True, name="bn1")(x, train=train)

  def _stage(self, x, name, train):
    channels, stride = _STAGES[name]
    features = scaled_width(channels, self.width)
    for i in range(self.blocks[list(_STAGES).index(name)]):
      block = Bottleneck(
        features,
        stride=stride if i == 0 else 1,
        project=i == 0,
        bn_momentum=self.bn_momentum,
        dtype=self.dtype,
        name=f"{name}_{i}",
      )
      x = trunk.call(block, x, train=train, remat=self.remat)
    return x
