"""Smarthome: names, skeletons by hand, the main actor, damage, pairs."""

import collections
import copy
import itertools
import json
import pickle

import fake_smarthome
import numpy as np
import pytest

from vpn_jax.datasets import (
  instructions,
  protocol_settings,
  protocols,
  skeletons,
  smarthome,
  video_writer,
)
from vpn_jax.datasets.base import BadClip

NAME = "Walk_p02_r00_v01_c03"


def read(tmp_path, content):
  path = tmp_path / "x_pose3d.json"
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return smarthome.read_skeleton(path)


def actor(tmp_path, frames):
  """The x of the main actor's centre in each frame, given its detections."""
  world, image = smarthome.main_actor(read(tmp_path, fake_smarthome.content(frames)))
  np.testing.assert_array_equal(np.isnan(world).any((1, 2)), np.isnan(image[:, 0, 0]))
  return image[..., 0].mean(axis=1)


def test_names():
  label, attributes = smarthome.parse_name(NAME)
  assert smarthome.CLASS_NAMES[label] == "Walk"
  assert attributes == {"subject": 2, "repetition": 0, "variation": 1, "camera": 3}
  assert smarthome.parse_name("WatchTV_p25_r01_v112_c07")[1]["variation"] == 112
  for bad in ("Walk_p2_r00_v01_c03", NAME + "_pose3d", "", "walk", f"a/{NAME}"):
    with pytest.raises(ValueError, match="expected one as Walk_p02_r00_v01_c03"):
      smarthome.parse_name(bad)
  with pytest.raises(ValueError, match=r"class Pour\.Fromcup was removed"):
    smarthome.parse_name("Pour.Fromcup_p02_r00_v01_c03")
  with pytest.raises(ValueError, match="unknown class Cook"):
    smarthome.parse_name("Cook_p02_r00_v01_c03")


def test_classes():
  assert len(smarthome.CLASS_NAMES) == len(set(smarthome.CLASS_NAMES)) == 31
  assert list(smarthome.CLASS_NAMES) == sorted(smarthome.CLASS_NAMES, key=str.lower)
  for label, name in enumerate(smarthome.CLASS_NAMES):
    assert smarthome.parse_name(f"{name}_p02_r00_v01_c03")[0] == label


def test_classes_have_the_numbers_of_the_authors(shared):
  path = shared / "smarthome_class_ids.json"
  if not path.exists():
    pytest.skip("needs smarthome_class_ids.json of ../shared/data")
  ids = json.loads(path.read_text())["CS"]
  assert ids == {name: i + 1 for i, name in enumerate(smarthome.CLASS_NAMES)}


def test_protocols_by_name_alone():
  """Each class has 18 subjects and 7 cameras: subjects divide CS, cameras CV."""
  subjects = (2, 3, 4, 6, 7, *range(9, 21), 25)
  parts = {p: collections.Counter() for p in ("cs", "cv1", "cv2")}
  classes = collections.defaultdict(set)
  for name, subject, camera in itertools.product(
    smarthome.CLASS_NAMES, subjects, range(1, 8)
  ):
    _, attributes = smarthome.parse_name(f"{name}_p{subject:02d}_r00_v01_c{camera:02d}")
    for protocol, counts in parts.items():
      rule = protocols.get("smarthome", protocol)
      part = protocols.part(rule, attributes, name)
      counts[part] += 1
      if part:
        classes[protocol].add(name)
  assert parts["cs"] == {"train": 31 * 11 * 7, "test": 31 * 7 * 7}
  one = 19 * 18  # 19 classes of 18 subjects, from one camera
  out = 31 * 18 * 7 - 3 * one
  assert parts["cv1"] == {"train": one, "validation": one, "test": one, None: out}
  assert parts["cv2"] == {
    "train": 5 * one, "validation": one, "test": one, None: out - 4 * one
  }  # fmt: skip
  assert len(classes["cs"]) == 31
  assert len(classes["cv1"]) == len(classes["cv2"]) == 19
  assert "Cook.Cut" not in classes["cv1"]


