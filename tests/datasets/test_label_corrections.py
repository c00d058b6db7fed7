"""Tests of vpn_jax/datasets/label_corrections.py: the known list, and one's own."""

import collections
import re

import pytest

from vpn_jax.datasets import label_corrections, nucla

CLASSES = nucla.NUCLA.class_names


def test_known_errors_of_nucla():
  found = label_corrections.read("known", "nucla", CLASSES)
  changes = collections.Counter()
  for clip, name in found.items():
    label, attributes = nucla.parse_name(clip)
    assert attributes["camera"] == 2
    changes[attributes["subject"], CLASSES[label], name] += 1
  assert changes == {
    (4, "sit down", "stand up"): 6,
    (4, "stand up", "sit down"): 5,
    (5, "donning", "doffing"): 7,
    (5, "doffing", "donning"): 6,
  }


def test_none():
  assert label_corrections.read("", "ntu60", ("a",)) == {}


def test_a_dataset_without_known_errors():
  with pytest.raises(ValueError, match="no errors of ntu60 are listed, only of nucla"):
    label_corrections.read("known", "ntu60", ("a",))


def test_a_file_of_ones_own(tmp_path):
  path = tmp_path / "mine.csv"
  path.write_bytes("\ufeffclip,why,class\r\nx, seen ,stand up\r\n".encode())
  assert label_corrections.read(str(path), "custom", CLASSES) == {"x": "stand up"}


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("clip,label\nx,carry\n", "has the columns ['clip', 'label'], expected ['clip',"),
    ("clip,class\nx,fly\n", "gives 'x' the class 'fly', expected one of pick up with"),
    ("clip,class\nx,carry\nx,throw\n", "gives 'x' the classes 'carry' and 'throw'"),
    ("clip,class\nx\n", "gives 'x' the class '', expected one of"),
    (b"\xff\x00\xd8", "is not a csv"),
  ],
)
def test_files_that_cannot_be_meant(tmp_path, content, message):
  path = tmp_path / "mine.csv"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(ValueError, match=re.escape(message)):
    label_corrections.read(str(path), "custom", CLASSES)


def test_a_file_that_is_not_there(tmp_path):
  with pytest.raises(FileNotFoundError):
    label_corrections.read(str(tmp_path / "none.csv"), "custom", CLASSES)
