"""Files of pose estimators: each format by value, and every refusal."""

import json
import os
import pathlib

import fake_pose_files as fake
import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.pose_files import json_files, people, reader

SIZE = (320, 240)
SAMPLE = pathlib.Path(__file__).parents[3] / "shared" / "data" / "inputs" / "openpose"


def holes(joints=17, persons=1):
  """A clip whose frame 3 is empty and whose joints 1 and 2 are lost in frame 5."""
  pose, scores = fake.clip(joints=joints, persons=persons)
  pose[3] = pose[5, 0, 1:3] = np.nan
  return pose, np.where(np.isnan(pose[..., 0]), np.nan, scores)


# kind -> joints, skeleton, what writes a clip to a path and returns that path
WRITERS = {
  "openpose": (25, "openpose_25", fake.openpose),
  "openpose 18": (18, "openpose_18", fake.openpose),
  "openpose tracked": (
    25, "openpose_25", lambda *a: fake.openpose(*a, tracked=True, first=100)
  ),
  "alphapose": (17, "coco_17", fake.alphapose),
  "alphapose 26": (26, "halpe_26", lambda *a: fake.alphapose(*a, tracked=True)),
  "alphapose open": (18, "openpose_18", lambda *a: fake.alphapose(*a, form="open")),
  "alphapose cmu": (18, "openpose_18", lambda *a: fake.alphapose(*a, form="cmu")),
  "mmpose": (17, "coco_17", fake.mmpose),
  "mmpose demo": (26, "halpe_26", lambda *a: fake.mmpose(*a, demo=True)),
  "ultralytics": (
    17, "coco_17", lambda path, *a: fake.write(path, fake.ultralytics_frames(*a))
  ),
  "ultralytics tracked": (
    17, "coco_17",
    lambda path, *a: fake.write(path, fake.ultralytics_frames(*a, tracked=True)),
  ),
  "ultralytics strings": (
    17, "coco_17",
    lambda path, *a: fake.write(
      path, [json.dumps(frame) for frame in fake.ultralytics_frames(*a)]
    ),
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("persons", [1, 2])
def test_each_format_by_value(name, persons, tmp_path):
  joints, skeleton, write = WRITERS[name]
  pose, scores = holes(joints, persons)
  path = write(tmp_path / "clip.json", pose, scores)
  assert reader.detect_kind(path) == name.split()[0]
  poses = reader.read(path)
  assert (poses.skeleton, poses.units) == (skeleton, "pixel")
  assert poses.joints.dtype == poses.scores.dtype == np.float32
  np.testing.assert_allclose(poses.joints, pose, rtol=1e-6)
  np.testing.assert_allclose(poses.scores, scores, rtol=1e-6)
  assert poses.open_ended == name.startswith("alphapose")
  again = reader.read(path, name.split()[0], skeleton)
  np.testing.assert_array_equal(again.joints, poses.joints)


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("conf", [False, True])
def test_labels_of_ultralytics(conf, tracked, tmp_path):
  """Fractions of the image with 6 digits; a frame without people has no file."""
  pose, scores = holes(persons=2)
  pose[-1] = scores[-1] = np.nan
  fake.ultralytics_labels(
    tmp_path / "clip" / "labels", pose, scores, SIZE, conf=conf, tracked=tracked
  )
  assert not (tmp_path / "clip" / "labels" / "clip_4.txt").exists()
  assert reader.detect_kind(tmp_path / "clip") == "ultralytics"
  poses = reader.read(tmp_path / "clip")
  assert (poses.skeleton, poses.units) == ("coco_17", "fraction")
  assert len(poses.joints) == len(pose) - 1
  assert poses.open_ended
  np.testing.assert_allclose(poses.joints * SIZE, pose[:-1], atol=1e-3)
  np.testing.assert_allclose(poses.scores, scores[:-1], rtol=1e-5)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_files_as_other_systems_write_them(encoding, tmp_path):
  """With a byte order mark, in UTF-16, and with the Ctrl-Z of DOS at the end."""
  pose, scores = holes()
  path = fake.alphapose(tmp_path / "clip.json", pose, scores)
  labels = tmp_path / "clip" / "labels"
  fake.ultralytics_labels(labels, pose, scores, SIZE)
  expected = [reader.read(p) for p in (path, labels)]
  for file in (path, *labels.iterdir()):
    file.write_bytes((file.read_text() + "\x1a").encode(encoding))
  for p, before in zip((path, labels), expected):
    np.testing.assert_array_equal(reader.read(p).joints, before.joints)


def test_alphapose_on_images_begins_with_the_first_image(tmp_path):
  """ffmpeg numbers images from 1 with zeros before; AlphaPose a video from 0."""
  pose, scores = fake.clip(persons=1)
  content = json.loads(fake.alphapose(tmp_path / "clip.json", pose, scores).read_text())
  numbers = sorted({int(person["image_id"].split(".")[0]) for person in content})
  assert numbers[0] == 0
  expected = reader.read(tmp_path / "clip.json").joints
  for person in content:
    number = int(person["image_id"].split(".")[0])
    person["image_id"] = f"{number + 1:06d}.jpg"
  path = fake.write(tmp_path / "images.json", content)
  np.testing.assert_array_equal(reader.read(path).joints, expected)
  for person in content:  # the first frame of the video shows nobody
    person["image_id"] = f"{int(person['image_id'].split('.')[0])}.jpg"
  path = fake.write(tmp_path / "video.json", content)
  assert len(reader.read(path).joints) == len(expected) + 1


def test_labels_without_confidence(tmp_path):
  """A model of two numbers per keypoint: no scores."""
  line = [0, 0.5, 0.5, 0.2, 0.6, *np.linspace(0.01, 0.34, 34)]
  (tmp_path / "a_1.txt").write_text(" ".join(map(str, line)))
  poses = reader.read(tmp_path)
  np.testing.assert_allclose(poses.joints.ravel(), line[5:], rtol=1e-6)
  assert np.isnan(poses.scores).all()


def test_a_file_per_frame(tmp_path):
  """MMPose on images, ultralytics, and the sep-json of AlphaPose."""
  pose, scores = fake.clip(persons=1)
  frames = json.loads(fake.mmpose(tmp_path / "all.json", pose, scores).read_text())
  for f, frame in enumerate(frames):
    fake.write(tmp_path / "mmpose" / f"img_{f}.json", frame["instances"])
    demo = {"meta_info": {}, "instance_info": frame["instances"] if f else []}
    fake.write(tmp_path / "demo" / f"results_img_{f}.json", demo)
    found = fake.ultralytics_frames(pose, scores)[f]
    fake.write(tmp_path / "ultralytics" / f"img_{f}.json", found)
    people = [{"pose_keypoints_2d": fake.flat(pose[f, 0], scores[f, 0])}]
    content = {"version": "AlphaPose v0.3", "people": people}
    fake.write(tmp_path / "openpose" / f"{f}.json", content)
  for kind in ("mmpose", "ultralytics"):
    assert reader.detect_kind(tmp_path / kind) == kind
    np.testing.assert_allclose(
      reader.read(tmp_path / kind).joints, pose, rtol=1e-6, err_msg=kind
    )
  demo = reader.read(tmp_path / "demo")
  assert np.isnan(demo.joints[0]).all()
  np.testing.assert_allclose(demo.joints[1:], pose[1:], rtol=1e-6)
  with pytest.raises(BadClip, match=r"has 17 joints, expected \[18, 25\] of openpose"):
    reader.read(tmp_path / "openpose")
  single = reader.read(tmp_path / "mmpose" / "img_2.json")
  np.testing.assert_allclose(single.joints, pose[2:3], rtol=1e-6)
  single = reader.read(tmp_path / "ultralytics" / "img_2.json")
  np.testing.assert_allclose(single.joints, pose[2:3], rtol=1e-6)


def test_lifted_poses_are_turned_back_to_the_camera(tmp_path):
  """MMPose writes (-x, z, -y) of the camera's axes, with the feet at 0."""
  camera = np.random.default_rng(0).normal(size=(3, 2, 17, 3)).round(3)
  x, y, z = np.moveaxis(camera, -1, 0)
  written = np.stack([-x, z, -y], axis=-1)
  path = fake.mmpose(tmp_path / "a.json", written, np.ones(camera.shape[:3]))
  poses = reader.read(path)
  assert (poses.skeleton, poses.units) == ("h36m_17", "metre")
  # The people keep their places in the list; who is larger comes first.
  order = np.argsort([-np.ptp(camera[:, i], axis=1).max(-1).sum() for i in range(2)])
  np.testing.assert_allclose(poses.joints, camera[:, order], rtol=1e-6)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="no sample folder of OpenPose")
def test_a_folder_with_an_empty_frame():
  poses = reader.read(SAMPLE)
  assert poses.joints.shape == (48, 1, 25, 2)
  empty = np.isnan(poses.joints).all(axis=(1, 2, 3))
  assert np.flatnonzero(empty).tolist() == [30]
  unseen = np.isnan(poses.joints[:, 0, 3:5, 0]).all(axis=1)
  assert np.flatnonzero(unseen).tolist() == [12, 13, 14, 15, 30]
  np.testing.assert_allclose(poses.joints[12, 0, 1], (88.285, 32.895), rtol=1e-6)


# People over the frames.


def test_the_main_actor_is_seen_longest_and_largest(tmp_path):
  """Sizes 60, 30 and 90 in 8, 8 and 2 frames: sums 480, 240 and 180."""
  body = np.random.default_rng(0).uniform(0, 1, (25, 2))
  body[0], body[1] = (0, 0.01), (1, 1)  # the corners of the box
  pose = np.full((8, 3, 25, 2), np.nan)
  pose[:, 0] = 30 * body + (200, 20)
  pose[:, 1] = 60 * body + (50, 50)
  pose[3:5, 2] = 90 * body + (300, 100)
  scores = np.where(np.isnan(pose[..., 0]), np.nan, 0.9)
  for tracked in (False, True):
    folder = tmp_path / str(tracked)
    poses = reader.read(fake.openpose(folder, pose, scores, tracked=tracked))
    np.testing.assert_allclose(poses.joints, pose[:, [1, 0]], rtol=1e-6)


def test_people_are_followed_by_position_whatever_their_order(tmp_path):
  """The order within a frame is not that of the frame before."""
  pose, scores = fake.clip(persons=2, joints=25)
  swapped, other = pose.copy(), scores.copy()
  swapped[::2], other[::2] = pose[::2, ::-1], scores[::2, ::-1]
  poses = reader.read(fake.openpose(tmp_path / "a", swapped, other))
  np.testing.assert_allclose(poses.joints, pose, rtol=1e-6)
  np.testing.assert_allclose(poses.scores, scores, rtol=1e-6)


def test_people_who_are_somewhere_else_in_every_frame(tmp_path):
  rng = np.random.default_rng(0)
  pose = rng.uniform(0, 5, (25, 50, 17, 2)) + rng.uniform(0, 1e6, (25, 50, 1, 2))
  path = fake.mmpose(tmp_path / "a.json", pose, np.ones(pose.shape[:3]))
  with pytest.raises(BadClip, match="form more than 1000 tracks in 21 frames: number"):
    reader.read(path)


def test_numbers_that_are_the_same_for_all_are_ignored(tmp_path):
  """AlphaPose writes 0 without a tracker, and several numbers of merged boxes."""
  pose, scores = fake.clip(persons=2)
  path = fake.alphapose(tmp_path / "a.json", pose[:, ::-1], scores[:, ::-1])
  content = json.loads(path.read_text())
  for numbers in ([0.0, 0.0], [[[7.0]], [3.0, 7.0]], [None, [1.0]]):
    for i, found in enumerate(content):
      found["idx"] = numbers[i % 2]
    poses = reader.read(fake.write(path, content))
    np.testing.assert_allclose(poses.joints, pose, rtol=1e-6)
  assert [json_files.whole(v) for v in ([[7.0]], [3.0, 7], -1, [], 0.5, "1")] == [
    7, 3, None, None, None, None
  ]  # fmt: skip


def test_scores_of_zero_and_below_mean_not_seen():
  xy = np.array([[1.0, 2], [3, 4], [0, 0], [5, 6]])
  found = people.person(xy, np.array([0.0, 2.0, 0.9, -1]))
  assert np.isnan(found.joints[[0, 2, 3]]).all()
  np.testing.assert_array_equal(found.joints[1], (3, 4))
  np.testing.assert_array_equal(found.scores, [np.nan, 1, np.nan, np.nan])
  assert people.person(xy[2:3], None) is None
  np.testing.assert_array_equal(people.person(xy, None).seen, xy[[0, 1, 3]])


def test_names_of_frames():
  def place(names, first=None):
    return json_files.by_frame({n: [n] for n in names}, "clip", first)

  assert place(["a_9", "a_10", "a_12"]) == [["a_9"], ["a_10"], [], ["a_12"]]
  assert place(["2", "3"], first=0) == [[], [], ["2"], ["3"]]
  assert place(["c4_000_keypoints"]) == [["c4_000_keypoints"]]
  assert place(["b", "a"]) == [["a"], ["b"]]
  for names, message in (
    (["a_1", "b_2"], "clip has frames of several clips, 'a_' and 'b_': one folder"),
    (["a_1", "b"], "'b' has no number of a frame, others have"),
    (["a_1", "a_01"], "clip has a frame twice"),
    (["a_" + "9" * 19], "more than 18 digits"),
    (["a_1", "a_99999999"], "has 99999999 frames, expected at most 100000: cut it"),
  ):
    with pytest.raises(BadClip, match=message):
      place(names)


# Refusals.


def test_a_skeleton_of_ones_own(tmp_path, monkeypatch):
  monkeypatch.setattr(skeletons, "SKELETONS", dict(skeletons.SKELETONS))
  joints = tuple(f"j{i}" for i in range(5))
  skeletons.register(skeletons.Skeleton("five", joints, (("j0", "j1"),), ("j0",)))
  pose, scores = fake.clip(joints=5)
  path = fake.alphapose(tmp_path / "a.json", pose, scores)
  assert reader.read(path, skeleton="five").skeleton == "five"
  labels = fake.ultralytics_labels(tmp_path / "labels", pose, scores, SIZE)
  np.testing.assert_allclose(
    reader.read(labels, skeleton="five").joints * SIZE, pose, atol=1e-3
  )
  with pytest.raises(BadClip, match=r"5 joints, expected \[17, 18, 26\] of alphapose"):
    reader.read(path)
  with pytest.raises(BadClip, match="20 values, expected 5 and 17 keypoints of 2 or 3"):
    reader.read(labels.rename(tmp_path / "two"), skeleton="coco_17")


PERSON = {"image_id": "0.jpg", "keypoints": [1, 2, 0.5] * 17}


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ({}, r"a\.json is empty: nobody was found"),
    ([], r"a\.json is empty: nobody was found"),
    ([1], "expected poses of openpose, alphapose, mmpose or ultralytics"),
    ({"skeletons": []}, "expected poses of openpose, alphapose, mmpose or ultra"),
    ({"people": []}, "one frame of OpenPose: name the folder of the clip"),
    ([PERSON | {"keypoints": [0, 0, 0] * 17}], "has nobody in any of 1 frames"),
    ([PERSON | {"keypoints": [1, 2]}], "has 2 numbers, expected x, y and score by"),
    ([PERSON | {"keypoints": None}], "keypoints is None, expected a list of numbers"),
    ([PERSON | {"keypoints": [1, 2, True] * 17}], "holds True, expected a number"),
    ([PERSON | {"keypoints": [1, 2, None] * 17}], "holds None, expected a number"),
    ([PERSON | {"keypoints": [1, 1e300, 1] * 17}], "holds a number beyond 1e.09"),
    ([PERSON | {"keypoints": [1, 10**400, 1] * 17}], "holds a number beyond 1e.09"),
    ([PERSON, PERSON | {"image_id": None}], "person 1: image_id is None, expected a"),
    ([PERSON, 3], "expected a list of people"),
    (
      [PERSON, PERSON | {"keypoints": [1, 2, 0.5] * 26}],
      r"people of \[\(17, 2\), \(26, 2\)\] joints, expected the same for all",
    ),
    ([PERSON] * 101, "101 people in a frame, expected 100 or less"),
    ([{"instances": [{"keypoints": [[1, 2], [1]]}]}], r"points of \[1, 2\] numbers"),
    ([{"instances": [{"keypoints": []}]}], r"keypoints is \[\], expected a list of po"),
    ([{"instances": [{"keypoints": [[1, 2]], "keypoint_scores": []}]}], "1 keypoints "),
    ({"instance_info": [{"frame_id": 0}]}, "frame 0 is .* expected instances"),
    ([[{"keypoints": {"x": [1], "y": []}}]], r"has \[1, 0\] numbers of x, y and vis"),
    ([[{"keypoints": {"x": [1], "y": [1]}}], 3], "frame 1 is 3, expected a list of p"),
    ([[{"keypoints": {"x": [1], "y": [1]}}, {}]], "keypoints None, expected x and y"),
  ],
)
def test_refused_files(content, message, tmp_path):
  path = fake.write(tmp_path / "a.json", content)
  with pytest.raises(BadClip, match=message):
    reader.read(path)


