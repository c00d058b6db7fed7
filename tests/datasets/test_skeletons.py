"""Skeletons: the graph of eq. 1 against a slow loop, and properties of bodies."""

import dataclasses

import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.models import graph as graph_lib

KNOWN = sorted(skeletons.SKELETONS)
TWO = skeletons.Skeleton("two", ("a", "b", "c"), (("a", "b"),), ("a",))


@pytest.mark.parametrize(
  ("name", "joints", "bones"),
  [
    ("kinect_v2", 25, 24),
    ("kinect_v1", 20, 19),
    ("lcrnet_13", 13, 14),
    ("mediapipe_33", 33, 35),
    ("coco_17", 17, 19),
    ("openpose_18", 18, 17),
    ("openpose_25", 25, 24),
    ("h36m_17", 17, 16),
    ("smpl_24", 24, 23),
    ("halpe_26", 26, 27),
  ],
)
def test_counts(name, joints, bones):
  skeleton = skeletons.get(name)
  assert skeleton.num_joints == joints
  assert len({frozenset(b) for b in skeleton.bones}) == len(skeleton.bones) == bones
  assert all(a != b for a, b in skeleton.bones)


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"mediapipe_33"}))
def test_body_is_connected(name):
  e = graph_lib.adjacency(skeletons.get(name), other_weight=0.0)
  reach = np.linalg.matrix_power(np.eye(len(e)) + (e > 0), len(e))
  assert (reach > 0).all()


def test_kinect_v2_has_the_order_of_the_files():
  """The 1-based numbers of the NTU documentation."""
  skeleton = skeletons.get("kinect_v2")
  bones = {tuple(sorted(b)) for b in (skeleton.bone_indices() + 1).tolist()}
  published = {
    (1, 2), (2, 21), (3, 21), (3, 4), (5, 21), (5, 6), (6, 7), (7, 8), (8, 22), (8, 23),
    (9, 21), (9, 10), (10, 11), (11, 12), (12, 24), (12, 25), (1, 13), (13, 14),
    (14, 15), (15, 16), (1, 17), (17, 18), (18, 19), (19, 20),
  }  # fmt: skip
  # The released code connects tips and thumbs to the hands, too (8-22, 8-23).
  assert bones == published


# The positions at which the tools write some joints: COCO's annotations, OpenPose's
# poseParameters.cpp, the 17 joints that VideoPose3D keeps of Human3.6M, SMPL's
# kinematic tree, and the list of Halpe-FullBody.
ORDERS = {
  "coco_17": {"nose": 0, "left_eye": 1, "left_ear": 3, "left_shoulder": 5,
              "right_wrist": 10, "left_hip": 11, "right_ankle": 16},
  "openpose_18": {"neck": 1, "right_wrist": 4, "left_shoulder": 5, "right_hip": 8,
                  "left_ankle": 13, "right_eye": 14, "left_ear": 17},
  "openpose_25": {"neck": 1, "right_wrist": 4, "mid_hip": 8, "right_hip": 9,
                  "left_ankle": 14, "left_ear": 18, "left_big_toe": 19,
                  "left_heel": 21, "right_heel": 24},
  "h36m_17": {"pelvis": 0, "right_hip": 1, "left_hip": 4, "left_ankle": 6, "spine": 7,
              "thorax": 8, "head": 10, "left_shoulder": 11, "right_wrist": 16},
  "smpl_24": {"left_hip": 1, "spine1": 3, "right_ankle": 8, "spine3": 9, "neck": 12,
              "right_collar": 14, "head": 15, "left_elbow": 18, "right_hand": 23},
  "halpe_26": {"right_ankle": 16, "head": 17, "neck": 18, "hip": 19,
               "right_big_toe": 21, "left_small_toe": 22, "right_heel": 25},
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_joints_are_where_the_tools_write_them(name):
  skeleton = skeletons.get(name)
  assert {j: skeleton.index(j) for j in ORDERS[name]} == ORDERS[name]


def test_smpl_has_the_published_kinematic_tree():
  parents = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19,
             20, 21]  # fmt: skip
  bones = {tuple(b) for b in skeletons.get("smpl_24").bone_indices().tolist()}
  assert bones == {(parent, child) for child, parent in enumerate(parents) if child}


