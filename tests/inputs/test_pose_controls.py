"""Poses of other clips and at rest: which clip gets which, and their effect."""

import dataclasses
import itertools
import json

import fake_records
import fake_run
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vpn_jax
from configs import custom
from vpn_jax import device_mesh
from vpn_jax.datasets import protocol_settings
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation import scoring
from vpn_jax.inputs import example, multi_view, pipeline, pose_controls, regions
from vpn_jax.jobs import evaluate
from vpn_jax.models import networks
from vpn_jax.records import store
from vpn_jax.training import initialization, loop, run_summary
from vpn_jax.training.provenance import Provenance

SMALL = example.Settings(num_frames=8, frame_size=32, pose_steps=4)
SHUFFLED = multi_view.Inference(shuffle_pose=True)
REST = multi_view.Inference(rest_pose=True)


@pytest.mark.parametrize("count", range(2, 40))
def test_no_clip_keeps_its_pose(count):
  names = [f"clip{i:02d}" for i in range(count)]
  for seed in range(5):
    found = pose_controls.donors(names, seed)
    assert sorted(found) == list(range(count))
    assert (found != np.arange(count)).all()


def test_every_run_on_the_same_clips_has_the_same_donors():
  names = [f"clip{i}" for i in range(9)]
  of = {name: names[d] for name, d in zip(names, pose_controls.donors(names))}
  for order in (names[::-1], names[4:] + names[:4]):
    again = {name: order[d] for name, d in zip(order, pose_controls.donors(order))}
    assert again == of


def test_donors_are_drawn_from_all_derangements():
  """Four clips have nine derangements; each occurs for about 1/9 of the seeds."""
  drawn = [tuple(pose_controls.donors("abcd", seed)) for seed in range(900)]
  expected = [
    p for p in itertools.permutations(range(4)) if all(i != x for i, x in enumerate(p))
  ]
  counts = [drawn.count(p) for p in expected]
  assert len(expected) == 9
  assert sum(counts) == 900
  assert 60 < min(counts)
  assert max(counts) < 140


def test_joints_rest_at_their_mean():
  """Two clips of two steps, one joint: x is the mean of 1, 3, 5 and 7."""
  poses = [
    np.float32([[[1, 0, 0]], [[3, 0, 0]]]),
    np.float32([[[5, 2, 0]], [[7, 2, 0]]]),
  ]
  rest = pose_controls.rest_pose(poses)
  np.testing.assert_array_equal(rest, [[4, 1, 0]])
  assert rest.dtype == np.float32


def clip(i, label=None):
  """A record of noise with 9 or 12 frames, that is two or more windows of 8.

  With a label, the 11th joint is that many metres to the right of the body.
  """
  record = fake_records.noise_record(i, frames=9 if i % 2 else 12)
  if label is None:
    return record
  pose = 0 * record.pose
  pose[:, 0, 10, 0] = label
  return dataclasses.replace(record, pose=pose)


def write(folder, clips):
  """A part that contains these clips for testing."""
  folder.mkdir()
  name = "shard-00000.array_record"
  fake_records.save_index(folder, {name: store.write_shard(folder / name, clips)})
  rule = protocol_settings.custom("subject:9", "subject:1,2,3,4")
  index = store.read_index(folder)
  return pipeline.Part(folder, index, rule, "test", SMALL)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
  return write(tmp_path_factory.mktemp("clips") / "noise", map(clip, range(7)))


