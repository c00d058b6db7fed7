"""A run that is asked to stop saves, says so, and goes on as if nothing had been."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from vpn_jax import interrupt, ops
from vpn_jax.jobs import train
from vpn_jax.training import checkpoint, loop, metrics_writer


@pytest.fixture
def interruptible():
  """SIGINT as in a terminal: a shell starts what runs in its background without it."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_is_noted_and_who_insists_is_obeyed(monkeypatch):
  before = signal.getsignal(signal.SIGTERM)
  with interrupt.Requests() as requests:
    assert not requests.arrived()
    os.kill(os.getpid(), signal.SIGTERM)
    assert requests.arrived()
    signal.raise_signal(signal.SIGINT)  # the same wish once more
    monkeypatch.setattr(interrupt, "AGAIN", 0.0)
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before
  assert signal.getsignal(signal.SIGTERM) == before
  with interrupt.Requests():
    pass
  with pytest.raises(KeyboardInterrupt):
    signal.raise_signal(signal.SIGINT)


def lines(workdir):
  """What a run reported, but for the seconds."""
  found = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
  return [{k: v for k, v in line.items() if k != "seconds"} for line in found]


def state_of(workdir):
  with checkpoint.reading(workdir) as runs:
    return runs.restore_variables(), runs.best_step(), runs.about().progress


def validated(c):
  """Five steps, validated after the second, the fourth (rounded) and the last."""
  c.model.dropout = 0.3
  c.data.update(validation="34%", validation_seed=1)
  c.train.update(steps=5, eval_every_epochs=1.0, save_every=100)
  return c


@pytest.fixture
def config(small_config):
  return validated(small_config)


@pytest.fixture(scope="module")
def undisturbed(make_config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("undisturbed")
  with ops.use_formulation("plain"):
    loop.train(validated(make_config()), str(workdir))
  return workdir


def interrupted(config, workdir, monkeypatch, owner, name, call, number):
  """Sends a signal to this process at a call of a method; returns the message."""
  method, calls = getattr(owner, name), []

  def called(self, *args, **kwargs):
    calls.append(None)
    if len(calls) == call:
      os.kill(os.getpid(), number)
    return method(self, *args, **kwargs)

  with monkeypatch.context() as patched:
    patched.setattr(owner, name, called)
    with pytest.raises(interrupt.Interrupted) as message:
      loop.train(config, str(workdir))
  return str(message.value)


def test_stopped_anywhere_it_ends_the_same(
  config, undisturbed, tmp_path, monkeypatch, capsys
):
  """In a step, with the save before a validation, and in the test at the end."""
  workdir = tmp_path / "stopped"
  stop = [config, workdir, monkeypatch]
  message = interrupted(
    *stop, metrics_writer.MetricsWriter, "progress", 1, signal.SIGTERM
  )
  assert f"{workdir} was asked to stop: step 1 of 5 is saved, the same comm" in message
  message = interrupted(*stop, checkpoint.Checkpoints, "save", 1, signal.SIGINT)
  assert "step 2 of 5 is saved" in message
  assert not (workdir / "evaluated.json").exists()
  message = interrupted(
    *stop, metrics_writer.MetricsWriter, "progress", 1, signal.SIGINT
  )
  assert "step 3 of 5 is saved" in message
  message = interrupted(
    *stop, checkpoint.Checkpoints, "set_evaluated", 2, signal.SIGTERM
  )
  assert "step 5 of 5 is saved" in message
  assert not (workdir / "summary.json").exists()
  assert not (workdir / "test").exists()

  # The command as the user gives it, a last time; then nothing is left to do.
  train.run(config, str(workdir))
  assert "resumed from step 5" in capsys.readouterr().out
  summary = (workdir / "summary.json").read_text()
  train.run(config, str(workdir))
  assert (workdir / "summary.json").read_text() == summary

  assert lines(workdir) == lines(undisturbed)
  (variables, best, progress), whole = state_of(workdir), state_of(undisturbed)
  jax.tree.map(np.testing.assert_array_equal, variables, whole[0])
  assert best == whole[1]
  # The cost of all parts: each compiled in its first step.
  assert progress.steady_steps == 1
  assert whole[2].steady_steps == 4
  assert progress.loss == whole[2].loss
  assert json.loads(summary)["result"]["loss"] == whole[2].loss
  assert 0 < progress.steady_seconds < progress.seconds


def test_a_validation_that_was_written_but_not_noted_comes_once(
  config, undisturbed, tmp_path, monkeypatch
):
  def killed(self, *args):
    raise SystemError("as if killed here")

  with monkeypatch.context() as patched:
    patched.setattr(checkpoint.Checkpoints, "set_evaluated", killed)
    with pytest.raises(SystemError):
      loop.train(config, str(tmp_path / "killed"))
  loop.train(config, str(tmp_path / "killed"))
  assert lines(tmp_path / "killed") == lines(undisturbed)


def test_the_exit_code(config, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(interrupt.Requests, "arrived", lambda self: True)
  with pytest.raises(SystemExit) as message:
    train.run(config, str(tmp_path))
  assert message.value.code == interrupt.EXIT_CODE == 75
  assert "step 1 of 5 is saved" in capsys.readouterr().err
