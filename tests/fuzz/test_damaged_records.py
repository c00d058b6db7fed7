"""Damaged shards and indexes are noticed; no name leads out of the folder."""

import dataclasses
import json

import fake_records
import fuzzing
import numpy as np
import pytest

from vpn_jax.records import record_format, store

SHARD = "clips-00000-of-00001.array_record"
MADE = [fake_records.noise_record(i, frames=3, size=16, joints=2) for i in range(3)]


def make_index(clips):
  return store.Index(
    dataset="custom",
    class_names=("a", "b", "c", "d"),
    skeleton="kinect_v2",
    skeleton_digest="01234567",
    crop={"size": 16},
    shards={SHARD: clips},
  )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records")
  make_index(store.write_shard(folder / SHARD, MADE)).save(folder)
  return folder


@pytest.fixture(scope="module")
def clean(folder):
  """The bytes of the undamaged shard and index."""
  return (folder / SHARD).read_bytes(), (folder / store.INDEX_FILE).read_bytes()


def read_all(folder):
  source = store.RecordReader(folder, store.read_index(folder).clips())
  return [list(record_format.encode(source[i])) for i in range(len(source))]


WANT = [list(record_format.encode(record)) for record in MADE]


def used(data):
  """Positions in a shard outside its padding to blocks of 64 KiB."""
  return np.flatnonzero(np.frombuffer(data, np.uint8))


@fuzzing.fuzz(2.0)
def test_a_shard_gives_its_records_or_an_error(steps, folder, clean):
  shard, index = clean
  (folder / store.INDEX_FILE).write_bytes(index)
  places = used(shard)
  steps = [(kind, int(places[at % len(places)]), size) for kind, at, size in steps]
  (folder / SHARD).write_bytes(fuzzing.apply(shard, steps))
  got = fuzzing.value_or_none(
    lambda: read_all(folder), SHARD, errors=record_format.RecordError
  )
  assert got in (None, WANT)


@fuzzing.fuzz(2.0)
def test_an_index_gives_its_clips_or_an_error(steps, folder, clean):
  shard, index = clean
  (folder / SHARD).write_bytes(shard)
  (folder / store.INDEX_FILE).write_bytes(fuzzing.apply(index, steps))
  got = fuzzing.value_or_none(
    lambda: store.read_index(folder), store.INDEX_FILE, errors=record_format.RecordError
  )
  assert (
    got is None or got.clips() == make_index(json.loads(index)["shards"][SHARD]).clips()
  )


@fuzzing.fuzz()
def test_payloads_without_a_checksum_have_the_right_types_or_an_error(steps):
  """ArrayRecord prevents this, but the reader does not rely on it."""
  for place in range(2):
    payloads = list(WANT[0])
    payloads[place] = fuzzing.apply(payloads[place], steps) or b"\0"

    def read(payloads=payloads):
      record = record_format.decode(payloads, "shard 7")
      return record, list(record.frames[:100])

    got = fuzzing.value_or_none(read, "shard 7", errors=record_format.RecordError)
    if got:
      record, _ = got
      for name in ("boxes", "pose", "image_joints", "visibility"):
        assert getattr(record, name).dtype == np.float32


@pytest.mark.parametrize(
  "shard", ["../x", "/etc/passwd", "..", ".", "", "sub/x", "a\nb", "a\0b", "x/../../y"]
)
def test_shards_in_other_folders_are_refused(shard, tmp_path):
  made = make_index([])
  dataclasses.replace(made, shards={shard: []}).save(tmp_path)
  with pytest.raises(
    record_format.RecordError, match=r"names the shard .* beside it: run"
  ):
    store.read_index(tmp_path)


def test_a_deeply_nested_index(tmp_path):
  (tmp_path / store.INDEX_FILE).write_text("[" * 100_000)
  with pytest.raises(record_format.RecordError, match=r"index\.json is damaged"):
    store.read_index(tmp_path)