def test_values_are_planar(tmp_path):
  """13 x, 13 y, 13 z: joint 12, the head, has the positions 12, 25 and 38."""
  fields = {"pose2d": list(range(26)), "pose3d": list(range(100, 139)), "cumscore": 2}
  ((body,),) = read(tmp_path, {"njts": 13, "frames": [[fields]]})
  assert body.world.dtype == body.image.dtype == np.float32
  np.testing.assert_array_equal(body.image[0], [0, 13])
  np.testing.assert_array_equal(body.image[12], [12, 25])
  np.testing.assert_array_equal(body.world[0], [100, 113, 126])
  np.testing.assert_array_equal(body.world[12], [112, 125, 138])
  np.testing.assert_array_equal(body.centre, [6, 19])
  assert (body.size, body.score) == (12.0, 2.0)


def test_synthetic_bodies_are_upright(tmp_path):
  """The head is above the ankles, and the right side is left in the image."""
  ((body,),) = read(tmp_path, fake_smarthome.content(fake_smarthome.person(1)))
  joint = {name: i for i, name in enumerate(skeletons.get("lcrnet_13").joints)}
  x, y = body.image.T
  assert y[joint["head"]] < y[joint["left_hip"]] < y[joint["left_ankle"]]
  assert x[joint["right_hip"]] < x[joint["left_hip"]]


def test_absent_frames_are_nan(tmp_path):
  frames = fake_smarthome.person(6)
  frames[0], frames[4] = [], []
  x = actor(tmp_path, frames)
  np.testing.assert_array_equal(np.isnan(x), [1, 0, 0, 0, 1, 0])


def test_one_frame_of_one_body(tmp_path):
  assert np.isfinite(actor(tmp_path, [[fake_smarthome.detection()]])).all()


def test_the_actor_is_the_body_with_the_best_score(tmp_path):
  """The sum over frames counts, in any order of detections, not the best frame."""
  made = fake_smarthome.detection
  bodies = [(100, 0.5), (300, 0.8), (500, 0.6)]
  for f, order in enumerate(itertools.permutations(bodies)):
    frames = [[made(x, score=s) for x, s in order] for _ in range(4)]
    frames[f % 4] = [made(x, score=2.0 if x == 500 else s) for x, s in order[::-1]]
    # 300: 4 * 0.8 = 3.2; 500: 3 * 0.6 + 2 = 3.8
    np.testing.assert_allclose(actor(tmp_path, frames), 500, atol=12)


def test_without_scores_the_actor_is_the_longest_track(tmp_path):
  made = fake_smarthome.detection
  frames = [[made(500), made(100)] for _ in range(3)] + [[made(100)] for _ in range(2)]
  np.testing.assert_allclose(actor(tmp_path, frames), 100, atol=12)
  frames[0][0]["cumscore"] = 1e6  # a single score is no comparison
  np.testing.assert_allclose(actor(tmp_path, frames), 100, atol=12)


def test_a_ghost_does_not_make_the_actor_leap(tmp_path):
  """A ghost of one frame and a high score, with and without the person."""
  frames = fake_smarthome.person(30, x=150, score=1.0)
  ghost = fake_smarthome.detection(500, score=1000.0)
  frames[10] = [ghost, *frames[10]]
  frames[20] = [ghost]
  x = actor(tmp_path, frames)
  assert np.flatnonzero(np.isnan(x)).tolist() == [20]
  np.testing.assert_allclose(np.delete(x, 20), 150, atol=12)


def test_a_walk_past_a_ghost_is_one_track(tmp_path):
  """The person passes where a false detection was before."""
  made = fake_smarthome.detection
  frames = [[made(50 + 20 * f, score=1.0)] for f in range(25)]
  frames[0].append(made(350, score=0.5))
  frames[3].append(made(350, score=0.5))
  x = actor(tmp_path, frames)
  np.testing.assert_allclose(x, 50 + 20 * np.arange(25), atol=12)


