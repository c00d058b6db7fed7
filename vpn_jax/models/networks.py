"""Networks by name: how to build one, what it takes of a batch, what of it trains."""

import flax.linen as nn
from flax import traverse_util

from vpn_jax.models import backbones, checks, p_i3d, pose_classifier, trunk, vpn

NETWORKS = {
  "vpn": vpn.VPN,
  "p_i3d": p_i3d.PartNetwork,
  "pose": pose_classifier.PoseClassifier,
}
# Settings whose default is not what networks did before these settings existed, and
# what they did: a checkpoint without them was trained so.
_BEFORE = {"attention_norm": "none", "pose.input_norm": "none"}


def build(network: str, fields: dict) -> nn.Module:
  """The network of a configuration: `build(config.network, config.model.to_dict())`.

  Args:
    network: "vpn" (with parts off, also the visual backbone alone), "p_i3d" or "pose".
    fields: settings of its class; an unknown one fails at once.
  Raises: ValueError that lists the known networks or settings.
  """
  checks.one_of("config.network", network, tuple(NETWORKS))
  names = set(NETWORKS[network].__dataclass_fields__) - {"parent", "name"}
  unknown = set(fields) - names
  if unknown:
    raise ValueError(
      f"config.model has unknown settings {sorted(unknown)}, expected {sorted(names)}."
    )
  return NETWORKS[network](**fields)


def inputs(model: nn.Module, batch: dict) -> tuple:
  """Takes what a network needs out of a batch, in the order of its arguments.

  A network names them in its `inputs`, such as ("frames", "pose").

  Raises: ValueError when the batch lacks one.
  """
  lacking = [name for name in model.inputs if name not in batch]
  if lacking:
    raise ValueError(
      f"{type(model).__name__} takes {model.inputs}, the batch has no {lacking}: set "
      f"config.data.example.inputs to {model.inputs}."
    )
  return tuple(batch[name] for name in model.inputs)


def with_missing_settings(network: str, fields: dict) -> tuple[dict, dict]:
  """Completes the settings of a checkpoint that was written before some existed.

  Args:
    network, fields: as in `build`.
  Returns: the settings, and those that were added, by dotted name.
  """
  fields, added = dict(fields), {}
  if network == "vpn" and "attention_norm" not in fields:
    fields["attention_norm"] = added["attention_norm"] = _BEFORE["attention_norm"]
  pose = fields.get("pose")
  if isinstance(pose, dict) and "input_norm" not in pose:
    added["pose.input_norm"] = _BEFORE["pose.input_norm"]
    fields["pose"] = {**pose, "input_norm": _BEFORE["pose.input_norm"]}
  return fields, added


def inference_fields(fields: dict, example: dict, views: str) -> dict:
  """Settings of the network that scores the views of an evaluation.

  Args:
    fields: `config.model` of training.
    example: `config.data.example` of training.
    views: of `multi_view.Inference`. With "full", on larger frames, A_S keeps the grid
      of training and is resized (section 4.1).
  """
  if views != "full" or "attention_grid" not in fields:
    return fields
  grid = backbones.get(fields["backbone"]).feature_shape(
    example["num_frames"],
    example["frame_size"],
    example["frame_size"],
    fields["width"],
    fields["endpoint"],
  )[:3]
  return {**fields, "attention_grid": grid}


def trainable(model: nn.Module, params: dict) -> dict:
  """Marks the parameters that a gradient can reach by the settings of a network.

  It does not reach the layers of a visual backbone up to `frozen_until`, the non-local
  blocks between them, or a pose backbone that is `frozen`.

  Args:
    params: of the network, arrays or their shapes.
  Returns: a tree of bool like `params`.
  """
  frozen_layers, layer_of = (), None
  if getattr(model, "frozen_until", ""):
    module = backbones.get(model.backbone).module
    frozen_layers = trunk.until(module.ENDPOINTS, model.frozen_until)
    layer_of = module.endpoint_of
  frozen_pose = (getattr(model, "pose", None) or {}).get("frozen", False)

  def trains(path: tuple[str, ...], _) -> bool:
    part = path[0]
    if part == "pose_backbone":
      return not frozen_pose
    if part.startswith("non_local_"):
      return part.removeprefix("non_local_") not in frozen_layers[:-1]
    if part.startswith("backbone") and layer_of:
      return layer_of(path[1]) not in frozen_layers
    return True

  return traverse_util.path_aware_map(trains, params)
