"""Prepared sets of skeletons: by value, their protocols, and every refusal."""

import os
import pickle

import fake_prepared as fake
import numpy as np
import pytest

from configs import custom
from vpn_jax.datasets import prepared, protocols, registry
from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.prepared_npz import PreparedNpz
from vpn_jax.datasets.prepared_pickle import PreparedPickle


def counts(dataset, protocol):
  clips = dataset.clips()[0]
  rule = protocols.get(dataset.name, protocol, clips)
  found = protocols.count(rule, clips, dataset.class_names)
  return found["train"], found["test"]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_ntu_in_3d(protocol, tmp_path):
  content = fake.ntu(persons=2)
  path = fake.save(tmp_path / "ntu60_3danno.pkl", content, protocol)
  dataset = PreparedPickle(path, "ntu60")
  clips, left_out = dataset.clips()
  assert [clip.name for clip in clips] == fake.NAMES
  assert left_out == []
  assert (dataset.skeleton, dataset.coordinates) == ("kinect_v2", "world")
  assert dataset.class_names[:2] == ("drink water", "eat meal/snack")
  assert clips[5].label == 9
  assert clips[5].attributes == {
    "setup": 1, "camera": 1, "subject": 2, "replication": 1,
    "xsub": "train", "xview": "test",
  }  # fmt: skip
  copy = pickle.loads(pickle.dumps(dataset))
  for made, clip in zip(content["annotations"], clips):
    opened = copy.read(clip)
    want = np.moveaxis(made["keypoint"].astype(np.float32), 1, 0).copy()
    want[(want == 0).all(axis=(2, 3))] = np.nan  # [F, persons] without anybody
    np.testing.assert_array_equal(opened.pose, want)
    assert np.isnan(opened.image_joints).all()
    assert opened.image_joints.shape == (*want.shape[:-1], 2)
    assert (opened.frames, opened.visibility, opened.fps) == (None, None, 30)
  assert counts(dataset, "cs") == (12, 6)
  assert counts(dataset, "cv") == (9, 9)


def test_ntu_in_2d(tmp_path):
  content = fake.ntu(channels=2, persons=2)
  dataset = PreparedPickle(fake.save(tmp_path / "ntu60_hrnet.pkl", content), "ntu60")
  assert (dataset.skeleton, dataset.coordinates) == ("coco_17", "image")
  for made, clip in zip(content["annotations"], dataset.clips()[0]):
    opened = dataset.read(clip)
    score = np.moveaxis(made["keypoint_score"].astype(np.float32), 1, 0)
    seen = score > 0
    assert 0 < seen.mean() < 1
    np.testing.assert_array_equal(
      opened.visibility, np.where(seen, score, np.float32(np.nan))
    )
    image = np.moveaxis(made["keypoint"].astype(np.float32), 1, 0)
    np.testing.assert_array_equal(opened.image_joints[seen], image[seen])
    assert np.isnan(opened.image_joints[~seen]).all()
    assert np.isnan(opened.pose).all()
    assert opened.pose.shape == (*image.shape[:-1], 3)


def test_ntu_120(tmp_path):
  content = fake.ntu()
  content["annotations"][0] |= {"frame_dir": "S018C001P041R001A120", "label": 119}
  path = fake.save(tmp_path / "ntu120_3danno.pkl", content)
  dataset = PreparedPickle(path, "ntu120")
  assert len(dataset.class_names) == 120
  assert dataset.clips()[0][0].label == 119
  assert counts(dataset, "cs2") == (1, 17)  # setup 18 trains, setup 1 tests
  assert counts(dataset, "cs1") == (11, 7)  # subjects 1 and 2 train, 3 and 41 test


