"""Tests of the figures of clips that a run solves and where it fails."""

import dataclasses

import numpy as np
import pytest
from check_figure import table, words

from vpn_jax.figures import examples
from vpn_jax.figures.runs import NotAvailableError

HEAD = ["clip", "true", "run", "predicted", "score", "score of the true class"]


def by_clip(path):
  head, *rows = table(path)
  assert head == HEAD
  found = {}
  for clip, true, run, predicted, score, _ in rows:
    found.setdefault((clip, true), []).append((run, predicted, float(score)))
  return found


def test_best_and_worst(drawn):
  # conftest.ANSWERS: base "bb ba cd dd", vpn "ab bb cc cd". vpn alone has right the
  # first clip of a, the second of b and of c.
  clips = [(c["name"], "abcd"[c["label"]]) for c in drawn.runs.part.clips]
  of = {k: [name for name, label in clips if label == k] for k in "abcd"}
  best = by_clip(drawn.folder / "best.csv")
  assert set(best) == {(of["a"][0], "a"), (of["b"][1], "b"), (of["c"][1], "c")}
  for (name, true), answers in best.items():
    place = [n for n, _ in clips].index(name)
    top = pytest.approx(0.6 + 0.02 * place, abs=1e-4)
    (first, wrong, score), (second, right, score2) = answers
    assert (first, second) == ("base", "vpn")
    assert right == true != wrong
    assert score == score2 == top
  worst = by_clip(drawn.folder / "worst.csv")
  # The later clip has the higher score: of d the first, of a the second.
  assert list(worst) == [(of["a"][1], "a"), (of["d"][0], "d")]
  assert worst[of["d"][0], "d"][1][1] == "c"


def test_pictures_of_examples(drawn):
  figure, rows = examples.worst(drawn.runs)
  shown = [axes.images[0].get_array() for axes in figure.axes]
  assert len(shown) == 2 * examples.COLUMNS
  frames = [2 * i + 1 for i in range(6)]  # middles of six parts of 12 frames
  tops = [np.asarray(image)[:20].mean() for image in shown[:6]]
  # The top of a frame is ten times its number, under the lines of the poses.
  np.testing.assert_allclose(tops, [10 * f for f in frames], atol=25)
  assert tops == sorted(tops)
  answers = words(figure)
  assert "d" in answers
  assert any(text.startswith("vpn: c (0.") for text in answers)
  assert any(text.startswith("base: d (0.") for text in answers)


def test_nothing_to_show(drawn):
  runs = drawn.runs
  same = dataclasses.replace(runs, predictions=runs.predictions[:1] * 2)
  with pytest.raises(NotAvailableError, match="that vpn has right and base wrong"):
    examples.best(same)
  right = [
    dataclasses.replace(p, scores=np.eye(4, dtype=np.float32)[p.labels])
    for p in runs.predictions
  ]
  with pytest.raises(NotAvailableError, match="vpn has every test clip right"):
    examples.worst(dataclasses.replace(runs, predictions=tuple(right)))
