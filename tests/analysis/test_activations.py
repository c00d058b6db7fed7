"""Tests of vpn_jax/analysis/activations.py, by values found by hand."""

import numpy as np
import pytest

from vpn_jax.analysis import activations
from vpn_jax.datasets import skeletons


def test_body_order_of_the_kinect():
  skeleton = skeletons.get("kinect_v2")
  order = activations.body_order(skeleton)
  named = {part: [skeleton.joints[j] for j in joints] for part, joints in order.items()}
  assert tuple(named) == activations.PARTS
  assert named["head and trunk"] == [
    "head",
    "neck",
    "spine_shoulder",
    "spine_mid",
    "spine_base",
  ]
  assert named["left arm"][:4] == [
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
  ]  # fmt: skip
  assert set(named["left arm"][4:]) == {"left_hand_tip", "left_thumb"}
  assert named["right leg"] == ["right_hip", "right_knee", "right_ankle", "right_foot"]


@pytest.mark.parametrize("name", sorted(skeletons.SKELETONS))
def test_every_joint_is_in_one_part(name):
  skeleton = skeletons.get(name)
  order = activations.body_order(skeleton)
  assert sorted(j for part in order.values() for j in part) == list(
    range(skeleton.num_joints)
  )
  for part, joints in order.items():
    if part != "head and trunk":
      assert all(part.split()[0] in skeleton.joints[j] for j in joints)
  assert len(order["left arm"]) == len(order["right arm"]) >= 3
  assert len(order["left leg"]) == len(order["right leg"]) >= 3


def test_joint_activation():
  features = np.zeros((2, 3, 4), np.float32)
  features[1, 2] = (1, -1, 1, 1)
  features[0, 1] = (0, 4, 0, 0)
  expected = np.zeros((2, 3))
  expected[1, 2], expected[0, 1] = 1, 2  # root of 16 / 4
  np.testing.assert_array_equal(activations.joint_activation(features), expected)


def test_heat_and_channels():
  features = np.zeros((2, 1, 2, 3), np.float32)  # T, M, N, C
  features[0, 0, 0] = (3, 0, 0)
  features[1, 0, 1] = (0, 0, -9)
  heat = activations.heat(features)
  np.testing.assert_array_equal(heat, [[[1, 0]], [[0, 3]]])
  channels, over_time = activations.strongest_channels(features, 2)
  np.testing.assert_array_equal(channels, [2, 0])
  np.testing.assert_array_equal(over_time, [[0, 4.5], [1.5, 0]])
