"""Features of a frozen backbone: the same run with and without, none of them stale."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest

from vpn_jax import interrupt
from vpn_jax.inputs import multi_view, pipeline, pose_coordinates, protocol_data
from vpn_jax.models import networks
from vpn_jax.training import cached_features, checkpoint, initialization, loop

ENDPOINT = "Conv3d_2b_1x1"


@pytest.fixture
def frozen_config(small_config, tmp_path):
  """A small network whose backbone does not train, with features in a folder."""
  c = small_config
  c.model.frozen_until = c.model.endpoint
  c.data.example.update(views=3, flip=True, crop=0.7)
  c.features.update(cached=True, folder=str(tmp_path / "features"))
  return c


def params_of(workdir):
  with checkpoint.reading(workdir) as runs:
    return runs.restore_variables()


def part_of(c, which="train"):
  _, parts = protocol_data.open_parts(c.data, (which,))
  return parts[which]


def load(c, part, inferred=None, seed=0, say=lambda line: None, **changed):
  """`load_or_compute` for a part, with random weights of a seed."""
  c.model.num_classes = 4
  model = networks.build(c.network, c.model.to_dict())
  fresh = initialization.fresh(model, part.settings, jax.random.key(seed), 25)
  given = {
    "folder": c.features.folder,
    "index_digest": "records",
    "fields": c.model.to_dict(),
    "variables": {name: tree["backbone"] for name, tree in fresh.items()},
    "batch_size": 4,
    "say": say,
  }
  return cached_features.load_or_compute(part, inferred, **{**given, **changed})


@pytest.mark.parametrize(
  ("frozen_until", "windows"), [(ENDPOINT, 1), (ENDPOINT, 2), ("MaxPool3d_2a_3x3", 1)]
)
def test_training_on_features_is_training_without(
  frozen_config, tmp_path, frozen_until, windows
):
  c = frozen_config
  c.train.epochs = 3.0
  c.model.frozen_until = frozen_until
  c.inference.windows = windows
  cached = loop.train(c, str(tmp_path / "cached"))
  c.features.cached = False
  plain = loop.train(c, str(tmp_path / "plain"))
  assert cached["loss"] == pytest.approx(plain["loss"], abs=1e-5)
  assert cached["top1"] == plain["top1"]
  scores = [
    np.load(tmp_path / name / "test" / "scores.npz") for name in ("cached", "plain")
  ]
  np.testing.assert_allclose(scores[0]["scores"], scores[1]["scores"], atol=1e-5)
  both = [params_of(tmp_path / name) for name in ("cached", "plain")]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *both)
  curves = [
    [json.loads(x) for x in (tmp_path / n / "metrics.jsonl").read_text().splitlines()]
    for n in ("cached", "plain")
  ]
  losses = [[x["train/loss"] for x in c if "train/loss" in x] for c in curves]
  assert len(losses[0]) == 9
  np.testing.assert_allclose(*losses, atol=1e-5)
  assert np.ptp(losses[0]) > 1e-3  # it trained


def test_a_second_run_reads_what_the_first_one_wrote(frozen_config, tmp_path):
  c = frozen_config
  c.model.frozen_until = "MaxPool3d_2a_3x3"
  loop.train(c, str(tmp_path / "first"))
  made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("0*.npy")}
  assert len(made) == 2  # of training and of the test
  c.seed = 1  # other upper layers, other order, the same features
  c.init.backbone = str(tmp_path / "first")
  loop.train(c, str(tmp_path / "second"))
  assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("0*.npy")} == made


def test_a_request_stops_between_two_batches(frozen_config, tmp_path):
  """Not after all features, which take long; what is left of a file is made anew."""
  c, seen = frozen_config, []

  def watched(batches):
    for batch in batches:
      seen.append(len(batch))
      if len(seen) == 2:
        raise interrupt.Interrupted("asked to stop")
      yield batch

  with pytest.raises(interrupt.Interrupted):
    load(c, part_of(c), watched=watched)
  assert not list(tmp_path.rglob("0*.npy"))
  load(c, part_of(c))
  assert list(tmp_path.rglob("0*.npy"))


def test_features_are_those_of_the_backbone(frozen_config):
  c = frozen_config
  part = part_of(c)
  found = load(c, part)
  views = part.train_views()
  assert len(found) == len(views) == 3 * len(part)
  model = networks.build(c.network, c.model.to_dict())
  fresh = initialization.fresh(model, part.settings, jax.random.key(0), 25)
  pose = np.zeros((1, c.data.example.pose_steps, 25, 3), np.float32)
  for place in (0, 1, len(views) - 1):
    frames = part.frames_of(*views[place], fixed=True)[None]
    _, out = jax.jit(model.apply)(fresh, frames, pose)
    np.testing.assert_allclose(found[place], out["features"][0], atol=1e-5)
  assert not np.array_equal(found[0], found[1])
  with pytest.raises(IndexError, match=r"got view 72, expected 0 to 71"):
    found[72]


def test_each_view_of_a_clip_is_drawn_once(frozen_config):
  part = part_of(frozen_config)
  batches = part.train_batches(8, seed=5)
  shown = {}
  for _ in range(24):
    batch = next(batches)
    for i, frames in zip(batch["index"], batch["frames"]):
      shown.setdefault(int(i), set()).add(frames.tobytes())
  assert max(map(len, shown.values())) == 3
  assert np.mean([len(views) for views in shown.values()]) > 2


def test_what_features_depend_on_names_their_folder(frozen_config, monkeypatch):
  c = frozen_config
  part = part_of(c)
  folders = [load(c, part).folder]
  assert load(c, part).folder == folders[0]
  folders.append(load(c, part, seed=1).folder)  # weights
  folders.append(load(c, part, index_digest="other records").folder)
  folders.append(load(c, part, inferred=multi_view.ONE_VIEW).folder)
  folders.append(load(c, part, inferred=multi_view.Inference(windows=2)).folder)
  folders.append(load(c, part_of(c, "test"), inferred=multi_view.ONE_VIEW).folder)
  c.data.example.views = 2
  folders.append(load(c, part_of(c)).folder)
  c.data.example.crop = 1.0
  folders.append(load(c, part_of(c)).folder)
  monkeypatch.setattr(
    cached_features, "digest_of_code", lambda backbone: "of other code"
  )
  folders.append(load(c, part_of(c)).folder)
  assert len(set(folders)) == len(folders)
  about = json.loads((folders[0] / "about.json").read_text())
  assert about["records"] == "records"
  assert about["network"]["endpoint"] == ENDPOINT


def test_code_of_another_backbone_does_not_count(monkeypatch):
  before = [cached_features.digest_of_code(name) for name in ("i3d", "resnext3d")]
  assert before[0] != before[1]
  monkeypatch.setattr(
    cached_features, "_PIXELS", (*cached_features._PIXELS, pose_coordinates.center_pose)
  )
  after = [cached_features.digest_of_code(name) for name in ("i3d", "resnext3d")]
  assert not set(before) & set(after)


def test_computing_goes_on_where_it_was_stopped(frozen_config, monkeypatch):
  c = frozen_config
  monkeypatch.setattr(cached_features, "_FILE_BYTES", 1)
  monkeypatch.setattr(cached_features, "_MULTIPLE", 4)  # views of a file
  part = part_of(c)
  whole = load(c, part)
  expected = [whole[place] for place in range(len(whole))]
  paths = sorted(whole.folder.glob("*.npy"))
  assert len(paths) == 18
  paths[3].unlink()
  (whole.folder / ".00003.99.npy").write_bytes(b"half a file")
  before = {path: path.stat().st_mtime_ns for path in paths if path != paths[3]}
  again = load(c, part)
  assert {path: path.stat().st_mtime_ns for path in before} == before
  np.testing.assert_array_equal([again[i] for i in range(len(again))], expected)


def test_batches_of_any_size_make_and_read_the_same_files(frozen_config, monkeypatch):
  c = frozen_config
  monkeypatch.setattr(cached_features, "_FILE_BYTES", 1)
  monkeypatch.setattr(cached_features, "_MULTIPLE", 8)
  part, said = part_of(c), []
  made = load(c, part, batch_size=12, say=said.append)
  files = {path.name: np.load(path) for path in sorted(made.folder.glob("*.npy"))}
  assert [len(rows) for rows in files.values()] == [8] * 9
  again = load(c, part, batch_size=4, say=said.append)
  assert (again.folder, again.per_file, len(said)) == (made.folder, 8, 1)
  (made.folder / "00002.npy").unlink()
  one = load(c, part, batch_size=8)
  np.testing.assert_allclose(one[17], files["00002.npy"][1], rtol=1e-4, atol=1e-5)


def test_augmented_poses_have_the_same_frames(frozen_config):
  """What changes a pose is drawn in each epoch, apart from its flip and its crop."""
  c = frozen_config
  plain = load(c, part_of(c))
  before = part_of(c)._example(3, *drawn(3))
  c.data.example.augment.update(noise=0.02, temporal_crop=0.5, rotation=(5.0, 5.0, 5.0))
  assert load(c, part_of(c)).folder == plain.folder
  part = part_of(c)
  made = [part._example(3, *drawn(3, seed)) for seed in (0, 0, 1)]
  for one in made:
    np.testing.assert_array_equal(one["frames"], before["frames"])
  np.testing.assert_array_equal(made[0]["pose"], made[1]["pose"])
  assert np.abs(made[0]["pose"] - before["pose"]).max() > 0.01
  assert np.abs(made[0]["pose"] - made[2]["pose"]).max() > 0.01


def drawn(i, seed=0):
  """The generator of an epoch, a fixed view, and the generator of its flip and crop."""
  view = multi_view.View(window=(1, 3))
  return np.random.default_rng(seed), view, pipeline._drawn_once(i, view)


@pytest.mark.parametrize("first", [0, 1])
def test_two_processes_make_every_file(frozen_config, monkeypatch, first):
  """Also where one has finished files before the other looks."""
  c = frozen_config
  monkeypatch.setattr(cached_features, "_FILE_BYTES", 1)
  monkeypatch.setattr(cached_features, "_MULTIPLE", 8)
  monkeypatch.setattr(
    cached_features.multihost_utils, "sync_global_devices", lambda name: None
  )
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  for process in (first, 1 - first):
    monkeypatch.setattr(jax, "process_index", lambda process=process: process)
    found = load(c, part_of(c))
  assert len(list(found.folder.glob("*.npy"))) == 9


def test_size_is_said_before_anything_is_written(frozen_config, monkeypatch):
  c, said = frozen_config, []
  part = part_of(c)

  def say(line):
    assert not list(pathlib.Path(c.features.folder).rglob("*.npy"))
    said.append(line)

  found = load(c, part, say=say)
  (line,) = said
  size = sum(found[i].nbytes for i in range(len(found)))
  assert line.startswith(f"features: 72 views of {list(found.shape)} float32, ")
  assert float(re.search(r"([\d.]+) GB", line)[1]) == pytest.approx(
    size / 1e9, abs=0.01
  )
  load(c, part, say=said.append)
  assert len(said) == 1  # nothing to compute, nothing to say
  usage = cached_features.shutil.disk_usage("/")._replace(free=10)
  monkeypatch.setattr(cached_features.shutil, "disk_usage", lambda path: usage)
  with pytest.raises(OSError, match=r"the features take .* GB free: set config.feat"):
    load(c, part, seed=3)


def test_a_backbone_that_trains_has_no_features_to_keep(frozen_config, tmp_path):
  c = frozen_config
  c.model.frozen_until = ""
  with pytest.raises(
    ValueError, match=r"but the whole visual backbone trains .*frozen=True"
  ):
    loop.train(c, str(tmp_path / "run"))
  c.model.frozen_until = c.model.endpoint
  c.data.example.views = 0
  with pytest.raises(ValueError, match=r"config.data.example.views is 0, expected 1"):
    loop.train(c, str(tmp_path / "run"))
  with pytest.raises(ValueError, match=r"the network is 'p_i3d', expected 'vpn'"):
    cached_features.check({}, "p_i3d", 1)
