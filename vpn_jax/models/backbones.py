"""Visual backbones: what a 3D ConvNet offers to go under VPN.

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


def features(
  backbone: str, frames: jax.Array, *, train: bool, name: str = "backbone", **fields
) -> jax.Array:
  """f of a visual backbone; to be called inside the module that it is a part of.

  Args:
    backbone: its name here.
    frames: uint8 [B, F, H, W, 3].
    train: whether it is being trained.
    name: of its parameters in the calling module.
    fields: settings of its module, and `after`.
  Returns: float32 [B, T, M, N, C], whatever type it was computed in.
  """
  chosen = get(backbone)
  after, dtype = fields.pop("after", None), jnp.dtype(fields.pop("dtype", "float32"))
  x = chosen.normalize_frames(frames).astype(dtype)
  f, _ = chosen.module(dtype=dtype, name=name, **fields)(x, train=train, after=after)
  return f.astype(jnp.float32)
