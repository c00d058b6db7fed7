"""N-UCLA: names and layouts, the skeleton reader, image folders, damage, pairs."""

import copy
import itertools
import json
import pathlib
import pickle

import cv2
import fake_nucla
import numpy as np
import pytest

from vpn_jax.datasets import nucla, protocol_settings, protocols, skeletons
from vpn_jax.datasets.base import BadClip

NAME = "a08_s02_e03_v01"


def read(tmp_path, content):
  path = tmp_path / "x.json"
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return nucla.read_skeleton(path)


def test_names():
  label, attributes = nucla.parse_name(NAME)
  assert nucla.NUCLA.class_names[label] == "donning"
  assert attributes == {"subject": 2, "episode": 3, "camera": 1}
  assert nucla.parse_name("a12_s10_e00_c03")[1]["camera"] == 3
  for bad in ("a8_s02_e03_v01", "a08_s02_e03", NAME + ".avi", "", "v01_s02_e03"):
    with pytest.raises(ValueError, match="expected one as a08_s02_e03_v01"):
      nucla.parse_name(bad)
  for action in (0, 7, 10, 13):
    with pytest.raises(ValueError, match=f"unknown class a{action:02d}"):
      nucla.parse_name(f"a{action:02d}_s02_e03_v01")


def test_classes():
  names = [f"a{a:02d}_s01_e00_v01" for a in (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)]
  assert [nucla.parse_name(name)[0] for name in names] == list(range(10))
  assert nucla.NUCLA.class_names == (
    "pick up with one hand", "pick up with two hands", "drop trash", "walk around",
    "sit down", "stand up", "donning", "doffing", "throw", "carry",
  )  # fmt: skip


def test_protocols_by_name_alone():
  names = [f"a01_s{s:02d}_e00_v{v:02d}" for s in range(1, 11) for v in (1, 2, 3)]
  for test, protocol in enumerate(("v23_1", "v13_2", "v12_3"), 1):
    rule = protocols.get("nucla", protocol)
    for name in names:
      _, attributes = nucla.parse_name(name)
      part = "test" if attributes["camera"] == test else "train"
      assert protocols.part(rule, attributes) == part
  rule = protocols.get("nucla", "v2_1")
  parts = [protocols.part(rule, {"camera": camera}) for camera in (1, 2, 3)]
  assert parts == ["test", "train", None]


def test_values(tmp_path):
  frames = np.arange(120.0).reshape(2, 20, 3)
  world = read(tmp_path, {"skeletons": frames.tolist()})
  assert world.dtype == np.float32
  np.testing.assert_array_equal(world, frames)
  np.testing.assert_array_equal(world[1, 2], [66, 67, 68])


def test_frames_of_zeros_show_nobody(tmp_path):
  frames = fake_nucla.skeleton(4)
  frames[2] = np.zeros((20, 3), int).tolist()
  frames[3][0] = [0.0, 0.0, 0.0]  # one joint that was not seen
  world = read(tmp_path, {"skeletons": frames})
  np.testing.assert_array_equal(np.isnan(world).any(2).sum(1), [0, 0, 20, 1])
  assert np.isnan(world[2]).all()


def test_one_frame(tmp_path):
  assert read(tmp_path, {"skeletons": fake_nucla.skeleton(1)}).shape == (1, 20, 3)