def test_a_person_lost_and_found_nearby_is_one_track(tmp_path):
  """Ten frames without detections, then 60 pixels away, less than half of 200."""
  made = fake_smarthome.detection
  gap = [[] for _ in range(10)]
  here, near = [[made(200)] for _ in range(5)], [[made(260)] for _ in range(5)]
  x = actor(tmp_path, here + gap + near)
  np.testing.assert_array_equal(np.isfinite(x), [1] * 5 + [0] * 10 + [1] * 5)
  far = [[made(550)] for _ in range(4)]
  x = actor(tmp_path, here + gap + far)
  np.testing.assert_array_equal(np.isfinite(x), [1] * 5 + [0] * 14)


def damaged():
  """Yields (id, content of the file, words of the reason) for every kind of damage."""
  good = fake_smarthome.content(fake_smarthome.person(3))

  def changed(change):
    copied = copy.deepcopy(good)
    change(copied)
    return copied

  def body(key, value):
    return changed(lambda c: c["frames"][1][0].__setitem__(key, value))

  def number(key, value):
    return changed(lambda c: c["frames"][1][0][key].__setitem__(5, value))

  yield "empty", "", "is damaged or not JSON: Expecting value: line 1"
  yield "text", "hello", "is damaged or not JSON"
  yield "cut", json.dumps(good)[:-200], "is damaged or not JSON"
  yield "huge nesting", "[" * 100_000, "nested too deeply"
  yield "huge integer", "1" * 5000, "is damaged or not JSON: Exceeds the limit"
  yield "list", [1, 2], r"is \[1, 2\], expected an object with frames"
  yield "null", "null", "is None, expected an object with frames"
  yield "no frames key", {"njts": 13}, "expected an object with frames"
  yield "frames is a number", {"frames": 7}, "frames is 7, expected a list"
  yield "zero frames", {"njts": 13, "frames": []}, "has 0 frames, expected at least 1"
  yield "njts", {**good, "njts": 17}, "has njts 17, expected 13"
  yield "njts is text", {**good, "njts": "13"}, "has njts '13', expected 13"
  yield "nobody", {"njts": 13, "frames": [[], []]}, "nobody in any of 2 frames"
  yield (
    "frame is null",
    changed(lambda c: c["frames"].__setitem__(1, None)),
    "frame 1 is None, expected a list of detections",
  )
  yield (
    "frame is a body",
    changed(lambda c: c["frames"].__setitem__(1, c["frames"][1][0])),
    r"frame 1 is \{.*, expected a list of detections",
  )
  yield (
    "body is a number",
    changed(lambda c: c["frames"][1].append(4)),
    "frame 1, body 1 is 4, expected pose2d and pose3d",
  )
  yield (
    "no pose2d",
    changed(lambda c: c["frames"][2][0].pop("pose2d")),
    "frame 2, body 0, pose2d is None, expected 26 numbers",
  )
  yield (
    "no pose3d",
    changed(lambda c: c["frames"][2][0].pop("pose3d")),
    "frame 2, body 0, pose3d is None, expected 39 numbers",
  )
  place = "frame 1, body 0, pose"
  yield "pose2d short", body("pose2d", [1.0] * 25), f"{place}2d has 25 .* expected 26"
  yield "pose3d long", body("pose3d", [1.0] * 51), f"{place}3d has 51 .* expected 39"
  yield "pose3d nested", body("pose3d", [[1.0] * 3] * 39), f"{place}3d holds .*expected"
  yield "pose3d text", body("pose3d", "1" * 39), f"{place}3d is '1+.*', expected 39"
  finite = "holds a number that is not finite or beyond float32"
  yield "nan", number("pose2d", np.nan), f"{place}2d {finite}"
  yield "inf", number("pose3d", -np.inf), f"{place}3d {finite}"
  yield "beyond float32", number("pose3d", 1e300), f"{place}3d {finite}"
  yield "beyond float64", number("pose3d", 10**400), f"{place}3d {finite}"
  yield "string", number("pose2d", "4"), f"{place}2d holds '4', expected a number"
  yield "none", number("pose3d", None), f"{place}3d holds None, expected a number"
  yield "bool", number("pose3d", True), f"{place}3d holds True, expected a number"
  score = "frame 1, body 0, cumscore holds"
  yield "score is none", body("cumscore", None), f"{score} None, expected a number"
  yield "score is nan", body("cumscore", np.nan), f"{score} a number that is not fin"