def test_other_pickles(tmp_path):
  """One split, several, or none; classes are numbers."""
  content = fake.gym()
  path = tmp_path / "gym_hrnet.pkl"
  dataset = PreparedPickle(fake.save(path, content), "custom", "coco_17")
  assert dataset.class_names == ("0", "1", "2")
  values = [clip.attributes for clip in dataset.clips()[0]]
  assert values == [{"split": "train"}] * 8 + [{"split": "test"}] * 4
  names = content["split"]["train"]
  content["split"] = {
    "train1": names, "test1": [], "train2": [], "test2": names, "dev": names, 3: names
  }  # fmt: skip
  dataset = PreparedPickle(fake.save(path, content), "custom")
  assert dataset.clips()[0][0].attributes == {"split1": "train", "split2": "test"}
  content["split"] = {"train": names[:2], "val": names[2:4], "test": names[4:5]}
  dataset = PreparedPickle(fake.save(path, content), "custom")
  parts = [clip.attributes.get("split") for clip in dataset.clips()[0]]
  assert parts[:6] == ["train", "train", "val", "val", "test", None]
  before = dataset.source
  dataset = PreparedPickle(fake.save(path, content["annotations"]), "custom")
  assert dataset.clips()[0][0].attributes == {}
  assert dataset.source != before


def test_classes_of_a_pickle_are_named_by_a_file(tmp_path):
  path, names = fake.save(tmp_path / "gym.pkl", fake.gym()), tmp_path / "gym.txt"
  names.write_text("\ufeffsalto\r\n straddle  vault\r\nsplit jump\r\n\r\n", "utf-8")
  c = custom.get_config("split,model=pose")
  c.data.update(raw=str(path), skeleton="coco_17", class_names=str(names))
  dataset = registry.open_dataset(c.data)
  assert dataset.class_names == ("salto", "straddle vault", "split jump")
  assert dataset.source != PreparedPickle(path, "custom").source
  for content, message in (
    ("one\ntwo\n", "gym.txt has 2 names and .*gym.pkl 3 classes, expected a name for"),
    ("one\n\ntwo\n", "line 2 has '', expected the name of a class that no other"),
    ("one\ntwo\none\n", "line 3 has 'one', expected the name of a class"),
    (" \n", "line 1 has nothing, expected the name"),
  ):
    names.write_text(content)
    with pytest.raises(ValueError, match=message):
      registry.open_dataset(c.data)
  names.write_bytes(b"\xe9\n")
  with pytest.raises(ValueError, match=r"gym\.txt is not text"):
    registry.open_dataset(c.data)
  c.data.class_names = str(tmp_path / "absent.txt")
  with pytest.raises(FileNotFoundError, match="a text file with the name of each"):
    registry.open_dataset(c.data)
  c.data.raw = str(tmp_path)
  with pytest.raises(ValueError, match=r"which a folder .* does not use: leave it"):
    registry.open_dataset(c.data)


def test_of_many_people_the_largest_stay():
  joints = np.random.default_rng(0).uniform(1, 2, (4, 4, 17, 2)) * 10
  joints *= np.float32([1, 9, 3, 5])[:, None, None]
  opened = prepared.raw_clip(joints, None, "clip")
  np.testing.assert_array_equal(opened.image_joints, joints[:, [1, 3]].astype("f4"))
  joints[:3, 1] = 0  # seen in one frame of four, which is less than size 5 and 3
  opened = prepared.raw_clip(joints, np.ones((4, 4, 17)), "clip")
  np.testing.assert_array_equal(opened.image_joints, joints[:, [3, 2]].astype("f4"))
  assert (opened.visibility == 1).all()


def test_clips_of_a_pickle_that_are_left_out(tmp_path):
  content = fake.ntu()
  made = content["annotations"]
  del made[0]["frame_dir"]
  made[1]["label"] = 5
  made[2]["label"] = "9"
  del made[3]["keypoint"]
  made[4]["keypoint"] = made[4]["keypoint"][0]
  made[5]["keypoint_score"] = np.zeros((1, 2, 25), np.float32)
  made[6]["frame_dir"] = made[7]["frame_dir"]
  made[6]["label"] = made[7]["label"]
  made[8]["keypoint"] = made[8]["keypoint"][:, :, :17]
  made[9] = 3
  made[10]["frame_dir"] = "S001C002P005R002A008"
  made[10]["label"] = 7
  made[11]["frame_dir"], made[11]["label"] = "S018C001P001R001A001", 0
  made[12]["keypoint"] = made[12]["keypoint"].astype(int)
  made[13]["frame_dir"] = "v_1"
  dataset = PreparedPickle(fake.save(tmp_path / "a.pkl", content), "ntu60")
  assert len(dataset.clips()[0]) == len(fake.NAMES) - 13
  reasons = [reason for _, reason in dataset.clips()[1]]
  for reason, want in zip(
    reasons,
    (
      "its frame_dir is not a printable name",
      "its label is 5, its name says 1",
      "its label is 9, expected a class number",
      "no keypoint; those of Kinetics",
      "its keypoint is not a float array [M, T, V, C]",
      "its keypoint_score is not a float array",
      "another clip has the same name",
      "it has 17 x 3 numbers, others (25, 3)",
      "it is a int, expected a dict",
      "on the official list of missing skeletons",
      "it is not in ntu60",
      "its keypoint is not a float array",
      "got the name 'v_1', expected one as",
    ),
    strict=True,
  ):
    assert want in reason


