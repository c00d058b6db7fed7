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
  ],
)
def test_counts(name, joints, bones):
  skeleton = skeletons.get(name)
  assert skeleton.num_joints == joints
  assert len({frozenset(b) for b in skeleton.bones}) == len(skeleton.bones) == bones
  assert all(a != b for a, b in skeleton.bones)


@pytest.mark.parametrize("name", ["kinect_v2", "kinect_v1", "lcrnet_13"])
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
