"""Strength of a network's features, by joint, position and channel (figure 5)."""

import numpy as np

from vpn_jax.datasets import skeletons

_ARM = {"shoulder", "elbow", "wrist", "hand", "thumb", "tip", "pinky", "index"}
_LEG = {"hip", "knee", "ankle", "foot", "heel", "toe"}
PARTS = ("head and trunk", "left arm", "right arm", "left leg", "right leg")


def body_order(skeleton: skeletons.Skeleton) -> dict[str, list[int]]:
  """Orders the joints by part of the body, and within a part from the head outwards.

  The name of a joint decides its part; a joint of no limb is in the first of `PARTS`.

  Returns: part -> indices of its joints, without parts that have none.
  """
  hops = _hops_from_head(skeleton)
  parts = {part: [] for part in PARTS}
  for joint in sorted(range(skeleton.num_joints), key=lambda j: (hops[j], j)):
    words = set(skeleton.joints[joint].split("_"))
    side = next(iter(words & {"left", "right"}), None)
    limb = "leg" if words & _LEG else "arm" if words & _ARM else None
    parts[f"{side} {limb}" if side and limb else PARTS[0]].append(joint)
  return {part: joints for part, joints in parts.items() if joints}


def _hops_from_head(skeleton: skeletons.Skeleton) -> np.ndarray:
  """Bones between each joint and the head, int [J]; J for a joint apart from it."""
  heads = [i for i, name in enumerate(skeleton.joints) if name in ("head", "nose")]
  hops = np.full(skeleton.num_joints, skeleton.num_joints)
  hops[heads or skeleton.origin_indices()[:1]] = 0
  for _ in range(skeleton.num_joints):
    for i, j in skeleton.bone_indices():
      hops[i], hops[j] = min(hops[i], hops[j] + 1), min(hops[j], hops[i] + 1)
  return hops


def joint_activation(joint_features: np.ndarray) -> np.ndarray:
  """Response of the graph to each joint at each pose step.

  Args:
    joint_features: f_t^+ of eq. 1 after its activation, float [S, J, 64], or those of
      another backbone over joints, float [S', J, C].
  Returns: root of the mean square over the channels, float [S, J].
  Reading: figure 5 (a) shows one number a joint and does not say which.
  """
  return np.sqrt(np.mean(np.square(np.float64(joint_features)), axis=-1))


def heat(features: np.ndarray) -> np.ndarray:
  """Strength of a feature map at each position: mean magnitude of its channels.

  Args:
    features: f or f', float [T, M, N, C].
  Returns: float [T, M, N].
  Reading: figure 5 (b) does not say how channels become one map.
  """
  return np.abs(np.float64(features)).mean(axis=-1)


def strongest_channels(
  features: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
  """The channels of largest mean magnitude over the clip, and their time courses.

  Args:
    features: f or f', float [T, M, N, C].
    number: of channels.
  Returns: channels int [number], strongest first; mean magnitude of each over M and N,
    float [number, T].
  """
  over_time = np.abs(np.float64(features)).mean(axis=(1, 2)).T  # [C, T]
  channels = np.argsort(-over_time.mean(axis=1), kind="stable")[:number]
  return channels, over_time[channels]
