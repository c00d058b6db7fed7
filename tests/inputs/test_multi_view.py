"""Windows and views of a clip by hand, and pooled scores against slow loops."""

import dataclasses
import json

import cv2
import fake_records
import fake_run
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vpn_jax
from vpn_jax import device_mesh
from vpn_jax.datasets import protocol_settings, skeletons
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation import scoring
from vpn_jax.inputs import example, multi_view, pipeline, pose_coordinates, sampling
from vpn_jax.jobs import evaluate
from vpn_jax.models import networks
from vpn_jax.records import record_format, store
from vpn_jax.training import checkpoint, loop
from vpn_jax.training.provenance import Provenance

KINECT = skeletons.get("kinect_v2")
SMALL = example.Settings(num_frames=8, frame_size=32, pose_steps=4)


def part(folder, **changes):
  settings = dataclasses.replace(SMALL, **changes)
  index = store.read_index(folder)
  rule = protocol_settings.custom("subject:1,2,3", "subject:4")
  return pipeline.Part(folder, index, rule, "test", settings)


@pytest.mark.parametrize(
  ("available", "which", "first", "last"),
  [
    (21, (0, 3), 0, 6),  # 2F or more: stride 2, starts 0 to 13
    (21, (1, 3), 6, 12),
    (21, (2, 3), 13, 19),  # and the end of the clip
    (21, (0, 1), 6, 12),  # a single window: the middle
    (21, (0, 2), 0, 6),
    (7, (2, 3), 3, 6),  # stride 1
    (4, (0, 2), 0, 3),  # the same four frames
    (4, (1, 2), 0, 3),
  ],
)
def test_windows_reach_from_start_to_end(available, which, first, last):
  window = sampling.frame_window(available, 4, None, which)
  assert (window[0], window[-1]) == (first, last)
  assert len(window) == 4


def test_poses_follow_the_window():
  record = fake_records.noise_record(
    3
  )  # 12 frames; windows of 4, stride 2: starts 0 to 4
  settings = dataclasses.replace(SMALL, num_frames=4)
  centred = pose_coordinates.center_pose(record.pose[:, :1], KINECT)
  for k, steps in ((0, [0, 2, 4, 6]), (2, [4, 6, 8, 10])):
    view = multi_view.View(window=(k, 3))
    made = example.make(record, settings, KINECT, None, view)
    tops = made["frames"][:, 2, 16].mean(axis=-1)  # 10 per frame
    np.testing.assert_allclose(tops, 10 * np.array(steps), atol=4)
    # four segments of 7/4 frames; their centres
    shown = [steps[0] + int((i + 0.5) * 7 / 4) for i in range(4)]
    np.testing.assert_array_equal(made["pose"], centred[shown, 0])
  whole = dataclasses.replace(settings, pose_window="video")
  poses = [
    example.make(record, whole, KINECT, None, multi_view.View(window=(k, 3)))["pose"]
    for k in range(3)
  ]
  np.testing.assert_array_equal(poses[0], poses[2])


def test_one_view_is_the_middle_of_the_clip_whole(noise_records):
  """Against a slow loop over 12 frames; the window is frames 2 to 9."""
  test = part(noise_records)
  for inferred in (multi_view.ONE_VIEW, multi_view.Inference(pool="mean")):
    batch = next(test.eval_batches(8, inferred))
    for row, i in enumerate(batch["index"]):
      record = test._reader[i]
      for f in range(8):
        frame = record_format.decode_frame(record.frames[2 + f])
        frame = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(batch["frames"][row, f], frame)
    np.testing.assert_array_equal(batch["index"], np.arange(8))
    assert batch["valid"].all()


@pytest.mark.parametrize(
  ("num_frames", "expected"),
  [(8, 3), (11, 2), (12, 1), (13, 1), (6, 1)],  # 12 frames: 6 is stride 2, one start
)
def test_a_short_clip_has_fewer_windows(noise_records, num_frames, expected):
  test = part(noise_records, num_frames=num_frames)
  batches = list(test.eval_batches(8, multi_view.Inference(windows=3)))
  valid = np.concatenate([b["valid"] for b in batches])
  index = np.concatenate([b["index"] for b in batches])[valid]
  np.testing.assert_array_equal(index, np.arange(8).repeat(expected))
  clips = np.concatenate([b["frames"] for b in batches])[valid]
  shown = clips[index == 0].reshape(expected, -1)
  assert len(np.unique(shown, axis=0)) == expected  # all differ