def test_batches_hold_the_poses_of_the_donor_and_of_rest(part, monkeypatch):
  inferred = multi_view.Inference(windows=3)
  plain = list(part.eval_batches(4, inferred))
  own, seen = {}, {}  # (clip, k) -> pose
  for batch in plain:
    for i, valid, pose in zip(batch["index"], batch["valid"], batch["pose"]):
      if valid:
        own[int(i), sum(key[0] == i for key in own)] = pose
  assert {sum(key[0] == i for key in own) for i in range(7)} == {2, 3}

  decoded = []
  decode = regions.decode
  monkeypatch.setattr(regions, "decode", lambda *x: decoded.append(1) or decode(*x))
  batches = list(
    part.eval_batches(4, inferred, others=pose_controls.CONTROLS, threads=1)
  )
  assert len(decoded) == 4 * len(batches)  # frames of donors are not decoded
  donors = pose_controls.donors([c["name"] for c in part.clips])
  rest = np.mean([own_pose(part, i) for i in range(7)], axis=(0, 1))
  for a, b in zip(plain, batches, strict=True):
    for name, value in a.items():
      np.testing.assert_array_equal(b[name], value)
    for j, (i, valid) in enumerate(zip(b["index"], b["valid"])):
      np.testing.assert_allclose(b["pose_rest"][j], [rest] * 4, rtol=1e-5, atol=1e-6)
      if valid:
        d, k = int(donors[i]), sum(key == i for key, _ in seen)
        last = max(key[1] for key in own if key[0] == d)
        np.testing.assert_array_equal(b["pose_shuffled"][j], own[d, min(k, last)])
        seen[int(i), k] = 1

  # an evaluation with such poses alone, also in two processes
  for other, name in ((SHUFFLED, "shuffled"), (REST, "rest")):
    other = dataclasses.replace(other, windows=3)
    for whole, both in zip(part.eval_batches(4, other), batches, strict=True):
      np.testing.assert_array_equal(whole["pose"], both[f"pose_{name}"])
      np.testing.assert_array_equal(whole["frames"], both["frames"])
  shares = [
    list(part.eval_batches(4, inferred, others=pose_controls.CONTROLS, shard=(p, 2)))
    for p in range(2)
  ]
  for n, batch in enumerate(batches):
    for name in ("pose_shuffled", "pose_rest", "valid"):
      together = np.stack([share[n][name] for share in shares], axis=1)
      np.testing.assert_array_equal(together.reshape(batch[name].shape), batch[name])


def test_joints_in_the_frames_are_those_of_the_donor_too(part):
  inputs = ("frames", "pose", "frame_joints")
  both = dataclasses.replace(part.settings, inputs=inputs)
  index = store.read_index(part._reader.folder)
  part = pipeline.Part(part._reader.folder, index, part.protocol, "test", both)
  donors = pose_controls.donors([c["name"] for c in part.clips])
  (batch,) = part.eval_batches(7, others=pose_controls.CONTROLS)
  for name in ("pose", "frame_joints"):
    np.testing.assert_array_equal(batch[f"{name}_shuffled"], batch[name][donors])
    at_rest = batch[f"{name}_rest"]
    assert (at_rest == at_rest[:1, :1]).all()
  (alone,) = part.eval_batches(7, SHUFFLED)
  np.testing.assert_array_equal(alone["frame_joints"], batch["frame_joints_shuffled"])
  step = scoring.ScoreStep(JointReader())
  scores = step({}, {k: v for k, v in batch.items() if k not in ("index", "valid")})
  assert set(scores) == {"own", "shuffled", "rest"}
  assert np.abs(scores["own"] - scores["shuffled"]).max() > 1e-3


class JointReader(nn.Module):
  """A network of joints in the frames alone."""

  inputs = ("frames", "frame_joints")

  @nn.compact
  def __call__(self, frames, joints, *, train=False):
    return joints[:, :, 0, :].mean(axis=1), {}


def own_pose(part, i):
  """The pose of a clip in its middle window."""
  return example.make(part._reader[i], SMALL, part.skeleton, None)["pose"]


class PoseReader(nn.Module):
  """A network that reads the class from the pose, where `clip` stores it."""

  inputs = ("pose",)

  @nn.compact
  def __call__(self, pose, *, train=False):
    x = pose[:, :, 10, 0].mean(axis=1, keepdims=True)
    return -((x - jnp.arange(4.0)[None]) ** 2), {}


def predict(model, variables, part, **options):
  options = {"others": pose_controls.CONTROLS, **options}
  batches = part.eval_batches(4, **options)
  place = device_mesh.make_placer(
    jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
  )
  return scoring.score_part(scoring.ScoreStep(model), variables, part, batches, place)


