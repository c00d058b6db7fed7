"""Networks by name: built from settings, given their inputs, trained in part."""

import flax.linen as nn
from flax import traverse_util

from vpn_jax.models import backbones, p_i3d, trunk, vpn


def build(network: str, fields: dict) -> nn.Module:
  """The network of a configuration: `build(config.network, config.model.to_dict())`.

  Args:
    network: "vpn" (with parts off, also the visual backbone alone), "p_i3d" or "pose".
    fields: settings of its class; an unknown one fails at once.
  Raises: ValueError that lists the known networks or settings.
  """

  known = {"vpn": vpn.VPN, "p_i3d": p_i3d.PartNetwork, "pose": vpn.PoseClassifier}
  vpn.check("config.network", network, tuple(known))
  names = set(known[network].__dataclass_fields__) - {"parent", "name"}
  unknown = set(fields) - names
  if unknown:
    raise ValueError(
      f"config.model has unknown settings {sorted(unknown)}, expected {sorted(names)}."
    )
  return known[network](**fields)


def inputs(model: nn.Module, batch: dict) -> tuple:
  """What a network takes of a batch, in the order of its arguments.

  Every network names its arguments in `inputs`, such as ("frames", "pose").

  Raises: ValueError when the batch lacks one.
  """
  lacking = [name for name in model.inputs if name not in batch]
  if lacking:
    raise ValueError(
      f"{type(model).__name__} takes {model.inputs}, the batch has no {lacking}: set "
      f"config.data.example.inputs to {model.inputs}."
    )
  return tuple(batch[name] for name in model.inputs)


# Settings that came with a default other than what the network did before: what
# checkpoints without them were trained with.
_BEFORE = {"attention_norm": "none", "pose.input_norm": "none"}


def with_missing_settings(network: str, fields: dict) -> tuple[dict, dict]:
  """The settings of a network from a checkpoint, which may lack later ones.

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
  """The settings of the network that scores the views of an evaluation.

  Args:
    fields: `config.model` of training.
    example: `config.data.example` of training.
    views: of `multi_view.Inference`. With "full", on larger frames, A_S keeps its grid
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

  It does not reach the layers of a visual backbone up to `frozen_until`, with the
  non-local blocks before that layer's end, nor a pose backbone that is `frozen`.

  Args:
    params: those of the network, or their shapes.
  Returns: a tree of bool like `params`.
  """

  frozen, module = (), None
  if getattr(model, "frozen_until", ""):
    module = backbones.get(model.backbone).module
    frozen = trunk.until(module.ENDPOINTS, model.frozen_until)
  frozen_pose = (getattr(model, "pose", None) or {}).get("frozen", False)

  def trains(path, _):
    if frozen and path[0].startswith("backbone"):
      return module.endpoint_of(path[1]) not in frozen
    if path[0].startswith("non_local_"):
      return path[0].removeprefix("non_local_") not in frozen[:-1]
    return not (frozen_pose and path[0] == "pose_backbone")

  return traverse_util.path_aware_map(trains, params)
