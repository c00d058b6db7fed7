"""Parts and classes from the names of folders: what is read, and what is refused."""

import pytest

from vpn_jax.datasets import folder_layout
from vpn_jax.datasets.base import BadClip


def placed(*paths):
  """Path -> (part, class), or the reason why it has none."""
  split = [tuple(path.split("/")) for path in paths]
  layout = folder_layout.find(split, "root")
  found = {}
  for path, parts in zip(paths, split):
    try:
      found[path] = layout.place(parts)
    except BadClip as e:
      found[path] = str(e)
  return found


@pytest.mark.parametrize(
  ("names", "third"),
  [
    (("train", "val", "test"), "validation"),
    (("TRAIN", "Valid", "Test"), "validation"),
    (("training", "dev", "testing"), "validation"),
    (("train_set", "evaluation", "test-data"), "validation"),
    (("Train ", "EVAL", "testset"), "validation"),
    (("train1", "validate1", "test1"), "validation"),
    (("ucf_train", "ucf_val", "ucf_test"), "validation"),
    (("train_320p", "val_320p", "test_320p"), "validation"),
  ],
)
def test_parts_by_their_usual_names(names, third):
  paths = [f"{name}/{label}/1.mp4" for name in names for label in ("nod", "wave")]
  want = [("train", third, "test")[names.index(p.split("/")[0])] for p in paths]
  assert [part for part, _ in placed(*paths).values()] == want
  assert {label for _, label in placed(*paths).values()} == {"nod", "wave"}


def test_folders_around_everything_are_no_classes():
  inside = ("wave/1.mp4", "nod/home/2.mp4")
  for around in ("videos", "my data/videos", "Archive/v1/RGB"):
    assert list(placed(*(f"{around}/{p}" for p in inside)).values()) == [
      ("", "wave"), ("", "nod")
    ]  # fmt: skip
  paths = [f"data/{part}/videos/{p}" for part in ("train", "test") for p in inside]
  assert list(placed(*paths).values()) == [
    ("train", "wave"), ("train", "nod"), ("test", "wave"), ("test", "nod")
  ]  # fmt: skip
  layout = folder_layout.find([tuple(p.split("/")) for p in paths], "root")
  assert layout.notes() == [
    "everything lies in data, which is not a class",
    "all of test lies in test/videos, which is not a class",
    "all of train lies in train/videos, which is not a class",
    "the folders are <part>/<class>/<clip>",
  ]


def test_parts_inside_the_classes():
  paths = [f"{c}/{p}/1.mp4" for c in ("nod", "wave") for p in ("Train", "val", "test")]
  assert list(placed(*paths).values()) == [
    (part, label)
    for label in ("nod", "wave")
    for part in ("train", "validation", "test")
  ]
  with pytest.raises(ValueError, match="for test and train and validation, but"):
    placed(*paths, "wave/1.mp4")


def test_classes_stay_classes():
  """Also one called test, a means of transport, and groups."""
  assert placed("test/1.mp4", "wave/1.mp4")["test/1.mp4"] == ("", "test")
  assert placed("train/1.mp4", "bus/1.mp4")["train/1.mp4"] == ("", "train")
  assert placed("train a dog/x/1.mp4", "wave/1.mp4", "1.mp4") == {
    "train a dog/x/1.mp4": ("", "train a dog"),
    "wave/1.mp4": ("", "wave"),
    "1.mp4": "it lies in no class folder",
  }
  assert placed("test/home/1.mp4", "wave/1.mp4")["test/home/1.mp4"] == ("", "test")


@pytest.mark.parametrize(
  ("paths", "words"),
  [
    (
      ("train/nod/1.mp4", "test/nod/1.mp4", "extra/nod/1.mp4"),
      "root holds test and train, which name parts of the data, beside extra: move",
    ),
    (
      ("Training/nod/1.mp4", "unlabelled/1.mp4"),
      "root holds Training, which name parts of the data, beside unlabelled",
    ),
    (("test/nod/1.mp4", "nod/1.mp4"), "holds test, .* beside nod"),
    (("x/train/a/1.mp4", "x/test/a/1.mp4", "x/b/1.mp4"), "root/x holds test and train"),
    (
      ("train/a/1.mp4", "val/a/1.mp4", "Dev/a/1.mp4"),
      "root holds Dev and val, which both name the validation part: join them",
    ),
    (
      ("train/1.mp4", "test/2.mp4"),
      "clips in test and train of root lie in no class folder, expected test/<class>/",
    ),
    (("train/1.mp4",), "clips in train of root lie in no class folder"),
  ],
)
def test_what_could_be_read_in_two_ways_is_refused(paths, words):
  with pytest.raises(ValueError, match=words):
    placed(*paths)