def test_three_crops_show_left_centre_and_right():
  """Crops of 56 in 64 pixels start at 0, 4 and 8 from the left, 4 from the top."""
  y, x = np.mgrid[:64, :64]
  frame = np.stack([3 * x, 3 * y, np.full_like(x, 100)], axis=-1).astype(np.uint8)
  blob = record_format.encode_frame(frame, quality=100)
  record = dataclasses.replace(fake_records.noise_record(0), frames=(blob,) * 12)
  settings = dataclasses.replace(SMALL, frame_size=56)
  views = multi_view.Inference(views="three").spatial_views(64)
  for view, left in zip(views, (0, 4, 8), strict=True):
    frames = example.make(record, settings, KINECT, None, view)["frames"]
    assert frames.shape == (8, 56, 56, 3)
    step = np.arange(56)
    np.testing.assert_allclose(
      (frames[0, ..., 0] / 3 - step[None, :]).mean(), left, atol=0.4
    )
    np.testing.assert_allclose(
      (frames[0, ..., 1] / 3 - step[:, None]).mean(), 4, atol=0.4
    )
  assert [v.part(256) for v in views] == [(0, 16, 224), (16, 16, 224), (32, 16, 224)]


def test_full_shows_the_record_at_its_own_size(noise_records):
  record = part(noise_records)._reader[0]
  frames = next(part(noise_records).eval_batches(8, FULL))["frames"]
  assert frames.shape == (8, 8, 40, 40, 3)
  np.testing.assert_array_equal(
    frames[0, 0], record_format.decode_frame(record.frames[2])
  )
  larger = multi_view.Inference(views="full", size=48)
  assert next(part(noise_records).eval_batches(8, larger))["frames"].shape[2] == 48


FULL = multi_view.Inference(views="full")


@jax.jit
def look(variables, batch):
  """A stand-in for a network, whose scores depend on all pixels of a view."""
  x = batch["frames"].astype(jnp.float32).mean(axis=(1, 4))  # [B, H, W]
  x = jax.image.resize(x, (x.shape[0], 2, 2), "linear").reshape(-1, 4)
  x = x / 20 + batch["pose"].mean(axis=(1, 2)).sum(axis=-1, keepdims=True)
  return {"own": jax.nn.softmax(x @ variables, axis=-1)}


WEIGHTS = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


def pooled(test, inferred, batch_size, devices=1, processes=1):
  """Predictions from batches divided among devices and processes."""
  grid = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))
  batches = [
    batch
    for p in range(processes)
    for batch in test.eval_batches(batch_size, inferred, shard=(p, processes))
  ]
  place = device_mesh.make_placer(grid)
  return scoring.score_part(look, jnp.array(WEIGHTS), test, batches, place, inferred)[
    "own"
  ]


@pytest.mark.parametrize("views", ["whole", "three"])
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_scores_are_pooled_as_in_a_slow_loop(noise_records, views, pool):
  test = part(noise_records)
  inferred = multi_view.Inference(windows=3, views=views, pool=pool)
  expected = []
  for i in range(len(test)):
    scores = []
    for k in range(3):
      for spatial in inferred.spatial_views(40):
        view = dataclasses.replace(spatial, window=(k, 3))
        made = example.make(test._reader[i], test.settings, KINECT, None, view)
        batch = {name: jnp.array(value)[None] for name, value in made.items()}
        scores.append(np.asarray(look(jnp.array(WEIGHTS), batch)["own"])[0])
    assert len(np.unique(scores, axis=0)) == len(scores)  # every view differs
    expected.append(np.max(scores, axis=0) if pool == "max" else np.mean(scores, 0))
  for batch_size, devices, processes in ((1, 1, 1), (7, 1, 1), (8, 4, 1), (16, 4, 2)):
    found = pooled(test, inferred, batch_size, devices, processes)
    assert found.names == tuple(clip["name"] for clip in test.clips)
    np.testing.assert_array_equal(found.labels, [c["label"] for c in test.clips])
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, expected, rtol=2e-5, atol=1e-6)


def test_a_single_view_is_not_pooled(noise_records):
  test = part(noise_records)
  batch = next(test.eval_batches(8))
  scores = np.asarray(look(jnp.array(WEIGHTS), jax.tree.map(jnp.array, batch))["own"])
  for pool in multi_view.POOLS:
    found = pooled(test, multi_view.Inference(pool=pool), 8)
    np.testing.assert_array_equal(found.scores, scores)


def interpolated(a_s, size):
  """A square map resized to another grid, linearly between centres of cells."""
  m = len(a_s)
  made = np.zeros((size, size))
  for i in range(size):
    for j in range(size):
      y, x = (np.clip((k + 0.5) * m / size - 0.5, 0, m - 1) for k in (i, j))
      y0, x0 = min(int(y), m - 2), min(int(x), m - 2)
      v, u = y - y0, x - x0
      top = (1 - u) * a_s[y0, x0] + u * a_s[y0, x0 + 1]
      bottom = (1 - u) * a_s[y0 + 1, x0] + u * a_s[y0 + 1, x0 + 1]
      made[i, j] = (1 - v) * top + v * bottom
  return made


