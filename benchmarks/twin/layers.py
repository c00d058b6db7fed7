"""Layers of the PyTorch twin, each made to the shapes of one of our parameter trees.

Inside a network tensors are [B, C, T, M, N] in channels-last memory, which is
PyTorch's fast path on a CPU as on a GPU.
"""

import torch
import torch.nn.functional as F
from torch import nn

from vpn_jax import ops

_LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "mean": "running_mean",
  "var": "running_var",
}


class Conv3d(nn.Conv3d):
  """Convolution without bias, padded as TensorFlow's "SAME" where none is given."""

  def __init__(self, tree: dict, stride=1, padding=None, groups: int = 1):
    *size, cin, cout = tree["kernel"].shape
    super().__init__(cin * groups, cout, size, stride, groups=groups, bias=False)
    self.given = None if padding is None else [(padding, padding)] * 3

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, Cin, T, M, N] to [B, Cout, T', M', N']."""
    same = map(ops.same_padding, x.shape[2:], self.kernel_size, self.stride)
    pairs = self.given or list(same)
    if any(before != after for before, after in pairs):
      x = F.pad(x, [end for pair in reversed(pairs) for end in pair])
      pairs = [(0, 0)] * 3
    padding = [before for before, _ in pairs]
    return F.conv3d(x, self.weight, None, self.stride, padding, (1, 1, 1), self.groups)


class BatchNorm(nn.Module):
  """Batch normalization of [B, C, ...], with ReLU if asked for.

  A tree without scale gives a factor fixed to one, so that the parameters are ours and
  cuDNN serves both. PyTorch records the unbiased variance where we record the biased
  one: the same work, and a difference in inference after training alone.
  """

  def __init__(
    self, tree: dict, *, relu: bool = False, eps: float = 1e-3, momentum: float = 0.9
  ):
    super().__init__()
    channels = tree["bias"].shape
    if "scale" in tree:
      self.weight = nn.Parameter(torch.ones(channels))
    else:
      self.register_buffer("weight", torch.ones(channels), persistent=False)
    self.bias = nn.Parameter(torch.zeros(channels))
    self.register_buffer("running_mean", torch.zeros(channels))
    self.register_buffer("running_var", torch.ones(channels))
    self.relu, self.eps, self.momentum = relu, eps, 1 - momentum

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, C, ...] to the same; in training by the statistics of the batch."""
    x = F.batch_norm(
      x,
      self.running_mean,
      self.running_var,
      self.weight,
      self.bias,
      self.training,
      self.momentum,
      self.eps,
    )
    return F.relu_(x) if self.relu else x


def max_pool_same(x: torch.Tensor, window, strides) -> torch.Tensor:
  """Maximum over [B, C, T, M, N] with "SAME" padding, which never wins.

  PyTorch pads both ends alike; the odd one of "SAME" at the end is what ceil_mode adds.
  """
  same = map(ops.same_padding, x.shape[2:], window, strides)
  before = [pair[0] for pair in same]
  return F.max_pool3d(x, window, strides, before, ceil_mode=True)


class Linear(nn.Linear):
  """A dense layer of the shape of one of ours."""

  def __init__(self, tree: dict):
    super().__init__(*tree["kernel"].shape)


def twin_name(path: tuple[str, ...]) -> str:
  """The name in the twin of a variable of ours, such as (..., "conv", "kernel")."""
  *where, leaf = path
  return ".".join((*where, _LEAVES.get(leaf, leaf)))


def kernel_order(ndim: int) -> tuple[int, ...]:
  """Axes of our [*window, Cin, Cout] in PyTorch's order, [Cout, Cin, *window]."""
  return (ndim - 1, ndim - 2, *range(ndim - 2))
