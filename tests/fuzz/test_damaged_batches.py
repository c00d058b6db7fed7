"""Training on damaged records ends with an error that names them."""

import dataclasses
import multiprocessing
import os
import shutil
import signal

import fake_records
import numpy as np
import pytest
from absl import flags

from vpn_jax.datasets import protocol_settings
from vpn_jax.inputs import example, pipeline
from vpn_jax.records import record_format, store

SETTINGS = example.Settings(num_frames=4, frame_size=16, pose_steps=2)
SHARD = "shard-00001.array_record"


@pytest.fixture(autouse=True)
def unparsed_flags():
  """As in a notebook: worker processes of grain want parsed flags."""
  flags.FLAGS.unparse_flags()
  yield
  flags.FLAGS.unparse_flags()


@pytest.fixture
def folder(noise_records, tmp_path):
  """A copy of 32 clips in two shards."""
  return shutil.copytree(noise_records, tmp_path / "records")


def open_part(folder, part="train"):
  protocol = protocol_settings.custom("subject:1,2,3", "subject:4")
  return pipeline.Part(folder, store.read_index(folder), protocol, part, SETTINGS)


def rewrite(folder, i, **fields):
  """Rewrites the second shard with other fields in its i-th record."""
  made = [fake_records.noise_record(16 + k) for k in range(16)]
  made[i] = dataclasses.replace(made[i], **fields)
  store.write_shard(folder / SHARD, made)
  return made[i].name


def draw(batches, number):
  for _ in range(number):
    next(batches)


def damage_the_middle(folder):
  path = folder / SHARD
  data = bytearray(path.read_bytes())
  used = np.flatnonzero(np.frombuffer(data, np.uint8))
  data[used[len(used) // 2]] ^= 0x10
  path.write_bytes(data)


@pytest.mark.parametrize(("threads", "workers"), [(1, 0), (3, 0), (1, 1)])
def test_a_damaged_shard_ends_the_run_with_its_name(threads, workers, folder):
  damage_the_middle(folder)
  batches = open_part(folder).train_batches(4, 0, threads=threads, workers=workers)
  with pytest.raises(record_format.RecordError) as caught:
    draw(batches, 12)  # two epochs
  text = str(caught.value)
  assert f"{SHARD}, record " in text
  assert "--config.prepare.verify=True" in text
  assert "--job=prepare again" in text
  assert text.isprintable()


def test_evaluation_ends_likewise(folder):
  os.truncate(folder / SHARD, 1000)
  with pytest.raises(
    record_format.RecordError, match=rf"{SHARD}, record .*verify=True"
  ):
    list(open_part(folder, "test").eval_batches(4))


BLOB = fake_records.noise_record(0).frames[0]


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"frames": (b"no image",) * 12}, "ValueError"),
    ({"frames": (BLOB[:300],) * 12}, "ValueError"),
    ({"label": 3}, "label is 3, the index has 2"),
    ({"label": 9}, "label is 9, the index has 2"),
  ],
)
def test_records_with_wrong_content(fields, words, folder):
  name = rewrite(folder, 2, **fields)
  part = open_part(folder)
  (place,) = [i for i, clip in enumerate(part.clips) if clip["name"] == name]
  with pytest.raises(
    record_format.RecordError, match=rf"{name} cannot be used .*{words}"
  ):
    part._train_example(place, np.random.default_rng(0))


def test_a_record_with_another_number_of_poses(folder):
  name = rewrite(folder, 2, pose=np.zeros((2, 2, 25, 3), np.float32))
  part = open_part(folder)
  (place,) = [i for i, clip in enumerate(part.clips) if clip["name"] == name]
  with pytest.raises(
    record_format.RecordError, match=f"holds {name} with 2 frames, the index has .* 12"
  ):
    part._train_example(place, np.random.default_rng(0))


def test_a_killed_worker_ends_the_run_with_the_reason(folder):
  batches = open_part(folder).train_batches(4, 0, threads=1, workers=2)
  next(batches)
  first, _ = multiprocessing.active_children()
  os.kill(first.pid, signal.SIGKILL)
  with pytest.raises(OSError, match=r"process .* died .*-9.* fewer config\.data\.work"):
    draw(batches, 1000)