def damaged():
  """Yields (id, content of the file, words of the reason) for every kind of damage."""
  good = {"skeletons": fake_nucla.skeleton(3)}

  def changed(value, *place):
    frames = copy.deepcopy(good["skeletons"])
    target = frames
    for i in place[:-1]:
      target = target[i]
    target[place[-1]] = value
    return {"skeletons": frames}

  yield "empty", "", "is damaged or not JSON"
  yield "cut", json.dumps(good)[:-9], "is damaged or not JSON"
  yield "huge nesting", '{"skeletons":' + "[" * 100_000, "nested too deeply"
  yield "list", good["skeletons"], "expected an object with skeletons"
  yield "other key", {"frames": []}, "expected an object with skeletons"
  yield "null", {"skeletons": None}, "skeletons is None, expected a list"
  yield "zero frames", {"skeletons": []}, "has 0 frames, expected at least 1"
  zeros = np.zeros((5, 20, 3)).tolist()
  yield "nobody", {"skeletons": zeros}, "has nobody in any of 5 frames"
  yield "frame is null", changed(None, 1), "frame 1 is None, expected a list of joints"
  yield "empty frame", changed([], 1), "frame 1 has 0 joints, expected 20"
  yield "25 joints", changed([[1, 2, 3]] * 25, 1), "frame 1 has 25 joints, expected 20"
  yield "flat", changed([0.5] * 20, 1), "frame 1, joint 0 is 0.5, expected 3 numbers"
  joint = "frame 1, joint 4"
  yield "joint null", changed(None, 1, 4), f"{joint} is None, expected 3 numbers"
  yield "two numbers", changed([1, 2], 1, 4), f"{joint} has 2 numbers, expected 3"
  yield "four numbers", changed([1] * 4, 1, 4), f"{joint} has 4 numbers, expected 3"
  yield "string", changed("1", 1, 4, 2), f"{joint} holds '1', expected a number"
  yield "none", changed(None, 1, 4, 2), f"{joint} holds None, expected a number"
  yield "bool", changed(False, 1, 4, 2), f"{joint} holds False, expected a number"
  yield "nested", changed([[1]], 1, 4, 2), rf"{joint} holds \[\[1\]\], expected a num"
  finite = "holds a number that is not finite or beyond float32"
  yield "nan", changed(np.nan, 1, 4, 2), f"{joint} {finite}"
  yield "inf", changed(np.inf, 1, 4, 2), f"{joint} {finite}"
  yield "beyond float32", changed(-1e39, 1, 4, 2), f"{joint} {finite}"


@pytest.mark.parametrize(
  ("content", "words"), [pytest.param(*case[1:], id=case[0]) for case in damaged()]
)
def test_damaged_skeletons_name_the_position(content, words, tmp_path):
  with pytest.raises(BadClip, match=f"skeleton x.json.*{words}") as e:
    read(tmp_path, content)
  assert str(tmp_path) not in str(e.value)
  assert len(str(e.value)) < 300


def test_images_are_rgb_in_order_of_their_numbers(tmp_path):
  for view, ending in enumerate(("jpg", "png"), 1):
    name = f"a08_s02_e03_v{view:02d}"
    folder = fake_nucla.write_images(tmp_path, name, ending=ending)
    frames = list(nucla.read_images(folder))
    assert [f.shape for f in frames] == [(72, 96, 3)] * 8
    assert all(f.dtype == np.uint8 for f in frames)
    left = np.stack([f[8:-8, 8:40].mean(axis=(0, 1)) for f in frames])
    np.testing.assert_allclose(left[:, 0], 20 * np.arange(8), atol=3)  # red increases
    np.testing.assert_allclose(left[:, 1:], 0, atol=3)


def test_grey_images_have_three_channels(tmp_path):
  folder = fake_nucla.write_images(tmp_path, NAME, 2)
  for file in folder.glob("*_rgb.jpg"):
    cv2.imwrite(str(file), np.full((72, 96), 90, np.uint8))
  assert {f.shape for f in nucla.read_images(folder)} == {(72, 96, 3)}


