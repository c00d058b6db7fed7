"""The watch over recent steps, on metrics made by hand."""

import pathlib
import types

import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.training import monitor

CLIPS = [{"name": name} for name in ("a", "b", "c")]


def make(latest):
  runs = types.SimpleNamespace(
    latest_step=lambda: latest, workdir=pathlib.Path("runs/x")
  )
  return monitor.Monitor(CLIPS, runs)


def add(watch, step, loss, gradient_norm=1.0):
  metrics = {"loss": jnp.float32(loss), "gradient_norm": jnp.float32(gradient_norm)}
  watch.add(step, np.array([0, 2]), metrics)


def test_means_are_those_since_the_last_flush():
  watch = make(None)
  for step, loss in enumerate((1.0, 2.0, 6.0), start=1):
    add(watch, step, loss)
  assert watch.flush() == {"loss": 3.0, "gradient_norm": 1.0}
  add(watch, 4, 5.0)
  assert watch.flush()["loss"] == 5.0


def test_a_bad_step_is_named_some_steps_later():
  watch = make(7)
  add(watch, 8, np.nan)
  for step in range(9, 8 + monitor.AHEAD):
    add(watch, step, 1.0)  # step 8 is not waited for yet
  message = (
    r"loss is nan at step 8 on clips a, c: .*good checkpoint is step 7 in runs/x"
  )
  with pytest.raises(FloatingPointError, match=message):
    add(watch, 8 + monitor.AHEAD, 1.0)


def test_settle_waits_for_every_step():
  watch = make(None)
  add(watch, 1, 1.0, gradient_norm=np.inf)
  with pytest.raises(FloatingPointError, match=r"gradient_norm is inf .*no checkpoint"):
    watch.settle()
