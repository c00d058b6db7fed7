"""Parts of a protocol and their reproducible batches."""

import itertools

import numpy as np
import pytest

from vpn_jax.datasets import protocol_settings, protocols, skeletons
from vpn_jax.inputs import example, pipeline
from vpn_jax.records import store

KINECT = skeletons.get("kinect_v2")
SMALL = example.Settings(num_frames=8, frame_size=32, pose_steps=4)


def part(folder, which="train", rule=("subject:1,2,3", "subject:4")):
  index = store.read_index(folder)
  return pipeline.Part(folder, index, protocol_settings.custom(*rule), which, SMALL)


def take(batches, n):
  return list(itertools.islice(batches, n))


def assert_same(a, b):
  assert len(a) == len(b)
  for x, y in zip(a, b):
    assert x.keys() == y.keys()
    for key in x:
      np.testing.assert_array_equal(x[key], y[key])


def test_parts_are_disjoint_and_complete(noise_records):
  train, test = part(noise_records), part(noise_records, "test")
  names = [{clip["name"] for clip in p.clips} for p in (train, test)]
  assert not names[0] & names[1]
  assert len(names[0] | names[1]) == 32
  assert {c["attributes"]["subject"] for c in test.clips} == {4}


def test_every_clip_occurs_once_per_epoch(noise_records):
  train = part(noise_records)
  batches = take(train.train_batches(8, seed=1), 6)  # 24 clips: two epochs
  seen = np.concatenate([b["index"] for b in batches])
  np.testing.assert_array_equal(np.sort(seen[:24]), np.arange(24))
  np.testing.assert_array_equal(np.sort(seen[24:]), np.arange(24))
  assert not np.array_equal(seen[:24], seen[24:])  # in another order
  labels = np.array([c["label"] for c in train.clips])
  np.testing.assert_array_equal(
    np.concatenate([b["label"] for b in batches]), labels[seen]
  )


def test_balanced_batches_show_all_classes_alike(noise_records):
  train = part(noise_records)
  labels = np.array([clip["label"] for clip in train.clips])
  kept = [*np.flatnonzero(labels)[:9], *np.flatnonzero(labels == 0)[:2]]
  train.clips[:] = [train.clips[i] for i in kept]  # 2 of class 0, 3 each of the others
  train._reader = store.RecordReader(noise_records, train.clips)
  labels = labels[kept]
  batches = take(train.train_batches(8, seed=1, balanced=True), 6)
  seen = np.concatenate([b["index"] for b in batches])
  rounds = labels[seen].reshape(12, 4)
  np.testing.assert_array_equal(np.sort(rounds), np.tile(np.arange(4), (12, 1)))
  assert len(np.unique(rounds, axis=0)) > 4  # in many orders
  for label in range(4):
    own = seen[labels[seen] == label]
    members = np.flatnonzero(labels == label)
    for at in range(0, 12, len(members)):  # each once per pass
      np.testing.assert_array_equal(np.sort(own[at : at + len(members)]), members)
  again = take(train.train_batches(8, seed=1, balanced=True, start=4), 2)
  assert_same(batches[4:], again)
  blocks = [
    take(train.train_batches(8, seed=1, balanced=True, shard=(p, 2), threads=1), 3)
    for p in range(2)
  ]
  for b, batch in enumerate(batches[:3]):
    pair = [blocks[p][b]["frames"] for p in range(2)]
    np.testing.assert_array_equal(batch["frames"], np.concatenate(pair))
  other = take(train.train_batches(8, seed=2, balanced=True), 3)
  assert not np.array_equal(seen[:24], np.concatenate([b["index"] for b in other]))


def test_batches_do_not_depend_on_threads_or_workers(noise_records):
  train = part(noise_records)
  plain = take(train.train_batches(8, seed=1, threads=1), 4)
  assert_same(plain, take(train.train_batches(8, seed=1, threads=4), 4))
  other = take(train.train_batches(8, seed=2), 4)
  assert not np.array_equal(plain[0]["index"], other[0]["index"])


def test_one_clip_is_enough(noise_records):
  rule = protocols.Protocol("subject", (1,), classes=("a",))
  index = store.read_index(noise_records)
  one = pipeline.Part(noise_records, index, rule, "train", SMALL)
  one.clips[1:] = []
  batches = take(one.train_batches(1, seed=0), 3)
  assert [b["index"].tolist() for b in batches] == [[0], [0], [0]]


def test_start_continues_where_another_stopped(noise_records):
  train = part(noise_records)
  whole = take(train.train_batches(8, seed=1), 5)
  assert_same(whole[3:], take(train.train_batches(8, seed=1, start=3), 2))


def test_processes_share_each_batch(noise_records):
  train = part(noise_records)
  whole = take(train.train_batches(8, seed=1), 3)
  shards = [take(train.train_batches(8, seed=1, shard=(p, 2)), 3) for p in range(2)]
  for b, batch in enumerate(whole):
    for p in range(2):
      block = slice(4 * p, 4 * p + 4)
      np.testing.assert_array_equal(batch["frames"][block], shards[p][b]["frames"])
      np.testing.assert_array_equal(batch["index"][block], shards[p][b]["index"])


def test_evaluation_sees_every_clip_once(noise_records):
  train = part(noise_records)
  for shards in (1, 2):
    batches = [
      b for p in range(shards) for b in train.eval_batches(16, shard=(p, shards))
    ]
    valid = np.concatenate([b["valid"] for b in batches])
    index = np.concatenate([b["index"] for b in batches])
    assert len(valid) == 32
    np.testing.assert_array_equal(np.sort(index[valid]), np.arange(24))
  assert_same(list(train.eval_batches(16)), list(train.eval_batches(16, threads=1)))


def test_classes_of_a_protocol_count_from_zero(noise_records):
  rule = protocols.Protocol("subject", (1, 2, 3), classes=("b", "d"))
  index = store.read_index(noise_records)
  made = pipeline.Part(noise_records, index, rule, "train", SMALL)
  assert made.class_names == ("b", "d")
  assert len(made) == 12
  batch = next(made.eval_batches(12))
  assert set(batch["label"].tolist()) == {0, 1}


def test_messages(noise_records, tmp_path):
  with pytest.raises(ValueError, match="pose_window is 'all', expected 'clip' or"):
    example.Settings(pose_window="all")
  with pytest.raises(ValueError, match=r"crop is 2.0, expected a fraction"):
    example.Settings(crop=2.0)
  with pytest.raises(ValueError, match="num_frames is 0, expected 1 or more"):
    example.Settings(num_frames=0)
  with pytest.raises(ValueError, match=r"no clip of .* belongs to the test part"):
    part(noise_records, "test", ("subject:1,2,3,4", "subject:9"))
  with pytest.raises(ValueError, match="batch_size is 9, expected a multiple of 2"):
    part(noise_records).train_batches(9, seed=0, shard=(0, 2))
  with pytest.raises(FileNotFoundError, match="run --job=prepare"):
    store.read_index(tmp_path)
