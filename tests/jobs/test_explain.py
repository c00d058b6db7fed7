"""The job "explain" on small networks of random weights and tiny synthetic clips."""

import contextlib
import csv
import dataclasses
import io
import json
import pathlib

import fake_run
import jax
import numpy as np
import pytest
import scipy.ndimage

from configs import custom
from configs import synthetic as synthetic_config
from vpn_jax import ops
from vpn_jax.analysis import (
  activations,
  explanation_summary,
  explanations,
  grad_cam,
  ground_truth,
)
from vpn_jax.inference import trained_network
from vpn_jax.inputs import example, pose_controls, protocol_data
from vpn_jax.jobs import explain
from vpn_jax.records import prepare, store
from vpn_jax.training.provenance import Provenance

RUNS = {"i3d": "cs,model=i3d", "vpn": "cs"}
CAM, ATTENTION, OTHER, JOINTS = explanations.RANDOM
PLACES, ORDER = "random places", "random joints"


@pytest.fixture(autouse=True)
def _plain(plain_operations):
  """For what the tests themselves compute."""


@dataclasses.dataclass(frozen=True)
class Explained:
  """The files that the job made of `RUNS`, and the lines that it printed."""

  folder: pathlib.Path
  config: object
  printed: list[str]

  def content(self, run):
    return json.loads((self.folder / run / "explanations.json").read_text())

  def curve(self, run, kind, order):
    """Shares and scores of a mean curve in the csv."""
    with (self.folder / run / "explanations.csv").open() as file:
      rows = [
        r for r in csv.DictReader(file) if (r["curve"], r["order"]) == (kind, order)
      ]
    return np.array([[float(r["share"]), float(r["score"])] for r in rows]).T

  def forward(self, run):
    """The network, its clips with their examples, and scores and out of all of them."""
    network = trained_network.load(str(self.folder / run))
    index, parts = protocol_data.open_parts(self.config.data, ("test",))
    places = {clip["name"]: i for i, clip in enumerate(parts["test"].clips)}
    source = store.RecordReader(self.config.data.records, parts["test"].clips)
    clips = [source[places[name]] for name in self.content(run)["clips"]]
    made = [
      example.make(clip, network.settings, network.skeleton, None) for clip in clips
    ]
    batch = {name: np.stack([one[name] for one in made]) for name in made[0]}
    return network, index, clips, batch, scores_and_out(network, batch)


def scores_and_out(network, batch):
  given = {name: batch[name] for name in network.model.inputs}
  logits, out = network.model.apply(network.variables, **given, train=False)
  return jax.device_get(jax.nn.softmax(logits)), jax.device_get(out)


def save(c, folder):
  index, parts = protocol_data.open_parts(c.data, ("test",))
  fake_run.save_network(c, folder, Provenance.of(index, parts["test"].protocol))


@pytest.fixture(scope="module")
def explained(shrunk, tmp_path_factory):
  folder = tmp_path_factory.mktemp("explained")
  for run, arg in RUNS.items():
    c = shrunk(synthetic_config.get_config(arg))
    c.data.update(num_clips=28, clip_frames=12, records=str(folder / "records"))
    c.prepare.update(workers=0, size=40)
    c.explain.update(clips_per_class=1, steps=4)
    c.model.num_classes = 14
    with ops.use_formulation("plain"):
      if run == "i3d":
        prepare.prepare(c.data, c.prepare)
      save(c, folder / run)
  with (
    ops.use_formulation("plain"),
    contextlib.redirect_stdout(io.StringIO()) as printed,
  ):
    explain.run(c, ", ".join(str(folder / run) for run in RUNS))
  return Explained(folder, c, printed.getvalue().splitlines())


@pytest.fixture(scope="module")
def forwarded(explained):
  """`Explained.forward` of every run."""
  with ops.use_formulation("plain"):
    return {run: explained.forward(run) for run in RUNS}