def test_refused_paths(tmp_path, monkeypatch):
  def refused(message, path, *args):
    with pytest.raises(BadClip, match=message):
      reader.read(path, *args)

  refused(r"x\.json cannot be read: No such file", tmp_path / "x.json")
  os.mkfifo(tmp_path / "pipe.json")
  refused(r"pipe\.json is not a file", tmp_path / "pipe.json")
  (tmp_path / "cut.json").write_text('[{"image_id": "0.jpg", ')
  refused(r"cut\.json is damaged or not JSON", tmp_path / "cut.json")
  (tmp_path / "deep.json").write_text("[" * 100_000)
  refused("nested too deeply", tmp_path / "deep.json")
  (tmp_path / "none").mkdir()
  refused("none has no .json or .txt file, expected one per frame", tmp_path / "none")

  pose, scores = fake.clip(joints=25)
  folder = fake.openpose(tmp_path / "clip", pose, scores)
  refused("expected one JSON file of alphapose", folder, "alphapose")
  refused(
    "25 joints, those of openpose_25, expected 33 of mediapipe_33: set "
    "config.data.skeleton=openpose_25",
    folder, "", "mediapipe_33",
  )  # fmt: skip
  with pytest.raises(ValueError, match="pose_format is 'bvh', expected one of"):
    reader.read(folder, "bvh")
  empty = fake.openpose(tmp_path / "empty", np.full_like(pose, np.nan), scores)
  refused("empty has nobody in any of 8 frames", empty)
  fake.write(tmp_path / "odd" / "a_1.json", {"x": 1})
  refused(r"odd/a_1\.json is .*, expected poses of openpose", tmp_path / "odd")
  for i in range(2):
    fake.write(tmp_path / "nobody" / f"a_{i}.json", [])
  refused("nobody has nobody in any of 2 frames", tmp_path / "nobody")

  (tmp_path / "labels").mkdir()
  labels = tmp_path / "labels" / "a_1.txt"
  for text, message in (
    ("0 0.5 x", r"a_1\.txt holds a word that is not a number"),
    ("0 0.5 inf", "holds a number beyond"),
    ("0 0.5 0.5 0.2 0.2", "lines of 5 values, expected 5 and 17 keypoints"),
    ("0 1\n0 1 2", r"lines of \[2, 3\] values, expected one length"),
    ("", "labels has nobody in any of 1 frames"),
  ):
    labels.write_text(text)
    refused(message, tmp_path / "labels")
  refused("has txt files, expected the JSON files of mmpose", labels.parent, "mmpose")
  monkeypatch.setattr(json_files, "MAX_BYTES", 1)
  refused("clip has 0 MiB, expected at most 0 for a clip: cut it", folder)
