"""Two processes of two devices train as one process of four does."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import quick_xla

from vpn_jax import device_mesh, interrupt
from vpn_jax.training import checkpoint

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {
  "data.skeleton": "kinect_v2",
  "data.train": "subject:1,2,3",
  "data.test": "subject:4",
  "data.example.num_frames": 8,
  "data.example.frame_size": 32,
  "data.example.pose_steps": 4,
  "train.batch_size": 8,
  "train.eval_batch_size": 8,
  "train.log_every": 1,
  "train.tensorboard": False,
}


def launch(workdir, records, steps, *, processes, stop=None):
  """Trains by launch.py in processes that have four devices together.

  With `stop`, the first one gets that signal when it has reported steps.
  """
  with socket.socket() as s:
    s.bind(("localhost", 0))
    port = s.getsockname()[1]
  settings = {**SMALL, "data.records": records, "train.steps": steps}
  words = [sys.executable, "launch.py", "--config=configs/custom.py:split,model=pose"]
  words += [f"--config.{name}={value}" for name, value in settings.items()]
  words += [f"--workdir={workdir}"]
  environment = {
    **os.environ,
    "XLA_FLAGS": quick_xla.flags(devices=4 // processes),
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
  }
  started = []
  for i in range(processes):
    own = {}
    if processes > 1:
      own["JAX_COORDINATOR_ADDRESS"] = f"localhost:{port}"
      own.update(JAX_NUM_PROCESSES=str(processes), JAX_PROCESS_ID=str(i))
    started.append(
      subprocess.Popen(
        words,
        cwd=ROOT,
        env={**environment, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  if stop:
    while not (workdir / "metrics.jsonl").exists() or not losses(workdir):
      assert [process.poll() for process in started] == [None] * processes
      time.sleep(0.02)
    started[0].send_signal(stop)
  printed = [process.communicate()[0] for process in started]
  codes = [interrupt.EXIT_CODE if stop else 0] * processes
  assert [process.returncode for process in started] == codes, printed
  return printed


def losses(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [v["train/loss"] for v in map(json.loads, lines) if "train/loss" in v]


def test_two_processes_are_one(noise_records, tmp_path):
  one, two = tmp_path / "one", tmp_path / "two"
  launch(one, noise_records, 3, processes=1)
  first, second = launch(two, noise_records, 2, processes=2)
  assert "on 4 cpu device(s)" in first
  assert "top-1" in first
  assert "top-1" not in second
  # One process goes on from the checkpoint of two.
  launch(two, noise_records, 3, processes=1)
  assert len(losses(two)) == len(losses(one)) == 3
  np.testing.assert_allclose(losses(two), losses(one), rtol=1e-5)
  found = []
  for workdir in (one, two):
    with checkpoint.reading(workdir) as runs:
      found.append(runs.restore_variables()["params"]["classifier"]["kernel"])
  np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
  said = [
    json.loads((workdir / "test" / "metrics.json").read_text())
    for workdir in (one, two)
  ]
  errors = [one.pop("calibration_error") for one in said]
  assert errors[0] == pytest.approx(errors[1], rel=1e-4)
  assert said[0] == said[1]


def test_a_signal_to_one_stops_both(noise_records, tmp_path):
  """Both save the same step, from which one process goes on."""
  printed = launch(tmp_path, noise_records, 5000, processes=2, stop=signal.SIGTERM)
  with checkpoint.reading(tmp_path) as runs:
    step = runs.latest_step()
  assert 1 <= step < 5000
  assert f"was asked to stop: step {step} of 5000 is saved" in printed[0]
  assert "was asked to stop" not in printed[1]
  (printed,) = launch(tmp_path, noise_records, step + 1, processes=1)
  assert f"resumed from step {step} in" in printed
  assert len(losses(tmp_path)) == step + 1


def test_messages():
  device_mesh.connect({})  # a single process
  device_mesh.connect({"SLURM_STEP_NUM_TASKS": "1"})
  with pytest.raises(ValueError, match=r"expected all of \('JAX_COORDINATOR_ADDRESS',"):
    device_mesh.connect({"JAX_PROCESS_ID": "1"})
  with pytest.raises(ValueError, match="the last two as numbers: set them in every"):
    device_mesh.connect(
      {
        "JAX_COORDINATOR_ADDRESS": "localhost:1",
        "JAX_NUM_PROCESSES": "two",
        "JAX_PROCESS_ID": "0",
      }
    )
