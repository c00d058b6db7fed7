"""Pose-only recognition, how a pose backbone is trained before VPN takes it."""

import flax.linen as nn
import jax

from vpn_jax.models import pose_backbone


class PoseClassifier(nn.Module):
  """The pose backbone and a classifier.

  Attributes:
    num_classes: K.
    dropout: rate before the classifier.
    pose: settings of `pose_backbone.PoseBranch`.
  """

  inputs = ("pose",)
  num_classes: int
  dropout: float = 0.3
  pose: dict | None = None

  @nn.compact
  def __call__(self, pose: jax.Array, *, train: bool = False):
    """Maps P, float [B, S, J, 3], to logits [B, K] and the steps on the way.

    Returns: (logits, out) with pooled, h* [B, _], and the steps of the pose backbone.
    """
    branch = pose_backbone.PoseBranch(**(self.pose or {}), name="pose_backbone")
    pose_features, out = branch(pose, train=train)  # h*
    x = nn.Dropout(self.dropout, deterministic=not train)(pose_features)
    logits = nn.Dense(self.num_classes, name="classifier")(x)
    return logits, out | {"pooled": pose_features}
