"""Videos in class folders: names, splits and joints beside them."""

import av
import fake_pose_files
import numpy as np
import pytest

from vpn_jax.datasets import base, folders, spellings, video, video_writer
from vpn_jax.datasets.base import BadClip


def touch(root, *names):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
  return root


def attributes(root, **kwargs):
  clips, left_out = folders.Folders(root, "mediapipe_33", poses=False, **kwargs).clips()
  return {c.name: (c.label, c.attributes) for c in clips}, dict(left_out)


def test_classes_and_names(tmp_path):
  touch(
    tmp_path, "wave/a.mp4", "wave/home/a.AVI", "aufräumen/b ü.mkv", "wave/.hidden.mp4",
    "wave/notes.txt", ".git/x.mp4", "loose.mp4", "wave/a.mov",
  )  # fmt: skip
  dataset = folders.Folders(tmp_path, "mediapipe_33", poses=False)
  clips, left_out = dataset.clips()
  assert dataset.class_names == ("aufräumen", "wave")
  assert [(c.name, c.label) for c in clips] == [
    ("aufräumen/b ü", 0), ("wave/a", 1), ("wave/home/a", 1),
  ]  # fmt: skip
  assert clips[1].video == str(tmp_path / "wave/a.mov")
  assert sorted(left_out) == [
    ("loose", "it lies in no class folder"),
    ("wave/a.mp4", "a.mov has the same name"),
  ]


def test_one_in_five_of_each_class_tests(tmp_path):
  touch(tmp_path, *(f"a/{i}.mp4" for i in range(20)), "b/1.mp4", "b/2.mp4", "c/1.mp4")
  made, _ = attributes(tmp_path)
  tests = [name for name, (_, a) in made.items() if a["split"] == "test"]
  assert sum(name.startswith("a/") for name in tests) == 4
  assert sum(name.startswith("b/") for name in tests) == 1
  assert not any(name.startswith("c/") for name in tests)
  assert {a["split"] for _, a in made.values()} == {"train", "test"}
  assert made == attributes(tmp_path)[0]


def test_given_splits(tmp_path):
  touch(tmp_path, "train/a/1.mp4", "test/a/1.mp4", "validation/b/x/1.mp4", "test/2.mp4")
  made, left_out = attributes(tmp_path)
  assert made == {
    "train/a/1": (0, {"split": "train"}),
    "test/a/1": (0, {"split": "test"}),
    "validation/b/x/1": (1, {"split": "validation"}),
  }
  assert left_out == {"test/2": "it lies in test, but in no class folder there"}


def test_a_class_called_test_is_a_class(tmp_path):
  touch(tmp_path, "test/1.mp4", "wave/1.mp4")
  assert [label for label, _ in attributes(tmp_path)[0].values()] == [0, 1]


def test_links_and_other_containers(tmp_path):
  """Linked folders and files count; what is no video is counted by its ending."""
  touch(tmp_path / "disk", "hop/1.mp4", "2.mp4")
  names = "3gp wmv flv mpg MTS gif ogv m2ts TS".split()
  touch(tmp_path / "raw", *(f"wave/{i}.{end}" for i, end in enumerate(names)))
  touch(tmp_path / "raw", "wave/a.rm", "wave/b.rm", "readme.txt", "wave/.DS_Store")
  (tmp_path / "raw" / "hop").symlink_to(tmp_path / "disk" / "hop")
  (tmp_path / "raw" / "wave" / "linked.mp4").symlink_to(tmp_path / "disk" / "2.mp4")
  (tmp_path / "raw" / "wave" / "up").symlink_to(tmp_path / "raw")
  made, left_out = attributes(tmp_path / "raw")
  assert set(made) >= {"hop/1", "wave/linked", *(f"wave/{i}" for i in range(9))}
  assert left_out == {}
  dataset = folders.Folders(tmp_path / "raw", "mediapipe_33", poses=False)
  assert base.notes(dataset) == ["not used: 2 .rm, 1 .txt"]


