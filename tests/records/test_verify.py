"""Verifying records: hand-counted sound clips, and a report of every damage."""

import csv
import dataclasses
import errno
import json

import cv2
import ml_collections
import numpy as np
import pytest

from vpn_jax import drawing, files
from vpn_jax.datasets import ntu, skeletons
from vpn_jax.jobs import prepare as prepare_job
from vpn_jax.records import contact_sheet, record_format, store, verify

SIZE, FRAMES = 24, 6


def make(i, *, length=FRAMES, **fields):
  """A grey clip with a person whose joints lie on a circle: class i % 3."""
  blob = record_format.encode_frame(np.full((SIZE, SIZE, 3), 100, np.uint8))
  angle = np.linspace(0, 2 * np.pi, 25, endpoint=False)
  circle = SIZE * (0.5 + 0.4 * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
  pose = np.ones((length, 2, 25, 3), np.float32)
  image_joints = np.tile(np.float32(circle), (length, 2, 1, 1))
  pose[:, 1] = image_joints[:, 1] = np.nan
  made = {
    "name": f"clip{i}",
    "label": i % 3,
    "attributes": {"subject": i % 2 + 1, "camera": i % 4 + 1},
    "fps": 20.0,
    "boxes": np.zeros((length, 4), np.float32),
    "frames": (blob,) * length,
    "pose": pose,
    "image_joints": image_joints,
    "visibility": np.full((length, 2, 25), np.nan, np.float32),
  }
  return record_format.Record(**(made | fields))


def write(folder, shards, summaries=None, **fields):
  """Writes shards of records and their index; `summaries` change its entries."""
  listed = {}
  for s, clips in enumerate(shards):
    name = f"shard-{s}.array_record"
    listed[name] = [
      entry | (summaries or {}).get(entry["name"], {})
      for entry in store.write_shard(folder / name, clips)
    ]
  index = {
    "dataset": "custom",
    "class_names": ("sit", "stand", "walk"),
    "skeleton": "kinect_v2",
    "skeleton_digest": skeletons.get("kinect_v2").digest(),
    "crop": {"kind": "full", "size": SIZE},
    "shards": listed,
  }
  store.Index(**(index | fields)).save(folder)
  return config(folder)


def config(folder, dataset="custom", **fields):
  fields = fields or {"train": "subject:1", "test": "subject:2"}
  data = {"dataset": dataset, "records": str(folder), **fields}
  return ml_collections.ConfigDict(data)


def table(folder):
  """counts.tsv as {(attribute, value): row}."""
  with (folder / verify.COUNTS_FILE).open() as file:
    rows = list(csv.DictReader(file, delimiter="\t"))
  return {(row.pop("attribute"), row.pop("value")): row for row in rows}


def row(clips, train, test, expected="", nobody="0.0", median="6.0"):
  counts = {"clips": clips, "train": train, "validation": 0, "test": test}
  texts = {key: str(n) for key, n in counts.items()}
  return texts | {"expected": expected, "nobody": nobody, "median_frames": median}


def test_sound_records(tmp_path, capfd):
  """clip i: class i % 3, subject i % 2 + 1 (1 trains), camera i % 4 + 1, 8 clips.

  Clip 7 (class 1, subject 2, camera 4) has 10 frames, 5 of them without a pose.
  """
  clips = [make(i) for i in range(7)]
  last = make(7, length=10)
  last.pose[:5] = np.nan
  report = verify.verify(write(tmp_path, [clips[:4], [*clips[4:], last]]))
  assert report.num_clips == 8
  assert report.problems == ()
  found = table(tmp_path)
  assert list(found) == [
    ("all", ""),
    *(("class", name) for name in ("sit", "stand", "walk")),
    *(("camera", str(camera)) for camera in (1, 2, 3, 4)),
    *(("subject", str(subject)) for subject in (1, 2)),
  ]
  assert found["all", ""] == row(8, 4, 4, nobody=str(round(5 / 52, 4)))
  assert found["class", "sit"] == row(3, 2, 1)  # 0, 3, 6
  assert found["class", "stand"] == row(3, 1, 2, nobody=str(round(5 / 22, 4)))  # 1 4 7
  assert found["class", "walk"] == row(2, 1, 1)  # 2, 5
  # camera 4: clips 3 and 7 of 6 and 10 frames
  assert found["camera", "4"] == row(2, 0, 2, nobody=str(5 / 16)[:6], median="8.0")
  assert found["subject", "1"] == row(4, 4, 0)
  assert [str(n) for n in report.counts[0].values()][:3] == ["all", "", "8"]
  assert report.files == (tmp_path / "counts.tsv", tmp_path / "contact_sheet.png")
  printed = "\n".join(report.lines())
  assert "8 clips read" in printed
  assert "median length 6 frames; 9.6% of the frames show nobody" in printed
  assert "custom as configured: train 4, test 4" in printed
  assert "problems: none" in printed
  assert "lacking: none" in printed
  assert str(tmp_path / "contact_sheet.png") in printed
  assert "8/8" in capfd.readouterr().err  # the bar


def test_sheet(tmp_path):
  """8 tiles in rows of six; the circle is drawn, the rest stays grey."""
  c = write(tmp_path, [[make(i) for i in range(8)]])
  verify.verify(c)
  sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))[..., ::-1]
  assert sheet.shape == (60 + 2 * (220 + 54 + 16), 16 + 6 * 236, 3)
  tile = sheet[60:280, 16:236].astype(int)
  drawn = (abs(tile - 100) > 8).any(axis=-1)
  y, x = np.nonzero(drawn)
  radius = np.hypot(y - 110, x - 110)
  assert radius.max() < 0.4 * 220 + 4
  assert 0.01 < drawn.mean() < 0.5
  for color in (drawing.LEFT, drawing.RIGHT, drawing.MIDDLE):
    assert (abs(tile - color).sum(axis=-1) < 9).sum() > 20
  below = sheet[280 : 280 + 54, 16:236]
  assert (below.max(axis=(1, 2)) > 150).sum() > 18  # three lines of text
  first = (tmp_path / "contact_sheet.png").read_bytes()
  verify.verify(c)
  assert (tmp_path / "contact_sheet.png").read_bytes() == first
  verify.verify(c, seed=1, sheet_clips=4)
  assert cv2.imread(str(tmp_path / "contact_sheet.png")).shape[:2] == (350, 960)


