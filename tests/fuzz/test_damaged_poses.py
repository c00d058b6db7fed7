"""Damaged files of pose estimators, and prepared sets, give numbers or a reason."""

import json

import fake_pose_files as fake
import fake_prepared
import fuzzing
import numpy as np
import pytest

from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.pose_files import reader
from vpn_jax.datasets.prepared_npz import PreparedNpz
from vpn_jax.datasets.prepared_pickle import PreparedPickle

WRITERS = {
  "alphapose": fake.alphapose,
  "mmpose": fake.mmpose,
  "ultralytics": lambda path, *a: fake.write(path, fake.ultralytics_frames(*a)),
  "openpose": lambda path, *a: (
    fake.openpose(path.parent, *a) / "clip_000000000001_keypoints.json"
  ),
  "labels": lambda path, *a: (
    fake.ultralytics_labels(path.parent, *a, (64, 48)) / "clip_2.txt"
  ),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_pose_files(kind, tmp_path_factory):
  folder = tmp_path_factory.mktemp(kind)
  joints = 25 if kind == "openpose" else 17
  path = WRITERS[kind](folder / "a.json", *fake.clip(3, joints=joints))
  source = folder if kind in ("openpose", "labels") else path
  whole = path.read_bytes()

  @fuzzing.fuzz(2.0)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(whole, steps))
    poses = fuzzing.value_or_none(
      lambda: reader.read(source), path.name, folder.name, errors=BadClip
    )
    if poses is not None:
      assert poses.joints.shape[1:] == (poses.joints.shape[1], joints, 2)
      assert poses.joints.dtype == poses.scores.dtype == np.float32
      assert not np.isinf(poses.joints).any()
      known = poses.scores[np.isfinite(poses.scores)]
      assert ((known >= 0) & (known <= 1)).all()

  damaged()


@fuzzing.fuzz(tree=fuzzing.trees("image_id", "keypoints", "instances", "people"))
def test_any_json_instead_of_poses(tree, tmp_path_factory):
  path = tmp_path_factory.getbasetemp() / "any.json"
  path.write_text(json.dumps(tree))
  read = lambda: reader.read(path)  # noqa: E731
  assert fuzzing.value_or_none(read, path.name, errors=BadClip) is None


@pytest.mark.parametrize("kind", ["pickle 2", "pickle 5", "npz"])
def test_prepared_sets(kind, tmp_path_factory):
  """A number may change unnoticed, but joints stay of one shape, finite or NaN."""
  folder = tmp_path_factory.mktemp("prepared")
  if kind == "npz":
    path, _ = fake_prepared.ctrgcn(folder / "NTU60_CS.npz", (2, 2), frames=10)
    opened = PreparedNpz
  else:
    content = fake_prepared.ntu(channels=2)
    path = folder / "a.pkl"
    fake_prepared.save(path, content, int(kind[-1]))
    opened = PreparedPickle
  whole = path.read_bytes()

  @fuzzing.fuzz(3.0)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(whole, steps))
    dataset = fuzzing.value_or_none(lambda: opened(path, "ntu60"), path.name)
    if dataset is None:
      return
    clips, left_out = dataset.clips()
    assert all(reason.isprintable() for _, reason in left_out)
    for clip in clips[:4]:
      assert clip.name.isprintable()
      assert 0 <= clip.label < 60
      raw = fuzzing.value_or_none(
        lambda clip=clip: dataset.read(clip), clip.name, path.name, errors=BadClip
      )
      if raw is not None:
        joints = dataset.body.num_joints
        assert raw.pose.shape[2:] == (joints, 3)
        assert raw.image_joints.shape[2:] == (joints, 2)
        assert not np.isinf(raw.pose).any()
        assert not np.isinf(raw.image_joints).any()

  damaged()
