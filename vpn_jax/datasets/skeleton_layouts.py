"""The joints, bones and origins of known skeletons, in the order of their files.

Each is a dict of the fields of `skeletons.Skeleton`. A joint whose name contains the
word "left" or "right" has a mirror image of the other name.
"""

import itertools


def _chains(*chains: str) -> tuple[tuple[str, str], ...]:
  """Bones from chains of joint names separated by spaces."""
  words = [chain.split() for chain in chains]
  return tuple((a, b) for w in words for a, b in itertools.pairwise(w))


# Roles of skeletons that end at the wrists.
_WRISTS = (("right_hand", "right_wrist"), ("left_hand", "left_wrist"))

# Kinect v2, in the order of the NTU files. 24 bones (NTU RGB+D, Shahroudy et al. 2016).
KINECT_V2 = dict(
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
)  # fmt: skip

# Kinect v1, in the order of the N-UCLA files. 19 bones.
KINECT_V1 = dict(
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
)  # fmt: skip

# LCR-Net, in the order of the Smarthome files. There is no published graph. Ours
# has limbs, hips, shoulders, shoulders to hips, head to shoulders: 14 bones.
LCRNET_13 = dict(
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
  roles=_WRISTS,
)  # fmt: skip

# BlazePose, in the order of MediaPipe's pose landmarks, with the 35 connections that it
# documents. Face and body are not connected.
MEDIAPIPE_33 = dict(
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
  roles=_WRISTS,
)  # fmt: skip

_COCO_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_COCO_BODY = (
  "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
  "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee",
  "left_ankle", "right_ankle",
)  # fmt: skip

# COCO keypoints, also of YOLO pose, HRNet and AlphaPose. The 19 bones of its category
# "person".
COCO_17 = dict(
  name="coco_17",
  joints=_COCO_FACE + _COCO_BODY,
  bones=_chains(
    "left_ankle left_knee left_hip right_hip right_knee right_ankle",
    "left_hip left_shoulder right_shoulder right_hip",
    "left_shoulder left_elbow left_wrist",
    "right_shoulder right_elbow right_wrist",
    "left_eye right_eye nose left_eye left_ear left_shoulder",
    "right_eye right_ear right_shoulder",
  ),
  origin=("left_hip", "right_hip"),
  roles=_WRISTS,
)

_OPENPOSE_ARMS = (
  "nose", "neck", "right_shoulder", "right_elbow", "right_wrist",
  "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
_OPENPOSE_LEGS = (
  "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
)  # fmt: skip
_OPENPOSE_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
_OPENPOSE_UPPER = (
  "neck right_shoulder right_elbow right_wrist",
  "neck left_shoulder left_elbow left_wrist",
  "neck nose right_eye right_ear",
  "nose left_eye left_ear",
)

# OpenPose's model COCO, with the 17 bones that it draws.
OPENPOSE_18 = dict(
  name="openpose_18",
  joints=_OPENPOSE_ARMS + _OPENPOSE_LEGS + _OPENPOSE_FACE,
  bones=_chains(
    *_OPENPOSE_UPPER,
    "neck right_hip right_knee right_ankle",
    "neck left_hip left_knee left_ankle",
  ),
  origin=("left_hip", "right_hip"),
  roles=_WRISTS,
)

# OpenPose's default, BODY_25, with the 24 bones that it draws.
OPENPOSE_25 = dict(
  name="openpose_25",
  joints=(
    *_OPENPOSE_ARMS, "mid_hip", *_OPENPOSE_LEGS, *_OPENPOSE_FACE,
    "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
  ),
  bones=_chains(
    *_OPENPOSE_UPPER,
    "neck mid_hip right_hip right_knee right_ankle right_big_toe right_small_toe",
    "mid_hip left_hip left_knee left_ankle left_big_toe left_small_toe",
    "right_ankle right_heel",
    "left_ankle left_heel",
  ),
  origin=("mid_hip",),
  roles=_WRISTS,
)  # fmt: skip

# Human3.6M without its joints that do not move, as VideoPose3D and MMPose's lifters
# have them. The joint between thorax and head is also called nose, the ankle foot.
H36M_17 = dict(
  name="h36m_17",
  joints=(
    "pelvis", "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle", "spine", "thorax", "neck", "head",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_shoulder", "right_elbow", "right_wrist",
  ),
  bones=_chains(
    "pelvis spine thorax neck head",
    "pelvis right_hip right_knee right_ankle",
    "pelvis left_hip left_knee left_ankle",
    "thorax left_shoulder left_elbow left_wrist",
    "thorax right_shoulder right_elbow right_wrist",
  ),
  origin=("pelvis",),
  roles=_WRISTS,
)  # fmt: skip

# The joints of the body model SMPL (Loper et al. 2015), and its kinematic tree.
SMPL_24 = dict(
  name="smpl_24",
  joints=(
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck",
    "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
  ),
  bones=_chains(
    "pelvis spine1 spine2 spine3 neck head",
    "pelvis left_hip left_knee left_ankle left_foot",
    "pelvis right_hip right_knee right_ankle right_foot",
    "spine3 left_collar left_shoulder left_elbow left_wrist left_hand",
    "spine3 right_collar right_shoulder right_elbow right_wrist right_hand",
  ),
  origin=("pelvis",),
)  # fmt: skip

# Halpe's body and feet, AlphaPose's second layout, with the 27 links of MMPose.
HALPE_26 = dict(
  name="halpe_26",
  joints=(
    *_COCO_FACE, *_COCO_BODY, "head", "neck", "hip",
    "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe",
    "left_heel", "right_heel",
  ),
  bones=_chains(
    "head neck hip left_hip left_knee left_ankle left_big_toe",
    "hip right_hip right_knee right_ankle right_big_toe",
    "left_small_toe left_ankle left_heel",
    "right_small_toe right_ankle right_heel",
    "neck left_shoulder left_elbow left_wrist",
    "neck right_shoulder right_elbow right_wrist",
    "left_eye right_eye nose left_eye left_ear left_shoulder",
    "right_eye right_ear right_shoulder",
  ),
  origin=("hip",),
  roles=_WRISTS,
)  # fmt: skip

ALL = (
  KINECT_V2, KINECT_V1, LCRNET_13, MEDIAPIPE_33, COCO_17, OPENPOSE_18, OPENPOSE_25,
  H36M_17, SMPL_24, HALPE_26,
)  # fmt: skip