def test_coco_has_the_bones_of_its_annotations():
  """The list `skeleton` of the category "person", 1-based."""
  published = {
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8),
    (7, 9), (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
  }  # fmt: skip
  bones = skeletons.get("coco_17").bone_indices() + 1
  assert {frozenset(b) for b in bones.tolist()} == {frozenset(b) for b in published}


@pytest.mark.parametrize("name", KNOWN)
def test_hips_shoulders_and_hands_are_pairs(name):
  skeleton = skeletons.get(name)
  for pair in (skeleton.hips(), skeleton.shoulders(), skeleton.hands()):
    left, right = (skeleton.joints[i] for i in pair)
    assert left.replace("left", "right") == right
    assert skeleton.mirror()[pair[0]] == pair[1]
  assert "shoulder" in skeleton.joints[skeleton.shoulders()[0]]


@pytest.mark.parametrize("name", KNOWN)
def test_adjacency_by_a_slow_loop(name):
  skeleton = skeletons.get(name)
  bones = {frozenset(b) for b in skeleton.bones}
  e = graph_lib.adjacency(skeleton, bone_weight=5.0, other_weight=2.0)
  assert e.dtype == np.float32
  for i, a in enumerate(skeleton.joints):
    for j, b in enumerate(skeleton.joints):
      want = 0.0 if i == j else 5.0 if frozenset((a, b)) in bones else 2.0
      assert e[i, j] == want


@pytest.mark.parametrize("name", KNOWN)
def test_normalisation_by_a_slow_loop(name):
  """Row i, column j of D^-1/2 (E+I) D^-1/2 is (E+I)_ij / sqrt(d_i d_j)."""
  e = graph_lib.adjacency(skeletons.get(name))
  got = graph_lib.normalized_adjacency(e)
  n = len(e)
  degree = [sum(float(e[i, k]) for k in range(n)) + 1.0 for i in range(n)]
  for i in range(n):
    for j in range(n):
      want = (float(e[i, j]) + (i == j)) / (degree[i] * degree[j]) ** 0.5
      assert abs(got[i, j] - want) < 1e-6
  values = np.linalg.eigvalsh(got.astype(np.float64))
  np.testing.assert_allclose(values[-1], 1.0, atol=1e-6)  # always the largest
  assert values[0] > -1.0


