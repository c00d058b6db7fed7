"""Protocols: known values and sizes, disjoint parts, and messages that help."""

import itertools
import re

import ml_collections
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpn_jax.datasets import ntu, protocol_settings, protocols
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
    assert protocols.part(protocol, {"camera": 1}) == "train"  # chosen by class before


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
def test_missing_skeletons_fall_out_of_the_published_sizes(which, protocol):
  """The download has 56,880 and 114,480 clips, the lists 302 and 535 names."""
  whole = {60: 56_880, 120: 114_480}[which]
  missing = ntu.missing_skeletons(which)
  assert len(missing) == {60: 302, 120: 535}[which]
  expected = protocols.EXPECTED_COUNTS[f"ntu{which}", protocol]
  assert sum(expected) == whole - len(missing)


def test_cross_view_sizes_follow_from_the_cameras():
  """NTU-60 has 18,960 clips per camera; what is missing is on the list."""
  by_camera = {c: 18_960 for c in (1, 2, 3)}
  for name in ntu.missing_skeletons(60):
    by_camera[ntu.parse_name(name)[1]["camera"]] -= 1
  got = by_camera[2] + by_camera[3], by_camera[1]
  assert got == protocols.EXPECTED_COUNTS["ntu60", "cv"]


def test_expected_counts_of_the_rest():
  assert sum(protocols.EXPECTED_COUNTS["smarthome", "cs"]) == 16_115
  for name in ("v12_3", "v13_2", "v23_1"):
    assert sum(protocols.EXPECTED_COUNTS["nucla", name]) == 1_484
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


def test_custom():
  protocol = protocol_settings.custom("subject:1,3,6", "subject:5,8")
  parts = [protocols.part(protocol, {"subject": s}) for s in (1, 2, 3, 5, 8)]
  assert parts == ["train", None, "train", "test", "test"]
  others = protocol_settings.custom("split:train")
  assert protocols.part(others, {"split": "whatever"}) == "test"
  held = protocol_settings.custom("split:train", "split:test", "split:val")
  assert protocols.part(held, {"split": "val"}) == "validation"
  taken = protocol_settings.custom("subject:1,3,6", "", "subject:3")
  assert [protocols.part(taken, {"subject": s}) for s in (1, 3, 4)] == [
    "train",
    "validation",
    "test",
  ]


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (("subject",), "expected an attribute and its values"),
    (("subject:",), "expected an attribute and its values"),
    ((":1,2",), "expected an attribute and its values"),
    (("subject:1", "camera:2"), "splits by 'subject' but test by 'camera'"),
    (("subject:1,2", "subject:2,3"), r"train and test share subject \[2\]"),
    (("subject:1", "subject:2", "subject:2"), r"validation and test share subject"),
    (("subject:1", "", "subject:1"), "no subject trains"),
  ],
)
def test_custom_refuses(arguments, words):
  with pytest.raises(ValueError, match=words):
    protocol_settings.custom(*arguments)


def test_from_config():
  data = ml_collections.ConfigDict(
    {"dataset": "ntu60", "protocol": "cs", "validation": "subject:4,19,31"}
  )
  protocol = protocol_settings.from_config(data)
  assert protocols.count(protocol, grid(subject=range(1, 41))) == {
    "train": 17,
    "validation": 3,
    "test": 20,
  }
  data = ml_collections.ConfigDict(
    {"dataset": "custom", "train": "split:a", "test": "split:b", "validation": ""}
  )
  assert protocol_settings.from_config(data) == protocol_settings.custom(
    "split:a", "split:b"
  )


def test_a_share_for_validation_is_drawn_by_its_seed():
  clips = list(grid(subject=range(1, 41), camera=(1, 2, 3)))
  data = ml_collections.ConfigDict(
    {"dataset": "ntu60", "protocol": "cs", "validation": "10%", "validation_seed": 0}
  )
  counts = {"train": 18 * 3, "validation": 2 * 3, "test": 20 * 3}
  first = protocol_settings.from_config(data)
  assert protocols.count(first, clips) == counts
  assert protocol_settings.from_config(data) == first
  data.validation_seed = 1
  assert protocol_settings.from_config(data) != first
  data.validation = "camera:34%"
  other = protocol_settings.from_config(data, clips)
  assert other.validation_attribute == "camera"
  assert protocols.count(other, clips) == {"train": 40, "validation": 20, "test": 60}
  custom = ml_collections.ConfigDict(
    {"dataset": "custom", "train": "subject:1,2", "test": "subject:3"}
  )
  custom.validation = "subject:50%"
  assert len(protocol_settings.from_config(custom).train) == 1
  for wrong in ("x%", "subject:%", "0%", "100%"):
    data.validation = wrong
    with pytest.raises(ValueError, match="validation"):
      protocol_settings.from_config(data, clips)


@given(seed=st.integers(0, 2**32), fraction=st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_validation_is_never_taken_from_test(seed, fraction):
  for key in (("ntu60", "cs"), ("ntu120", "cs2"), ("ntu60", "cv")):
    protocol = protocols.get(*key)
    chosen = protocol_settings.draw_validation(protocol, fraction, seed)
    assert chosen == protocol_settings.draw_validation(protocol, fraction, seed)
    assert chosen.validation
    assert chosen.train
    assert set(chosen.train) | set(chosen.validation) == set(protocol.train)
    assert not set(chosen.train) & set(chosen.validation)
    assert chosen.test == protocol.test


def test_validation_by_another_attribute_stays_inside_train():
  clips = list(grid(camera=(1, 2, 3), subject=range(1, 11)))
  protocol = protocol_settings.draw_validation(
    protocols.get("ntu60", "cv"), 0.2, 0, attribute="subject", clips=clips
  )
  assert len(protocol.validation) == 2
  assert protocols.count(protocol, clips) == {
    "train": 16,
    "validation": 4,
    "test": 10,
  }


def test_carve_refuses():
  cs = protocols.get("ntu60", "cs")
  with pytest.raises(ValueError, match=r"subject \[3\] does not train"):
    protocol_settings.hold_out(cs, "subject:3")
  with pytest.raises(ValueError, match="no camera trains"):
    protocol_settings.hold_out(protocols.get("ntu60", "cv"), "camera:2,3")
  with pytest.raises(ValueError, match=r"validates on \[5\] already"):
    protocol_settings.hold_out(protocols.get("smarthome", "cv1"), "camera:3")
  with pytest.raises(ValueError, match=r"expected within \(0, 1\)"):
    protocol_settings.draw_validation(cs, 1.0, 0)
  with pytest.raises(ValueError, match="1 camera trains"):
    protocol_settings.draw_validation(
      protocols.get("smarthome", "cv1").__class__("camera", (1,)), 0.5, 0
    )


def test_unknown_protocol_lists_the_known_ones():
  with pytest.raises(ValueError, match=re.escape("unknown protocol ntu60:cs2")) as e:
    protocols.get("ntu60", "cs2")
  assert all(f"{d}:{p}" in str(e.value) for d, p in KNOWN)
  assert protocols.names("nucla") == ["v12_3", "v13_2", "v23_1"]
  assert protocols.names("custom") == []


def test_lacking_attribute():
  with pytest.raises(ValueError, match=r"no 'subject', it has \['camera'\]"):
    protocols.part(protocols.get("ntu60", "cs"), {"camera": 1})


@pytest.mark.parametrize(
  ("text", "value"),
  [("7", 7), (" 07 ", 7), ("-3", -3), ("1.5", "1.5"), ("a", "a"), ("", ""), ("²", "²")],
)
def test_parse_value(text, value):
  assert protocols.parse_value(text) == value