def test_controls_reveal_a_network_that_reads_poses(tmp_path):
  made = write(tmp_path / "clips", [clip(i, i % 4) for i in range(16)])
  found = predict(PoseReader(), {}, made)
  assert predictions_lib.metrics(found["own"])["top1"] == 100.0
  donors = pose_controls.donors([c["name"] for c in made.clips])
  lucky = 100 * np.mean(donors % 4 == np.arange(16) % 4)
  values = predictions_lib.control_metrics(found)
  assert values["shuffled_top1"] == lucky < 50
  assert values["rest_top1"] == values["rest_mean_class"] == 25.0  # one class for all
  assert len(np.unique(found["rest"].scores, axis=0)) == 1


@pytest.fixture
def small(small_config):
  """Network and variables; initial attention is zero, whatever the pose."""
  c = small_config
  c.model.num_classes = 4
  model = networks.build(c.network, c.model.to_dict())
  return model, initialization.fresh(model, SMALL, jax.random.key(0), 25)


def test_a_network_that_ignores_poses_has_bitwise_equal_scores(small, part):
  found = predict(*small, part)
  assert len(np.unique(found["own"].scores, axis=0)) == 7
  for name in pose_controls.CONTROLS:
    np.testing.assert_array_equal(found[name].scores, found["own"].scores)


def test_features_are_computed_once_and_scores_are_those_of_the_network(small, part):
  model, variables = small
  rng = np.random.default_rng(0)

  def noisy(x):
    return x + 0.1 * rng.normal(size=x.shape).astype(np.float32)

  variables = {**variables, "params": jax.tree.map(noisy, variables["params"])}
  step, calls = scoring.ScoreStep(model), []
  features = step._features
  step._features = lambda *given: calls.append(1) or features(*given)
  batch = next(part.eval_batches(4, others=pose_controls.CONTROLS))
  batch = {k: jnp.array(v) for k, v in batch.items()}
  found = step(variables, batch)
  assert len(calls) == 1
  for name, pose in (
    ("own", "pose"),
    ("shuffled", "pose_shuffled"),
    ("rest", "pose_rest"),
  ):
    logits, _ = jax.jit(model.apply)(variables, batch["frames"], batch[pose])
    np.testing.assert_allclose(found[name], nn.softmax(logits), rtol=1e-4, atol=1e-6)
  for name in pose_controls.CONTROLS:  # far beyond the tolerance above
    assert np.abs(np.log(found["own"] / found[name])).max() > 1e-3


def test_a_network_without_a_pose_runs_once(part):
  class Frames(nn.Module):
    inputs = ("frames",)

    @nn.compact
    def __call__(self, frames, *, train=False):
      return frames.mean(axis=(1, 2, 3)).astype(jnp.float32), {}

  assert set(predict(Frames(), {}, part)) == {"own"}


@pytest.fixture
def run(small_config, noise_records, tmp_path):
  """A config and a workdir with random weights that depend on the pose."""
  c = small_config
  c.model.num_classes = 4
  index = store.read_index(noise_records)
  fake_run.save_network(
    c, tmp_path, Provenance.of(index, protocol_settings.from_config(c.data))
  )
  return c, tmp_path


def read_json(path):
  return json.loads(path.read_text())


def test_evaluation_stores_the_controls_beside_the_accuracy(run, capsys):
  c, workdir = run
  evaluate.run(c, str(workdir))
  assert ", top-1 with poses of other clips " in capsys.readouterr().out
  written = read_json(workdir / "test" / "metrics.json")
  plain = (workdir / "test" / "scores.npz").read_bytes()
  for name in pose_controls.CONTROLS:
    c.inference.update(shuffle_pose=name == "shuffled", rest_pose=name == "rest")
    evaluate.run(c, str(workdir))
    assert f"; predictions in {workdir}/test_{name}\n" in capsys.readouterr().out
    whole = read_json(workdir / f"test_{name}" / "metrics.json")
    assert whole["top1"] == written[f"{name}_top1"]
    assert whole["mean_class"] == written[f"{name}_mean_class"]
    assert whole["shuffle_pose"] == (name == "shuffled")
    assert "rest_top1" not in whole
  assert (workdir / "test" / "scores.npz").read_bytes() == plain


