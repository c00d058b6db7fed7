"""Tests of the figures of a network's inner values: attention, joints, maps, t-SNE."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from check_figure import picture, shows, table, with_settings, words

from vpn_jax import ops
from vpn_jax.datasets import skeletons
from vpn_jax.figures import attention, features, heatmaps, joints, pictures, style
from vpn_jax.figures.runs import NotAvailableError
from vpn_jax.inference import trained_network
from vpn_jax.inputs import protocol_data


@pytest.fixture(scope="module")
def outputs(drawn):
  """Run -> `out` of all test clips, by the network itself, not jitted."""
  _, parts = protocol_data.open_parts(drawn.runs.data, ("test",))
  batch = next(parts["test"].eval_batches(8, threads=1))
  batch = {name: batch[name] for name in ("frames", "pose")}
  found = []
  with ops.use_formulation("plain"):
    for workdir in drawn.runs.workdirs:
      network = trained_network.load(workdir)
      _, out = network.model.apply(network.variables, **batch, train=False)
      found.append({**jax.device_get(out), "pose": batch["pose"]})
  names = [clip["name"] for clip in parts["test"].clips]
  return names, found


def rows_of(drawn, name, **wanted):
  """Rows of a csv as dicts, those with the wanted values."""
  head, *rows = table(drawn.folder / f"{name}.csv")
  rows = [dict(zip(head, row)) for row in rows]
  return [row for row in rows if all(row[k] == v for k, v in wanted.items())]


def test_attention(drawn, outputs):
  names, (_, out) = outputs
  rows = rows_of(drawn, "attention")
  assert len(rows) == 4 * 4 * 8 * 8  # clips, T, M, N
  clip = rows[0]["clip"]
  place = names.index(clip)
  mine = [row for row in rows if row["clip"] == clip]
  heat = np.array([float(row["A_ST"]) for row in mine]).reshape(4, 8, 8)
  np.testing.assert_allclose(heat, out["attention"][place], rtol=1e-3)
  a_t = np.array([float(row["A_T"]) for row in mine]).reshape(4, 8, 8)[:, 0, 0]
  np.testing.assert_allclose(a_t, out["temporal_attention"][place], rtol=1e-3)
  assert a_t.sum() == pytest.approx(1, abs=1e-4)
  image = picture(drawn.folder / "attention.png")
  assert shows(image, style.COLORS[1]) > 10_000  # the bars of A_T


def test_attention_of_chosen_clips(drawn):
  chosen = drawn.runs.part.clips[5]["name"]
  figure, rows = attention.attention(with_settings(drawn.runs, clips=chosen))
  assert {row[0] for row in rows[1:]} == {chosen}
  with pytest.raises(ValueError, match="clips names 'walk', which is not a test clip"):
    attention.attention(with_settings(drawn.runs, clips="walk"))


def test_joints_by_equation_1(drawn, outputs):
  """Each step: ELU(D^-1/2 (E+I) D^-1/2 P_t W_t), P normalized, with numpy."""
  names, (_, out) = outputs
  variables = jax.device_get(drawn.runs.network(-1).variables)
  params = variables["params"]["pose_backbone"]
  kernel, norm = params["graph"]["graph_kernel"], params["input_norm"]
  stats = variables["batch_stats"]["pose_backbone"]["input_norm"]
  skeleton = skeletons.get("kinect_v2")
  e = np.full((25, 25), 2.0)
  for i, j in skeleton.bone_indices():
    e[i, j] = e[j, i] = 5.0
  np.fill_diagonal(e, 1.0)
  degree = np.diag(e.sum(axis=1) ** -0.5)
  clip = rows_of(drawn, "joints")[0]["clip"]
  step = 2
  pose = out["pose"][names.index(clip)][step].reshape(-1)
  pose = (pose - stats["mean"]) / np.sqrt(stats["var"] + 1e-4)
  pose = (pose * norm["scale"] + norm["bias"]).reshape(25, 3)
  x = degree @ e @ degree @ pose @ kernel[step]
  f = np.where(x > 0, x, np.expm1(x))
  expected = dict(zip(skeleton.joints, np.sqrt((f**2).mean(axis=1))))
  rows = rows_of(drawn, "joints", clip=clip, step=str(step))
  found = {row["joint"]: float(row["activation"]) for row in rows}
  assert found == pytest.approx(expected, rel=1e-4)
  assert rows[0]["joint"] == "head"
  assert [row["part"] for row in rows] == sorted(
    (row["part"] for row in rows),
    key=["head and trunk", "left arm", "right arm", "left leg", "right leg"].index,
  )
  # Four look-alikes, 4 steps, 25 joints.
  assert len(rows_of(drawn, "joints")) == 4 * 4 * 25


def test_joints_drawn(drawn):
  figure, rows = joints.joints(with_settings(drawn.runs, classes="d;a"))
  assert [row[1] for row in rows[1:]] == ["d"] * 100 + ["a"] * 100
  maps = [axes.images[0].get_array() for axes in figure.axes if axes.images]
  values = np.array([float(row[-1]) for row in rows[1:]]).reshape(2, 4, 25)
  for shown, expected in zip(maps, values):  # joints down, steps across
    np.testing.assert_allclose(shown, expected.T, rtol=1e-5)
  names = words(figure)
  assert {"head", "left hand tip", "right foot", "d", "a"} <= names


def test_joints_need_a_graph(drawn):
  both = drawn.runs
  base = dataclasses.replace(
    both, workdirs=both.workdirs[:1], names=both.names[:1],
    predictions=both.predictions[:1],
  )  # fmt: skip
  with pytest.raises(NotAvailableError, match="the network has no graph convolution"):
    joints.joints(base)
  with pytest.raises(NotAvailableError, match="the network has no attention"):
    attention.attention(base)


def map_of(drawn, clip, run, symbol):
  rows = rows_of(drawn, "heatmaps", clip=clip, run=run, map=symbol, channel="")
  return np.array([float(row["value"]) for row in rows]).reshape(4, 8, 8)


def test_heatmaps(drawn, outputs):
  names, outs = outputs
  clips = sorted({row["clip"] for row in rows_of(drawn, "heatmaps")})
  # a and b are confused most: the first test clip of each.
  assert clips == [drawn.runs.clips_of(k, 1)[0] for k in (0, 1)]
  place = names.index(clips[0])
  for run, out in zip(("base", "vpn"), outs):
    np.testing.assert_allclose(
      map_of(drawn, clips[0], run, "f"),
      np.abs(out["features"][place]).mean(axis=-1), rtol=1e-3, atol=1e-6,
    )  # fmt: skip
  f, modulated = (map_of(drawn, clips[0], "vpn", symbol) for symbol in ("f", "f'"))
  assert f.max() > 0
  np.testing.assert_allclose(
    modulated, f * (1 + outs[1]["attention"][place]), rtol=1e-3, atol=1e-6
  )  # f' = f (1 + A_ST)
  assert not rows_of(drawn, "heatmaps", run="base", map="f'")  # it has no attention


def test_strongest_channels_of_heatmaps(drawn, outputs):
  names, (_, out) = outputs
  rows = [row for row in rows_of(drawn, "heatmaps", run="vpn", map="f'", n="")]
  clip = rows[0]["clip"]
  rows = [row for row in rows if row["clip"] == clip]
  values = np.abs(out["modulated"][names.index(clip)])
  means = values.mean(axis=(0, 1, 2))
  channels = list(dict.fromkeys(int(row["channel"]) for row in rows))
  strongest = sorted(means, reverse=True)[: len(channels)]
  np.testing.assert_allclose(means[channels], strongest, rtol=1e-3)
  over_time = values.mean(axis=(1, 2))
  for row in rows:
    expected = over_time[int(row["t"]), int(row["channel"])]
    assert float(row["value"]) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_times_of_heatmaps(drawn):
  figure, _ = heatmaps.heatmaps(with_settings(drawn.runs, times=(0.0, 0.9)))
  shown_words = words(figure)
  assert {"0% of the clip", "90% of the clip"} <= shown_words
  assert {"base\n$f$", "vpn\n$f$", "vpn\n$f'$"} <= shown_words
  shown = [axes for axes in figure.axes if axes.images]
  assert len(shown) == 2 * (4 * 2 + 3)  # clips: frames and maps, then channels
  for wrong in ((1.0,), ("a",), ()):
    message = re.escape(f"times is {wrong}, expected fractions")
    with pytest.raises(ValueError, match=message):
      heatmaps.heatmaps(with_settings(drawn.runs, times=wrong))


def test_frames_are_those_of_the_time(drawn):
  """The top of a noise frame has ten times its number as brightness."""
  record = drawn.runs.record(drawn.runs.part.clips[0]["name"])
  for frame in pictures.steps_at((0.0, 0.5, 0.99), 12):
    shown = pictures.frame_picture(record, frame)
    assert shown.shape == (pictures.PIXELS, pictures.PIXELS, 3)
    assert shown[:30].mean() == pytest.approx(10 * frame, abs=4)
  assert pictures.steps_at((0.0, 0.5, 0.99), 12) == [0, 6, 11]


def test_joints_that_are_not_known_in_the_image(drawn):
  record = drawn.runs.record(drawn.runs.part.clips[0]["name"])
  unknown = np.full_like(record.image_joints, np.nan)
  unseen = dataclasses.replace(record, image_joints=unknown)
  skeleton = drawn.runs.part.skeleton
  plain = pictures.frame_picture(record, 3)
  np.testing.assert_array_equal(
    pictures.frame_picture(unseen, 3, skeleton=skeleton), plain
  )
  assert (pictures.frame_picture(record, 3, skeleton=skeleton) != plain).any()


def test_tsne_of_the_features_before_the_classifier(drawn, outputs, monkeypatch):
  names, outs = outputs
  given = []

  def keep(x, **settings):
    given.append(x)
    return np.stack([np.arange(len(x)), np.zeros(len(x))], axis=1)

  monkeypatch.setattr(features.projection, "tsne", keep)
  figure, rows = features.tsne(with_settings(drawn.runs, classes="c;a;b;d"))
  clips = [row[1] for row in rows[1:9]]
  assert [row[2] for row in rows[1:9]] == list("ccaabbdd")
  assert [row[0] for row in rows[1:]] == ["base"] * 8 + ["vpn"] * 8
  for x, out in zip(given, outs):
    expected = out["pooled"][[names.index(clip) for clip in clips]]
    np.testing.assert_allclose(x, expected, rtol=1e-3, atol=1e-5)
  left, right = figure.axes
  np.testing.assert_array_equal(left.collections[0].get_offsets(), [[0, 0], [1, 0]])
  assert set("abcd") | {"base", "vpn"} <= words(figure)
  with pytest.raises(NotAvailableError, match="4 clips of 2 classes are too few"):
    features.tsne(with_settings(drawn.runs, classes="c;a"))
