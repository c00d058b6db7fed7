"""ST-GCN++ and CTR-GCN in PyTorch, the twins of `vpn_jax.models.stgcn` and `ctrgcn`.

Inside, tensors are [B, C, S, J], the layout of the releases, which was faster here than
channels last.
"""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.twin import layers
from vpn_jax.models import ctrgcn, joint_blocks, stgcn


class TemporalConv(nn.Module):
  """Convolution of the steps of every joint, without bias."""

  def __init__(self, tree: dict, stride: int = 1, dilation: int = 1):
    super().__init__()
    taps, cin, cout = tree["kernel"].shape
    self.weight = nn.Parameter(torch.zeros(cout, cin, taps))
    self.settings = {
      "stride": (stride, 1),
      "padding": ((taps - 1) // 2 * dilation, 0),
      "dilation": (dilation, 1),
    }

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, Cin, S, J] to [B, Cout, S', J]."""
    return F.conv2d(x, self.weight[..., None], **self.settings)


class GraphConvolution(nn.Module):
  """`stgcn.GraphConvolution`."""

  def __init__(self, tree: dict):
    super().__init__()
    parts, cin, cout = tree["kernel"].shape
    self.adjacency = nn.Parameter(torch.zeros(tree["adjacency"].shape))
    self.weight = nn.Parameter(torch.zeros(cout, cin, parts))
    self.bias = nn.Parameter(torch.zeros(parts, cout))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, Cin, S, J] to [B, Cout, S, J]."""
    mixed = torch.einsum("bcsj,pij->bcpsi", x, self.adjacency).flatten(1, 2)
    y = F.conv2d(mixed, self.weight.flatten(1)[..., None, None])
    bias = torch.einsum("pij,py->yi", self.adjacency, self.bias)
    return y + bias[:, None]


class RefinedGraphConvolution(nn.Module):
  """`ctrgcn.RefinedGraphConvolution`."""

  def __init__(self, tree: dict):
    super().__init__()
    for name in ("adjacency", "alpha", "psi", "psi_bias", "phi", "xi", "xi_bias"):
      self.register_parameter(name, nn.Parameter(torch.zeros(tree[name].shape)))
    self.parts, cin, self.features = tree["kernel"].shape
    self.weight = nn.Parameter(torch.zeros(self.features, cin, self.parts))
    self.bias = nn.Parameter(torch.zeros(self.parts, self.features))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, Cin, S, J] to [B, Cout, S, J]."""
    mean = x.mean(2)  # [B, Cin, J]
    target = torch.einsum("bci,pcr->bpri", mean, self.psi) + self.psi_bias[..., None]
    source = torch.einsum("bcj,pcr->bprj", mean, self.phi)
    relation = torch.tanh(target[..., :, None] - source[..., None, :])
    q = torch.einsum("bprij,pry->bpyij", relation, self.xi)
    q = q + self.xi_bias[..., None, None]
    refined = self.alpha * q + self.adjacency[:, None]
    weight = self.weight.permute(2, 0, 1).flatten(0, 1)[..., None, None]
    moved = F.conv2d(x, weight, self.bias.flatten())
    moved = moved.unflatten(1, (self.parts, self.features))
    return torch.einsum("bpyij,bpysj->bysi", refined, moved)


class SpatialUnit(nn.Module):
  """The spatial unit of either network."""

  def __init__(self, tree: dict, convolution: type[nn.Module], norm):
    super().__init__()
    self.graph_conv = convolution(tree["graph_conv"])
    self.graph_bn = norm(tree["graph_bn"])
    self.goes_down = "down_conv" in tree
    if self.goes_down:
      self.down_conv = TemporalConv(tree["down_conv"])
      self.down_bn = norm(tree["down_bn"])

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = self.graph_bn(self.graph_conv(x))
    if self.goes_down:
      x = self.down_bn(self.down_conv(x))
    return F.relu(x + y)


class TemporalUnit(nn.Module):
  """The temporal unit of either network; CTR-GCN's ends with its branches."""

  def __init__(self, tree: dict, dilations: tuple[int, ...], stride: int, norm):
    super().__init__()
    self.enter_conv = TemporalConv(tree["enter_conv"])
    self.enter_bn = norm(tree["enter_bn"], relu=True)
    self.names = [f"dilation{d}_conv" for d in dilations]
    for name, dilation in zip(self.names, dilations, strict=True):
      self.add_module(name, TemporalConv(tree[name], stride, dilation))
    self.point_conv = TemporalConv(tree["point_conv"], stride)
    self.transforms = "transform_conv" in tree
    self.branches_bn = norm(tree["branches_bn"], relu=self.transforms)
    if self.transforms:
      self.transform_conv = TemporalConv(tree["transform_conv"])
      self.transform_bn = norm(tree["transform_bn"])
    self.widths = [tree[name]["kernel"].shape[1] for name in self.names]
    self.widths.append(tree["enter_conv"]["kernel"].shape[2] - sum(self.widths))
    self.stride = stride

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    *spans, largest = self.enter_bn(self.enter_conv(x)).split(self.widths, dim=1)
    made = [getattr(self, name)(y) for name, y in zip(self.names, spans, strict=True)]
    made.append(F.max_pool2d(largest, (3, 1), (self.stride, 1), (1, 0)))
    made.append(self.point_conv(x))
    y = self.branches_bn(torch.cat(made, 1))
    return self.transform_bn(self.transform_conv(y)) if self.transforms else y


class Block(nn.Module):
  """A spatial and a temporal unit, with a residual around both."""

  def __init__(self, tree: dict, kind: str, stride: int, residual: bool, norm):
    super().__init__()
    convolution, dilations = {
      "stgcn": (GraphConvolution, stgcn.DILATIONS),
      "ctrgcn": (RefinedGraphConvolution, ctrgcn.DILATIONS),
    }[kind]
    self.spatial = SpatialUnit(tree["spatial"], convolution, norm)
    self.temporal = TemporalUnit(tree["temporal"], dilations, stride, norm)
    self.residual = residual
    self.changes = "residual_conv" in tree
    if self.changes:
      self.residual_conv = TemporalConv(tree["residual_conv"], stride)
      self.residual_bn = norm(tree["residual_bn"])

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = self.temporal(self.spatial(x))
    if not self.residual:
      return F.relu(y)
    if self.changes:
      x = self.residual_bn(self.residual_conv(x))
    return F.relu(x + y)


class JointBlocks(nn.Module):
  """The twin of `joint_blocks.JointBlocks`, of one person.

  Args:
    tree: our parameters, or their shapes.
    settings: of `pose_backbone.PoseBranch`.
  """

  def __init__(self, tree: dict, settings: dict):
    super().__init__()
    norm = functools.partial(
      layers.BatchNorm, eps=joint_blocks.EPSILON, momentum=settings["bn_momentum"]
    )
    plan = joint_blocks.plan(settings["blocks"], settings["block_features"])
    self.names = [f"block{i}" for i, _ in enumerate(plan, start=1)]
    for i, (name, (_, stride)) in enumerate(zip(self.names, plan, strict=True)):
      block = Block(tree[name], settings["kind"], stride, i > 0, norm)
      self.add_module(name, block)

  def forward(self, pose: torch.Tensor, present: torch.Tensor):
    """Maps poses [B, S, J, 3], present [B] to h* [B, C] and joint_features."""
    there = present[:, None, None, None]
    x = (pose * there).permute(0, 3, 1, 2).contiguous()
    for name in self.names:
      x = getattr(self, name)(x)
    joint_features = x.permute(0, 2, 3, 1) * there
    return joint_features.mean((1, 2)), {"joint_features": joint_features}
