"""The networks of the paper: frames and poses -> class scores."""

import flax.linen as nn


def build(network: str, fields: dict) -> nn.Module:
  """The network of a configuration: `build(config.network, config.model.to_dict())`.

  Args:
    network: "vpn" (with parts off, also the visual backbone alone) or "pose".
    fields: settings of its class; an unknown one fails at once.
  Raises: ValueError that lists the known networks or settings.
  """
  from vpn_jax.models import vpn  # imports this package's other files

  known = {"vpn": vpn.VPN, "pose": vpn.PoseClassifier}
  vpn.check("config.network", network, tuple(known))
  names = set(known[network].__dataclass_fields__) - {"parent", "name"}
  unknown = set(fields) - names
  if unknown:
    raise ValueError(
      f"config.model has unknown settings {sorted(unknown)}, expected {sorted(names)}."
    )
  return known[network](**fields)
