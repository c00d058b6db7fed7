"""The record format, shards, the index, and every kind of damage."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from vpn_jax.records import record_format, store


def make_record(name="a", frames=5, size=16, label=1):
  rng = np.random.default_rng(len(name) + frames)
  pose = rng.normal(size=(frames, 2, 25, 3)).astype(np.float32)
  pose[:, 1] = np.nan
  images = rng.integers(0, 255, (frames, size, size, 3), np.uint8)
  return record_format.Record(
    name=name,
    label=label,
    attributes={"subject": 3, "place": "lab"},
    fps=29.97,
    boxes=np.float32([[-3, 4, 61, 68]]).repeat(frames, 0),
    frames=tuple(record_format.encode_frame(i) for i in images),
    pose=pose,
    image_joints=rng.normal(size=(frames, 2, 25, 2)).astype(np.float32),
    visibility=rng.random((frames, 2, 25)).astype(np.float32),
  )


@pytest.fixture
def folder(tmp_path):
  """Two shards of two and one clips, and their index."""
  made = [make_record(name) for name in ("a", "bb", "ccc")]
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


def assert_same(a, b):
  for field in dataclasses.fields(record_format.Record):
    x, y = getattr(a, field.name), getattr(b, field.name)
    if field.name == "frames":
      assert tuple(x) == tuple(y)
    elif isinstance(x, np.ndarray):
      assert x.dtype == y.dtype
      np.testing.assert_array_equal(x, y)
    else:
      assert x == y


@pytest.mark.parametrize("frames", [1, 31, 32, 33, 64, 70])
def test_round_trip(frames):
  record = make_record(frames=frames)
  payloads = list(record_format.encode(record))
  assert len(payloads) == record_format.num_payloads(frames) == 1 + (frames + 31) // 32
  assert_same(record_format.decode(payloads), record)
  assert list(record_format.encode(record_format.decode(payloads))) == payloads


def test_equal_records_give_equal_bytes():
  record = make_record()
  turned = dict(reversed(record.attributes.items()))
  other = dataclasses.replace(record, attributes=turned, pose=record.pose.copy())
  assert list(record_format.encode(record)) == list(record_format.encode(other))


def test_only_needed_chunks_are_read():
  record = make_record(frames=100, size=8)
  payloads = Counting(record_format.encode(record))
  frames = record_format.decode(payloads).frames
  assert payloads.asked == [0]
  assert frames[40] == record.frames[40]
  assert frames[63] == frames[-37] == record.frames[63]
  assert frames[33:36] == record.frames[33:36]
  assert payloads.asked == [0, 2]
  with pytest.raises(IndexError):
    frames[100]


class Counting(list):
  def __init__(self, items):
    super().__init__(items)
    self.asked = []

  def __getitem__(self, i):
    self.asked.append(i)
    return super().__getitem__(i)


def test_a_long_clip_keeps_few_chunks_in_memory():
  record = make_record(frames=32 * 20, size=8)
  frames = record_format.decode(list(record_format.encode(record))).frames
  assert tuple(frames) == record.frames
  assert len(frames._chunks) == 8


@pytest.mark.parametrize("memory", [10, 2**20])
def test_spool(memory, tmp_path):
  spool, blobs = (
    record_format.Spool(tmp_path, memory=memory),
    [b"a" * i for i in range(9)],
  )
  for blob in blobs:
    spool.append(blob)
  assert list(spool) == blobs
  assert spool[2:4] == (b"aa", b"aaa")
  assert spool[-1] == blobs[8]
  spool.truncate(3)
  assert list(spool) == blobs[:3]
  spool.append(b"new")
  assert spool[3] == b"new"
  assert not list(tmp_path.iterdir())  # the file has no name


def test_frames_come_back_as_rgb():
  image = np.zeros((32, 32, 3), np.uint8)
  image[..., 0] = 200
  back = record_format.decode_frame(record_format.encode_frame(image[:, ::-1], 95))
  assert back.shape == image.shape
  np.testing.assert_allclose(back, image, atol=4)


@pytest.mark.parametrize("cut", [0, 1, 10, -1, -100])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_truncated_payload(place, cut):
  payloads = list(record_format.encode(make_record(frames=40)))
  payloads[place] = payloads[place][:cut]
  with pytest.raises(
    record_format.RecordError, match=r"shard 7.* is damaged .* delete its"
  ):
    tuple(record_format.decode(payloads, "shard 7").frames)


def test_chunks_of_another_clip():
  payloads = list(record_format.encode(make_record(frames=70)))
  other = list(record_format.encode(make_record("other", frames=70)))
  for wrong in ([payloads[0], other[1], *payloads[2:]], payloads[:2] + payloads[1:]):
    with pytest.raises(
      record_format.RecordError, match=r"has frames of .* expected \('a', "
    ):
      tuple(record_format.decode(wrong, "shard 7").frames)


def test_any_flipped_byte_gives_a_record_error_or_a_record():
  payloads = list(record_format.encode(make_record(frames=1, size=8)))
  for place in range(2):
    for i in range(0, len(payloads[place]), 7):
      changed = bytearray(payloads[place])
      changed[i] ^= 0xFF
      turned = [*payloads[:place], bytes(changed), *payloads[place + 1 :]]
      try:
        record_format.decode(turned).frames[0]
      except (record_format.RecordError, IndexError):  # no frame is left
        pass


def test_other_format(monkeypatch):
  payloads = list(record_format.encode(make_record()))
  monkeypatch.setattr(record_format, "FORMAT", 3)
  with pytest.raises(
    record_format.RecordError, match="does not have format 3: run --job=prep"
  ):
    record_format.decode(payloads)


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
  assert_same(reader[1], make_record("bb"))
  copy = pickle.loads(pickle.dumps(reader))  # with an open file
  assert_same(copy[2], make_record("ccc"))


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