def test_sheet_shows_many_classes():
  clips = [{"label": 0}] * 50 + [{"label": 1}] * 2 + [{"label": 2}]
  for number, expected in ((3, [1, 1, 1]), (5, [2, 2, 1]), (9, [6, 2, 1])):
    for seed in range(3):
      labels = [clips[i]["label"] for i in verify._choose(clips, number, seed)]
      assert [labels.count(k) for k in range(3)] == expected
  assert len(verify._choose(clips, 100, 0)) == 53
  assert list(verify._choose(clips, 5, 0)) != list(verify._choose(clips, 5, 1))


def test_crop_shows_a_frame_with_somebody():
  skeleton = skeletons.get("kinect_v2")
  clip = make(0)
  clip.image_joints[np.arange(FRAMES) != 3] = np.nan
  picture, line = contact_sheet.draw_clip(clip, skeleton, np.random.default_rng(0))
  assert line == "frame 4 of 6"
  clip.visibility[3] = 0.1
  faint, _ = contact_sheet.draw_clip(clip, skeleton, np.random.default_rng(0))
  change = abs(picture.astype(int) - 100).max(), abs(faint.astype(int) - 100).max()
  assert 0 < change[1] < 0.5 * change[0]
  clip.image_joints[:] = np.nan
  picture, line = contact_sheet.draw_clip(clip, skeleton, np.random.default_rng(0))
  assert line.endswith("no joints in the image")
  assert abs(picture.astype(int) - 100).max() < 4
  clip.pose[:] = np.nan
  _, line = contact_sheet.draw_clip(clip, skeleton, np.random.default_rng(0))
  assert line.endswith("nobody seen")


def test_long_names_fit():
  tile = contact_sheet.tile(None, ("a very long name of a class " * 9, "ü" * 300))
  assert tile.shape == (220 + 3 * 18, 220, 3)
  assert (tile[220:, -1] == contact_sheet.PAPER).all()


def with_frame(i, blob):
  frames = list(make(0).frames)
  frames[i] = blob
  return tuple(frames)


