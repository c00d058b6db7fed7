"""What a workdir keeps: the latest and the best, whole or not at all."""

import contextlib
import json
import pathlib
import resource
import shutil
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.datasets import protocols
from vpn_jax.records import store
from vpn_jax.training import checkpoint, disk
from vpn_jax.training.progress import Progress
from vpn_jax.training.provenance import Provenance


@pytest.fixture
def provenance(noise_records):
  index = store.read_index(noise_records)
  return Provenance.of(index, protocols.Protocol("subject", (1, 2, 3)))


def weights(step):
  """Such as zstd cannot make small."""
  return np.random.default_rng(step).normal(size=(300, 300)).astype(np.float32)


def save(runs, step, provenance, **fields):
  state = {"params": {"w": jnp.asarray(weights(step))}, "batch_stats": {}}
  runs.save(step, state, config={"seed": 0}, provenance=provenance, **fields)


def steps(workdir):
  """The checkpoints that are there as a whole."""
  folder = pathlib.Path(workdir) / checkpoint.FOLDER
  return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def test_the_latest_and_the_best_stay(provenance, tmp_path):
  runs = checkpoint.Checkpoints(tmp_path)
  assert runs.latest_step() is runs.best_step() is None
  for step, accuracy in ((1, 30.0), (2, 50.0), (3, None), (4, 40.0), (5, 50.0)):
    save(runs, step, provenance)
    if accuracy is not None:
      runs.set_evaluated(step, "validation", accuracy)
    runs.set_evaluated(step, "test", 100.0 - step)  # never chooses
    best = 2 if 2 <= step < 5 else step
    assert (runs.latest_step(), runs.best_step()) == (step, best)
    assert set(steps(tmp_path)) >= {step, best}
    assert len(steps(tmp_path)) <= 3
  runs.close()
  with checkpoint.reading(tmp_path) as runs:
    assert runs.best_step() == 5  # of equals the later
    assert runs.evaluated(4, "validation")
    assert not runs.evaluated(3, "validation")
    np.testing.assert_array_equal(runs.restore_variables()["params"]["w"], weights(5))


def test_a_network_of_an_earlier_version_is_refused_in_one_line(provenance, tmp_path):
  state = {"params": {"joint_share": jnp.zeros(())}, "batch_stats": {}}
  runs = checkpoint.Checkpoints(tmp_path)
  runs.save(1, state, config={"seed": 0}, provenance=provenance)
  with pytest.raises(
    ValueError, match=r"attention=aligned of an earlier .*train it ag"
  ):
    runs.restore_variables()
  runs.close()


def test_accuracies_of_an_earlier_run_are_forgotten(provenance, tmp_path):
  runs = checkpoint.Checkpoints(tmp_path)
  save(runs, 2, provenance)
  runs.set_evaluated(2, "validation", 50.0)
  runs.close()
  shutil.rmtree(tmp_path / checkpoint.FOLDER)
  runs = checkpoint.Checkpoints(tmp_path)
  assert not runs.evaluated(2, "validation")
  runs.close()


def test_it_says_what_it_is(provenance, tmp_path):
  progress = Progress(seconds=3.0, steady_steps=2, steady_seconds=1.0)
  runs = checkpoint.Checkpoints(tmp_path)
  save(runs, 7, provenance, progress=progress)
  about = runs.about()
  runs.close()
  assert about.config == {"seed": 0}
  assert about.provenance == provenance
  assert about.progress.steady_seconds == 1.0
  assert np.isnan(about.progress.loss)
  assert about.code["jax"] == jax.__version__


@contextlib.contextmanager
def small_files_alone(size):
  """No file may grow beyond so many bytes: what a full disk does to a large one."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_one_before(provenance, tmp_path):
  runs = checkpoint.Checkpoints(tmp_path)
  message = r"could not save step {} in .*{}.*look at the space and the rights of that"
  with small_files_alone(20_000):
    with pytest.raises(OSError, match=message.format(1, "no earlier step is there")):
      save(runs, 1, provenance)
  save(runs, 2, provenance)
  with small_files_alone(20_000):
    with pytest.raises(OSError, match=message.format(4, "step 2 is there")):
      save(runs, 4, provenance)
  runs.close()
  assert steps(tmp_path) == [2]
  runs = checkpoint.Checkpoints(tmp_path)  # with space again
  np.testing.assert_array_equal(runs.restore_variables()["params"]["w"], weights(2))
  save(runs, 4, provenance)
  np.testing.assert_array_equal(runs.restore_variables()["params"]["w"], weights(4))
  runs.close()


def test_a_state_that_cannot_fit_is_refused_before_orbax_writes(
  provenance, tmp_path, monkeypatch
):
  runs = checkpoint.Checkpoints(tmp_path)
  usage = shutil.disk_usage(tmp_path)._replace(free=200_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  with pytest.raises(OSError, match=r"not save step 2 .*it takes 0\.4 MB, 0\.2 MB"):
    save(runs, 2, provenance)
  runs.close()
  assert steps(tmp_path) == []


def test_threads_are_not_heard_while_a_state_is_saved(capsys):
  """After a failure, those of Python are heard again."""

  def speak(words):
    thread = threading.Thread(target=lambda: print(words, file=sys.stderr))
    thread.start()
    thread.join()

  with disk.quiet():
    speak("from a thread")
    print("from the main thread", file=sys.stderr)
  speak("after it")
  before = sys.stderr
  with contextlib.suppress(OSError), disk.quiet():
    raise OSError
  speak("after a failure")
  sys.stderr = before
  heard = capsys.readouterr().err.splitlines()
  assert heard == ["from the main thread", "after it", "after a failure"]


def test_what_a_killed_save_leaves_is_no_checkpoint(provenance, tmp_path):
  runs = checkpoint.Checkpoints(tmp_path)
  save(runs, 2, provenance)
  runs.close()
  left = tmp_path / checkpoint.FOLDER / "3.orbax-checkpoint-tmp"
  (left / "state").mkdir(parents=True)
  with checkpoint.reading(tmp_path) as runs:
    assert runs.latest_step() == 2
  assert left.exists()  # it may be a save under way
  runs = checkpoint.Checkpoints(tmp_path)
  save(runs, 3, provenance)
  runs.close()
  assert not left.exists()
  assert steps(tmp_path) == [3]
  found = json.loads((tmp_path / checkpoint.FOLDER / "3/about/metadata").read_text())
  assert found["provenance"]["dataset"] == "custom"