def test_a_damaged_clip(tmp_path):
  content = fake.ntu()
  content["annotations"][0]["keypoint"][:] = 0
  content["annotations"][1]["keypoint"][0, 2, 3, 1] = np.inf
  path = fake.save(tmp_path / "a.pkl", content)
  dataset = PreparedPickle(path, "ntu60")
  clips = dataset.clips()[0]
  with pytest.raises(BadClip, match="A001 has nobody in any of"):
    dataset.read(clips[0])
  with pytest.raises(BadClip, match="A002 holds infinite numbers"):
    dataset.read(clips[1])
  path.write_bytes(path.read_bytes()[:3000])
  with pytest.raises(BadClip, match=r"a\.pkl cannot be read: .* changed since it was"):
    dataset.read(clips[-1])


class Harm:
  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


def test_refused_pickles(tmp_path):
  path = tmp_path / "a.pkl"

  def refused(content, message, skeleton=""):
    fake.save(path, content)
    with pytest.raises(ValueError, match=message):
      PreparedPickle(path, "custom", skeleton)

  content = fake.gym()
  refused(
    content | {"x": Harm(tmp_path / "harmed")}, r"names posix\.mkdir, which is re"
  )
  assert not (tmp_path / "harmed").exists()
  refused({"a": 1, "b": 2}, r"holds \['a', 'b'\], expected `split` and a list of")
  refused([], r"holds \{'annotations': \[\]\}|holds \['annotations'\], expected")
  refused(3, "holds 3, expected `split`")
  refused(content | {"split": [1]}, "split is a list, expected dict")
  refused([{"frame_dir": "a"}], "no clip that can be used: a: its label is None")
  other = "17 joints, expected 33 of mediapipe_33: set config.data.skeleton=coco_17"
  refused(content, other, "mediapipe_33")
  rng = np.random.default_rng(0)
  odd = [fake.annotation("a", 0, rng, joints=11)]
  refused(odd, r"poses of 11 joints with 3 numbers, expected one of .* describe other")
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(
    ValueError, match=r"a\.pkl is not a readable pickle .*fetch it ag"
  ):
    PreparedPickle(path, "custom")
  with pytest.raises(
    FileNotFoundError, match=r"no file .*b\.pkl: set config\.data\.raw"
  ):
    PreparedPickle(tmp_path / "b.pkl", "custom")


# CTR-GCN's npz.


def test_ctrgcn_by_value(tmp_path):
  path, made = fake.ctrgcn(tmp_path / "NTU60_CS.npz")
  dataset = PreparedNpz(path, "ntu60")
  clips, left_out = dataset.clips()
  assert left_out == []
  assert [clip.name for clip in clips[5:8]] == [
    "train_00005", "test_00000", "test_00001"
  ]  # fmt: skip
  assert [clip.label for clip in clips[:4]] == [0, 1, 2, 0]
  assert clips[0].attributes == {"cs": "train"}
  assert (dataset.skeleton, dataset.coordinates) == ("kinect_v2", "world")
  copy = pickle.loads(pickle.dumps(dataset))
  for clip, want in zip(clips, made["train"] + made["test"]):
    opened = copy.read(clip)
    want[(want == 0).all(axis=(2, 3))] = np.nan
    np.testing.assert_array_equal(opened.pose, want)
    assert (opened.pose[0, 0, 1] == 0).all()  # the origin is a joint like others
    assert np.isnan(opened.image_joints).all()