def test_every_container_decodes(tmp_path):
  """A video in each kind of file that can be written here has its frames."""
  frames = np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), np.uint8)
  kinds = {
    "3gp": "mpeg4", "wmv": "wmv2", "flv": "flv", "mpg": "mpeg1video",
    "mts": "mpeg2video", "gif": "gif", "ts": "mpeg2video", "asf": "wmv2",
    "mxf": "mpeg2video", "m4v": "mpeg4",
  }  # fmt: skip
  for ending, codec in kinds.items():
    path = tmp_path / f"clip.{ending.upper()}"
    form = {"mts": "mpegts", "m4v": "mp4"}.get(ending)
    with av.open(str(path), "w", format=form) as file:
      stream = file.add_stream(codec, rate=25)
      stream.width, stream.height = 64, 48
      stream.pix_fmt = "rgb8" if ending == "gif" else "yuv420p"
      for image in frames:
        file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
      file.mux(stream.encode())
    assert path.suffix.lower() in folders.ENDINGS
    assert len(list(video.open_file(path)[0]())) >= 4, ending


def test_empty_folders_and_files_without_a_partner_are_listed(tmp_path):
  touch(tmp_path, "train/wave/1.mp4", "train/nod/1.mp4", "test/wave/2.mp4")
  for name in ("train/hop", "test/nod", "val", "train/wave/empty group"):
    (tmp_path / name).mkdir()
  assert attributes(tmp_path)[1] == {
    name: "an empty folder: no video in it"
    for name in ("train/hop/", "test/nod/", "val/")
  }
  touch(tmp_path, "train/wave/1.npz", "train/wave/9.npz")
  left_out = dict(folders.Folders(tmp_path, "mediapipe_33").clips()[1])
  assert left_out["train/wave/9"] == "no video beside its joints"
  assert "no npz of joints beside it" in left_out["test/wave/2"]
  alone = folders.Folders(tmp_path, "mediapipe_33", frames=False)
  assert dict(alone.clips()[1])["test/wave/2"] == "no joints beside the video"


def test_one_class_however_it_is_spelt(tmp_path):
  """Case, blanks, and accents as two systems write them: é and e with an accent."""
  touch(
    tmp_path, "train/Wave/1.mp4", "train/wave/2.mp4", "train/wave/3.mp4",
    "test/wave /4.mp4", "test/caf\u00e9/5.mp4", "train/cafe\u0301/6.mp4",
  )  # fmt: skip
  dataset = folders.Folders(tmp_path, "mediapipe_33", poses=False)
  assert dataset.class_names == ("caf\u00e9", "wave")
  assert [clip.label for clip in dataset.clips()[0]] == [0, 1, 1, 0, 1, 1]
  (accent, wave) = sorted(line for line in base.notes(dataset) if "spelt" in line)
  assert wave == (
    "one class, wave, is spelt in several ways: 'wave' (2), 'Wave' (1), 'wave ' (1)"
  )
  assert "caf" in accent
  assert spellings.join(["a", "b"]) == ({"a": "a", "b": "b"}, [])


def test_parts_that_are_missing_are_told(tmp_path):
  touch(tmp_path, "train/wave/1.mp4", "eval/wave/2.mp4")
  opened = folders.Folders(tmp_path, "mediapipe_33", poses=False)
  assert "--config.data.test=split:validation tests on that" in opened.notes[-1]
  touch(tmp_path, "test/wave/3.mp4")
  opened = folders.Folders(tmp_path, "mediapipe_33", poses=False)
  assert "--config.data.validation=split:validation uses" in opened.notes[-1]


def test_pattern(tmp_path):
  touch(tmp_path, "a/p07_x.mp4", "a/anna_x.mp4", "a/7x.mp4")
  made, left_out = attributes(tmp_path, pattern=r"(?P<subject>p?[a-z0-9]+)_(x)")
  assert made["a/anna_x"][1]["subject"] == "anna"
  assert made["a/p07_x"][1]["subject"] == "p07"
  assert left_out == {"a/7x": "its file name does not match config.data.pattern"}
  with pytest.raises(ValueError, match="which is not a regular expression: missing"):
    attributes(tmp_path, pattern="(")


