"""Tests of the figures of predictions: zoom, radar, gains and dynamicity."""

import dataclasses
import types

import numpy as np
import pytest
import scipy.spatial
from check_figure import table, with_settings, words
from matplotlib.patches import Rectangle

from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import gains, labels, matrices, pairs
from vpn_jax.figures.runs import NotAvailableError
from vpn_jax.inputs import sampling

# conftest.ANSWERS: accuracy of a, b, c, d is 0, 50, 50, 100 and then 50, 100, 100, 50.


def test_top_gains(drawn):
  assert table(drawn.folder / "top_gains.csv") == [
    ["class", "clips", "base", "vpn", "gain"],
    ["a", "2", "0.0", "50.0", "50.0"],
    ["b", "2", "50.0", "100.0", "50.0"],
    ["c", "2", "50.0", "100.0", "50.0"],
  ]  # d loses
  figure, rows = gains.top_gains(with_settings(drawn.runs, top=2))
  assert [row[0] for row in rows[1:]] == ["a", "b"]
  (axes,) = figure.axes
  widths = [bar.get_width() for bar in axes.patches]
  assert widths == [0, 50, 50, 100]  # the baseline's, then the run's
  assert {"a (2 clips)", "+50.0", "base", "vpn"} <= words(figure)


def test_nothing_gained(drawn):
  runs = drawn.runs
  same = dataclasses.replace(runs, predictions=runs.predictions[:1] * 2)
  with pytest.raises(NotAvailableError, match="no class gains from base"):
    gains.top_gains(same)


def test_dynamicity_by_scipy(drawn):
  rows = table(drawn.folder / "dynamicity.csv")
  assert rows[0] == ["class", "clips with poses", "dynamicity", "gain", "third"]
  runs, expected = drawn.runs, {}
  for label, name in enumerate("abcd"):
    values = []
    for clip in (c["name"] for c in runs.part.clips if c["label"] == label):
      pose = runs.record(clip).pose[:, 0]
      # 12 frames, 4 steps: the middles of four equal segments are frames 1, 4, 7, 10.
      pairs_of_poses = zip(pose[[1, 4, 7]], pose[[4, 7, 10]])
      values += [
        np.sqrt(scipy.spatial.procrustes(np.float64(a), np.float64(b))[2])
        for a, b in pairs_of_poses
      ]
    assert len(values) == 2 * 3
    expected[name] = np.mean(values)
  found = {row[0]: float(row[2]) for row in rows[1:]}
  assert found == pytest.approx(expected, rel=1e-4)
  assert list(found.values()) == sorted(found.values())
  assert {row[0]: row[3] for row in rows[1:]} == dict(
    zip("abcd", ("50.0", "50.0", "50.0", "-50.0"))
  )
  assert [row[4] for row in rows[1:]] == [
    "least moving", "least moving", "middle", "most moving",
  ]  # fmt: skip

  figure, _ = gains.dynamicity(runs)
  (axes,) = figure.axes
  (points,) = axes.collections
  np.testing.assert_allclose(points.get_offsets()[:, 0], sorted(expected.values()),
                             rtol=1e-4)  # fmt: skip
  assert set("abcd") <= words(figure)
  by_gain = [50 if name != "d" else -50 for name in found]
  dashes = axes.lines[1:]  # after the line at 0
  means = [np.mean(by_gain[:2]), by_gain[2], by_gain[3]]
  assert [line.get_ydata()[0] for line in dashes] == means


def test_fewer_clips_of_a_class(drawn):
  found = gains.class_dynamicity(with_settings(drawn.runs, clips_per_class=1))
  assert [count for count, _ in found.values()] == [1, 1, 1, 1]


def test_poses_that_nobody_was_seen_in(drawn, monkeypatch):
  record = drawn.runs.record(drawn.runs.part.clips[0]["name"])
  nowhere = {
    name: np.full_like(getattr(record, name), np.nan)
    for name in ("pose", "image_joints")
  }
  unseen = dataclasses.replace(record, **nowhere)
  monkeypatch.setattr(type(drawn.runs), "record", lambda self, name: unseen)
  with pytest.raises(NotAvailableError, match="0 classes have poses, it takes 3"):
    gains.dynamicity(drawn.runs)
  assert len(unseen.frames) == 12
  assert sampling.pose_indices(0, 11, 4, None).tolist() == [1, 4, 7, 10]


