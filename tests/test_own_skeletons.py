"""Files of other projects, and skeletons of one's own, as records and networks."""

import json

import fake_pose_files
import fake_prepared
import numpy as np
import pytest

from configs import custom, ntu60
from vpn_jax.datasets import skeletons
from vpn_jax.inference import trained_network
from vpn_jax.inputs import protocol_data
from vpn_jax.jobs import prepare
from vpn_jax.records import store, verify
from vpn_jax.training import evaluate, stages


def small(c, folder):
  """Two steps of a network that compiles quickly."""
  c.data.update(records=str(folder / "records"), threads=2)
  c.data.example.pose_steps = 4
  c.prepare.update(workers=0)
  c.train.update(
    steps=2, batch_size=4, eval_batch_size=4, log_every=1, tensorboard=False
  )
  return c


def test_a_pickle_of_pyskl(tmp_path, capfd):
  raw = fake_prepared.save(tmp_path / "ntu60_3danno.pkl", fake_prepared.ntu(persons=2))
  c = small(ntu60.get_config("cv,model=pose"), tmp_path)
  c.data.raw = str(raw)
  prepare.run(c)
  printed = capfd.readouterr().out
  assert "ntu60 cs: train 12 of 40,091, test 6 of 16,487" in printed
  assert "ntu60 cv: train 9 of 37,646, test 9 of 18,932" in printed
  index = store.read_index(c.data.records)
  assert (index.skeleton, index.skeleton_definition) == ("kinect_v2", None)
  record = store.RecordReader(c.data.records, index.clips())[0]
  assert record.pose.shape[1:] == (2, 25, 3)
  made = fake_prepared.ntu(persons=2)["annotations"][0]["keypoint"]
  np.testing.assert_array_equal(record.pose[:, 0], made[0].astype(np.float32))


def test_an_npz_that_is_divided_already(tmp_path, capfd):
  raw, _ = fake_prepared.ctrgcn(tmp_path / "NTU60_CS.npz")
  c = small(ntu60.get_config("cs,model=pose"), tmp_path)
  c.data.raw = str(raw)
  prepare.run(c)
  printed = capfd.readouterr().out
  assert "ntu60 cs: train 6 of 40,091, test 4 of 16,487" in printed
  assert "ntu60 cv" not in printed
  report = verify.verify(c.data, sheet_clips=2)
  assert report.problems == ()
  assert not any("camera" in line for line in report.lacking)
  _, parts = protocol_data.open_parts(c.data, ("train", "test"))
  assert {name: len(part) for name, part in parts.items()} == {"train": 6, "test": 4}
  other = small(ntu60.get_config("cv,model=pose"), tmp_path)
  with pytest.raises(
    ValueError, match=r"divided by 'cs': use configs/ntu60\.py:cs, or"
  ):
    protocol_data.open_parts(other.data, ("train",))
  c.data.protocol, c.data.validation = "cs", "20%"
  with pytest.raises(
    ValueError, match="1 cs trains, expected 2 or more to hold one out"
  ):
    protocol_data.open_parts(c.data, ("train",))


def test_a_set_of_skeletons_has_no_videos(tmp_path):
  raw = fake_prepared.save(tmp_path / "ntu60_3danno.pkl", fake_prepared.ntu())
  c = small(ntu60.get_config("cs"), tmp_path)
  c.data.raw = str(raw)
  with pytest.raises(
    ValueError, match=r"alone, without videos: use .*configs/ntu60\.py:cs,model=pose"
  ):
    prepare.run(c)


