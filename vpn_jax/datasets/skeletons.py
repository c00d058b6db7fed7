"""Skeletons: joint names, bones and left/right pairs.

`register` adds a skeleton of your own.
"""

import dataclasses
import hashlib
import itertools
import json

import numpy as np


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """What the network needs to know about a body.

  Attributes:
    name: key in `SKELETONS`.
    joints: joint names in the order of the arrays.
    bones: pairs of joint names: the edges with weight alpha of the graph.
    origin: joints whose mean in the first valid frame becomes (0, 0, 0).
    roles: (role, joint) where a joint of another name plays a role: LCR-Net and
      BlazePose have wrists instead of "left_hand" and "right_hand".
  """

  name: str
  joints: tuple[str, ...]
  bones: tuple[tuple[str, str], ...]
  origin: tuple[str, ...]
  roles: tuple[tuple[str, str], ...] = ()

  def __post_init__(self):
    if len(set(self.joints)) != len(self.joints):
      raise ValueError(f"skeleton {self.name}: a joint name appears twice; rename it.")
    named = [j for bone in self.bones for j in bone] + list(self.origin)
    unknown = sorted(set(named) - set(self.joints))
    if unknown:
      raise ValueError(
        f"skeleton {self.name}: bones or origin name {unknown}, expected names among "
        f"its joints {list(self.joints)}."
      )

  @property
  def num_joints(self) -> int:
    return len(self.joints)

  def index(self, joint: str) -> int:
    """The position of a joint in the arrays; ValueError for an unknown one."""
    if joint not in self.joints:
      raise ValueError(f"skeleton {self.name} has no joint {joint!r}: {self.joints}.")
    return self.joints.index(joint)

  def bone_indices(self) -> np.ndarray:
    """The positions of both ends of each bone, int [bones, 2]."""
    return np.array([[self.index(a), self.index(b)] for a, b in self.bones])

  def origin_indices(self) -> np.ndarray:
    return np.array([self.index(j) for j in self.origin])

  def hands(self) -> tuple[int, int]:
    """The positions of the joints of the left and the right hand."""
    roles = dict(self.roles)
    left, right = (roles.get(hand, hand) for hand in ("left_hand", "right_hand"))
    return self.index(left), self.index(right)

  def hips(self) -> tuple[int, int]:
    """Positions of the left and the right hip."""
    return self.index("left_hip"), self.index("right_hip")

  def mirror(self) -> np.ndarray:
    """The order of joints after a horizontal flip, int [J].

    `pose[..., skeleton.mirror(), :]` has at `left_x` what was at `right_x`.
    """
    swap = {"left": "right", "right": "left"}
    words = ["_".join(swap.get(w, w) for w in j.split("_")) for j in self.joints]
    return np.array(
      [self.index(w) if w in self.joints else i for i, w in enumerate(words)]
    )

  def digest(self) -> str:
    """Eight hex digits over joints, bones and origin."""
    text = json.dumps([self.joints, self.bones, self.origin])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


SKELETONS: dict[str, Skeleton] = {}


def register(skeleton: Skeleton) -> Skeleton:
  """Registers a skeleton by its name; refuses another one of the same name."""
  known = SKELETONS.get(skeleton.name)
  if known is not None and known != skeleton:
    raise ValueError(f"skeleton {skeleton.name!r} is registered already: rename yours.")
  SKELETONS[skeleton.name] = skeleton
  return skeleton


def get(name: str) -> Skeleton:
  """Returns a registered skeleton; ValueError lists the known ones."""
  if name not in SKELETONS:
    raise ValueError(
      f"unknown skeleton {name!r}, expected one of {sorted(SKELETONS)}; "
      "skeletons.register adds your own."
    )
  return SKELETONS[name]


def _chains(*chains: str) -> tuple[tuple[str, str], ...]:
  """Bones from chains of joint names separated by spaces."""
  words = [chain.split() for chain in chains]
  return tuple((a, b) for w in words for a, b in itertools.pairwise(w))


