"""Shards, the index, and every kind of damage."""

import dataclasses
import json
import pickle

import fake_records
import pytest

from vpn_jax.datasets import skeleton_files, skeletons
from vpn_jax.records import record_format, store


@pytest.fixture
def folder(tmp_path):
  """Two shards of two and one clips, and their index."""
  made = [fake_records.lab_record(name) for name in ("a", "bb", "ccc")]
  assert store.write_shard(tmp_path / "x0", iter(made[:2])) == [
    store.summary(r) for r in made[:2]
  ]
  store.write_shard(tmp_path / "x1", made[2:])
  index = store.Index(
    dataset="ntu60",
    class_names=("sit", "stand"),
    skeleton="kinect_v2",
    skeleton_digest="01234567",
    crop={"size": 16, "slack": 0.1},
    shards={
      "x1": [store.summary(made[2])],
      "x0": [store.summary(r) for r in made[:2]],
    },
    skipped=4,
  )
  index.save(tmp_path)
  return tmp_path


def test_reader(folder):
  clips = store.read_index(folder).clips()
  assert [c["name"] for c in clips] == ["a", "bb", "ccc"]
  assert [(c["shard"], c["position"]) for c in clips] == [
    ("x0", 0),
    ("x0", 2),
    ("x1", 0),
  ]
  reader = store.RecordReader(folder, clips)
  assert len(reader) == 3
  fake_records.assert_same(reader[1], fake_records.lab_record("bb"))
  copy = pickle.loads(pickle.dumps(reader))  # with an open file
  fake_records.assert_same(copy[2], fake_records.lab_record("ccc"))


def test_an_index_knows_a_skeleton_whose_file_is_gone(tmp_path, monkeypatch):
  monkeypatch.setattr(skeletons, "SKELETONS", dict(skeletons.SKELETONS))
  ours = skeletons.Skeleton("ours", ("a", "b"), (("a", "b"),), ("a",))
  skeletons.register(ours)
  index = store.Index("custom", ("x",), "ours", ours.digest(), {}, {})
  index = dataclasses.replace(
    index, skeleton_definition=skeleton_files.definition("ours")
  )
  index.save(tmp_path)
  del skeletons.SKELETONS["ours"]
  assert store.read_index(tmp_path) == index
  assert skeletons.get("ours") == ours
  other = dataclasses.replace(ours, bones=())
  skeletons.SKELETONS["ours"] = other
  with pytest.raises(
    ValueError, match=r"index\.json: skeleton 'ours' is registered al"
  ):
    store.read_index(tmp_path)


def test_the_digest_of_an_earlier_index(folder):
  """Computed by the version before indices had definitions of skeletons."""
  path = folder / "index.json"
  content = json.loads(path.read_text())
  assert content["digest"] == "21106f172cad3d84"
  del content["skeleton_definition"]
  path.write_text(json.dumps(content))
  assert store.read_index(folder).skeleton_definition is None


def test_index_round_trip(folder):
  index = store.read_index(folder)
  assert index.class_names == ("sit", "stand")
  assert index.skipped == 4
  assert index.clips()[0]["num_frames"] == 5
  assert index.digest() == json.loads((folder / "index.json").read_text())["digest"]
  assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize(
  "change",
  [
    {"dataset": "ntu120"},
    {"class_names": ("sit", "rise")},
    {"crop": {"size": 16, "slack": 0.2}},
    {"skeleton_digest": "76543210"},
    {"skipped": 5},
    {"shards": {}},
  ],
)
def test_digest_sees_every_field(folder, change):
  index = store.read_index(folder)
  assert dataclasses.replace(index, **change).digest() != index.digest()


def test_edited_index(folder):
  path = folder / "index.json"
  path.write_text(path.read_text().replace('"label": 1', '"label": 0'))
  with pytest.raises(record_format.RecordError, match=r"has digest .* edited by hand"):
    store.read_index(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', "null", "\0"])
def test_damaged_index(folder, text):
  (folder / "index.json").write_text(text)
  with pytest.raises(record_format.RecordError, match=r"index\.json is damaged"):
    store.read_index(folder)


def test_index_of_another_format(folder):
  path = folder / "index.json"
  path.write_text(path.read_text().replace('"format": 2', '"format": 99'))
  with pytest.raises(record_format.RecordError, match="does not have format 2"):
    store.read_index(folder)


def test_no_index(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no index\.json in .* --job=prepare"):
    store.read_index(tmp_path)


def read_all(folder):
  reader = store.RecordReader(folder, store.read_index(folder).clips())
  return [reader[i] for i in range(len(reader))]


def test_damaged_shards(folder):
  whole = (folder / "x0").read_bytes()
  middle = len(whole) // 2
  (folder / "x0").write_bytes(whole[:middle])
  with pytest.raises(
    record_format.RecordError, match=r"x0, record . .* delete (the|its) shard"
  ):
    read_all(folder)
  (folder / "x0").write_bytes(b"")
  with pytest.raises(record_format.RecordError, match="x0, record 0 cannot be read"):
    read_all(folder)
  (folder / "x0").unlink()
  with pytest.raises(record_format.RecordError, match="x0, record 0 cannot be read"):
    read_all(folder)


def test_swapped_shards(folder):
  (folder / "x0").rename(folder / "y")
  (folder / "x1").rename(folder / "x0")
  with pytest.raises(
    record_format.RecordError, match="holds ccc with 5 frames, the index has a"
  ):
    read_all(folder)