def test_radar(drawn):
  rows = table(drawn.folder / "radar.csv")
  assert rows[0][:3] == ["run", "class", "other class"]
  found = {tuple(row[:3]): [float(v) for v in row[3:]] for row in rows[1:]}
  assert found["base", "a", "b"] == [100, 50, 75]
  assert found["vpn", "a", "b"] == [50, 0, 25]
  assert found["base", "c", "d"] == [50, 0, 25]
  assert found["vpn", "c", "d"] == [0, 50, 25]
  assert len(found) == 2 * 6  # all pairs of four classes
  assert [row[1:3] for row in rows[1:3]] == [["a", "b"], ["c", "d"]]  # worst first

  figure, _ = pairs.radar(with_settings(drawn.runs, pairs="c|d; a|b;b|c"))
  (axes,) = figure.axes
  lines = [line.get_ydata() for line in axes.lines]
  np.testing.assert_allclose(lines[0], [25, 75, 0, 25])  # closed
  np.testing.assert_allclose(lines[1], [25, 25, 0, 25])
  assert axes.get_ylim()[1] > 75
  assert {"c\nd", "a\nb", "b\nc", "vpn, mean 16.7 %"} <= words(figure)


def test_pairs_that_cannot_be_drawn(drawn):
  with pytest.raises(NotAvailableError, match="2 pairs of classes, it takes 3"):
    pairs.radar(with_settings(drawn.runs, pairs="a|b;c|d"))
  with pytest.raises(ValueError, match=r"pairs has 'a\|b\|c', expected two classes"):
    pairs.radar(with_settings(drawn.runs, pairs="a|b|c"))
  with pytest.raises(ValueError, match=r"pairs names 'e', expected some of \['a', 'b'"):
    pairs.radar(with_settings(drawn.runs, pairs="a|e"))


def test_labels_of_one_person(drawn, monkeypatch):
  with pytest.raises(NotAvailableError, match="no person, camera or other group"):
    labels.labels(drawn.runs)

  # Of 5 people with 5 clips of each class, one is always taken for the next class.
  count = 4 * 5 * 5
  true = np.repeat(np.arange(4), 25)
  subject = np.tile(np.repeat(np.arange(5), 5), 4)
  predicted = np.where(subject == 2, (true + 1) % 4, true)
  names = tuple(f"clip{i:03d}" for i in range(count))
  predictions = predictions_lib.Predictions(
    names, true, np.eye(4, dtype=np.float32)[predicted], drawn.runs.class_names
  )
  part = types.SimpleNamespace(
    clips=[
      {"name": name, "attributes": {"subject": int(s)}}
      for name, s in zip(names, subject)
    ]
  )
  runs = dataclasses.replace(drawn.runs, predictions=(predictions,) * 2)
  monkeypatch.setattr(type(runs), "part", part)
  figure, rows = labels.labels(runs)
  assert [row[:8] for row in rows[1:]] == [
    ["subject", 2, a, b, 5, 5, 20, 0] for a, b in ("ab", "bc", "cd", "da")
  ]
  assert rows[1][9].startswith("clip010; clip011;")
  (axes,) = figure.axes
  widths = [bar.get_width() for bar in axes.patches]
  assert widths == [100] * 4 + [0] * 4
  assert {"subject 2: a\nas b", "5 of 5", "0 of 20"} <= words(figure)

  part.clips.pop()
  with pytest.raises(NotAvailableError, match="have no test clip 'clip099': point"):
    labels.labels(runs)


def test_zoom_on_the_most_confused_block(drawn):
  # vpn has 50 between a and b, and between c and d; the first block wins.
  rows = table(drawn.folder / "zoom.csv")
  assert rows == [
    ["run", "true", "a", "b"],
    ["base", "a", "0.0", "100.0"],
    ["base", "b", "50.0", "50.0"],
    ["vpn", "a", "50.0", "50.0"],
    ["vpn", "b", "0.0", "100.0"],
  ]
  turned = dataclasses.replace(drawn.runs, predictions=drawn.runs.predictions[::-1])
  figure, rows = matrices.zoom(turned)  # base has 150 between a and b
  assert rows[0][2:] == ["a", "b"]


def test_zoom_on_a_chosen_block(drawn):
  figure, rows = matrices.zoom(with_settings(drawn.runs, zoom="b"))
  assert [list(map(str, row)) for row in rows[1:]] == [
    ["base", "b", "50.0", "0.0"],
    ["base", "c", "0.0", "50.0"],
    ["vpn", "b", "100.0", "0.0"],
    ["vpn", "c", "0.0", "100.0"],
  ]
  (frame,) = figure.findobj(
    lambda artist: isinstance(artist, Rectangle) and artist.get_width() == 2
  )
  assert frame.get_xy() == (0.5, 0.5)  # around rows and columns 1 and 2
  assert "vpn, all 4 classes" in words(figure)
  # The last class leaves no room below: the block ends with it.
  _, rows = matrices.zoom(with_settings(drawn.runs, zoom="d"))
  assert rows[0][2:] == ["c", "d"]
  with pytest.raises(ValueError, match="zoom names 'walk', expected some of"):
    matrices.zoom(with_settings(drawn.runs, zoom="walk"))