# Kinect v2, in the order of the NTU files. 24 bones (NTU RGB+D, Shahroudy et al. 2016).
KINECT_V2 = register(Skeleton(
  name="kinect_v2",
  joints=(
    "spine_base", "spine_mid", "neck", "head",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
    "spine_shoulder", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
  ),
  bones=_chains(
    "spine_base spine_mid spine_shoulder neck head",
    "spine_shoulder left_shoulder left_elbow left_wrist left_hand left_hand_tip",
    "spine_shoulder right_shoulder right_elbow right_wrist right_hand right_hand_tip",
    "left_hand left_thumb",
    "right_hand right_thumb",
    "spine_base left_hip left_knee left_ankle left_foot",
    "spine_base right_hip right_knee right_ankle right_foot",
  ),
  origin=("spine_mid",),
))  # fmt: skip

# Kinect v1, in the order of the N-UCLA files. 19 bones.
KINECT_V1 = register(Skeleton(
  name="kinect_v1",
  joints=(
    "hip_center", "spine", "shoulder_center", "head",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
  ),
  bones=_chains(
    "hip_center spine shoulder_center head",
    "shoulder_center left_shoulder left_elbow left_wrist left_hand",
    "shoulder_center right_shoulder right_elbow right_wrist right_hand",
    "hip_center left_hip left_knee left_ankle left_foot",
    "hip_center right_hip right_knee right_ankle right_foot",
  ),
  origin=("spine",),
))  # fmt: skip

# LCR-Net, in the order of the Smarthome files. There is no published graph. Ours
# has limbs, hips, shoulders, shoulders to hips, head to shoulders: 14 bones.
LCRNET_13 = register(Skeleton(
  name="lcrnet_13",
  joints=(
    "right_ankle", "left_ankle", "right_knee", "left_knee", "right_hip", "left_hip",
    "right_wrist", "left_wrist", "right_elbow", "left_elbow",
    "right_shoulder", "left_shoulder", "head",
  ),
  bones=_chains(
    "right_ankle right_knee right_hip right_shoulder right_elbow right_wrist",
    "left_ankle left_knee left_hip left_shoulder left_elbow left_wrist",
    "right_hip left_hip",
    "right_shoulder left_shoulder",
    "right_shoulder head left_shoulder",
  ),
  origin=("right_hip", "left_hip"),
  roles=(("right_hand", "right_wrist"), ("left_hand", "left_wrist")),
))  # fmt: skip

# BlazePose, in the order of MediaPipe's pose landmarks, with the 35 connections that it
# documents. Face and body are not connected.
MEDIAPIPE_33 = register(Skeleton(
  name="mediapipe_33",
  joints=(
    "nose", "left_eye_inner", "left_eye", "left_eye_outer",
    "right_eye_inner", "right_eye", "right_eye_outer", "left_ear", "right_ear",
    "mouth_left", "mouth_right", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee",
    "left_ankle", "right_ankle", "left_heel", "right_heel",
    "left_foot_index", "right_foot_index",
  ),
  bones=_chains(
    "nose left_eye_inner left_eye left_eye_outer left_ear",
    "nose right_eye_inner right_eye right_eye_outer right_ear",
    "mouth_left mouth_right",
    "left_shoulder right_shoulder",
    "left_shoulder left_elbow left_wrist left_pinky left_index left_wrist left_thumb",
    "right_shoulder right_elbow right_wrist right_pinky right_index right_wrist",
    "right_wrist right_thumb",
    "left_shoulder left_hip right_hip right_shoulder",
    "left_hip left_knee left_ankle left_heel left_foot_index left_ankle",
    "right_hip right_knee right_ankle right_heel right_foot_index right_ankle",
  ),
  origin=("left_hip", "right_hip"),
  roles=(("right_hand", "right_wrist"), ("left_hand", "left_wrist")),
))  # fmt: skip
