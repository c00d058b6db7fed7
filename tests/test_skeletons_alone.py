"""Clips without videos, from the files of every dataset to a fused test."""

import copy
import json
import pathlib
import zipfile

import fake_landmarker
import fake_ntu
import fake_nucla
import fake_smarthome
import numpy as np
import pytest

from configs import custom, ntu60, nucla, smarthome, synthetic
from vpn_jax.datasets import pose_estimation, video_writer
from vpn_jax.inference import export, serve, trained_network
from vpn_jax.inputs import example, sampling
from vpn_jax.jobs import figures, prepare
from vpn_jax.records import store, verify
from vpn_jax.training import evaluate, stages

FRAMES = 8


def small(c, records):
  """Two steps of a network that compiles quickly."""
  c.data.update(records=str(records), threads=2)
  c.data.example.pose_steps = 4
  c.prepare.update(workers=0)
  c.train.update(
    steps=2, batch_size=4, eval_batch_size=4, log_every=1, tensorboard=False
  )
  return c


def nucla_config(root, records, argument="v12_3,model=pose"):
  """Skeletons of two classes from three cameras, without a video."""
  for action in (1, 5):
    for subject, camera in ((1, 1), (2, 2), (3, 1), (1, 3), (2, 3)):
      name = f"a{action:02d}_s{subject:02d}_e00_v{camera:02d}"
      motion = 0.05 * action
      frames = fake_nucla.skeleton(FRAMES + subject, motion=motion)
      fake_nucla.write_skeleton(root, name, frames)
  c = small(nucla.get_config(argument), records)
  c.data.raw = str(root)
  return c


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A network trained on skeletons alone: (config, workdir)."""
  root = tmp_path_factory.mktemp("alone")
  c = nucla_config(root / "raw", root / "records")
  prepare.run(c)
  stages.train(c, str(root / "run"))
  return c, root / "run"


def test_records_hold_the_poses_alone(run):
  c, _ = run
  index = store.read_index(c.data.records)
  assert not index.frames
  assert index.crop["kind"] == "none"
  clips = index.clips()
  assert len(clips) == 10
  assert [clip["payloads"] for clip in clips] == [1] * 10
  assert [clip["position"] for clip in clips] == list(range(10))
  source = store.RecordReader(c.data.records, clips)
  for i, clip in enumerate(clips):
    record = source[i]
    expected = FRAMES + clip["attributes"]["subject"]
    assert (record.num_frames, len(record.frames)) == (expected, 0)
    assert clip["num_frames"] == expected
    assert record.fps == 30.0
    assert record.boxes.shape == (0, 4)
    path = pathlib.Path(c.data.raw, "all_sqe", f"{record.name}.json")
    joints = json.loads(path.read_text())["skeletons"]
    np.testing.assert_array_equal(record.pose[:, 0], np.float32(joints))


def test_verified(run, tmp_path):
  c, _ = run
  report = verify.verify(c.data, sheet_clips=2)
  assert report.problems == ()
  assert report.counts[0]["median_frames"] == FRAMES + 2
  index = store.read_index(c.data.records)
  record = store.RecordReader(c.data.records, index.clips())[0]
  framed = store.Index(**{**vars(index), "frames": True, "crop": {"size": 8}})
  problems = verify.check(record, index.clips()[0], framed)
  assert problems[0] == "has 0 frames, expected 9"


def test_a_row_that_takes_frames_refuses_them(run, tmp_path):
  c, _ = run
  whole = small(nucla.get_config("v12_3,size=tiny"), c.data.records)
  whole.init.backbone = "none"
  words = "hold skeletons alone, this row takes frames: use model=pose, or"
  with pytest.raises(ValueError, match=words):
    stages.train(whole, str(tmp_path / "vpn"))
  assert not (tmp_path / "vpn").exists()  # no stage was trained for nothing


def test_a_folder_goes_on_as_it_was_begun(run, tmp_path):
  c, _ = run
  with_frames = nucla.get_config("v12_3")
  with_frames.data.update(raw=c.data.raw, records=c.data.records)
  with pytest.raises(ValueError, match=r"with model=pose none needs a video\.$"):
    prepare.run(with_frames)
  name = "a01_s01_e00_v01"
  fake_nucla.write_pair(tmp_path / "raw", name, size=(32, 24))
  with_frames.data.raw = str(tmp_path / "raw")
  with_frames.prepare.update(workers=0, crop="full", size=16)
  words = r"begun without frames .*, which this row needs: set config\.data\.records"
  with pytest.raises(ValueError, match=words):
    prepare.run(with_frames)
  with_frames.data.records = str(tmp_path / "records")
  prepare.run(with_frames)
  c = nucla.get_config("v12_3,model=pose")
  c.data.update(raw=with_frames.data.raw, records=with_frames.data.records)
  words = r"begun with frames, from which model=pose trains just as well: use it as it"
  with pytest.raises(ValueError, match=words):
    prepare.run(c)


def open_synthetic(root, records):
  c = small(synthetic.get_config("cs,model=pose"), records)
  c.data.update(num_clips=2, clip_frames=FRAMES)
  return c


def open_ntu(root, records):
  name = "S001C001P001R001A001"
  fake_ntu.write_pair(root, name, FRAMES)[1].unlink()
  c = small(ntu60.get_config("cs,model=pose"), records)
  c.data.raw = str(root)
  return c


def open_smarthome(root, records):
  film = fake_smarthome.write_pair(root, "Walk_p03_r00_v01_c03", FRAMES)[1]
  film.write_bytes(b"no video, and none is opened")
  c = small(smarthome.get_config("cs,model=pose"), records)
  c.data.raw = str(root)
  return c


def joints(rng, count):
  return rng.normal(0.0, 0.2, (count, 33, 3)).astype(np.float32)


def open_folders(root, records):
  rng = np.random.default_rng(0)
  for name in ("wave/a", "wave/b", "nod/a"):
    path = root / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, world=joints(rng, FRAMES), fps=np.float32(15))
  c = small(custom.get_config("split,model=pose"), records)
  c.data.raw = str(root)
  return c


def open_index(root, records):
  rng = np.random.default_rng(0)
  root.mkdir()
  np.savez(root / "world.npz", **{f"c{i}": joints(rng, FRAMES) for i in range(3)})
  rows = ["c0,,wave,12.5", "c1,,nod,12.5", "c2,gone.mp4,nod,12.5"]
  (root / "index.csv").write_text("\n".join(["clip,video,label,fps", *rows]))
  c = small(custom.get_config("split,model=pose"), records)
  c.data.update(index=str(root / "index.csv"), world_joints="world.npz")
  return c


@pytest.mark.parametrize(
  ("open_", "clips", "fps"),
  [
    (open_synthetic, 2, 20.0), (open_ntu, 1, 30.0), (open_smarthome, 1, 20.0),
    (open_folders, 3, 15.0), (open_index, 3, 12.5),
  ],
)  # fmt: skip
def test_every_dataset(open_, clips, fps, tmp_path, capfd):
  c = open_(tmp_path / "raw", tmp_path / "records")
  prepare.run(c)
  index = store.read_index(tmp_path / "records")
  source = store.RecordReader(tmp_path / "records", index.clips())
  assert len(source) == clips
  for record in (source[i] for i in range(clips)):
    assert (record.num_frames, len(record.frames)) == (FRAMES, 0)
    assert np.isfinite(record.pose[:, 0]).all()
    assert record.fps == fps


def test_joints_in_the_image_are_pixels_of_the_video(tmp_path, capfd):
  """There is no crop: NTU's are those of its 1920x1080 video."""
  c = open_ntu(tmp_path / "raw", tmp_path / "records")
  prepare.run(c)
  index = store.read_index(tmp_path / "records")
  record = store.RecordReader(tmp_path / "records", index.clips())[0]
  body = fake_ntu.body(FRAMES)
  np.testing.assert_allclose(record.image_joints[3, 0], body[3][:, 3:], rtol=1e-4)