@pytest.mark.parametrize(
  ("content", "words"), [pytest.param(*case[1:], id=case[0]) for case in damaged()]
)
def test_damaged_skeletons_name_the_position(content, words, tmp_path):
  with pytest.raises(BadClip, match=f"skeleton x_pose3d.json.*{words}") as e:
    read(tmp_path, content)
  assert str(tmp_path) not in str(e.value)
  assert len(str(e.value)) < 300


def test_any_cut_is_noticed(tmp_path):
  whole = json.dumps(fake_smarthome.content(fake_smarthome.person(2)))
  for cut in range(0, len(whole), 97):
    with pytest.raises(BadClip, match="is damaged or not JSON"):
      read(tmp_path, whole[:cut])


def test_unreadable_files(tmp_path):
  (tmp_path / "x.json").mkdir()
  with pytest.raises(BadClip, match=r"x\.json cannot be read: Is a directory"):
    smarthome.read_skeleton(tmp_path / "x.json")
  (tmp_path / "y.json").write_bytes(b"\xff\x00\x12{")
  with pytest.raises(BadClip, match=r"y\.json is damaged or not JSON"):
    smarthome.read_skeleton(tmp_path / "y.json")


def test_njts_is_optional_and_other_fields_are_ignored(tmp_path):
  content = fake_smarthome.content(fake_smarthome.person(2))
  del content["njts"]
  content["frames"][0][0]["extra"] = "ignored"
  assert len(read(tmp_path, content)) == 2


@pytest.fixture
def root(tmp_path):
  """Two complete clips, half of two others, removed and unknown ones, other files."""
  root = tmp_path / "Größe 日本"
  fake_smarthome.write_pair(root, NAME)
  fake_smarthome.write_pair(root, "Cutbread_p03_r01_v02_c01", suffix=".json")
  fake_smarthome.write_pair(root, "Enter_p03_r01_v02_c01")[0].unlink()
  fake_smarthome.write_pair(root, "Leave_p03_r01_v02_c01")[1].unlink()
  fake_smarthome.write_pair(root, "Pour.Fromcup_p03_r01_v02_c01")
  fake_smarthome.write_pair(root, "Cook_p03_r01_v02_c01")
  (root / "mp4" / "notes.txt").write_text("x")
  (root / "mp4" / f"._{NAME}.mp4").write_text("x")
  (root / "mp4" / "Walk_p02_r00_v01_c03.mp3").write_text("x")
  return root


def test_finds_pairs(root):
  clips, left_out = smarthome.Smarthome(root).clips()
  assert [c.name for c in clips] == ["Cutbread_p03_r01_v02_c01", NAME]
  assert [c.label for c in clips] == [5, 29]
  assert clips[1].attributes["camera"] == 3
  reasons = dict(left_out)
  assert set(reasons) == {
    "Enter_p03_r01_v02_c01",
    "Leave_p03_r01_v02_c01",
    "Pour.Fromcup_p03_r01_v02_c01",
    "Cook_p03_r01_v02_c01",
  }
  assert "no skeleton" in reasons["Enter_p03_r01_v02_c01"]
  assert "no video" in reasons["Leave_p03_r01_v02_c01"]
  assert "was removed" in reasons["Pour.Fromcup_p03_r01_v02_c01"]
  assert "unknown class Cook" in reasons["Cook_p03_r01_v02_c01"]


def test_without_poses_a_video_is_enough(root):
  dataset = smarthome.Smarthome(root, poses=False)
  clips, left_out = dataset.clips()
  names = [c.name for c in clips]
  assert names == ["Cutbread_p03_r01_v02_c01", "Enter_p03_r01_v02_c01", NAME]
  assert all(c.pose is None for c in clips)
  assert "Leave_p03_r01_v02_c01" not in dict(left_out)


def test_the_refined_release_precedes_the_first(root):
  refined = root / "skeletons" / f"{NAME}_pose3d.json"
  for folder in ("a", "z"):
    (root / folder).mkdir()
    (root / folder / f"{NAME}.json").write_text("damaged")
  clips, _ = smarthome.Smarthome(root).clips()
  assert clips[1].pose == str(refined)


