"""A run that is killed again and again ends as one that nobody touched."""

import json
import multiprocessing
import os
import random
import signal
import time

import jax
import numpy as np
import pytest
import quick_xla

from vpn_jax.training import checkpoint

KILLS = 20
STEPS = 96
# A server that has imported everything and started no JAX forks the runs: else each of
# them would spend most of its short life on imports.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["vpn_jax.training.loop", "configs.custom"])


def train_small(records, workdir, cache, save_every):
  """A run of the pose backbone alone, whose steps take little longer than a save."""
  from configs import custom
  from vpn_jax.training import loop

  # One device, and code that is compiled fast: what counts here is between the steps.
  os.environ["XLA_FLAGS"] = quick_xla.flags(devices=1)
  jax.config.update("jax_compilation_cache_dir", cache)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  c = custom.get_config("split,model=pose,size=tiny")
  c.data.update(records=records, skeleton="kinect_v2", threads=1)
  c.data.update(train="subject:1,2", test="subject:4", validation="subject:3")
  c.data.example.update(num_frames=4, pose_steps=4)
  c.train.update(steps=STEPS, batch_size=4, eval_batch_size=8, tensorboard=False)
  c.train.update(log_every=1, save_every=save_every, eval_every_epochs=4.0)
  loop.train(c, workdir)


def latest(workdir):
  """The latest step that a folder holds as a whole."""
  names = [path.name for path in (workdir / checkpoint.FOLDER).glob("*")]
  return max((int(name) for name in names if name.isdigit()), default=0)


def start(*args):
  process = FORKED.Process(target=train_small, args=args)
  process.start()
  return process


def test_kills_at_any_moment(noise_records, tmp_path):
  """Training, validating and saving, with a save after every other step."""
  cache = str(tmp_path / "cache")
  undisturbed = start(str(noise_records), str(tmp_path / "undisturbed"), cache, 10**6)
  undisturbed.join()
  assert undisturbed.exitcode == 0

  workdir = tmp_path / "killed"
  rng, reached = random.Random(0), [0]
  for kill in range(KILLS):
    process = start(str(noise_records), str(workdir), cache, 2)
    if kill % 4:  # else also before it trains: starting, restoring
      while process.is_alive() and latest(workdir) == reached[-1]:
        time.sleep(0.005)
    time.sleep(rng.uniform(0.0, 0.15 if kill % 4 else 1.0))
    assert process.is_alive(), "it finished before it was killed: give it more steps"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    reached.append(latest(workdir))
  assert reached == sorted(reached)
  assert 0 < reached[-1] < STEPS
  assert len(set(reached)) > KILLS / 2  # killed at many different places

  last = start(str(noise_records), str(workdir), cache, 2)
  last.join()
  assert last.exitcode == 0
  found = []
  for run in ("undisturbed", "killed"):
    with checkpoint.reading(tmp_path / run) as runs:
      assert runs.latest_step() == STEPS
      found.append((runs.restore_variables(), runs.best_step()))
  jax.tree.map(np.testing.assert_array_equal, found[0][0], found[1][0])
  assert found[0][1] == found[1][1]
  lines = []
  for run in ("undisturbed", "killed"):
    text = (tmp_path / run / "metrics.jsonl").read_text()
    values = [json.loads(line) for line in text.splitlines()]
    lines.append([{**v, "seconds": 0} for v in values])
  assert lines[0] == lines[1]


pytestmark = pytest.mark.skipif(
  not hasattr(os, "fork"), reason="runs are forked, which this system cannot"
)