def test_a_folder_of_openpose(tmp_path):
  clips = {}
  for label, step in (("nod", 0), ("wave", 9)):
    for i in range(5):
      pose, scores = fake_pose_files.clip(8, joints=25, seed=i)
      pose[:, :, :8] += step * np.arange(8)[:, None, None, None]
      fake_pose_files.openpose(tmp_path / "raw" / label / f"clip{i}", pose, scores)
      clips[f"{label}/clip{i}"] = pose, scores
  c = small(custom.get_config("split,model=pose"), tmp_path)
  c.data.raw = str(tmp_path / "raw")
  words = (
    r"none of the first 10 files of joints can be used; clip0 has 25 joints, those of "
    r"openpose_25, expected 33 of mediapipe_33: set config\.data\.skeleton=openpose_25"
  )
  with pytest.raises(ValueError, match=words):
    prepare.run(c)
  c.data.skeleton = "openpose_25"
  prepare.run(c)
  index = store.read_index(c.data.records)
  assert (index.skeleton, index.coordinates) == ("openpose_25", "image")
  reader = store.RecordReader(c.data.records, index.clips())
  assert len(reader) == 10
  for i in range(len(reader)):
    record = reader[i]
    pose, scores = clips[record.name]
    np.testing.assert_allclose(record.image_joints, pose, rtol=1e-5)
    np.testing.assert_allclose(record.visibility, scores, rtol=1e-5)
  _, parts = protocol_data.open_parts(c.data, ("train",))
  assert parts["train"].settings.coordinates == "image"


def test_a_pickle_in_2d(tmp_path):
  content = fake_prepared.gym()
  raw = fake_prepared.save(tmp_path / "gym_hrnet.pkl", content)
  c = small(custom.get_config("split,model=pose"), tmp_path)
  c.data.update(raw=str(raw), skeleton="coco_17")
  prepare.run(c)
  report = verify.verify(c.data, sheet_clips=2)
  assert report.problems == ()
  index = store.read_index(c.data.records)
  assert (index.skeleton, index.coordinates) == ("coco_17", "image")
  record = store.RecordReader(c.data.records, index.clips())[3]
  made = content["annotations"][3]
  np.testing.assert_array_equal(record.image_joints[:, 0], made["keypoint"][0])
  np.testing.assert_array_equal(record.visibility[:, 0], made["keypoint_score"][0])


BODY = {
  "name": "stick",
  "joints": ["root", "head", "lHand", "rHand", "lFoot", "rFoot"],
  "bones": [["root", "head"], ["root", "lHand"], ["root", "rHand"], ["root", "lFoot"],
            ["root", "rFoot"]],
  "origin": ["root"],
  "mirror": [["lHand", "rHand"], ["lFoot", "rFoot"]],
}  # fmt: skip


def test_a_network_outlives_the_file_of_its_skeleton(tmp_path, monkeypatch):
  """Records and checkpoints are read in a process that never saw the file."""
  monkeypatch.setattr(skeletons, "SKELETONS", dict(skeletons.SKELETONS))
  file = tmp_path / "body.json"
  file.write_text(json.dumps(BODY))
  rng = np.random.default_rng(0)
  names = [f"{label}{i}" for label in ("wave", "nod") for i in range(4)]
  world = {name: rng.normal(scale=0.3, size=(6, 6, 3)) for name in names}
  np.savez(tmp_path / "world.npz", **world)
  rows = [f"{name},{name[:-1]},{name[-1]}" for name in names]
  (tmp_path / "index.csv").write_text("\n".join(["clip,label,subject", *rows]))
  c = small(custom.get_config("split,model=pose"), tmp_path)
  c.data.update(
    index=str(tmp_path / "index.csv"), world_joints="world.npz", skeleton=str(file),
    train="subject:0,1,2", test="subject:3",
  )  # fmt: skip
  c.prepare.workers = 2  # processes, which receive the skeleton
  prepare.run(c)
  stages.train(c, str(tmp_path / "run"))

  file.unlink()
  del skeletons.SKELETONS["stick"]
  assert store.read_index(c.data.records).skeleton == "stick"
  assert skeletons.get("stick").mirror().tolist() == [0, 1, 3, 2, 5, 4]
  del skeletons.SKELETONS["stick"]
  network = trained_network.load(str(tmp_path / "run"))
  assert network.skeleton.joints == tuple(BODY["joints"])
  del skeletons.SKELETONS["stick"]
  scores = evaluate.evaluate(c, str(tmp_path / "run")).predictions.scores
  assert scores.shape == (2, 2)