def test_the_protocol_of_a_divided_file(tmp_path):
  for file, dataset, classes, name, other in (
    ("NTU60_CS.npz", "ntu60", 60, "cs", "cv"),
    ("NTU60_CV.npz", "ntu60", 60, "cv", "cs"),
    ("NTU120_CSub.npz", "ntu120", 120, "cs1", "cs2"),
    ("NTU120_CSet.npz", "ntu120", 120, "cs2", "cs1"),
  ):
    path, _ = fake.ctrgcn(tmp_path / file, classes=classes)
    opened = PreparedNpz(path, dataset)
    assert counts(opened, name) == (6, 4)
    clips = opened.clips()[0]
    assert list(protocols.applicable(dataset, clips)) == [name]
    with pytest.raises(
      ValueError,
      match=f"protocol is '{other}', but the clips are from a file that was divided by "
      f"'{name}': use configs/{dataset}.py:{name}",
    ):
      protocols.get(dataset, other, clips)
    line = protocols.describe(dataset, name, protocols.get(dataset, name, clips), clips)
    assert line.startswith(f"{dataset} {name}: train 6 of ")


def test_the_sizes_of_a_file_tell_its_protocol(tmp_path, monkeypatch):
  path, _ = fake.ctrgcn(tmp_path / "mine.npz")
  opened = PreparedNpz(path, "ntu60")
  assert opened.clips()[0][0].attributes == {"split": "train"}
  assert counts(opened, "cs") == counts(opened, "cv") == (6, 4)
  monkeypatch.setitem(protocols.EXPECTED_COUNTS, ("ntu60", "cv"), (6, 4))
  opened = PreparedNpz(path, "ntu60")
  assert opened.clips()[0][0].attributes == {"cv": "train"}
  assert protocols.check_counts("ntu60", "cv", opened.clips()[0]) == []


def test_clips_of_an_npz_that_cannot_be_used(tmp_path):
  path, _ = fake.ctrgcn(tmp_path / "NTU60_CS.npz")
  with np.load(path) as file:
    arrays = dict(file)
  arrays["y_train"][0] = 0
  arrays["x_train"][1] = 0
  np.savez(path, **arrays)
  dataset = PreparedNpz(path, "ntu60")
  clips, left_out = dataset.clips()
  assert left_out == [("train_00000", "it has 0 classes, expected one")]
  with pytest.raises(BadClip, match="train_00001 has nobody in any of 20 frames"):
    dataset.read(clips[0])
  path.write_bytes(path.read_bytes()[:500])
  with pytest.raises(BadClip, match=r"NTU60_CS\.npz cannot be read"):
    dataset.read(clips[3])


def test_refused_npz(tmp_path):
  path = tmp_path / "a.npz"
  x, y = np.zeros((2, 5, 150), np.float32), np.eye(60)[:2]
  arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}

  def refused(message, save=np.savez, **changes):
    save(path, **arrays | changes)
    with pytest.raises(ValueError, match=message):
      PreparedNpz(path, "ntu60")

  refused("is compressed, expected an npz of numpy.savez", np.savez_compressed)
  refused(
    r"x_train \[2, 5\] and y_train \[2, 60\], expected \[N, T, 150\]", x_train=x[..., 0]
  )
  refused("has 151 numbers in a frame, expected 150", x_test=np.zeros((2, 5, 151)))
  refused(r"has \[59, 60\] classes, expected 60", y_test=y[:, :59])
  refused("array x_train, is object, expected numbers", x_train=np.array([{}], object))
  np.savez(path, world=x)
  with pytest.raises(
    ValueError, match=r"holds the arrays \['world'\], expected x_train"
  ):
    PreparedNpz(path, "ntu60")
  np.savez(path, **arrays)
  path.write_bytes(path.read_bytes()[:-60])
  with pytest.raises(
    ValueError, match=r"a\.npz cannot be read as npz .*fetch or write"
  ):
    PreparedNpz(path, "ntu60")
