"""Skeletons of one's own: JSON files, and what is stored of them."""

import dataclasses
import json
import pathlib
import pickle
import re

import pytest

from vpn_jax.datasets import skeleton_files, skeletons

BODY = {
  "name": "rig",
  "joints": ["root", "chest", "lSho", "rSho", "lThigh", "rThigh", "lArm", "rArm"],
  "bones": [["root", "chest"], ["chest", "lSho"], ["chest", "rSho"], ["lSho", "lArm"],
            ["rSho", "rArm"], ["root", "lThigh"], ["root", "rThigh"]],
  "origin": ["root"],
  "roles": {"left_hip": "lThigh", "right_hip": "rThigh", "left_shoulder": "lSho",
            "right_shoulder": "rSho"},
  "mirror": [["lSho", "rSho"], ["lThigh", "rThigh"], ["lArm", "rArm"]],
}  # fmt: skip


@pytest.fixture
def registry(monkeypatch):
  monkeypatch.setattr(skeletons, "SKELETONS", dict(skeletons.SKELETONS))


def test_a_skeleton_file(tmp_path, registry):
  path = tmp_path / "body.json"
  path.write_text(json.dumps(BODY))
  rig = skeleton_files.find(str(path))
  assert skeletons.get("rig") is skeleton_files.find("rig") is rig
  assert rig.bone_indices().tolist() == [
    [0, 1], [1, 2], [1, 3], [2, 6], [3, 7], [0, 4], [0, 5]
  ]  # fmt: skip
  assert rig.mirror().tolist() == [0, 1, 3, 2, 5, 4, 7, 6]
  assert (rig.hips(), rig.shoulders()) == ((4, 5), (2, 3))
  with pytest.raises(ValueError, match=r"no left_hand .* name the joint in its roles"):
    rig.hands()
  plain = dataclasses.replace(rig, mirror_pairs=())
  assert plain.mirror().tolist() == list(range(8))
  assert plain.digest() != rig.digest()


def test_another_process_knows_a_skeleton_by_what_it_receives(registry, monkeypatch):
  """Through a pickle, as a worker does, and through what is stored with records."""
  rig = skeletons.register(skeleton_files.from_dict(BODY, "body.json"))
  sent, stored = pickle.dumps(rig), json.dumps(skeleton_files.definition("rig"))
  assert skeleton_files.definition("kinect_v2") is None
  for receive in (
    lambda: pickle.loads(sent),
    lambda: skeleton_files.restore(json.loads(stored), "index.json"),
  ):
    del skeletons.SKELETONS["rig"]
    receive()
    assert skeletons.get("rig") == rig
  skeleton_files.restore(None, "index.json")


def test_the_origin_is_between_the_hips_unless_named():
  content = {k: v for k, v in BODY.items() if k != "origin"}
  assert skeleton_files.from_dict(content, "x").origin == ("lThigh", "rThigh")
  content.pop("roles")
  with pytest.raises(ValueError, match=r"x has no origin and no hips: name the joints"):
    skeleton_files.from_dict(content, "x")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ([], r"holds \[\], expected an object"),
    ({"parents": []}, r"expected name, joints, bones .* remove \['parents'\]"),
    ({"bones": None}, r"bones are None, expected a list of pairs"),
    ({"bones": [["root", "root"]]}, "expected a list of pairs of different joints"),
    ({"bones": [["root", "tail"]]}, r"bones or origin name \['tail'\]"),
    ({"name": ""}, "name is '', expected a short word"),
    ({"joints": ["a"], "bones": []}, "has 1 joints, expected 2 to 512"),
    ({"joints": ["root", 3]}, "joints are .* expected a list of names"),
    ({"roles": {"tail": "root"}}, "expected joints by their roles, which are among"),
    ({"roles": {"left_hip": "tail"}}, r"roles name \['tail'\]"),
    ({"mirror": [["lArm", "tail"]]}, r"mirror pairs name \['tail'\]"),
    ({"mirror": [["lArm", "rArm"], ["lArm", "root"]]}, "a joint is in two mirror pai"),
  ],
)
def test_messages_of_a_skeleton_file(change, message, tmp_path, registry):
  path = tmp_path / "body.json"
  path.write_text(json.dumps(BODY | change if isinstance(change, dict) else change))
  with pytest.raises(ValueError, match=message):
    skeleton_files.find(str(path))


def test_the_example_of_the_documentation():
  page = (pathlib.Path(__file__).parents[2] / "docs" / "data.md").read_text()
  (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
  assert len(example.splitlines()) <= 10
  rig = skeleton_files.from_dict(json.loads(example), "data.md")
  assert (rig.hips(), rig.hands()) == ((4, 5), (2, 3))
  assert rig.mirror().tolist() == [0, 1, 3, 2, 5, 4]
  for name in skeletons.BUILT_IN:
    assert f"`{name}`" in page


def test_files_that_are_no_skeletons(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no file .*x\.json: config\.data\.skel"):
    skeleton_files.find(str(tmp_path / "x.json"))
  for content, message in (
    (b"{", "is not JSON"),
    (b"[" * 100_000, "is not JSON"),
    (b" " * (1 << 20 | 1), "has more than 1 MB, expected a skeleton"),
  ):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
      skeleton_files.find(str(tmp_path / "x.json"))
  with pytest.raises(ValueError, match=r"expected name, joints, bones .* add \['bones"):
    skeleton_files.from_dict({"name": "x", "joints": ["a", "b"]}, "x")