def cells(line):
  """The cells of a line of the table."""
  return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_table_and_the_files(explained):
  *about, head, i3d_cam, vpn_cam, vpn_attention, _, vpn_joints = explained.printed
  assert cells(head)[:4] == ["run", "explanation", "hit, %", "chance"]
  table = [cells(line) for line in (i3d_cam, vpn_attention, vpn_joints)]
  named = ("i3d", CAM), ("vpn", ATTENTION), ("vpn", JOINTS)
  for row, (run, name) in zip(table, named, strict=True):
    assert row[:2] == [run, name]
    assert len(row) == len(explain.COLUMNS)
    values = explained.content(run)["methods"][name]
    game, down, up = (values[k] for k in ("pointing", "deletion", "insertion"))
    assert row[2] == f"{100 * game['hit']:.1f} ± {100 * game['standard_error']:.1f}"
    assert row[3] == f"{100 * game['chance']:.1f}"
    for cell, key in zip(row[4:6], ("centre", "body")):
      assert cell == ("-" if name == JOINTS else f"{100 * game[key]:.1f}")
    assert row[6] == (
      f"{down['area']:.3f} ({down['difference']:+.3f} ± {down['standard_error']:.3f})"
    )
    assert row[7] == f"{down['random']:.3f}"
    assert row[8].startswith(f"{up['area']:.3f} ({up['difference']:+.3f} ± ")
    assert row[9] == f"{up['random']:.3f}"
  assert vpn_cam.split()[:2] == ["vpn", CAM]
  for run, line in zip(RUNS, about, strict=True):
    content = explained.content(run)
    assert line.startswith(f"{run}, step 3: {len(content['clips'])} clips, top-1 ")
    assert (explained.folder / run / "explanations.png").stat().st_size > 10_000
    assert (content["seed"], content["steps"], content["step"]) == (0, 4, 3)


def test_clips_are_one_of_each_class(explained):
  _, parts = protocol_data.open_parts(explained.config.data, ("test",))
  label = {clip["name"]: clip["label"] for clip in parts["test"].clips}
  chosen = explained.content("vpn")["clips"]
  assert [label[name] for name in chosen] == sorted(set(label.values()))
  assert 5 < len(chosen) < len(label)
  assert explained.content("i3d")["clips"] == chosen


@pytest.mark.parametrize(
  ("run", "orders"),
  [
    ("i3d", (CAM, PLACES)),
    ("vpn", (CAM, ATTENTION, OTHER, PLACES, JOINTS, ORDER)),
  ],
)
def test_curves_end_where_the_network_says(explained, forwarded, run, orders):
  """Whole clips at one end; at the other mean colours, blurred frames, rest poses."""
  network, _, _, batch, (scores, _) = forwarded[run]
  named = scores.argmax(axis=1)

  def mean_score(**changed):
    found, _ = scores_and_out(network, {**batch, **changed})
    return found[np.arange(len(named)), named].mean()

  content = explained.content(run)
  assert content["score"] == pytest.approx(mean_score(), rel=1e-4)
  assert content["top1"] == pytest.approx(100 * np.mean(named == batch["label"]))
  frames, pose = batch["frames"], batch["pose"]
  colour = np.rint(frames.mean(axis=(1, 2, 3), keepdims=True)).astype(np.uint8)
  # 3.2 pixels: a tenth of 32. The kernel of OpenCV ends at 3 standard deviations.
  unclear = scipy.ndimage.gaussian_filter(
    frames.astype(np.float32), (0, 0, 3.2, 3.2, 0), mode="mirror", truncate=3
  )
  empty = mean_score(frames=np.broadcast_to(colour, frames.shape))
  # Where deletion ends and insertion starts; of joints, if any: both at rest.
  ends = {False: (empty, mean_score(frames=np.uint8(np.rint(unclear))))}
  if run == "vpn":
    rest = np.broadcast_to(pose.mean(axis=(0, 1)), pose.shape)
    ends[True] = (mean_score(pose=rest),) * 2
  for order in orders:
    (x, down), (_, up) = (explained.curve(run, k, order) for k in explanations.CURVES)
    of_joints = order in (JOINTS, ORDER)
    np.testing.assert_allclose(
      x, np.linspace(0, 1, 26 if of_joints else 5), rtol=1e-3, err_msg=order
    )
    whole = [down[0], up[-1]]
    np.testing.assert_allclose(whole, content["score"], rtol=1e-4)
    assert down[-1] == pytest.approx(ends[of_joints][0], rel=1e-4)
    assert up[0] == pytest.approx(ends[of_joints][1], rel=0.02)
  assert {*content["methods"]} == {
    name for name in orders if name in explanations.RANDOM
  }
  for name, values in content["methods"].items():
    for kind in explanations.CURVES:
      for key, order in (("area", name), ("random", explanations.RANDOM[name])):
        x, y = explained.curve(run, kind, order)
        assert values[kind][key] == pytest.approx(np.trapezoid(y, x), rel=1e-3)
      assert values[kind]["difference"] == pytest.approx(
        values[kind]["area"] - values[kind]["random"]
      )


