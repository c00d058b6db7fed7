"""P-I3D: the whole body and both hands, each seen by a ConvNet of its own.

Source: Das et al., "Where to Focus on for Human Action Recognition?", WACV 2019, and
the authors' release of it; a comparator in tables 5 to 7.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vpn_jax.models import backbones, checks, pose_backbone

PARTS = ("body", "left_hand", "right_hand")
COMBINATIONS = ("sum", "concat")


class PartNetwork(nn.Module):
  """Features of three parts, weighted by attention from the pose.

  Attributes:
    num_classes: K.
    backbone, width, endpoint, frozen_until, bn_momentum, bn_frozen, remat: of each of
      the three visual backbones, see `vpn.VPN`; they share nothing.
      frozen_until=endpoint freezes them, as the release does.
    combine: "sum" of the weighted features, or "concat" along the channels.
    attention_hidden: width of the tanh layer before the weights.
    dropout: rate before the classifier.
    pose: settings of `pose_backbone.PoseBranch`.
    dtype: of the computation; parameters and statistics stay float32.

  Reading: one softmax over the parts for the whole clip, from the last step of the
    frozen LSTM, its last layer starting at zero, as in the release.
  """

  inputs = ("frames", "left_hand", "right_hand", "pose")
  num_classes: int
  backbone: str = "i3d"
  width: float = 1.0
  endpoint: str = "Mixed_5c"
  frozen_until: str = ""
  bn_momentum: float = 0.9
  bn_frozen: bool = False
  remat: bool = False
  combine: str = "sum"
  attention_hidden: int = 128
  dropout: float = 0.3
  pose: dict | None = None
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self,
    frames: jax.Array,
    left_hand: jax.Array,
    right_hand: jax.Array,
    pose: jax.Array,
    *,
    train: bool = False,
  ):
    """Maps three films uint8 [B, F, H, W, 3] and pose [B, S, J, 3] to logits [B, K].

    Returns: (logits, out) with features [B, 3, T, M, N, C], part_attention [B, 3],
      modulated [B, T, M, N, C or 3C], pooled, pose_features and those of the backbone.
    Raises: ValueError for an unknown setting.
    """
    checks.one_of("combine", self.combine, COMBINATIONS)
    films = (frames, left_hand, right_hand)
    seen = [
      backbones.features(
        self.backbone,
        film,
        train=train,
        name=f"backbone_{part}",
        width=self.width,
        final_endpoint=self.endpoint,
        frozen_until=self.frozen_until,
        bn_momentum=self.bn_momentum,
        bn_frozen=self.bn_frozen,
        remat=self.remat,
        dtype=self.dtype,
      )
      for part, film in zip(PARTS, films, strict=True)
    ]
    branch = pose_backbone.PoseBranch(**(self.pose or {}), name="pose_backbone")
    pose_features, out = branch(pose, train=train)
    hidden = nn.Dense(self.attention_hidden, name="part_hidden")(pose_features)
    zero = nn.initializers.zeros
    z = nn.Dense(len(PARTS), kernel_init=zero, name="part_logits")(nn.tanh(hidden))
    weights = nn.softmax(z)
    features = jnp.stack(seen, axis=1)
    weighted = features * weights[:, :, None, None, None, None]
    if self.combine == "sum":
      modulated = weighted.sum(axis=1)
    else:
      modulated = jnp.concatenate(jnp.unstack(weighted, axis=1), axis=-1)
    y = jnp.mean(modulated, axis=(1, 2, 3))
    out.update(
      pose_features=pose_features,
      features=features,
      part_attention=weights,
      modulated=modulated,
      pooled=y,
    )
    y = nn.Dropout(self.dropout, deterministic=not train)(y)
    return nn.Dense(self.num_classes, name="classifier")(y), out
