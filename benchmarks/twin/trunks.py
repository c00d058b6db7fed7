"""I3D and 3D ResNeXt-101 in PyTorch, layer for layer what `vpn_jax.models` holds."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.twin import layers
from vpn_jax.models import i3d, resnext3d

# Windows and steps of the pools of I3D. The widths are in the shapes of a tree.
_POOLS = {
  "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
  "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
  "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
  "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
_STEM = "Conv3d_1a_7x7"


class Trunk(nn.Module):
  """Named layers in a row, the first of them frozen or none.

  A trunk says in `layer` what the layer of a name does, and in `parts` which modules
  it has.

  Args:
    names: of the layers, in order.
    frozen_until: the last that is not trained, "" for none.
  """

  def __init__(self, names: tuple[str, ...], frozen_until: str):
    super().__init__()
    self.names = names
    self.frozen = names[: names.index(frozen_until) + 1] if frozen_until else ()

  def train(self, mode: bool = True):
    """As in every module, but frozen layers keep their statistics."""
    super().train(mode)
    for name in self.frozen:
      for part in self.parts(name):
        part.eval()
    return self

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps normalized frames [B, 3, F, H, W] to features [B, C, T, M, N]."""
    with torch.no_grad():
      for name in self.frozen:
        x = self.layer(name, x)
    for name in self.names[len(self.frozen) :]:
      x = self.layer(name, x)
    return x


class Unit(nn.Module):
  """Convolution, BatchNorm without scale, ReLU."""

  def __init__(self, tree: dict, momentum: float, stride: int = 1):
    super().__init__()
    self.conv = layers.Conv3d(tree["conv"], stride)
    self.bn = layers.BatchNorm(tree["bn"], relu=True, momentum=momentum)

  def forward(self, x):
    return self.bn(self.conv(x))


class Mixed(nn.Module):
  """An Inception block: four branches, the last behind a 3 x 3 x 3 maximum."""

  def __init__(self, tree: dict, momentum: float):
    super().__init__()
    for branch, units in sorted(tree.items()):
      parts = {name: Unit(unit, momentum) for name, unit in sorted(units.items())}
      self.add_module(branch, nn.Sequential())
      for name, part in parts.items():
        self.get_submodule(branch).add_module(name, part)

  def forward(self, x):
    pooled = layers.max_pool_same(x, (3, 3, 3), (1, 1, 1))
    outputs = [self.Branch_0(x), self.Branch_1(x), self.Branch_2(x)]
    return torch.cat([*outputs, self.Branch_3(pooled)], dim=1)


class I3D(Trunk):
  """The trunk of I3D, of the widths of a parameter tree."""

  def __init__(self, tree: dict, endpoint: str, frozen_until: str, momentum: float):
    super().__init__(i3d.endpoints_until(endpoint), frozen_until)
    for name, part in tree.items():
      if name.startswith("Mixed"):
        self.add_module(name, Mixed(part, momentum))
      else:
        stride = 2 if name == _STEM else 1
        self.add_module(name, Unit(part, momentum, stride))

  @staticmethod
  def normalize(frames: torch.Tensor) -> torch.Tensor:
    """Maps uint8 [...] to float32 in [-1, 1]."""
    return frames.float() / 255 * 2 - 1

  def parts(self, name: str) -> list[nn.Module]:
    return [] if name in _POOLS else [self.get_submodule(name)]

  def layer(self, name: str, x):
    if name in _POOLS:
      return layers.max_pool_same(x, *_POOLS[name])
    return self.get_submodule(name)(x)


class Bottleneck(nn.Module):
  """1x1x1, grouped 3x3x3 and 1x1x1 convolution beside a shortcut of type B."""

  def __init__(self, tree: dict, momentum: float, stride: int):
    super().__init__()
    self.conv1 = layers.Conv3d(tree["conv1"])
    self.conv2 = layers.Conv3d(tree["conv2"], stride, 1, resnext3d.GROUPS)
    self.conv3 = layers.Conv3d(tree["conv3"])
    settings = {"eps": 1e-5, "momentum": momentum}
    self.bn1 = layers.BatchNorm(tree["bn1"], relu=True, **settings)
    self.bn2 = layers.BatchNorm(tree["bn2"], relu=True, **settings)
    self.bn3 = layers.BatchNorm(tree["bn3"], **settings)
    self.project = "downsample_conv" in tree
    if self.project:
      self.downsample_conv = layers.Conv3d(tree["downsample_conv"], stride)
      self.downsample_bn = layers.BatchNorm(tree["downsample_bn"], **settings)

  def forward(self, x):
    y = self.bn1(self.conv1(x))
    y = self.bn2(self.conv2(y))
    y = self.bn3(self.conv3(y))
    shortcut = self.downsample_bn(self.downsample_conv(x)) if self.project else x
    return F.relu_(y + shortcut)


class ResNeXt3D(Trunk):
  """The trunk of 3D ResNeXt-101, of the widths and blocks of a parameter tree."""

  def __init__(self, tree: dict, endpoint: str, frozen_until: str, momentum: float):
    super().__init__(resnext3d.endpoints_until(endpoint), frozen_until)
    self.conv1 = layers.Conv3d(tree["conv1"], (1, 2, 2), 3)
    self.bn1 = layers.BatchNorm(tree["bn1"], relu=True, eps=1e-5, momentum=momentum)
    self.stages = {}
    for stage in self.names[2:]:
      count = sum(name.startswith(f"{stage}_") for name in tree)
      self.stages[stage] = [f"{stage}_{i}" for i in range(count)]
      for i, name in enumerate(self.stages[stage]):
        stride = 2 if i == 0 and stage != "layer1" else 1
        self.add_module(name, Bottleneck(tree[name], momentum, stride))

  @staticmethod
  def normalize(frames: torch.Tensor) -> torch.Tensor:
    """Maps uint8 [..., 3] to float32, less the mean of each color."""
    mean = torch.tensor((114.7748, 107.7354, 99.4750), device=frames.device)
    return frames.float() - mean

  def parts(self, name: str) -> list[nn.Module]:
    if name == "conv1":
      return [self.conv1, self.bn1]
    return [self.get_submodule(block) for block in self.stages.get(name, ())]

  def layer(self, name: str, x):
    if name == "conv1":
      return self.bn1(self.conv1(x))
    if name == "maxpool":
      return F.max_pool3d(x, 3, 2, 1)
    for block in self.parts(name):
      x = block(x)
    return x


TRUNKS = {"i3d": I3D, "resnext3d": ResNeXt3D}