def test_corrected_labels_have_a_folder_of_their_own(run, tmp_path):
  c, workdir = run
  published = vpn_jax.evaluate(c, str(workdir))
  plain = (workdir / "test" / "scores.npz").read_bytes()
  path = tmp_path / "wrong.csv"
  name = published.predictions.names[0]
  label = (published.predictions.labels[0] + 1) % 4
  path.write_text(f"clip,class\n{name},{published.predictions.class_names[label]}\n")
  c.data.update(corrections=str(path), correct_test=True)
  corrected = vpn_jax.evaluate(c, str(workdir))
  assert corrected.folder == workdir / "test_corrected"
  assert (workdir / "test" / "scores.npz").read_bytes() == plain
  before, after = published.predictions.labels, corrected.predictions.labels
  np.testing.assert_array_equal(np.flatnonzero(before != after), [0])
  c.inference.shuffle_pose = True
  assert vpn_jax.evaluate(c, str(workdir)).folder.name == "test_shuffled_corrected"


def test_controls_are_added_to_an_older_summary(run):
  c, workdir = run
  values = vpn_jax.evaluate(c, str(workdir)).metrics
  known = {"top1", "mean_class", "clips"}
  rates = {"train_clips_per_second": 1.0, "eval_clips_per_second": 1.0}
  old = {k: values[k] for k in known} | rates | {"seconds": 1.0, "parameters": 1}
  old["inference"] = {"windows": 1, "views": "whole", "pool": "max", "size": 0}
  run_summary.write_summary(workdir, c.to_dict(), old, "python launch.py")
  vpn_jax.evaluate(c, str(workdir))
  result = read_json(workdir / run_summary.SUMMARY_FILE)["result"]
  assert result["shuffled_top1"] == values["shuffled_top1"]
  assert {k: result[k] for k in old} == old
  other = {**old, "top1": values["top1"] + 1}
  run_summary.write_summary(workdir, c.to_dict(), other, "python launch.py")
  vpn_jax.evaluate(c, str(workdir))  # of another test than the summary's
  assert "shuffled_top1" not in read_json(workdir / run_summary.SUMMARY_FILE)["result"]


def test_without_attention_there_is_nothing_to_control(small_config, tmp_path):
  c = small_config
  c.model.update(attention="none", embedding=False, endpoint="Conv3d_2b_1x1")
  c.train.steps = 1
  result = loop.train(c, str(tmp_path))
  assert "shuffled_top1" not in result
  c.inference.shuffle_pose = True
  vpn_jax.evaluate(c, str(tmp_path))
  own, other = (
    predictions_lib.read(tmp_path / name) for name in ("test", "test_shuffled")
  )
  np.testing.assert_array_equal(own.scores, other.scores)


def test_training_ends_with_the_controls(make_config, tmp_path):
  c = custom.get_config("split,model=pose,size=tiny")
  c.data = make_config().data
  c.train.update(batch_size=8, eval_batch_size=8, steps=1, tensorboard=False)
  result = loop.train(c, str(tmp_path))
  names = {f"{a}_{b}" for a in pose_controls.CONTROLS for b in ("top1", "mean_class")}
  assert names < set(result)
  summary = read_json(tmp_path / run_summary.SUMMARY_FILE)["result"]
  written = read_json(tmp_path / "test" / "metrics.json")
  for name in names:
    assert result[name] == summary[name] == written[name]
  names |= {"top1", "top5", "mean_class", "calibration_error", "clips"}
  expected = {name: value for name, value in written.items() if name in names}
  assert vpn_jax.evaluate(c, str(tmp_path)).metrics == expected
  assert expected["clips"] == 8


def test_a_single_clip_has_no_control(tmp_path):
  made = write(tmp_path / "clips", [clip(0)])
  assert not scoring.controls(PoseReader(), made, multi_view.ONE_VIEW)
  with pytest.raises(ValueError, match=r"got 1 test clip\(s\), expected two or more"):
    made.eval_batches(4, SHUFFLED)


def test_messages(make_config, tmp_path):
  with pytest.raises(ValueError, match="rest_pose are both True, expected one of"):
    multi_view.Inference(shuffle_pose=True, rest_pose=True)
  c = make_config()
  c.inference.rest_pose = True
  with pytest.raises(ValueError, match="are for --job=evaluate, got one of them in tr"):
    loop.train(c, str(tmp_path))
