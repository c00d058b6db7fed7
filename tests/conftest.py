"""Strict JAX for every test, a compilation cache, and synthetic records to read."""

import os
import pathlib

import quick_xla

# Before jax starts: four devices on the CPU, for the tests of sharding.
os.environ.setdefault("XLA_FLAGS", quick_xla.flags(devices=4))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import machine
import made_records
import pytest

from vpn_jax import ops
from vpn_jax.records import store

ROOT = pathlib.Path(__file__).parents[1]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def pytest_report_header():
  """Not shown with -q."""
  return machine.header()


@pytest.fixture(scope="session")
def shared():
  """Folder of real inputs that may lie beside the checkout; skips without it."""
  path = ROOT.parent / "shared" / "data"
  if not path.exists():
    pytest.skip("needs the real inputs of ../shared/data, which are not here")
  return path


@pytest.fixture(scope="session")
def noise_records(tmp_path_factory):
  """Folder with 32 noise clips in two shards: 4 classes, 4 subjects, 3 cameras."""
  folder = tmp_path_factory.mktemp("noise")
  shards = {}
  for s in range(2):
    made = [made_records.noise_record(i) for i in range(16 * s, 16 * s + 16)]
    name = f"shard-{s:05d}.array_record"
    shards[name] = store.write_shard(folder / name, made)
  made_records.save_index(folder, shards)
  return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
  """Folder of two videos with joints, and of networks for them; see `made_clips`."""
  import made_clips

  return made_clips.make(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def plain_operations():
  """The plain operations, which compile faster; `test_ops` compares the two forms."""
  with ops.use_formulation("plain"):
    yield


def shrink(c):
  """Makes a config's network one that compiles in seconds; returns the config."""
  c.data.threads = 2
  c.data.example.update(num_frames=8, frame_size=32, pose_steps=4)
  c.init.backbone = "none"
  c.stages = False
  c.model.update(width=0.125, endpoint="Conv3d_2b_1x1", frozen_until="")
  c.model.update(embedding_dim=8, attention_hidden=8)
  c.model.pose.dropout = c.model.dropout = 0.0
  c.train.update(
    batch_size=8, eval_batch_size=8, epochs=1.0, log_every=1, tensorboard=False
  )
  c.optimizer.learning_rate = 0.02
  return c


@pytest.fixture(scope="session")
def shrunk():
  """`shrink`, as a fixture: conftest cannot be imported."""
  return shrink


@pytest.fixture(scope="session")
def make_config(noise_records):
  """Makes configs of a small network on the noise clips, subject 4 as test."""
  from configs import custom

  def make():
    c = shrink(custom.get_config("split,size=tiny"))
    c.data.update(
      records=str(noise_records),
      skeleton="kinect_v2",
      train="subject:1,2,3",
      test="subject:4",
    )
    return c

  return make


@pytest.fixture
def small_config(make_config, plain_operations):
  """One of `make_config`, with plain operations."""
  return make_config()
