"""The networks of the paper: what the camera saw -> class scores."""

import flax.linen as nn


def build(network: str, fields: dict) -> nn.Module:
  """The network of a configuration: `build(config.network, config.model.to_dict())`.

  Args:
    network: "vpn" (with parts off, also the visual backbone alone), "p_i3d" or "pose".
    fields: settings of its class; an unknown one fails at once.
  Raises: ValueError that lists the known networks or settings.
  """
  from vpn_jax.models import parts, vpn  # they import this package's other files

  known = {"vpn": vpn.VPN, "p_i3d": parts.PartNetwork, "pose": vpn.PoseClassifier}
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
