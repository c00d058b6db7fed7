"""The cost of a run, on a clock that is moved by hand."""

import pytest

from vpn_jax.training import metrics_writer, progress


def test_costs_of_all_parts_add_up_without_the_steps_that_compile(monkeypatch):
  clock = iter([100, 110, 114, 200, 205, 207])
  monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
  stopwatch = progress.Stopwatch(progress.Progress())
  for _ in range(3):  # only the first one, at 110, looks at the clock
    stopwatch.step()
  stopwatch.loss = 2.0
  first = stopwatch.progress()
  assert (first.seconds, first.steady_steps, first.steady_seconds) == (14.0, 2, 4.0)
  assert first.peak_memory_gib > 0

  stopwatch = progress.Stopwatch(first)
  assert stopwatch.loss == 2.0
  for _ in range(2):
    stopwatch.step()
  whole = stopwatch.progress()
  assert (whole.seconds, whole.steady_steps, whole.steady_seconds) == (21.0, 3, 6.0)
  assert whole.summary(total_steps=5, batch_size=8) == {
    "loss": 2.0,
    "steps": 5,
    "seconds": 21.0,
    "seconds_per_step": 2.0,
    "train_clips_per_second": pytest.approx(4.0),
  }


def test_a_run_without_a_step_has_no_rate():
  assert progress.Progress().summary(0, 8)["seconds_per_step"] == 0.0


def test_the_bar_ends_once(tmp_path, capsys):
  """Lines after the last step, as of the test, do not show it again."""
  out = metrics_writer.MetricsWriter(tmp_path, tensorboard=False, say=print)
  for step in (1, 2):
    out.progress(step, 2, 8, 0.5)
  for _ in range(5):
    out.say("a line")
  out.close()
  assert capsys.readouterr().err.count("16/16") == 1


def test_evaluations_and_saves_are_no_part_of_a_step(monkeypatch):
  clock = iter([100, 110, 120, 121, 150, 160])
  monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
  stopwatch = progress.Stopwatch(progress.Progress())
  stopwatch.step()  # at 110
  stopwatch.step()
  with stopwatch.pause():  # from 120 to 150
    during = stopwatch.progress()  # as a checkpoint notes it, at 121
  after = stopwatch.progress()  # at 160
  assert (during.seconds, during.steady_seconds) == (21.0, 10.0)
  assert (after.seconds, after.steady_seconds) == (60.0, 20.0)