SOUND = make(0).frames[0]
OTHER_SIZE = record_format.encode_frame(np.zeros((32, 32, 3), np.uint8))
DAMAGED = {
  "not a JPEG": (
    {"frames": with_frame(1, b"PNG" + SOUND[3:])},
    "frame 1 is not a JPEG, it has 504e..ffd9, expected ffd8..ffd9",
  ),
  "cut": (
    {"frames": with_frame(4, SOUND[:-2])},
    "frame 4 is not a JPEG",
  ),
  "garbled": (
    {"frames": with_frame(5, SOUND[:2] + bytes(50) + SOUND[-2:])},
    "frame 5 cannot be decoded",
  ),
  "size": (
    {"frames": with_frame(3, OTHER_SIZE)},
    "frame 3 is [32, 32, 3], expected [24, 24, 3]",
  ),
  "label": ({"label": 3}, "label is 3, expected 0 to 2"),
  "negative label": ({"label": -1}, "label is -1, expected 0 to 2"),
  "no frames": (
    {
      "frames": (),
      "pose": np.ones((0, 2, 25, 3)),
      "image_joints": np.ones((0, 2, 25, 2)),
      "visibility": np.ones((0, 2, 25)),
    },
    "has no frame",
  ),
  "pose": (
    {"pose": np.ones((6, 2, 20, 3))},
    "pose is [6, 2, 20, 3], expected [6, 2, 25, 3]",
  ),
  "image joints": (
    {"image_joints": np.ones((5, 2, 25, 2))},
    "image_joints is [5, 2, 25, 2], expected [6, 2, 25, 2]",
  ),
  "boxes": ({"boxes": np.ones((5, 4))}, "boxes is [5, 4], expected [6, 4]"),
  "visibility": (
    {"visibility": np.ones((6, 1, 25))},
    "visibility is [6, 1, 25], expected [6, 2, 25]",
  ),
  "infinite": (
    {"pose": np.full((6, 2, 25, 3), np.inf)},
    "pose is infinite somewhere",
  ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_record(case, tmp_path):
  fields, words = DAMAGED[case]
  c = write(tmp_path, [[make(0), make(1, **fields), make(2)]])
  report = verify.verify(c)
  with pytest.raises(ValueError, match=r"^1 of 3 clips .* delete shard-0\.array"):
    report.check()
  assert any(line.startswith(f"    clip1: {words}") for line in report.lines())
  lines = (tmp_path / verify.PROBLEMS_FILE).read_text().splitlines()
  assert any(line.startswith(f"clip1\tshard-0.array_record\t{words}") for line in lines)
  assert table(tmp_path)["all", ""]["clips"] == "3"
  assert cv2.imread(str(tmp_path / "contact_sheet.png")).shape[1] == 16 + 3 * 236
  verify.verify(write(tmp_path, [[make(0), make(1), make(2)]])).check()
  assert not (tmp_path / verify.PROBLEMS_FILE).exists()


@pytest.mark.parametrize(
  ("says", "words"),
  [
    ({"num_frames": 7}, "7"),
    ({"label": 0}, "label is 1, the index has 0"),
    ({"attributes": {"subject": 1, "camera": 2}}, "attributes is {'camera': 2, 'subj"),
    ({"name": "clip9"}, "clip1"),
  ],
)
def test_index_with_other_entries(says, words, tmp_path):
  c = write(tmp_path, [[make(0), make(1), make(2)]], {"clip1": says})
  report = verify.verify(c, sheet_clips=3)
  ((clip, shard, what),) = report.problems
  assert clip == says.get("name", "clip1")
  assert shard == "shard-0.array_record"
  assert words in what


def test_a_name_twice(tmp_path):
  c = write(tmp_path, [[make(0), make(1)], [make(2, name="clip0")]])
  report = verify.verify(c, sheet_clips=3)
  twice = "the index has the name 2 times"
  assert report.problems == (
    ("clip0", "shard-0.array_record", twice),
    ("clip0", "shard-1.array_record", twice),
  )


def test_flipped_bytes_and_missing_shard(tmp_path):
  shards = [[make(10 * s + i) for i in range(6)] for s in range(3)]
  c = write(tmp_path, shards)
  path = tmp_path / "shard-1.array_record"
  content = bytearray(path.read_bytes())
  place = content.index(SOUND) + len(SOUND) // 2  # in the first frame of a clip
  content[place] = 255 - content[place]
  path.write_bytes(content)
  (tmp_path / "shard-2.array_record").unlink()
  report = verify.verify(c, sheet_clips=24)
  flipped = {clip for clip, shard, _ in report.problems if shard == path.name}
  assert flipped == {"clip10"}
  gone = [p for p in report.problems if p[1] == "shard-2.array_record"]
  assert [clip for clip, _, _ in gone] == [f"clip{20 + i}" for i in range(6)]
  assert all("shard-2.array_record is missing" in what for _, _, what in gone)
  assert {p[1] for p in report.problems} == {path.name, "shard-2.array_record"}
  with pytest.raises(ValueError, match=r"delete shard-1.* shard-2.*run --job=prepare"):
    report.check()
  assert f"  problems: {len(report.problems)}" in report.lines()


def test_first_ten_problems_are_printed(tmp_path, capfd):
  """By the job, which ends with an error."""
  clips = [make(i, attributes={"subject": 1}, label=7) for i in range(13)]
  c = {"data": write(tmp_path, [clips]), "prepare": {"verify": True}}
  with pytest.raises(ValueError, match="13 of 13 clips"):
    prepare_job.run(ml_collections.ConfigDict(c))
  printed = capfd.readouterr().out
  assert printed.count("label is 7") == 10
  assert "and 3 more" in printed
  assert len((tmp_path / verify.PROBLEMS_FILE).read_text().splitlines()) == 13
  assert table(tmp_path)["class", "label 7"]["clips"] == "13"


def test_nothing_to_read(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no index\.json"):
    verify.verify(config(tmp_path))
  with pytest.raises(ValueError, match=r"got 0 clips .* at least 1 each"):
    verify.verify(write(tmp_path, []))
  c = write(tmp_path, [[make(0)]])
  with pytest.raises(ValueError, match=r"got 1 clips .* sheet_clips 0"):
    verify.verify(c, sheet_clips=0)
  with pytest.raises(ValueError, match="has dataset 'custom', expected 'ntu60'"):
    verify.verify(config(tmp_path, "ntu60", protocol="cs"))
  with pytest.raises(ValueError, match="a clip has no 'split'"):
    verify.verify(config(tmp_path, train="split:train"))
  write(tmp_path, [[make(0)]], skeleton_digest="0")
  with pytest.raises(ValueError, match=r"has skeleton '0', expected .* run --job=prep"):
    verify.verify(c)


def test_attribute_with_many_values(tmp_path):
  c = write(tmp_path, [[make(0)]])
  path = tmp_path / store.INDEX_FILE
  index = store.read_index(tmp_path)
  clips = [
    {**index.clips()[0], "attributes": {"take": i, "subject": 1}} for i in range(201)
  ]
  clips = [{k: c[k] for k in json.loads(path.read_text())["shards"][c["shard"]][0]}
           for c in clips]  # fmt: skip
  dataclasses.replace(index, shards={"shard-0.array_record": clips}).save(tmp_path)
  report = verify.verify(c, sheet_clips=1)
  assert "take: has 201 values, too many to count each (over 200)" in report.lacking
  assert not any(row["attribute"] == "take" for row in report.counts)


def test_lacking(tmp_path):
  """Three clips of NTU-60 by subjects 1 (trains) and 3, cameras 1 and 2."""
  names = ("S001C001P001R001A001", "S001C002P001R001A002", "S001C001P003R001A001")
  clips = []
  for i, name in enumerate(names):
    label, attributes = ntu.parse_name(name)
    clips.append(make(i, name=name, label=label, attributes=attributes))
  write(tmp_path, [clips], dataset="ntu60", class_names=ntu.class_names(60))
  c = config(tmp_path, "ntu60", protocol="cs", validation="camera:2")
  printed = "\n".join(verify.verify(c).lines())
  assert "ntu60 cs: train 2 of 40,091, test 1 of 16,487\n" in printed
  assert "ntu60 cv: train 1 of 37,646, test 2 of 18,932\n" in printed
  assert "ntu60 as configured: train 1, validation 1, test 1\n" in printed
  assert "ntu60 cv: test has 2 of 18,932 clips" in printed
  assert "class: 60 of 60 differ from the published counts: drink water has 2 of 9" in (
    printed
  )
  assert "camera: 3 of 3 differ" in printed
  assert "cs: no clip has subject 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, and 9 more, " in (
    printed
  )
  assert "cs: 59 of 60 classes lack train: eat meal" in printed
  found = table(tmp_path)
  assert found["camera", "3"]["clips"] == "0"
  assert found["camera", "3"]["expected"] == str(18_960 - 161)
  assert found["all", ""]["expected"] == "56578"
  assert found["class", ntu.class_names(60)[1]]["validation"] == "1"


def test_what_happened_to_clips_is_listed(tmp_path):
  note = "57 poses for 55 frames: the first 55 are kept"
  data = write(tmp_path, [[make(0), make(1, note=note)]])
  (tmp_path / "skipped.tsv").write_text("lost\t57 poses but 62 video frames\n")
  report = verify.verify(data, sheet_clips=1)
  assert report.notes == (("clip1", note),)
  assert report.left_out == (("lost", "57 poses but 62 video frames"),)
  text = "\n".join(report.lines())
  assert f"notes: 1\n    clip1: {note}\n" in text
  assert "left out by prepare: 1\n    lost: 57 poses but 62 video frames" in text
  assert (tmp_path / "notes.tsv").read_text() == f"clip1\t{note}\n"
  assert not report.problems


def test_a_folder_that_cannot_be_written_gives_its_report_first(tmp_path, monkeypatch):
  data = write(tmp_path, [[make(0), make(1)]])

  def refuse(*_):
    raise OSError(errno.EROFS, "Read-only file system")

  monkeypatch.setattr(files, "write_text", refuse)
  report = verify.verify(data, sheet_clips=1)
  assert "clips read" in report.lines()[0]
  with pytest.raises(OSError, match=r"cannot be written \(Read-only file system\)"):
    report.check()