def test_two_joints_by_hand():
  """E+I = [[1 5 2], [5 1 2], [2 2 1]], degrees 8, 8, 5."""
  e = graph_lib.adjacency(TWO)
  np.testing.assert_array_equal(e, [[0, 5, 2], [5, 0, 2], [2, 2, 0]])
  got = graph_lib.normalized_adjacency(e)
  np.testing.assert_allclose(got[0, 1], 5 / 8, rtol=1e-6)
  np.testing.assert_allclose(got[0, 2], 2 / 40**0.5, rtol=1e-6)
  np.testing.assert_allclose(got[2, 2], 1 / 5, rtol=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_mirror_is_an_involution_and_keeps_bones(name):
  skeleton = skeletons.get(name)
  mirror = skeleton.mirror()
  np.testing.assert_array_equal(mirror[mirror], np.arange(skeleton.num_joints))
  for i, joint in enumerate(skeleton.joints):
    sided = {"left", "right"} & set(joint.split("_"))
    assert (mirror[i] != i) == bool(sided)
  e = graph_lib.adjacency(skeleton)
  np.testing.assert_array_equal(e[np.ix_(mirror, mirror)], e)


@pytest.mark.parametrize("name", KNOWN)
def test_limbs_are_two_arms_and_two_legs(name):
  skeleton = skeletons.get(name)
  limbs = [set(limb) for limb in skeleton.limbs()]
  roots = *skeleton.shoulders(), *skeleton.hips()
  assert all(root in limb for root, limb in zip(roots, limbs, strict=True))
  assert not set.intersection(*limbs)
  mirror = skeleton.mirror()
  for left, right in (limbs[:2], limbs[2:]):
    assert {int(mirror[joint]) for joint in left} == right
    assert not left & right
    assert 3 <= len(left) <= 8


def test_limbs_by_hand():
  arm, _, leg, _ = skeletons.get("kinect_v2").limbs()
  assert arm == (4, 5, 6, 7, 21, 22)  # with the tip and the thumb
  assert leg == (12, 13, 14, 15)
  arm, *_ = skeletons.get("coco_17").limbs()
  assert arm == (5, 7, 9)  # without the ear, which hangs on the shoulder
  assert TWO.limbs() == ()


@pytest.mark.parametrize("name", KNOWN)
def test_two_people_are_two_blocks(name):
  skeleton = skeletons.get(name)
  one = graph_lib.adjacency(skeleton)
  two = graph_lib.adjacency(skeleton, persons=2)
  n = skeleton.num_joints
  np.testing.assert_array_equal(two[:n, :n], one)
  np.testing.assert_array_equal(two[n:, n:], one)
  assert not two[:n, n:].any()
  assert not two[n:, :n].any()
  np.testing.assert_allclose(
    graph_lib.normalized_adjacency(two)[n:, n:], graph_lib.normalized_adjacency(one)
  )


@pytest.mark.parametrize("name", KNOWN)
def test_listed_pairs(name):
  skeleton = skeletons.get(name)
  e = graph_lib.adjacency(skeleton, other_pairs="listed")
  assert (e == 2).sum() == 2 * 6
  assert (e == 5).sum() == 2 * len(skeleton.bones)
  assert e.sum() == 2 * (2 * 6 + 5 * len(skeleton.bones))


def test_listed_pairs_of_kinect_v2_are_those_of_the_released_code():
  e = graph_lib.adjacency(skeletons.get("kinect_v2"), other_pairs="listed")
  pairs = {(i + 1, j + 1) for i, j in np.argwhere(e == 2).tolist() if i < j}
  assert pairs == {(12, 19), (10, 18), (6, 14), (8, 15), (8, 12), (6, 10)}


@pytest.mark.parametrize("name", KNOWN)
def test_origin_is_among_the_joints(name):
  skeleton = skeletons.get(name)
  assert {skeleton.joints[i] for i in skeleton.origin_indices()} == set(skeleton.origin)


def test_digest_depends_on_joints_and_bones():
  skeleton = skeletons.get("kinect_v2")
  assert skeleton.digest() == dataclasses.replace(skeleton, name="other").digest()
  changed = dataclasses.replace(skeleton, bones=skeleton.bones[1:])
  assert skeleton.digest() != changed.digest()
  assert len({skeletons.get(n).digest() for n in KNOWN}) == len(KNOWN)


def test_register_refuses_another_skeleton_of_the_same_name(monkeypatch):
  monkeypatch.setattr(skeletons, "SKELETONS", dict(skeletons.SKELETONS))
  assert skeletons.register(TWO) is TWO
  assert skeletons.register(TWO) is TWO
  with pytest.raises(ValueError, match="'two' is registered already: rename yours"):
    skeletons.register(dataclasses.replace(TWO, bones=()))


def test_messages():
  with pytest.raises(ValueError, match="unknown skeleton 'coco', expected one of"):
    skeletons.get("coco")
  with pytest.raises(ValueError, match="skeleton two has no joint 'tail'"):
    TWO.index("tail")
  with pytest.raises(ValueError, match="a joint name appears twice"):
    skeletons.Skeleton("x", ("a", "a"), (), ("a",))
  with pytest.raises(ValueError, match=r"bones or origin name \['z'\]"):
    skeletons.Skeleton("x", ("a", "b"), (("a", "z"),), ("a",))
  with pytest.raises(ValueError, match="other_pairs is 'none', expected"):
    graph_lib.adjacency(TWO, other_pairs="none")
  with pytest.raises(ValueError, match="persons is 0, expected 1 or more"):
    graph_lib.adjacency(TWO, persons=0)
