"""Skeletons: joint names, bones and left/right pairs.

Numpy only. A skeleton of your own joins with `register`.
"""

import dataclasses
import hashlib
import itertools
import json

import numpy as np


@dataclasses.dataclass(frozen=True)
class Skeleton:
  """What the network must know of a body.

  Attributes:
    name: key in `SKELETONS`.
    joints: joint names; their order is that of the arrays, index 0 first.
    bones: pairs of joint names, the edges of weight alpha.
    origin: joints whose mean in the first valid frame becomes (0, 0, 0).
    roles: stand-ins where a role of the listed pairs, or a hand, has another name
      here: the wrists of LCR-Net and of BlazePose.
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
    """Position of a joint in the arrays; ValueError when it is not there."""
    if joint not in self.joints:
      raise ValueError(f"skeleton {self.name} has no joint {joint!r}: {self.joints}.")
    return self.joints.index(joint)

  def bone_indices(self) -> np.ndarray:
    """Bones as int [number of bones, 2]."""
    return np.array([[self.index(a), self.index(b)] for a, b in self.bones])

  def origin_indices(self) -> np.ndarray:
    return np.array([self.index(j) for j in self.origin])

  def hands(self) -> tuple[int, int]:
    """Positions of the joints at the left and the right hand.

    The joints of the Kinects, and the wrists of LCR-Net and of BlazePose.
    """
    roles = dict(self.roles)
    left, right = (roles.get(hand, hand) for hand in ("left_hand", "right_hand"))
    return self.index(left), self.index(right)

  def hips(self) -> tuple[int, int]:
    """Positions of the left and the right hip."""
    return self.index("left_hip"), self.index("right_hip")

  def mirror(self) -> np.ndarray:
    """Joint order after a horizontal flip: left and right swapped, int [J].

    `pose[..., skeleton.mirror(), :]` holds at `left_x` what was at `right_x`.
    """
    swap = {"left": "right", "right": "left"}
    words = ["_".join(swap.get(w, w) for w in j.split("_")) for j in self.joints]
    return np.array(
      [self.index(w) if w in self.joints else i for i, w in enumerate(words)]
    )

  def digest(self) -> str:
    """Eight hex digits that change when joints or bones do."""
    text = json.dumps([self.joints, self.bones, self.origin])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


SKELETONS: dict[str, Skeleton] = {}


def register(skeleton: Skeleton) -> Skeleton:
  """Makes a skeleton known by its name; refuses a second, different one."""
  known = SKELETONS.get(skeleton.name)
  if known is not None and known != skeleton:
    raise ValueError(f"skeleton {skeleton.name!r} is registered already: rename yours.")
  SKELETONS[skeleton.name] = skeleton
  return skeleton


def get(name: str) -> Skeleton:
  """The skeleton registered under `name`; ValueError lists the known ones."""
  if name not in SKELETONS:
    raise ValueError(
      f"unknown skeleton {name!r}, expected one of {sorted(SKELETONS)}; "
      "skeletons.register adds your own."
    )
  return SKELETONS[name]


def _chains(*chains: str) -> tuple[tuple[str, str], ...]:
  """Bones from chains of joint names parted by blanks."""
  words = [chain.split() for chain in chains]
  return tuple((a, b) for w in words for a, b in itertools.pairwise(w))


# Kinect v2, the order of the NTU files. 24 bones (NTU RGB+D, Shahroudy et al. 2016).
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

# Kinect v1, the order of the N-UCLA files. 19 bones.
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

# LCR-Net, the order of the Smarthome files. No published graph: limbs, hips,
# shoulders, each shoulder to its hip, and the head to both shoulders. 14 bones.
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

# BlazePose, the order of MediaPipe's pose landmarks. 35 connections as documented
# by MediaPipe; the face and the body are two components, as there.
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
