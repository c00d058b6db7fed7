"""Poses without a video: the scores of their records, and every refusal."""

import csv

import av
import fake_pose_files
import fake_run
import numpy as np
import pytest

import vpn_jax
from configs import custom
from vpn_jax.datasets import protocol_settings
from vpn_jax.evaluation import predictions
from vpn_jax.jobs import predict as predict_job
from vpn_jax.jobs import prepare
from vpn_jax.records import store
from vpn_jax.training.provenance import Provenance

FRAMES = {"nod/a": 10, "nod/b": 11, "wave/a": 12, "wave/b": 40}


def network(root, skeleton, **example):
  """Writes a network of poses to root/run, and a config for it."""
  c = custom.get_config("split,model=pose")
  c.data.update(raw=str(root / "raw"), records=str(root / "records"), skeleton=skeleton)
  c.data.image_units = "pixel"
  c.data.example.update(num_frames=8, pose_steps=4, **example)
  c.model.num_classes = 2
  c.model.pose.skeleton = skeleton
  c.prepare.workers = 0
  c.train.eval_batch_size = 4
  prepare.run(c)
  index = store.read_index(c.data.records)
  provenance = Provenance.of(index, protocol_settings.from_config(c.data))
  fake_run.save_network(c, root / "run", provenance)
  return c


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """Folder of npz files of Kinect's joints, records, and a network for them."""
  root, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
  for name, count in FRAMES.items():
    (root / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
    joints = rng.normal(0.0, 0.2, (count, 25, 3)).astype(np.float32)
    np.savez(root / "raw" / f"{name}.npz", world=joints, fps=np.float32(20))
  network(root, "kinect_v2")
  return root


def config(root, **fields):
  c = custom.get_config("split,model=pose")
  c.data.update(records=str(root / "records"), skeleton="kinect_v2")
  c.train.eval_batch_size = 4
  c.predict.update(fields)
  return c


def test_a_file_gets_the_scores_of_its_record(world, capsys):
  vpn_jax.evaluate(config(world), str(world / "run"))
  known = predictions.read(world / "run" / "test")
  net = vpn_jax.load(str(world / "run"))
  for name, expected in zip(known.names, known.scores):
    result = vpn_jax.predict(net, pose=str(world / "raw" / f"{name}.npz"))
    assert (result.num_frames, result.fps) == (FRAMES[name], 20.0)
    windows = 1 if FRAMES[name] < 32 else 3
    assert len(result.windows) == windows
    if windows == 1:
      np.testing.assert_allclose(result.scores, expected, atol=1e-6)
    with np.load(world / "raw" / f"{name}.npz") as file:
      array = file["world"]
    same = vpn_jax.predict(net, pose=array)
    np.testing.assert_array_equal(same.scores, result.scores)
    assert same.video == "poses"
  assert {FRAMES[name] for name in known.names} & {10, 11}


def test_the_job_on_a_file_and_on_a_folder(world, tmp_path, capsys):
  table = tmp_path / "out" / "scores.csv"
  file = str(world / "raw" / "wave" / "b.npz")
  predict_job.run(config(world, pose=file, csv=str(table)), str(world / "run"))
  printed = capsys.readouterr().out
  assert "40 frames (2.0 s), 3 window(s), max of their scores" in printed
  with table.open() as lines:
    (one,) = csv.DictReader(lines)
  assert one["clip"] == "b.npz"
  (world / "raw" / "wave" / "torn.npz").write_bytes(b"torn")
  folder = str(world / "raw")
  predict_job.run(config(world, pose=folder, csv=str(table)), str(world / "run"))
  printed = capsys.readouterr().out
  assert "torn.npz: left out, " in printed
  assert "4 clips; " in printed
  with table.open() as lines:
    rows = list(csv.DictReader(lines))
  assert [row["clip"] for row in rows] == [f"{name}.npz" for name in sorted(FRAMES)]
  assert {**rows[3], "clip": "b.npz"} == one
  assert sorted(one["top5"].split("; ")) == ["nod", "wave"]
  assert float(one["score"]) >= 0.5
  net = vpn_jax.load(str(world / "run"))
  with pytest.raises(ValueError, match=r"torn\.npz: torn\.npz cannot be read as npz"):
    list(vpn_jax.predict_folder(net, folder))
  (world / "raw" / "wave" / "torn.npz").unlink()


def test_clips_of_one_npz(world, tmp_path, capsys):
  pack, arrays = tmp_path / "clips.npz", {}
  for name in FRAMES:
    with np.load(world / "raw" / f"{name}.npz") as file:
      arrays[f"world/{name}"] = file["world"]
  np.savez(pack, clip=list(FRAMES), **arrays)
  net = vpn_jax.load(str(world / "run"))
  found = {path.as_posix(): r for path, r in vpn_jax.predict_folder(net, pack)}
  assert list(found) == [f"{pack}/{name}" for name in FRAMES]
  for name in FRAMES:
    want = vpn_jax.predict(net, pose=str(world / "raw" / f"{name}.npz")).scores
    np.testing.assert_array_equal(found[f"{pack}/{name}"].scores, want)
  predict_job.run(config(world, pose=f"{pack}/nod/a"), str(world / "run"))
  assert "nod/a: 10 frames" in capsys.readouterr().out
  predict_job.run(config(world, pose=str(pack)), str(world / "run"))
  assert "4 clips; " in capsys.readouterr().out
  with pytest.raises(ValueError, match=r"json is 'x\.json', which is of one clip, and"):
    predict_job.run(config(world, pose=str(pack), json="x.json"), str(world / "run"))
  with pytest.raises(ValueError, match=r"neither clips\.npz, array 'world/gone' nor"):
    vpn_jax.predict(net, pose=f"{pack}/gone")


def test_joints_in_the_image(tmp_path):
  """A folder of OpenPose is a clip; pixels as an array give the same."""
  arrays = {}
  for label in ("nod", "wave"):
    for i in range(2):
      pose, scores = fake_pose_files.clip(10, joints=25, seed=i)
      fake_pose_files.openpose(tmp_path / "raw" / label / f"c{i}", pose, scores)
      arrays[label, i] = np.concatenate([pose, scores[..., None]], axis=-1)
  c = network(tmp_path, "openpose_25", coordinates="image")
  vpn_jax.evaluate(c, str(tmp_path / "run"))
  known = predictions.read(tmp_path / "run" / "test")
  net = vpn_jax.load(str(tmp_path / "run"))
  found = dict(vpn_jax.predict_folder(net, tmp_path / "raw"))
  assert len(found) == 4
  for name, expected in zip(known.names, known.scores):
    np.testing.assert_allclose(
      found[tmp_path / "raw" / name].scores, expected, atol=1e-6
    )
  array = np.float32(arrays["nod", 0])
  result = vpn_jax.predict(net, pose=array)
  one = vpn_jax.predict(net, pose=str(tmp_path / "raw" / "nod" / "c0"))
  np.testing.assert_allclose(result.scores, one.scores, atol=1e-5)
  pose, scores = fake_pose_files.clip(10, joints=25, seed=0)
  folder = tmp_path / "labels"
  fake_pose_files.ultralytics_labels(folder, pose, scores, (640, 480))
  with pytest.raises(ValueError, match="fractions of a video whose size is unknown"):
    vpn_jax.predict(net, pose=str(folder))
  same = vpn_jax.predict(net, pose=str(folder), image_size="640x480")
  np.testing.assert_allclose(same.scores, one.scores, atol=1e-3)
  with pytest.raises(ValueError, match=r"expected the JSON files of openpose"):
    vpn_jax.predict(net, pose=str(folder), pose_format="openpose")


def test_a_video_beside_its_poses_is_drawn_on_and_changes_nothing(clips, tmp_path):
  for name in ("nod", "wave"):
    (tmp_path / "raw" / name).mkdir(parents=True)
    with np.load(clips / f"{name}.npz") as file:
      world = file["world"]
    for clip in "ab":
      np.savez(tmp_path / "raw" / name / f"{clip}.npz", world=world)
  network(tmp_path, "kinect_v2")
  net = vpn_jax.load(str(tmp_path / "run"))
  film = tmp_path / "nod.mp4"
  pose = {"pose": str(clips / "nod.npz"), "image_units": "pixel"}
  shown = vpn_jax.predict(net, str(clips / "nod.avi"), overlay_file=str(film), **pose)
  alone = vpn_jax.predict(net, **pose)
  assert len(shown.windows) == len(alone.windows)
  np.testing.assert_allclose(shown.scores, alone.scores, atol=1e-6)
  with av.open(str(film)) as written:
    drawn = [f.to_ndarray(format="rgb24") for f in written.decode(video=0)]
  assert len(drawn) == shown.num_frames
  white = (drawn[5][:300] > 225).all(axis=-1)  # limbs in the middle of the body
  assert 50 < white.sum() < 5000


def test_refusals(world, clips, tmp_path):
  net = vpn_jax.load(str(world / "run"))
  file = str(world / "raw" / "nod" / "a.npz")
  with pytest.raises(ValueError, match=r"takes frames, and config\.predict\.video is"):
    vpn_jax.predict(vpn_jax.load(str(clips / "run")), pose=file)
  with pytest.raises(ValueError, match="I3D with its Kinetics weights takes frames"):
    vpn_jax.predict(None, pose=file)
  with pytest.raises(FileNotFoundError, match=r"or, for a network of poses, --config"):
    vpn_jax.predict(net)
  with pytest.raises(FileNotFoundError, match=r"no file .*gone\.npz: config\.predict"):
    vpn_jax.predict(net, pose=str(tmp_path / "gone.npz"))
  with pytest.raises(ValueError, match="is drawn on a video: leave it out, or set"):
    vpn_jax.predict(net, pose=file, overlay_file="x.mp4")
  with pytest.raises(ValueError, match="window_stride is 17, expected at most 16"):
    vpn_jax.predict(net, pose=file, window_stride=17)
  array = np.zeros((5, 25, 3), np.float32)
  with pytest.raises(ValueError, match="give the poses of a video as a file"):
    vpn_jax.predict(net, "x.mp4", pose=array)
  with pytest.raises(
    ValueError, match=r"poses: .*\[5, 24, 3\], expected float \[F, 25"
  ):
    vpn_jax.predict(net, pose=array[:, 1:])
  np.savez(tmp_path / "flat.npz", image=np.ones((5, 25, 2), np.float32))
  with pytest.raises(
    ValueError, match=r"no joints in world coordinates, which the net"
  ):
    vpn_jax.predict(net, pose=str(tmp_path / "flat.npz"), image_units="pixel")
  (tmp_path / "empty").mkdir()
  with pytest.raises(FileNotFoundError, match="no video or file of joints in"):
    list(vpn_jax.predict_folder(net, tmp_path / "empty"))
