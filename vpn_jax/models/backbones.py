"""Visual backbones by name: the 3D ConvNets that VPN stands on.

The paper: VPN is "a layer on top of any 3D ConvNet". docs/backbones.md says how to add
one.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vpn_jax.models import checks, i3d, resnext3d, trunk


@dataclasses.dataclass(frozen=True)
class Backbone:
  """A 3D ConvNet, and how to feed it.

  Attributes:
    module: a `trunk.Trunk`.
    normalize_frames: uint8 [..., 3] -> float32, the convention of its weights.
    feature_shape: (num_frames, height, width, width_multiplier, final_endpoint) -> (T,
      M, N, C).
  """

  module: type[trunk.Trunk]
  normalize_frames: Callable[[jax.Array], jax.Array]
  feature_shape: Callable[..., tuple[int, int, int, int]]


BACKBONES = {
  "i3d": Backbone(i3d.I3D, i3d.normalize_frames, i3d.feature_shape),
  "resnext3d": Backbone(
    resnext3d.ResNeXt3D, resnext3d.normalize_frames, resnext3d.feature_shape
  ),
}


def get(name: str) -> Backbone:
  """A backbone by name; ValueError lists the known ones."""
  checks.one_of("backbone", name, tuple(BACKBONES))
  return BACKBONES[name]


def until(backbone: str, tree: dict, layer: str) -> dict:
  """The parameters or statistics of the layers of a backbone up to one."""
  module = get(backbone).module
  kept = trunk.until(module.ENDPOINTS, layer)
  return {
    name: value for name, value in tree.items() if module.endpoint_of(name) in kept
  }


def features(
  backbone: str,
  frames: jax.Array,
  *,
  train: bool,
  after: dict[str, Callable] | None = None,
  start_after: str = "",
  dtype: str = "float32",
  name: str = "backbone",
  **fields,
) -> jax.Array:
  """Applies a visual backbone to frames, inside the module that it is a part of.

  Args:
    backbone: its name here.
    frames: uint8 [B, F, H, W, 3]; with `start_after` the output of that layer.
    train: whether it is being trained.
    after, start_after: as in `trunk.Trunk`.
    dtype: of the computation.
    name: of its parameters in the calling module.
    fields: other settings of its module.
  Returns: f, float32 [B, T, M, N, C].
  """
  chosen = get(backbone)
  x = frames if start_after else chosen.normalize_frames(frames)
  module = chosen.module(dtype=jnp.dtype(dtype), name=name, **fields)
  x = module(x.astype(dtype), train=train, after=after, start_after=start_after)[0]
  return x.astype(jnp.float32)
