"""Detected boxes from csv and npz: their order, and errors of a file."""

import pickle

import numpy as np
import pytest

from vpn_jax.datasets import base, detections
from vpn_jax.datasets.base import BadClip, Clip, RawClip

ROWS = [  # frame, left, top, right, bottom, score
  [2, 0, 0, 10, 10, 0.9],
  [2, 50, 50, 90, 90, 0.8],
  [0, 5, 6, 7, 8, 0.5],
  [0, 1, 1, 99, 99, 0.49],
]


class Inner:
  """A dataset of one clip with four frames."""

  name, class_names, skeleton, source = "custom", ("x",), "kinect_v2", {"a": 1}

  def clips(self):
    return [Clip("é/1", 0, {})], [("b", "why")]

  def read(self, clip):
    pose = np.zeros((4, 1, 25, 3), np.float32)
    return RawClip(pose, pose[..., :2], lambda: iter(()), 25.0)


def write(path, rows, header="clip,frame,left,top,right,bottom,score", name="é/1"):
  if path.suffix == ".npz":
    np.savez(path, **{name: np.array(rows)})
  else:
    lines = [header, *(",".join([name, *map(str, row)]) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
  return path


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_boxes_by_frame(ending, tmp_path):
  path = write(tmp_path / f"boxes.{ending}", ROWS)
  dataset = pickle.loads(pickle.dumps(detections.WithDetections(Inner(), path)))
  assert dataset.clips() == Inner().clips()
  assert (dataset.name, dataset.skeleton) == ("custom", "kinect_v2")
  boxes = dataset.read(Clip("é/1", 0, {})).boxes
  want = np.full((4, 2, 4), np.nan, np.float32)
  want[0, 0] = [5, 6, 7, 8]  # its score just suffices, unlike that of the other
  want[2] = [[50, 50, 90, 90], [0, 0, 10, 10]]  # the larger one is first
  np.testing.assert_array_equal(boxes, want)
  with pytest.raises(BadClip, match=rf"boxes\.{ending} has no box for it"):
    dataset.read(Clip("other", 0, {}))


def test_source_follows_the_file(tmp_path):
  one = detections.WithDetections(Inner(), write(tmp_path / "1.csv", ROWS))
  other = detections.WithDetections(Inner(), write(tmp_path / "2.csv", ROWS[1:]))
  assert one.source["a"] == 1
  assert one.source["boxes"] != other.source["boxes"]


def test_without_scores(tmp_path):
  path = write(
    tmp_path / "b.csv", [[0, 1, 2, 3, 4]], "clip,frame,left,top,right,bottom"
  )
  boxes = detections.WithDetections(Inner(), path).read(Clip("é/1", 0, {})).boxes
  np.testing.assert_array_equal(boxes[0], [[1, 2, 3, 4]])


@pytest.mark.parametrize(
  ("rows", "words"),
  [
    ([[0, 1, 2, 3]], r"\[1, 4\], expected \[boxes, 5 or 6\]"),
    ([["a"] * 6], r"expected \[boxes, 5 or 6\]"),
    ([[0, 1, 2, 3, 4, 0.1]], "no box with a score of 0.5 or more"),
    ([[0, 3, 2, 3, 4, 1]], r"box \[3.0, 2.0, 3.0, 4.0\] has no area"),
    ([[0, 1, np.nan, 3, 4, 1]], "has no area"),
    ([[4, 1, 2, 3, 4, 1]], "a box in frame 4, expected 0 to 3"),
    ([[0.5, 1, 2, 3, 4, 1]], "a box in frame 0.5"),
    ([[-1, 1, 2, 3, 4, 1]], "a box in frame -1"),
  ],
)
def test_bad_rows(rows, words, tmp_path):
  dataset = detections.WithDetections(Inner(), write(tmp_path / "b.npz", rows))
  with pytest.raises(BadClip, match=words):
    dataset.read(Clip("é/1", 0, {}))


def test_bad_files(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"config\.data\.boxes is a csv or npz"):
    detections.WithDetections(Inner(), tmp_path / "none.csv")
  for name, content, words in (
    ("b.txt", b"", r"expected a \.csv or \.npz file"),
    ("b.npz", b"words", "cannot be read as npz"),
    ("b.csv", b"clip,frame\n", r"\['left', 'top', 'right', 'bottom'\] is missing"),
    ("c.csv", b"", "is missing"),
    ("d.csv", b"\xff\xfe\x00", "cannot be read as csv"),
    ("e.csv", b"clip,frame,left,top,right,bottom\na,0,1,x,3,4\n", "line 2: .*'x'"),
    ("f.csv", b"clip,frame,left,top,right,bottom\na,0,1\n", "line 2: "),
  ):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
      detections.WithDetections(Inner(), tmp_path / name)


def test_damaged_array(tmp_path):
  path = write(tmp_path / "b.npz", ROWS)
  dataset = detections.WithDetections(Inner(), path)
  content = bytearray(path.read_bytes())
  content[150] ^= 0xFF
  path.write_bytes(content)
  with pytest.raises(BadClip, match=r"b\.npz.* cannot be read"):
    dataset.read(Clip("é/1", 0, {}))


def test_implements_the_interface(tmp_path):
  dataset: base.Dataset = detections.WithDetections(
    Inner(), write(tmp_path / "b.csv", ROWS)
  )
  assert dataset.class_names == ("x",)


def test_a_csv_of_another_system(tmp_path):
  path = write(tmp_path / "b.csv", ROWS)
  want = detections.WithDetections(Inner(), path).read(Clip("é/1", 0, {})).boxes
  text = path.read_text(encoding="utf-8") + "\x1a"
  path.write_bytes(text.replace("\n", "\r\n").encode("utf-16"))
  found = detections.WithDetections(Inner(), path).read(Clip("é/1", 0, {})).boxes
  np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_boxes_of_none_of_the_clips_are_refused_at_once(ending, tmp_path):
  path = write(tmp_path / f"b.{ending}", ROWS, name="other")
  words = "has boxes of none of the 1 clips: it names 'other', the clips are 'é/1'"
  with pytest.raises(ValueError, match=words):
    base.check(detections.WithDetections(Inner(), path))