def distances(points, truth):
  """From points [..., 2], in frames of 32 pixels, to the nearest that acts, [8, ...].

  The frames are 2 to 9 of 12, of 40 pixels.
  """
  nearest = []
  for t in range(2, 10):
    acting = [*truth.joints[t][truth.acting[t]], *truth.held[t]]
    away = [np.linalg.norm(points - point * 32 / 40, axis=-1) for point in acting]
    nearest.append(np.fmin.reduce(away))  # NaN when nothing acts yet
  return np.stack(nearest)


def pointing(clips, maps, index):
  """The game of maps [4, 8, 8], enlarged by scipy: columns hit, chance, centre, body.

  A cell is 4 pixels, so 2 x sqrt(2) of them count as a hit.
  """
  pixels, rows = np.stack(np.mgrid[:32, :32][::-1], axis=-1), []
  for clip, a_st in zip(clips, maps):
    truth = ground_truth.of(clip, index)
    near = distances(pixels, truth) <= 8**0.5
    if not near.any():
      continue
    heat = scipy.ndimage.zoom(
      np.float64(a_st), (2, 4, 4), order=1, mode="nearest", grid_mode=True
    )
    of_body = [
      distances(truth.joints[2 + t] * 32 / 40, truth)[t] <= 8**0.5 for t in range(8)
    ]
    hit = near[heat > heat.max() * (1 - 1e-9)].mean()
    rows.append((hit, near.mean(), near[:, 16, 16].mean(), np.mean(of_body)))
  return np.array(rows)


def test_where_attention_points(explained, forwarded):
  _, index, clips, _, (_, out) = forwarded["vpn"]
  values = pointing(clips, out["attention"], index)
  game = explained.content("vpn")["methods"][ATTENTION]["pointing"]
  hit, chance, centre, body = values.mean(axis=0)
  assert game == pytest.approx({
    "hit": hit,
    "standard_error": values[:, 0].std(ddof=1) / len(values) ** 0.5,
    "chance": chance,
    "centre": centre,
    "body": body,
    "clips": len(values),
  })  # fmt: skip
  assert 0.02 < game["chance"] < 0.4


def test_the_control_points_where_the_pose_of_another_clip_does(explained, forwarded):
  network, index, clips, batch, _ = forwarded["vpn"]
  donors = pose_controls.donors([clip.name for clip in clips])
  assert (donors != np.arange(len(clips))).all()
  _, out = scores_and_out(network, {**batch, "pose": batch["pose"][donors]})
  game = explained.content("vpn")["methods"][OTHER]["pointing"]
  assert game["hit"] == pytest.approx(
    pointing(clips, out["attention"], index)[:, 0].mean()
  )


def test_where_the_graph_points(explained, forwarded):
  _, index, clips, _, (_, out) = forwarded["vpn"]
  hits, chances = [], []
  for clip, features in zip(clips, out["joint_features"]):
    acting = ground_truth.of(clip, index).acting[2:10].any(axis=0)
    if not acting.any():
      continue
    relevance = activations.joint_activation(features).mean(axis=0)
    hits.append(acting[relevance.argmax()])
    chances.append(acting.sum() / 25)
  game = explained.content("vpn")["methods"][JOINTS]["pointing"]
  assert game["hit"] == pytest.approx(np.mean(hits))
  assert game["chance"] == pytest.approx(np.mean(chances))
  assert (game["centre"], game["body"]) == (None, None)


