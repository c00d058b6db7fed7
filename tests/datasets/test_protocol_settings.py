"""Custom protocols and validation splits."""

import itertools

import ml_collections
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpn_jax.datasets import protocol_settings, protocols
from vpn_jax.datasets.base import Clip


def grid(**values):
  """Clips with every combination of attribute values."""
  for i, chosen in enumerate(itertools.product(*values.values())):
    yield Clip(f"c{i}", 0, dict(zip(values, chosen)))


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


def test_validation_shares_are_drawn_from_the_seed():
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


def test_hold_out_refuses():
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


def test_values_that_no_clip_has_are_refused():
  """Where others of the part are there; a published protocol may name them."""
  clips = list(grid(subject=(1, 2, 3)))
  data = ml_collections.ConfigDict(
    {
      "dataset": "custom",
      "train": "subject:1,9",
      "test": "subject:3,x",
      "validation": "",
    }
  )

  def check(*parts):
    protocol = protocol_settings.from_config(data, clips)
    protocol_settings.check_values(data, protocol, parts, clips)

  with pytest.raises(ValueError, match=r"train is 'subject:1,9', but .* 9: .* 3"):
    check("train", "test")
  with pytest.raises(ValueError, match="is 'subject:3,x', but no clip has subject x"):
    check("test")
  data.update(train="subject:1", test="subject:7")  # wholly missing: an empty part
  check("train", "test")
  data.update(dataset="ntu60", protocol="cs", validation="subject:4,1")
  check("train", "test")
  with pytest.raises(ValueError, match=r"is 'subject:4,1', but .* subject 4"):
    check("validation")


def test_a_share_of_an_attribute_that_no_clip_has():
  clips = [{"attributes": {"subject": s, "camera": 1}} for s in range(1, 5)]
  data = ml_collections.ConfigDict(
    {"dataset": "ntu60", "protocol": "cs", "validation": "person:10%"}
  )
  with pytest.raises(ValueError, match="a clip has no 'person', it has"):
    protocol_settings.from_config(data, clips)