def test_damaged_images_are_named(tmp_path):
  """Other readers conceal the missing part of a truncated JPEG."""
  folder = fake_nucla.write_images(tmp_path, NAME)
  path = sorted(folder.glob("frame_10_*_rgb.jpg"))[0]
  whole = path.read_bytes()
  words = rf"image a08_s02_e03/{path.name} cannot be read: "
  for blob in (b"", b"no image", whole[: len(whole) // 2], whole[:-2]):
    path.write_bytes(blob)
    frames = nucla.read_images(folder)
    assert len(list(itertools.islice(frames, 3))) == 3
    with pytest.raises(BadClip, match=words) as e:
      next(frames)
    assert str(tmp_path) not in str(e.value)
  path.unlink()
  path.mkdir()
  with pytest.raises(BadClip, match=words + "Is a directory"):
    list(nucla.read_images(folder))


def test_damaged_png_images_are_named(tmp_path):
  folder = fake_nucla.write_images(tmp_path, NAME, ending="png")
  path = sorted(folder.glob("frame_7_*_rgb.png"))[0]
  whole = path.read_bytes()
  for blob in (b"", b"no image", whole[: len(whole) // 2]):
    path.write_bytes(blob)
    with pytest.raises(BadClip, match=f"image a08_s02_e03/{path.name} cannot be read"):
      list(nucla.read_images(folder))


def test_images_of_another_size_or_none(tmp_path):
  folder = fake_nucla.write_images(tmp_path, NAME)
  path = sorted(folder.glob("frame_9_*_rgb.jpg"))[0]
  cv2.imwrite(str(path), np.zeros((72, 90, 3), np.uint8))
  with pytest.raises(BadClip, match="is 90x72, those before it are 96x72"):
    list(nucla.read_images(folder))
  (tmp_path / "empty").mkdir()
  with pytest.raises(BadClip, match="images empty: no file like frame_12_tc"):
    list(nucla.read_images(tmp_path / "empty"))
  with pytest.raises(BadClip, match="images gone cannot be listed: No such file"):
    list(nucla.read_images(tmp_path / "gone"))


def test_a_frame_number_counts_once(tmp_path):
  folder = fake_nucla.write_images(tmp_path, NAME, ending="png")
  fake_nucla.write_images(tmp_path, NAME, 3)
  assert len(list(nucla.read_images(folder))) == 8


@pytest.fixture
def root(tmp_path):
  """Every layout once, half of two others, an unknown class, and other files."""
  root = tmp_path / "N-UCLA Größe 日本"
  fake_nucla.write_pair(root, "a01_s02_e03_v01")
  _, film = fake_nucla.write_pair(root, "a02_s02_e03_v02")
  (root / "multiview_action_videos" / "a02").mkdir(parents=True)
  film.rename(root / "multiview_action_videos" / "a02" / "v02_s02_e03.avi")
  fake_nucla.write_images(root, "a03_s02_e03_v03")
  fake_nucla.write_skeleton(root, "a03_s02_e03_c03", fake_nucla.skeleton(9))
  _, film = fake_nucla.write_pair(root, "a04_s02_e03_v01")
  film.rename(root / "a04_s02_e03_c01.mkv")
  fake_nucla.write_pair(root, "a05_s02_e03_v01")[0].unlink()
  fake_nucla.write_pair(root, "a06_s02_e03_v01")[1].unlink()
  fake_nucla.write_pair(root, "a07_s02_e03_v01")
  (root / "view_1" / "a01_s02_e04").mkdir(parents=True)  # no image
  (root / "view_1" / "a01_s02_e04" / "frame_1_tc_1_depth_vis.jpg").write_text("x")
  (root / "frame_1_tc_1_rgb.jpg").write_text("x")
  (root / "v02_s02_e03.avi").write_text("x")  # its folder gives no action
  return root


def test_finds_every_layout(root):
  clips, left_out = nucla.NUCLA(root).clips()
  assert [c.name for c in clips] == [
    "a01_s02_e03_v01",
    "a02_s02_e03_v02",
    "a03_s02_e03_v03",
    "a04_s02_e03_v01",
  ]
  assert [c.label for c in clips] == [0, 1, 2, 3]
  assert [c.attributes["camera"] for c in clips] == [1, 2, 3, 1]
  assert clips[2].video.endswith("multiview_action/view_3/a03_s02_e03")
  reasons = dict(left_out)
  assert list(reasons) == ["a05_s02_e03_v01", "a06_s02_e03_v01", "a07_s02_e03_v01"]
  assert "no skeleton a05_s02_e03_v01.json" in reasons["a05_s02_e03_v01"]
  assert "no video a06_s02_e03_v01.avi or images" in reasons["a06_s02_e03_v01"]
  assert "unknown class a07" in reasons["a07_s02_e03_v01"]


def test_without_poses_a_video_is_enough(root):
  clips, left_out = nucla.NUCLA(root, poses=False).clips()
  assert [c.name[:3] for c in clips] == ["a01", "a02", "a03", "a04", "a05"]
  assert all(c.pose is None for c in clips)
  assert [name[:3] for name, _ in left_out] == ["a07"]


def test_a_video_precedes_images(root):
  fake_nucla.write_images(root, "a01_s02_e03_v01")
  clips, _ = nucla.NUCLA(root).clips()
  assert clips[0].video.endswith("videos/a01_s02_e03_v01.avi")


def test_the_root_may_be_inside_the_download(root):
  dataset = nucla.NUCLA(root / "multiview_action_videos", poses=False)
  assert [c.name for c in dataset.clips()[0]] == ["a02_s02_e03_v02"]
  dataset = nucla.NUCLA(root / "multiview_action", poses=False)
  assert [c.name for c in dataset.clips()[0]] == ["a03_s02_e03_v03"]


def test_read(root):
  dataset = pickle.loads(pickle.dumps(nucla.NUCLA(root)))
  film, _, images, _ = dataset.clips()[0]
  for clip, poses in ((film, 8), (images, 9)):  # images may be fewer than poses
    opened = dataset.read(clip)
    assert opened.pose.shape == (poses, 1, 20, 3)
    assert opened.image_joints.shape == (poses, 1, 20, 2)
    assert opened.pose.dtype == opened.image_joints.dtype == np.float32
    assert np.isfinite(opened.pose).all()
    assert np.isnan(opened.image_joints).all()
    assert opened.visibility is None
    assert opened.boxes is None
    assert opened.fps == 30
    assert len(list(opened.frames())) == len(list(opened.frames())) == 8


def test_open_video_needs_no_skeleton(root):
  dataset = nucla.NUCLA(root, poses=False)
  for clip in dataset.clips()[0]:
    frames, fps, size = dataset.open_video(clip)
    assert (fps, size) == (30, (96, 72))
    assert all(f.shape == (72, 96, 3) for f in frames())


def test_damaged_videos(root):
  dataset = nucla.NUCLA(root)
  film, _, images, _ = dataset.clips()[0]
  pathlib.Path(film.video).write_bytes(b"")
  with pytest.raises(BadClip, match=r"a01_s02_e03_v01\.avi is an empty file"):
    dataset.read(film)
  for path in pathlib.Path(images.video).glob("*_rgb.jpg"):
    path.write_bytes(b"x")
  with pytest.raises(BadClip, match=r"a03_s02_e03/frame_7_tc_90467319_rgb\.jpg cannot"):
    dataset.read(images)


def test_missing_data_messages_say_how_to_get_it(tmp_path):
  (tmp_path / "notes.txt").write_text("x")
  for folder in (tmp_path / "gone", tmp_path):
    with pytest.raises(FileNotFoundError, match=r"wangjiangb\.github\.io") as e:
      nucla.NUCLA(folder).clips()
    assert "--config=configs/nucla.py:v12_3 --job=prepare" in str(e.value)
    assert "\n" not in str(e.value)


def test_is_a_dataset(root):
  dataset = nucla.NUCLA(root)
  assert skeletons.get(dataset.skeleton).num_joints == nucla.NUM_JOINTS
  assert json.loads(json.dumps(dataset.source)) == dataset.source
  assert len(dataset.class_names) == 10


def test_config():
  from configs import nucla as config

  for protocol in ("v12_3", "v13_2", "v23_1", "v1_2", "v2_1"):
    c = config.get_config(protocol)
    assert (c.data.dataset, c.data.protocol) == ("nucla", protocol)
    assert protocol_settings.from_config(c.data).source
    assert c.model.pose.skeleton == c.data.skeleton == "kinect_v1"
    assert c.data.example.pose_steps == 5