@pytest.mark.parametrize("run", ["i3d", "vpn"])
def test_grad_cam_through_the_network(forwarded, run):
  """logit_k = mean over places of (1 + A) f w_k: alpha = w_k mean(1 + A) / T M N."""
  network, _, _, batch, (scores, out) = forwarded[run]
  one = {name: batch[name][:1] for name in network.model.inputs}
  features = out["features"][:1]
  w = network.variables["params"]["classifier"]["kernel"]
  weight = 1 + (out["attention"][0].mean() if run == "vpn" else 0)
  for k in (0, 5):
    found = grad_cam.class_map(network.model, network.variables, one, features, k)
    expected = np.maximum(features[0] @ jax.device_get(w)[:, k], 0) * weight / 4 / 8 / 8
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
    assert expected.max() > 0
  logits = grad_cam.logits_from(network.model, network.variables, one, features)
  np.testing.assert_allclose(jax.nn.softmax(logits), scores[:1], rtol=1e-4)


def test_poses_alone_of_clips_whose_truth_is_unknown(make_config, tmp_path, capsys):
  """By blocks of graphs; the LSTM offers no explanation."""
  data = make_config().data
  for kind in ("stgcn", "lstm"):
    c = custom.get_config(f"split,model=pose,pose_backbone={kind}")
    c.data.update({k: data[k] for k in ("records", "train", "test")})
    c.data.skeleton = "kinect_v2"
    c.data.example.update(num_frames=8, pose_steps=4)
    c.model.pose.update(recurrent_layers=1, recurrent_features=8)
    c.model.pose.update(blocks=2, block_features=8)
    c.model.num_classes = 4
    c.explain.clips_per_class = 1
    save(c, tmp_path / kind)
  explain.run(c, f"{tmp_path}/stgcn,{tmp_path}/lstm")
  unknown, about, lstm, _, row = capsys.readouterr().out.splitlines()
  assert unknown.startswith("pointing game: left out, which joints and objects")
  assert about.startswith("stgcn, step 3: 4 clips, top-1 ")
  assert lstm == (
    "lstm: left out, it has neither one feature map of the frames nor a graph of joints"
  )
  assert not (tmp_path / "lstm" / "explanations.json").exists()
  assert cells(row)[:6] == ["stgcn", JOINTS, "-", "-", "-", "-"]
  content = json.loads((tmp_path / "stgcn" / "explanations.json").read_text())
  (values,) = content["methods"].values()
  assert values["pointing"] is None
  assert 0 < values["deletion"]["area"] < content["score"]  # poses do matter here


def test_one_clip_has_no_error():
  one = explanations.ClipResult(
    True, 0.5, {CAM: (1.0, 0.2, 0.0, 0.3)},
    {CAM: np.array([[1, 0, 0], [0, 1, 1]]), PLACES: np.array([[1, 0.5, 0], [0, 0, 1]])},
  )  # fmt: skip
  methods = explanation_summary.summary([one])
  assert methods[CAM]["deletion"] == {
    "area": 0.25, "random": 0.5, "difference": -0.25, "standard_error": None,
  }  # fmt: skip
  assert explain.table_rows("run", methods) == [
    ["run", CAM, "100.0 ± -", "20.0", "0.0", "30.0", "0.250 (-0.250 ± -)", "0.500",
     "0.750 (+0.500 ± -)", "0.250"],
  ]  # fmt: skip


def test_sampled_clips_are_spread_evenly():
  labels = np.array([0, 1] * 9 + [2])
  assert explanation_summary.sample_clips(labels, 3) == [2, 8, 14, 3, 9, 15, 18]


def test_messages(small_config, tmp_path):
  with pytest.raises(ValueError, match="--workdir is empty, expected finished runs"):
    explain.run(small_config, " , ")
  with pytest.raises(FileNotFoundError, match="no checkpoint"):
    explain.run(small_config, str(tmp_path))
  small_config.explain.steps = 0
  with pytest.raises(ValueError, match=r"explain\.steps is 0, expected 1 or more"):
    explain.run(small_config, str(tmp_path))
