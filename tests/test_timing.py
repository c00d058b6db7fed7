"""Tests of vpn_jax/timing.py: seconds go to the stage that spends them."""

import jax
import jax.numpy as jnp
import pytest

from vpn_jax import timing


@pytest.fixture
def now(monkeypatch):
  """A clock that stands still but for what is added to `now[0]`."""
  seconds = [100.0]
  monkeypatch.setattr(timing.time, "perf_counter", lambda: seconds[0])
  return seconds


def test_stages_interrupt_one_another(now):
  clock = timing.Clock()

  def frames():
    for i in range(3):
      now[0] += 1.0  # decoding
      yield i

  def poses(frames):
    for i in frames:
      now[0] += 10.0  # estimating
      yield i

  with clock.stage("load"):
    now[0] += 1000.0
  for _ in clock.each("pose", poses(clock.each("decode", frames()))):
    now[0] += 100.0  # nobody's
    with clock.stage("draw"):
      now[0] += 5.0
  assert clock.seconds == {"load": 1000.0, "pose": 30.0, "decode": 3.0, "draw": 15.0}
  summary = clock.summary(6)
  assert summary["seconds"] == 348.0
  assert summary["start_seconds"] == 1000.0
  assert summary["frames_per_second"] == round(6 / 348, 2)
  assert summary["stages"] == {
    "pose": {"seconds": 30.0, "frames_per_second": 0.2},
    "decode": {"seconds": 3.0, "frames_per_second": 2.0},
    "draw": {"seconds": 15.0, "frames_per_second": 0.4},
  }
  line = timing.in_words(summary, 6)
  assert "(6 frames in 348.0 s, after 1000.0 s to load and compile)" in line
  assert line.endswith("by stage: pose 0.2, decode 2.0, draw 0.4")


def test_a_stage_ends_with_an_error(now):
  clock = timing.Clock()

  def fails():
    now[0] += 2.0
    raise ValueError("no")

  with pytest.raises(ValueError, match="no"), clock.stage("a"):
    fails()
  now[0] += 50.0
  assert clock.seconds == {"a": 2.0}


def test_compiling_is_not_the_network():
  clock = timing.Clock()
  double = timing.timed(jax.jit(lambda w, x: w * x), jnp.float32(2), clock)
  assert clock.seconds == {}
  assert double(jnp.float32(3)) == 6
  first = clock.seconds["compile"]
  assert double(jnp.float32(4)) == 8
  assert clock.seconds["compile"] == first > 0
  assert set(clock.seconds) == {"compile", "network"}


def test_compiling_is_announced_once():
  said = []
  clock = timing.Clock(lambda: said.append("compiling"))
  forward = timing.timed(jax.jit(lambda w, x: w * x), jnp.float32(2), clock)
  assert forward(jnp.float32(3)) == forward(jnp.float32(3)) == 6
  assert said == ["compiling"]
