"""VPN, and its backbones alone, in PyTorch: the twin of `vpn_jax.models.vpn`."""

import numpy as np
import torch
import torch.nn.functional as F
from flax import traverse_util
from torch import nn

from benchmarks.twin import joint_blocks, layers, trunks
from vpn_jax.datasets import skeletons
from vpn_jax.models import graph as graph_lib
from vpn_jax.models import pose_backbone

# Settings of the network for which a twin is written, and their values.
_WRITTEN = {
  "non_local": ((),),
  "attention": ("spatiotemporal", "none"),
  "coupler": (True,),
  "attention_grid": ((),),
  "attention_scale": ("sum",),
  "head": ("mean",),
  "remat": (False,),
}
_WRITTEN_POSE = {
  "kind": ("gcn", "stgcn", "ctrgcn"),
  "frozen": (False,),
  "align": ("none",),
  "scale": ("none",),
  "stream": ("joint",),
  "identity_filter": (False,),
  "block_output": ("mean",),
  "dtype": ("float32",),
}


class GraphPoseBackbone(nn.Module):
  """Graph convolutions per step, then 2D convolutions over (step, joint)."""

  def __init__(self, tree: dict, settings: dict):
    super().__init__()
    e = graph_lib.adjacency(
      skeletons.get(settings["skeleton"]),
      bone_weight=settings["bone_weight"],
      other_weight=settings["other_weight"],
      other_pairs=settings["other_pairs"],
      persons=settings["persons"],
    )
    graph = np.float32(graph_lib.normalized_adjacency(e))
    self.register_buffer("graph", torch.from_numpy(graph), persistent=False)
    self.graph_kernel = nn.Parameter(torch.zeros(tree["graph_kernel"].shape))
    self.dropout = nn.Dropout(settings["dropout"])
    for i in (1, 2, 3):
      *_, cin, cout = tree[f"conv{i}"]["kernel"].shape
      conv = nn.Conv2d(cin, cout, 3, padding=1, bias=False)
      self.add_module(f"conv{i}", conv)
      momentum = settings["bn_momentum"]
      norm = layers.BatchNorm(tree[f"bn{i}"], relu=True, momentum=momentum)
      self.add_module(f"bn{i}", norm)

  def forward(self, pose: torch.Tensor):
    """Maps P [B, S, J, 3] to h* [B, _] and {"joint_features": [B, S, J, 64]}."""
    y = torch.einsum("ij,bsjx,sxy->bsiy", self.graph, pose, self.graph_kernel)
    joint_features = F.elu(y)
    y = torch.cat([self.dropout(joint_features), pose], dim=-1).permute(0, 3, 1, 2)
    y = self.bn1(self.conv1(y))
    y = F.max_pool2d(self.bn2(self.conv2(y)), 2)  # drops an odd last row, as ours
    y = F.max_pool2d(self.bn3(self.conv3(y)), 2)
    h = y.permute(0, 2, 3, 1).flatten(1)  # in the order of our weights
    return h, {"joint_features": joint_features}


class PoseBranch(nn.Module):
  """The pose backbone under the name that ours has."""

  def __init__(self, tree: dict, settings: dict):
    super().__init__()
    _check(settings, _WRITTEN_POSE, "pose.")
    self.blocks = settings["kind"] != "gcn"
    if self.blocks:
      _check(settings, {"persons": (1,)}, "pose.")
      self.graph = joint_blocks.JointBlocks(tree["graph"], settings)
    else:
      self.graph = GraphPoseBackbone(tree["graph"], settings)
    if "input_norm" in tree:
      self.input_norm = layers.BatchNorm(
        tree["input_norm"],
        momentum=settings["bn_momentum"],
        eps=pose_backbone.INPUT_EPSILON,
      )

  def forward(self, pose):
    present = (pose != 0).flatten(1).any(1)
    if hasattr(self, "input_norm"):
      flat = pose.flatten(2).transpose(1, 2)  # channels are second here
      pose = self.input_norm(flat).transpose(1, 2).reshape(pose.shape)
    return self.graph(pose, present) if self.blocks else self.graph(pose)


class AttentionNetwork(nn.Module):
  """Spatial and temporal attention from h* (eq. 2)."""

  def __init__(self, tree: dict, momentum: float):
    super().__init__()
    for name, part in tree.items():
      if name.endswith("_norm"):
        self.add_module(name, layers.BatchNorm(part, momentum=momentum))
      else:
        self.add_module(name, layers.Linear(part))

  def _logits(self, name: str, h: torch.Tensor) -> torch.Tensor:
    x = getattr(self, f"{name}_hidden")(h)
    if hasattr(self, f"{name}_norm"):
      x = getattr(self, f"{name}_norm")(x)
    return getattr(self, f"{name}_logits")(torch.tanh(x))

  def forward(self, h: torch.Tensor, grid: tuple[int, int]) -> dict:
    """Maps h* [B, _] to A_S [B, M, N], A_T [B, T] and their logits."""
    z1, z2 = self._logits("spatial", h), self._logits("temporal", h)
    return {
      "spatial_logits": z1,
      "spatial_attention": torch.sigmoid(z1).unflatten(1, grid),
      "temporal_logits": z2,
      "temporal_attention": torch.softmax(z2, dim=-1),
    }