def test_poses_estimated_from_videos(tmp_path, monkeypatch, capfd):
  """The videos are read for their poses alone."""
  monkeypatch.setattr(pose_estimation, "open_landmarker", fake_landmarker.Landmarker)
  frames = np.full((FRAMES, 48, 64, 3), 90, np.uint8)
  for name in ("a", "b"):
    (tmp_path / "raw" / "wave").mkdir(parents=True, exist_ok=True)
    video_writer.write_video(tmp_path / "raw" / "wave" / f"{name}.mp4", frames, 15)
  with zipfile.ZipFile(tmp_path / "model.task", "w") as file:
    file.writestr("model", "synthetic")
  c = small(custom.get_config("split,model=pose"), tmp_path / "records")
  c.data.update(raw=str(tmp_path / "raw"), pose="mediapipe")
  c.data.pose_model = str(tmp_path / "model.task")
  prepare.run(c)
  index = store.read_index(tmp_path / "records")
  assert not index.frames
  record = store.RecordReader(tmp_path / "records", index.clips())[0]
  assert (record.num_frames, len(record.frames), record.fps) == (FRAMES, 0, 15.0)
  assert np.isfinite(record.pose).all()
  assert np.isfinite(record.image_joints).all()


def test_boxes_need_frames(tmp_path):
  c = open_ntu(tmp_path / "raw", tmp_path / "records")
  c.data.boxes = "boxes.csv"
  with pytest.raises(ValueError, match="have no crop: leave one of the two out"):
    prepare.run(c)


