"""The published counts of clips by class and camera."""

import pytest

from vpn_jax.datasets import ntu, protocols
from vpn_jax.records import counts


@pytest.mark.parametrize("which", [60, 120])
def test_published_counts_of_ntu(which):
  """The counts of the classes add up to train and test of every protocol."""
  names = ntu.class_names(which)
  assert len(set(names)) == which
  expected = counts.published_counts(f"ntu{which}", names)
  classes = [expected["class", name] for name in names]
  for protocol in protocols.names(f"ntu{which}"):
    assert sum(classes) == sum(protocols.EXPECTED_COUNTS[f"ntu{which}", protocol])
  assert sum(classes) == {60: 56_578, 120: 113_945}[which] == expected["all", ""]
  assert max(classes[:60]) <= 948
  assert all(900 < n <= 960 for n in classes)
  cameras = [expected.get(("camera", camera)) for camera in (1, 2, 3)]
  if which == 60:  # cross-view: 2 and 3 train, 1 tests
    train, test = protocols.EXPECTED_COUNTS["ntu60", "cv"]
    assert (cameras[1] + cameras[2], cameras[0]) == (train, test)
  else:
    assert cameras == [None] * 3


def test_published_counts_of_others():
  nucla = counts.published_counts("nucla", ())
  assert nucla == {
    ("all", ""): 1484,
    ("camera", 1): 516,
    ("camera", 2): 504,
    ("camera", 3): 464,
  }
  assert counts.published_counts("smarthome", ()) == {("all", ""): 16_115}
  assert counts.published_counts("custom", ("a",)) == {}