@pytest.fixture
def run(small_config, noise_records, tmp_path):
  """A config and a workdir with random weights; 4 x 4 cells at 32 pixels."""
  c = small_config
  c.model.num_classes = 4
  index = store.read_index(noise_records)
  protocol = protocol_settings.from_config(c.data)
  fake_run.save_network(c, tmp_path, Provenance.of(index, protocol))
  return c, tmp_path


def test_attention_is_resized_to_larger_frames(run, noise_records):
  c, workdir = run
  with checkpoint.reading(workdir) as runs:
    variables, trained = runs.restore_variables(), runs.about().config
  maps = {}
  for inferred in (multi_view.ONE_VIEW, FULL):
    fields = networks.inference_fields(
      trained["model"], trained["data"]["example"], inferred.views
    )
    model = networks.build(c.network, fields)
    batch = next(part(noise_records).eval_batches(2, inferred))
    _, out = jax.jit(model.apply)(variables, batch["frames"], batch["pose"])
    maps[inferred.views] = np.asarray(out["spatial_attention"])
    assert ("video_embedding" in out) == (inferred.views == "whole")
  assert maps["whole"].shape == (2, 8, 8)
  assert maps["full"].shape == (2, 10, 10)  # 40 pixels
  assert np.ptp(maps["whole"][0]) > 0.01
  for small, large in zip(maps["whole"], maps["full"]):
    np.testing.assert_allclose(large, interpolated(small, 10), rtol=1e-5)


def test_evaluate_infers_as_its_config_says(run, capsys):
  c, workdir = run
  evaluate.run(c, str(workdir))
  assert "test clips; predictions in" in capsys.readouterr().out
  plain = predictions_lib.read(workdir / "test").scores

  c.inference.update(views="full", size=32)  # the size of training
  evaluate.run(c, str(workdir))
  np.testing.assert_array_equal(predictions_lib.read(workdir / "test").scores, plain)
  words = "8 test clips (max over 1 window(s) x views=full at 32 pixels); predictions"
  assert words in capsys.readouterr().out

  c.inference.update(views="whole", size=0, temperature=2.5)
  evaluate.run(c, str(workdir))
  tempered = predictions_lib.read(workdir / "test").scores
  expected = plain ** (1 / 2.5)
  expected = expected / expected.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(tempered, expected, rtol=1e-5)
  assert "views=whole, temperature 2.5); predictions" in capsys.readouterr().out

  c.inference.update(windows=2, views="full", pool="mean", temperature=1.0)  # 40 pixels
  evaluate.run(c, str(workdir))
  found = predictions_lib.read(workdir / "test").scores
  assert (found != plain).any(axis=1).all()
  np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-5)
  written = json.loads((workdir / "test" / "metrics.json").read_text())
  used = {name: written[name] for name in ("windows", "views", "pool")}
  assert used == {"windows": 2, "views": "full", "pool": "mean"}
  assert written["clips"] == 8


def test_training_ends_with_the_inference_of_its_config(small_config, tmp_path, capsys):
  c = small_config
  c.train.steps = 1
  c.model.endpoint = "Conv3d_2b_1x1"
  c.inference.update(windows=2, views="full")
  result = loop.train(c, str(tmp_path))
  assert result["inference"] == dataclasses.asdict(
    multi_view.Inference(windows=2, views="full")
  )
  assert "test/views" not in (tmp_path / "metrics.jsonl").read_text()
  trained = predictions_lib.read(tmp_path / "test").scores
  assert trained.sum(axis=1).max() > 1.0 + 1e-6  # a maximum of two
  assert vpn_jax.evaluate(c, str(tmp_path)).metrics["top1"] == result["top1"]
  np.testing.assert_array_equal(predictions_lib.read(tmp_path / "test").scores, trained)


@pytest.mark.parametrize(
  ("settings", "words"),
  [
    ({"windows": 0}, "config.inference.windows is 0, expected 1 or more"),
    ({"views": "five"}, r"config.inference.views is 'five', expected one of \('whole'"),
    ({"pool": "min"}, r"config.inference.pool is 'min', expected one of \('max', 'me"),
    ({"size": 300}, "size is 300 and views is 'whole', expected a positive size with"),
    ({"size": -1, "views": "full"}, "size is -1 and views is 'full', expected"),
    ({"temperature": 0.0}, "config.inference.temperature is 0.0, expected a positive"),
  ],
)
def test_messages(settings, words):
  with pytest.raises(ValueError, match=words):
    multi_view.Inference(**settings)
