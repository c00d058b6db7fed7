"""Which frames and poses an example shows, and that batches repeat."""

import itertools

import fake_records
import numpy as np
import pytest

from vpn_jax.datasets import protocol_settings, protocols, skeletons
from vpn_jax.inputs import example, pipeline, sampling
from vpn_jax.records import store

KINECT = skeletons.get("kinect_v2")
SMALL = example.Settings(num_frames=8, frame_size=32, pose_steps=4)


@pytest.mark.parametrize(
  ("available", "expected"),
  [
    (300, range((300 - 128) // 2, (300 - 128) // 2 + 128, 2)),  # stride 2, the middle
    (128, range(0, 128, 2)),  # 2F frames: still stride 2
    (127, range(31, 31 + 64)),  # below: stride 1
    (64, range(64)),
  ],
)
def test_window_in_the_middle(available, expected):
  np.testing.assert_array_equal(
    sampling.frame_window(available, 64, None), list(expected)
  )


def test_short_clip_loops():
  window = sampling.frame_window(5, 8, None)
  np.testing.assert_array_equal(window, [0, 1, 2, 3, 4, 0, 1, 2])


def test_random_windows_reach_both_ends():
  rng = np.random.default_rng(0)
  starts = {int(sampling.frame_window(131, 64, rng)[0]) for _ in range(100)}
  assert starts == {0, 1, 2, 3}


def test_poses_come_one_from_each_segment():
  centres = sampling.pose_indices(10, 49, 20, None)  # 40 frames, segments of 2
  np.testing.assert_array_equal(centres, 10 + 2 * np.arange(20) + 1)
  rng = np.random.default_rng(0)
  drawn = np.array([sampling.pose_indices(10, 49, 20, rng) for _ in range(50)])
  segments = (drawn - 10) // 2
  np.testing.assert_array_equal(segments, np.tile(np.arange(20), (50, 1)))
  assert len(np.unique(drawn)) == 40  # every frame gets its turn


def test_more_poses_than_frames():
  indices = sampling.pose_indices(0, 4, 20, None)
  assert indices.min() == 0
  assert indices.max() == 4
  assert (np.diff(indices) >= 0).all()


def test_center_pose_uses_the_first_valid_frame():
  pose = np.random.default_rng(0).normal(size=(4, 2, 25, 3)).astype(np.float32)
  pose[0] = np.nan
  pose[:, 1] = np.nan
  made = example.center_pose(pose, KINECT)
  np.testing.assert_allclose(made[1, 0, 1], 0.0, atol=1e-6)  # mid-spine
  np.testing.assert_allclose(
    made[2, 0] - made[1, 0], pose[2, 0] - pose[1, 0], atol=1e-5
  )
  assert (made[0] == 0).all()
  assert (made[:, 1] == 0).all()  # an absent person is zeros


def test_mirror_swaps_sides_and_x():
  pose = np.random.default_rng(0).normal(size=(3, 1, 25, 3)).astype(np.float32)
  mirrored = example.mirror_pose(pose, KINECT)
  left, right = KINECT.index("left_hand"), KINECT.index("right_hand")
  np.testing.assert_allclose(mirrored[:, :, left, 0], -pose[:, :, right, 0])
  np.testing.assert_allclose(mirrored[:, :, left, 1:], pose[:, :, right, 1:])
  np.testing.assert_allclose(example.mirror_pose(mirrored, KINECT), pose)


def test_flip_acts_on_frames_and_pose_together():
  record = fake_records.noise_record(0)
  settings = example.Settings(**{**SMALL.__dict__, "num_frames": 12, "flip": True})
  flipped = {}
  for seed in range(20):  # with all frames in the window only the flip is random
    made = example.make(record, settings, KINECT, np.random.default_rng(seed))
    plain = example.make(record, SMALL_ALL, KINECT, np.random.default_rng(seed))
    is_flipped = not np.array_equal(made["frames"], plain["frames"])
    flipped[is_flipped] = made, plain
  assert set(flipped) == {True, False}
  made, plain = flipped[True]
  np.testing.assert_array_equal(made["frames"], plain["frames"][:, :, ::-1])
  pose = example.mirror_pose(plain["pose"][:, None], KINECT)[:, 0]
  np.testing.assert_array_equal(made["pose"], pose)


SMALL_ALL = example.Settings(**{**SMALL.__dict__, "num_frames": 12})


def test_example_shows_the_frames_of_the_window():
  record = fake_records.noise_record(3)
  made = example.make(record, SMALL, KINECT, None)
  assert made["frames"].shape == (8, 32, 32, 3)
  assert made["frames"].dtype == np.uint8
  assert made["pose"].shape == (4, 25, 3)
  tops = made["frames"][:, 2, 16].mean(axis=-1)  # written 10 a frame
  np.testing.assert_allclose(tops, 10 * np.arange(2, 10), atol=4)
  centred = example.center_pose(record.pose[:, :1], KINECT)
  np.testing.assert_array_equal(made["pose"], centred[[3, 5, 7, 9], 0])


def test_two_persons_stack_on_the_joint_axis():
  record = fake_records.noise_record(3, persons=1)
  settings = example.Settings(**{**SMALL.__dict__, "persons": 2})
  made = example.make(record, settings, KINECT, None)
  assert made["pose"].shape == (4, 50, 3)
  assert (made["pose"][:, 25:] == 0).all()
  assert (made["pose"][:, :25] != 0).any()


def test_random_crop_changes_frames_only():
  record = fake_records.noise_record(3)
  settings = example.Settings(**{**SMALL_ALL.__dict__, "crop": 0.5})
  made = example.make(record, settings, KINECT, np.random.default_rng(0))
  plain = example.make(record, SMALL_ALL, KINECT, np.random.default_rng(0))
  np.testing.assert_array_equal(made["pose"], plain["pose"])
  assert made["frames"].shape == plain["frames"].shape
  assert not np.array_equal(made["frames"], plain["frames"])


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


def test_every_clip_once_an_epoch(noise_records):
  train = part(noise_records)
  batches = take(train.train_batches(8, seed=1), 6)  # 24 clips: two epochs
  seen = np.concatenate([b["index"] for b in batches])
  np.testing.assert_array_equal(np.sort(seen[:24]), np.arange(24))
  np.testing.assert_array_equal(np.sort(seen[24:]), np.arange(24))
  assert not np.array_equal(seen[:24], seen[24:])  # shuffled anew
  labels = np.array([c["label"] for c in train.clips])
  np.testing.assert_array_equal(
    np.concatenate([b["label"] for b in batches]), labels[seen]
  )


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