class SpatialEmbedding(nn.Module):
  """Projects features and spatial logits into one space (eq. 3)."""

  def __init__(self, tree: dict):
    super().__init__()
    for name, part in tree.items():
      self.register_parameter(name, nn.Parameter(torch.zeros(part.shape)))

  def forward(self, features: torch.Tensor, spatial_logits: torch.Tensor) -> dict:
    """Maps f [B, T, M, N, C] and z1 [B, M*N] to f_e and P_e, each [B, D]."""
    pooled = features.sum(1).flatten(1)
    t_v, t_p = (
      t * torch.rsqrt(t.square().sum() + 1e-12)
      for t in (self.video_projection, self.pose_projection)
    )
    return {
      "pooled_features": pooled,
      "video_embedding": pooled @ t_v,
      "pose_embedding": spatial_logits @ t_p,
    }


class PoseClassifier(nn.Module):
  """The twin of `vpn_jax.models.pose_classifier.PoseClassifier`; see `VPN`."""

  inputs = ("pose",)

  def __init__(self, fields: dict, params: dict):
    super().__init__()
    self.pose_backbone = PoseBranch(params["pose_backbone"], fields["pose"])
    self.dropout = nn.Dropout(fields["dropout"])
    self.classifier = layers.Linear(params["classifier"])

  def forward(self, pose: torch.Tensor):
    """Maps pose float [B, S, J, 3] to (logits, out)."""
    h, out = self.pose_backbone(pose)
    return self.classifier(self.dropout(h)), out | {"pooled": h}


class VPN(nn.Module):
  """The twin of `vpn_jax.models.vpn.VPN` with the shapes of our parameters.

  Args:
    fields: settings of our network, `config.model.to_dict()`.
    params: its parameters, or their shapes.
  Raises: ValueError for a setting that has no twin.
  """

  inputs = ("frames", "pose")

  def __init__(self, fields: dict, params: dict):
    super().__init__()
    _check(fields, _WRITTEN, "")
    momentum, frozen_until = fields["bn_momentum"], fields["frozen_until"]
    trunk = trunks.TRUNKS[fields["backbone"]]
    self.backbone = trunk(
      params["backbone"], fields["endpoint"], frozen_until, momentum
    ).to(memory_format=torch.channels_last_3d)
    self.attends = fields["attention"] != "none"
    self.embeds = fields["embedding"]
    if self.attends:
      branch = PoseBranch(params["pose_backbone"], fields["pose"])
      self.pose_backbone = branch.to(memory_format=torch.channels_last)
      self.attention = AttentionNetwork(params["attention"], momentum)
    if self.embeds:
      self.embedding = SpatialEmbedding(params["embedding"])
    self.dropout = nn.Dropout(fields["dropout"])
    self.classifier = layers.Linear(params["classifier"])
    self.dtype = getattr(torch, fields["dtype"])

  def forward(self, frames: torch.Tensor, pose: torch.Tensor | None = None):
    """Maps frames uint8 [B, F, H, W, 3], pose float [B, S, J, 3] to (logits, out).

    The steps on the way have the names and shapes of ours. As there, the backbone
    alone is computed in a type other than float32.
    """
    x = self.backbone.normalize(frames).permute(0, 4, 1, 2, 3)
    lower = self.dtype != torch.float32
    with torch.autocast(frames.device.type, dtype=self.dtype, enabled=lower):
      x = self.backbone(x)
    features = modulated = x.float().permute(0, 2, 3, 4, 1)  # [B, T, M, N, C]
    out = {"features": features}
    if self.attends:
      out["pose_features"], steps = self.pose_backbone(pose)
      out.update(steps, **self.attention(out["pose_features"], features.shape[2:4]))
      a_s, a_t = out["spatial_attention"], out["temporal_attention"]
      out["attention"] = torch.einsum("bmn,bt->btmn", a_s, a_t)
      modulated = features * (1 + out["attention"][..., None])
    if self.embeds:
      out.update(self.embedding(features, out["spatial_logits"]))
    out["modulated"] = modulated
    out["pooled"] = y = modulated.mean((1, 2, 3))
    return self.classifier(self.dropout(y)), out


def _check(fields: dict, written: dict, where: str) -> None:
  for name, known in written.items():
    if fields[name] not in known:
      raise ValueError(
        f"model.{where}{name} is {fields[name]!r}, the PyTorch twin is written for "
        f"{known}: compare another row."
      )


NETWORKS = {"vpn": VPN, "pose": PoseClassifier}


def load(network: nn.Module, variables: dict) -> nn.Module:
  """Copies our variables into a twin, name by name; returns the twin.

  Args:
    network: the twin.
    variables: {"params", "batch_stats"} of arrays.
  Raises: RuntimeError that lists the names that are missing, left over or of another
    shape.
  """
  state = {}
  for collection in variables.values():
    for path, value in traverse_util.flatten_dict(collection).items():
      value = np.array(value)
      if path[-1] == "kernel":
        value = value.transpose(layers.kernel_order(value.ndim))
      state[layers.twin_name(path)] = torch.from_numpy(value)
  network.load_state_dict(state)
  return network
