"""Tests of vpn_jax/figures/timeline.py: the classes of a video over its time."""

import numpy as np
from check_figure import picture, shows

from vpn_jax.figures import style, timeline
from vpn_jax.inference import video_scores
from vpn_jax.jobs import predict as predict_job


def test_rows_are_those_ever_among_the_best_in_the_order_of_their_peaks():
  scores = np.array([
    [0.1, 0.0, 0.5, 0.3, 0.05],  # best: 2, 3, 0
    [0.6, 0.0, 0.2, 0.15, 0.05],  # 0, 2, 3
    [0.2, 0.0, 0.3, 0.1, 0.4],  # 4, 2, 0
  ])  # fmt: skip
  assert timeline.rows(scores).tolist() == [2, 3, 0, 4]


def test_of_many_classes_the_highest_stay():
  scores = np.zeros((30, 100))
  for i in range(30):
    scores[i, 3 * i : 3 * i + 3] = 0.3 + 0.01 * i + np.array([0, 0.001, 0.002])
  assert timeline.rows(scores).tolist() == [*range(50, 90)]


def test_cells_of_windows_that_overlap_share_the_time():
  parts = np.array([(0, 16), (8, 24), (16, 32), (19, 35), (60, 76)])
  assert timeline.cells(parts).tolist() == [
    [0, 12], [12, 20], [20, 25.5], [25.5, 35], [60, 76]
  ]  # fmt: skip


def result(scores, parts, left_out=0):
  seen = [
    video_scores.Window(a, b - 1, (a, b), np.float32(s))
    for s, (a, b) in zip(scores, parts)
  ]
  return video_scores.Result(
    video="my/kitchen.mp4", network="runs/my, step 9", combined="max",
    class_names=tuple(f"class {k} with a very long name indeed" for k in range(8)),
    scores=np.max([w.scores for w in seen], axis=0), windows=tuple(seen),
    left_out=left_out, num_frames=parts[-1][1], fps=10.0,
  )  # fmt: skip


def drawn(tmp_path, made):
  predict_job.write_timeline(str(tmp_path / "made" / "x.png"), made)
  return picture(tmp_path / "made" / "x.png")


def test_the_best_is_marked_and_time_without_windows_is_grey(tmp_path):
  scores = np.random.default_rng(0).dirichlet(np.ones(8), size=6)
  parts = [(16 * i, 16 * i + 16) for i in range(6)]
  whole = drawn(tmp_path, result(scores, parts))
  marks = shows(whole, style.LOSS)
  assert marks > 2000
  gap = result(scores[[0, 1, 4, 5]], [parts[i] for i in (0, 1, 4, 5)], left_out=2)
  gap = drawn(tmp_path, gap)
  assert shows(gap, style.FAINT) > shows(whole, style.FAINT) + 20_000
  assert 0.5 * marks < shows(gap, style.LOSS) < 0.9 * marks


def test_one_window(tmp_path):
  drawn(tmp_path, result([[0.9, 0.1, 0, 0, 0, 0, 0, 0]], [(0, 20)]))