def test_read(root):
  dataset = pickle.loads(pickle.dumps(smarthome.Smarthome(root)))
  clip = dataset.clips()[0][1]
  opened = dataset.read(clip)
  assert opened.pose.shape == (8, 1, 13, 3)
  assert opened.image_joints.shape == (8, 1, 13, 2)
  assert opened.pose.dtype == opened.image_joints.dtype == np.float32
  assert np.isfinite(opened.pose).all()
  assert opened.visibility is None
  assert opened.boxes is None
  assert opened.fps == 20
  assert len(list(opened.frames())) == len(list(opened.frames())) == 8
  # The video has 96x72 pixels, 0.15 of 640x480; joints are scaled with it.
  (first, *_) = smarthome.read_skeleton(clip.pose)
  np.testing.assert_allclose(
    opened.image_joints[0, 0], first[0].image * 0.15, rtol=1e-5
  )
  assert (opened.image_joints >= 0).all()
  assert (opened.image_joints < [96, 72]).all()


def test_video_and_skeleton_may_differ_in_length(tmp_path):
  """Both are read as they are; `make_record` limits the difference."""
  fake_smarthome.write_pair(tmp_path, NAME, 4, fake_smarthome.person(9))
  fake_smarthome.write_pair(
    tmp_path, "Walk_p02_r00_v01_c04", 9, fake_smarthome.person(4)
  )
  dataset = smarthome.Smarthome(tmp_path)
  lengths = []
  for clip in dataset.clips()[0]:
    opened = dataset.read(clip)
    lengths.append((len(opened.pose), sum(1 for _ in opened.frames())))
  assert lengths == [(9, 4), (4, 9)]


def test_damaged_videos(tmp_path):
  _, film = fake_smarthome.write_pair(tmp_path, NAME)
  dataset = smarthome.Smarthome(tmp_path)
  film.write_bytes(b"")
  with pytest.raises(BadClip, match=f"video {NAME}.mp4 is an empty file"):
    dataset.read(dataset.clips()[0][0])
  film.write_bytes(b"no video" * 50)
  with pytest.raises(BadClip, match=f"video {NAME}.mp4 cannot be opened"):
    dataset.read(dataset.clips()[0][0])


def test_a_larger_video_is_scaled_by_axis(tmp_path):
  _, film = fake_smarthome.write_pair(tmp_path, NAME)
  video_writer.write_video(film, np.zeros((8, 96, 1280, 3), np.uint8), 20)
  dataset = smarthome.Smarthome(tmp_path)
  clip = dataset.clips()[0][0]
  (first, *_) = smarthome.read_skeleton(clip.pose)
  np.testing.assert_allclose(
    dataset.read(clip).image_joints[0, 0], first[0].image * [2, 0.2], rtol=1e-5
  )


def test_missing_data_messages_say_how_to_get_it(tmp_path):
  (tmp_path / "notes.txt").write_text("x")
  for folder in (tmp_path / "gone", tmp_path):
    with pytest.raises(FileNotFoundError, match=r"inria\.fr/toyotasmarthome") as e:
      smarthome.Smarthome(folder).clips()
    assert "--config=configs/smarthome.py:cs --job=prepare" in str(e.value)
    assert "\n" not in str(e.value)


def test_is_a_dataset(root):
  dataset = smarthome.Smarthome(root)
  assert dataset.name in instructions.how_to_prepare("smarthome")
  assert skeletons.get(dataset.skeleton).num_joints == smarthome.NUM_JOINTS
  assert json.loads(json.dumps(dataset.source)) == dataset.source
  assert len(dataset.class_names) == 31


def test_config():
  from configs import smarthome as config

  for protocol in ("cs", "cv1", "cv2"):
    c = config.get_config(protocol)
    assert (c.data.dataset, c.data.protocol) == ("smarthome", protocol)
    assert protocol_settings.from_config(c.data).source
    assert c.model.pose.skeleton == c.data.skeleton == "lcrnet_13"
    assert c.data.example.pose_steps == 30