# Joints in the image.


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
  """A config of clips with joints in the image alone, prepared."""
  root, rng = tmp_path_factory.mktemp("flat"), np.random.default_rng(0)
  arrays, lines = {}, ["clip,label,split"]
  for i in range(6):
    joints = rng.uniform(10, 200, (FRAMES, 33, 2))
    score = rng.uniform(0.1, 1.0, (FRAMES, 33, 1))
    arrays[f"c{i}"] = np.concatenate([joints, score], axis=-1)
    arrays[f"c{i}"][3, :5] = np.nan  # a short gap
    lines.append(f"c{i},{('nod', 'wave')[i % 2]},{'train' if i < 4 else 'test'}")
  (root / "index.csv").write_text("\n".join(lines))
  np.savez(root / "image.npz", **arrays)
  c = small(custom.get_config("split,model=pose"), root / "records")
  c.data.update(index=str(root / "index.csv"), image_joints="image.npz")
  c.data.image_units = "pixel"
  prepare.run(c)
  return c, arrays


def test_records_of_image_joints_alone(flat):
  c, arrays = flat
  index = store.read_index(c.data.records)
  assert index.coordinates == "image"
  assert index.source["world_joints"] == ""
  record = store.RecordReader(c.data.records, index.clips())[0]
  assert np.isnan(record.pose).all()
  given = np.float32(arrays["c0"])
  np.testing.assert_array_equal(record.image_joints[[0, 1], 0], given[[0, 1], :, :2])
  np.testing.assert_array_equal(record.visibility[:2, 0], given[:2, :, 2])
  np.testing.assert_allclose(  # filled
    record.image_joints[3, 0, 0], (given[2, 0, :2] + given[4, 0, :2]) / 2, rtol=1e-5
  )
  assert (record.visibility[3, 0, :5] == 0).all()
  assert record.seen.all()
  assert verify.verify(c.data, sheet_clips=1).counts[0]["nobody"] == 0


@pytest.fixture(scope="module")
def flat_run(flat, tmp_path_factory):
  """Workdir of a network trained on these clips."""
  workdir = tmp_path_factory.mktemp("flat_run")
  stages.train(flat[0], str(workdir))
  return workdir


def test_trained_on_image_joints(flat, flat_run, tmp_path, capfd):
  c, _ = flat
  assert trained_network.load(str(flat_run)).settings.coordinates == "image"
  evaluation = evaluate.evaluate(c, str(flat_run))
  assert {"rest_top1", "shuffled_top1"} < set(evaluation.metrics)
  c = copy.deepcopy(c)
  c.figures.only = "joints,worst"
  figures.run(c, str(flat_run))
  assert (flat_run / "figures" / "joints.png").exists()
  c.model.pose.align = "view"
  with pytest.raises(
    ValueError, match="align is 'view', expected 'none' for joints in the im"
  ):
    stages.train(c, str(tmp_path / "turned"))
  c.model.pose.align = "none"
  c.data.example.coordinates = "world"
  with pytest.raises(ValueError, match="hold joints in the image alone: set it to 'im"):
    stages.train(c, str(tmp_path / "world"))


def test_exported_with_image_joints(flat, flat_run, tmp_path):
  """Given joints and their box in pixels, the file says what the network says."""
  c, _ = flat
  network = trained_network.load(str(flat_run))
  file = str(tmp_path / "net.zip")
  export.export(network, file, 0, ("cpu",))
  about, call = serve.load(file)
  assert list(about["inputs"]) == ["image_joints", "box"]
  index = store.read_index(c.data.records)
  record = store.RecordReader(c.data.records, index.clips())[0]
  whole = record.image_joints[:, 0]
  low, high = whole.min(axis=(0, 1)), whole.max(axis=(0, 1))
  joints = np.concatenate([whole, record.visibility[:, 0, :, None]], axis=-1)
  steps = sampling.pose_indices(0, FRAMES - 1, 4, None)
  box = np.concatenate([(low + high) / 2, [(high - low).max() / 2]])
  given = {"image_joints": joints[steps], "box": np.float32(box)}
  batch = example.make(record, network.settings, network.skeleton, None)
  expected, _ = network(pose=batch["pose"][None])
  got = call(serve.batch(about, given))["scores"]
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_pose_backbone_starts_only_poses_like_its_own(run, tmp_path):
  """N-UCLA's files have no joints in the image at all."""
  c, workdir = run
  c = copy.deepcopy(c)
  c.data.example.coordinates = "image"
  with pytest.raises(ValueError, match="has no joints in image coordinates, which"):
    stages.train(c, str(tmp_path / "blind"))
  c.init.pose_backbone = str(workdir)
  with pytest.raises(ValueError, match="was trained on poses in world coordinates, co"):
    stages.train(c, str(tmp_path / "other"))
