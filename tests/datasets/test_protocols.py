"""Protocols: known values and sizes, disjoint parts, and messages."""

import itertools
import re

import pytest

from vpn_jax.datasets import ntu, protocols
from vpn_jax.datasets.base import Clip

KNOWN = sorted(protocols.PROTOCOLS)


def grid(**values):
  """Clips with every combination of attribute values."""
  for i, chosen in enumerate(itertools.product(*values.values())):
    yield Clip(f"c{i}", 0, dict(zip(values, chosen)))


@pytest.mark.parametrize(
  ("key", "train", "total"),
  [
    (("ntu60", "cs"), 20, 40),
    (("ntu120", "cs1"), 53, 106),
    (("synthetic", "cs"), 6, 10),
  ],
)
def test_number_of_subjects(key, train, total):
  counts = protocols.count(protocols.get(*key), grid(subject=range(1, total + 1)))
  assert counts == {"train": train, "validation": 0, "test": total - train}


def test_known_values():
  part = protocols.part
  cs2 = protocols.get("ntu120", "cs2")
  assert [part(cs2, {"setup": s}) for s in (1, 2, 31, 32)] == [
    "test",
    "train",
    "test",
    "train",
  ]
  cv = protocols.get("ntu60", "cv")
  assert [part(cv, {"camera": c}) for c in (1, 2, 3, 4)] == [
    "test",
    "train",
    "train",
    None,
  ]
  smarthome = protocols.get("smarthome", "cs")
  subjects = [2, 3, 4, 6, 7, *range(9, 21), 25]
  assert protocols.count(smarthome, grid(subject=subjects)) == {
    "train": 11,
    "validation": 0,
    "test": 7,
  }
  v13_2 = protocols.get("nucla", "v13_2")
  assert [part(v13_2, {"camera": c}) for c in (1, 2, 3)] == ["train", "test", "train"]


def test_smarthome_cross_view_keeps_19_classes_and_validates_on_camera_5():
  for name, train in (("cv1", {1}), ("cv2", {1, 3, 4, 6, 7})):
    protocol = protocols.get("smarthome", name)
    assert len(set(protocol.classes)) == 19
    parts = {c: protocols.part(protocol, {"camera": c}, "Walk") for c in range(1, 8)}
    assert {c for c, p in parts.items() if p == "train"} == train
    assert (parts[5], parts[2]) == ("validation", "test")
    assert protocols.part(protocol, {"camera": 1}, "WatchTV") is None
    assert protocols.part(protocol, {"camera": 1}) == "train"  # class is known


def test_smarthome_classes_are_the_published_ones(shared):
  import json

  ids = json.loads((shared / "smarthome_class_ids.json").read_text())["CV"]
  classes = protocols.get("smarthome", "cv1").classes
  assert classes == tuple(sorted(ids, key=ids.get))


@pytest.mark.parametrize("key", KNOWN)
def test_parts_are_disjoint(key):
  protocol = protocols.get(*key)
  train, test = set(protocol.train), set(protocol.test or ())
  assert train
  assert not train & test
  assert not set(protocol.validation) & (train | test)
  assert protocol.source


@pytest.mark.parametrize(("which", "protocol"), [(60, "cs"), (60, "cv"), (120, "cs1")])
def test_published_sizes_exclude_missing_skeletons(which, protocol):
  """The downloads have 56,880 and 114,480 clips, the lists 302 and 535 names."""
  whole = {60: 56_880, 120: 114_480}[which]
  missing = ntu.missing_skeletons(which)
  assert len(missing) == {60: 302, 120: 535}[which]
  expected = protocols.EXPECTED_COUNTS[f"ntu{which}", protocol]
  assert sum(expected) == whole - len(missing)


def test_cross_view_sizes_follow_from_the_cameras():
  """NTU-60 has 18,960 clips per camera, minus those on the list."""
  by_camera = {c: 18_960 for c in (1, 2, 3)}
  for name in ntu.missing_skeletons(60):
    by_camera[ntu.parse_name(name)[1]["camera"]] -= 1
  got = by_camera[2] + by_camera[3], by_camera[1]
  assert got == protocols.EXPECTED_COUNTS["ntu60", "cv"]


def test_other_expected_counts():
  assert sum(protocols.EXPECTED_COUNTS["smarthome", "cs"]) == 16_115
  for name in ("v12_3", "v13_2", "v23_1"):
    assert sum(protocols.EXPECTED_COUNTS["nucla", name]) == 1_484
  v1, v2 = protocols.EXPECTED_COUNTS["nucla", "v1_2"]
  assert (v2, v1) == protocols.EXPECTED_COUNTS["nucla", "v2_1"]
  assert v1 + v2 == protocols.EXPECTED_COUNTS["nucla", "v12_3"][0]
  assert set(protocols.EXPECTED_COUNTS) <= set(KNOWN)


def test_check_counts():
  clips = list(grid(camera=(1, 2, 3)))
  assert protocols.check_counts("ntu60", "cv", clips) == [
    "ntu60 cv: train has 2 of 37,646 clips",
    "ntu60 cv: test has 1 of 18,932 clips",
  ]
  assert protocols.check_counts("synthetic", "cv", clips) == []
  whole = [Clip(f"{c}{i}", 0, {"camera": c}) for c, n in ((1, 516), (2, 504), (3, 464))
           for i in range(n)]  # fmt: skip
  assert protocols.check_counts("nucla", "v12_3", whole) == []
  entries = [{"attributes": c.attributes, "label": 0} for c in whole]
  assert protocols.check_counts("nucla", "v23_1", entries, ["pick up"]) == []


def test_unknown_protocol_lists_the_known_ones():
  with pytest.raises(ValueError, match=re.escape("unknown protocol ntu60:cs2")) as e:
    protocols.get("ntu60", "cs2")
  assert all(f"{d}:{p}" in str(e.value) for d, p in KNOWN)
  assert protocols.names("nucla") == ["v12_3", "v13_2", "v23_1", "v1_2", "v2_1"]
  assert protocols.names("custom") == []


def test_missing_attribute():
  with pytest.raises(ValueError, match=r"no 'subject', it has \['camera'\]"):
    protocols.part(protocols.get("ntu60", "cs"), {"camera": 1})


@pytest.mark.parametrize(
  ("text", "value"),
  [("7", 7), (" 07 ", 7), ("-3", -3), ("1.5", "1.5"), ("a", "a"), ("", ""), ("²", "²")],
)
def test_parse_value(text, value):
  assert protocols.parse_value(text) == value