def test_empty_folders(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no folder .*configs/custom\.py"):
    folders.Folders(tmp_path / "none", "mediapipe_33")
  touch(tmp_path, "a/notes.txt", "loose.mp4")
  with pytest.raises(FileNotFoundError, match=r"no video .* expected <class>/<clip>"):
    folders.Folders(tmp_path, "mediapipe_33")


def test_joints_beside_the_video(tmp_path):
  frames = np.zeros((6, 48, 64, 3), np.uint8)
  for name in ("good", "bad"):
    (tmp_path / "a").mkdir(exist_ok=True)
    video_writer.write_video(tmp_path / "a" / f"{name}.mp4", frames, 20)
  touch(tmp_path, "a/lone.mp4", "a/bad.npz")
  world = np.random.default_rng(0).uniform(0.1, 1.1, (6, 33, 4)).astype(np.float32)
  image = np.full((6, 33, 2), 0.5, np.float32)
  np.savez(tmp_path / "a" / "good.npz", world=world, image=image)
  dataset = folders.Folders(tmp_path, "mediapipe_33")
  clips, left_out = dataset.clips()
  assert [c.name for c in clips] == ["a/bad", "a/good"]
  assert left_out[0][0] == "a/lone"
  assert "config.data.pose=mediapipe makes some" in left_out[0][1]
  opened = dataset.read(clips[1])
  np.testing.assert_array_equal(opened.pose[:, 0], world[..., :3])
  np.testing.assert_array_equal(opened.visibility[:, 0], world[..., 3].clip(0, 1))
  np.testing.assert_array_equal(opened.image_joints[:, 0, 0], [[32, 24]] * 6)
  assert len(list(opened.frames())) == 6
  with pytest.raises(BadClip, match=r"bad\.npz cannot be read as npz"):
    dataset.read(clips[0])


def test_files_of_pose_estimators(tmp_path):
  """A file per clip, a folder per clip, labels in a folder of their own; groups."""
  pose, scores = fake_pose_files.clip(6)
  pose25, scores25 = fake_pose_files.clip(6, joints=25)
  fake_pose_files.alphapose(tmp_path / "a" / "one.json", pose, scores)
  fake_pose_files.mmpose(tmp_path / "a" / "group" / "two.v1.json", pose, scores)
  for f, people in enumerate(fake_pose_files.ultralytics_frames(pose, scores)):
    fake_pose_files.write(tmp_path / "b" / "three" / f"{f}.json", people)
  labels = tmp_path / "b" / "four" / "labels"
  fake_pose_files.ultralytics_labels(labels, pose, scores, (64, 48))
  fake_pose_files.openpose(tmp_path / "b" / "five.v2", pose25, scores25)
  opened = folders.Folders(tmp_path, "coco_17", frames=False, image_size="64x48")
  clips = {clip.name: clip for clip in opened.clips()[0]}
  assert sorted(clips) == ["a/group/two.v1", "a/one", "b/five.v2", "b/four", "b/three"]
  assert [clip.label for clip in clips.values()] == [0, 0, 1, 1, 1]
  for name in ("a/one", "a/group/two.v1", "b/three", "b/four"):
    raw = opened.read(clips[name])
    np.testing.assert_allclose(raw.image_joints, pose, atol=1e-3)
    np.testing.assert_allclose(raw.visibility, scores, rtol=1e-5)
    assert np.isnan(raw.pose).all()
    assert (raw.frames, raw.fps) == (None, 30.0)
    assert raw.open_ended == (name in ("a/one", "b/four"))
  with pytest.raises(BadClip, match="25 joints, those of openpose_25, expected 17"):
    opened.read(clips["b/five.v2"])
  opened = folders.Folders(tmp_path, "coco_17", frames=False, pose_format="mmpose")
  assert opened.source == {"pattern": "", "pose_format": "mmpose"}
  with pytest.raises(BadClip, match=r"one\.json, frame 0 is .* expected instances"):
    opened.read(clips["a/one"])
  with pytest.raises(BadClip, match=r"size is unknown: set config\.data\.image_size"):
    folders.Folders(tmp_path, "coco_17", frames=False).read(clips["b/four"])
  for size in ("64", "64x", "axb", "64x48x3"):
    with pytest.raises(ValueError, match=f"image_size is '{size}', expected width and"):
      folders.Folders(tmp_path, "coco_17", frames=False, image_size=size)
