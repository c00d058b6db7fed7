"""Poses from MediaPipe, with a fake landmarker and with MediaPipe itself."""

import csv
import hashlib
import pathlib
import pickle
import sys
import zipfile

import fake_nucla
import fake_video
import numpy as np
import pytest
from ml_collections import ConfigDict

from vpn_jax.datasets import (
  landmarker_bundle,
  nucla,
  pose_estimation,
  registry,
  skeletons,
  video,
  video_writer,
)
from vpn_jax.datasets.base import BadClip, Clip, RawClip

FPS, WIDTH, HEIGHT = 12.5, 80, 40
CLIP = Clip("a", 0, {"subject": 1})


class Inner:
  """A dataset without poses; `video` is a file."""

  name, class_names, skeleton = "mine", ("nod", "wave"), "kinect_v2"

  def __init__(self, path=None, source=()):
    self.path, self.source = path, dict(source)

  def clips(self):
    return [Clip("a", 0, {"subject": 1}, self.path)], [("b", "no video")]


class Opened(Inner):
  """The same with its own reader: five frames whose pixels are their numbers."""

  def open_video(self, clip):
    frames = [np.full((HEIGHT, WIDTH, 3), i, np.uint8) for i in range(5)]
    return lambda: iter(frames), FPS, (WIDTH, HEIGHT)


def person(x, y=0.5, z=0.0):
  """Landmarks [33, 6] of a person whose hips are at the fractions x, y."""
  return np.tile(np.float32([0.1, 0.2, z, x, y, 0.9]), (33, 1))


@pytest.fixture
def bundle(tmp_path):
  path = tmp_path / "x.task"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("pose_detector.tflite", "model")
  return path


@pytest.fixture
def fake(monkeypatch):
  """Replaces MediaPipe; set `seen` to what it finds, a list of people per frame.

  `times` and `opened` record the calls.
  """

  class Fake:
    version = "0.fake"
    seen, times, opened = [[]], [], []

    def __init__(self, model, people):
      Fake.opened.append((model, people))
      Fake.times.clear()

    def __enter__(self):
      return self

    def __exit__(self, *_):
      Fake.opened.append("closed")

    def detect(self, frame, milliseconds):
      Fake.times.append(milliseconds)
      found = Fake.seen[len(Fake.times) - 1]
      return np.array(found, np.float32).reshape(-1, 33, 6)

  monkeypatch.setattr(pose_estimation, "open_landmarker", Fake)
  return Fake


def run(fake, seen, people=1, fps=FPS):
  """Runs `landmarks` on black frames in which `seen` is found."""
  fake.seen = seen
  frames = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * len(seen)
  return pose_estimation.landmarks(frames, fps, (WIDTH, HEIGHT), "m", people)


def test_fractions_become_pixels_and_nobody_is_nan(fake):
  world, image, visibility = run(fake, [[], [person(0.25, 0.75)], []])
  assert world.shape == (3, 1, 33, 3)
  assert image.shape == (3, 1, 33, 2)
  assert visibility.shape == (3, 1, 33)
  assert {a.dtype for a in (world, image, visibility)} == {np.dtype(np.float32)}
  np.testing.assert_array_equal(world[1, 0, 5], np.float32([0.1, 0.2, 0]))
  np.testing.assert_array_equal(image[1, 0, 5], np.float32([20, 30]))
  np.testing.assert_array_equal(visibility[1], np.float32(0.9))
  for array in (world, image, visibility):
    assert np.isnan(array[[0, 2]]).all()


@pytest.mark.parametrize("fps", [0.5, 12.5, 29.97, 5000.0])
def test_timestamps_increase(fake, fps):
  run(fake, [[]] * 7, fps=fps)
  assert (np.diff(fake.times) > 0).all()
  if fps < 1000:  # within their rounding error
    np.testing.assert_allclose(fake.times, np.arange(7) * 1000 / fps, atol=1)


def test_the_clock_follows_the_time_stamps(fake, bundle, tmp_path):
  path = str(tmp_path / "x.mp4")
  black = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 4
  fake_video.write(path, black, times=[0, 0.05, 0.1, 0.9])
  made = pose_estimation.WithEstimatedPoses(Inner(path), bundle)
  fake.seen = [[person(0.5)]] * 4
  made.read(made.clips()[0][0])
  np.testing.assert_allclose(fake.times, [0, 50, 100, 900], atol=1)


def test_people_keep_their_row(fake):
  """MediaPipe changes their order, one is lost and found, and both walk."""
  a = [person(x, z=1) for x in (0.1, 0.15, 0.2, 0.25)]
  b = [person(x, z=2) for x in (0.9, 0.85, 0.8, 0.75)]
  seen = [[a[0], b[0]], [b[1], a[1]], [b[2]], [b[3], a[3]]]
  world, image, _ = run(fake, seen, people=2)
  # b was seen more often and comes first
  np.testing.assert_array_equal(world[:, 0, 0, 2], [2, 2, 2, 2])
  np.testing.assert_array_equal(world[:, 1, 0, 2], np.float32([1, 1, np.nan, 1]))
  np.testing.assert_allclose(image[:, 0, 23, 0], [72, 68, 64, 60], rtol=1e-6)


def test_a_newcomer_takes_a_free_row(fake):
  a, b = person(0.1, z=1), person(0.9, z=2)
  world, *_ = run(fake, [[a], [a], [b]], people=2)
  np.testing.assert_array_equal(world[:, 0, 0, 2], np.float32([1, 1, np.nan]))
  np.testing.assert_array_equal(world[:, 1, 0, 2], np.float32([np.nan, np.nan, 2]))


def test_the_row_of_who_walks_off_stays_empty(fake):
  """Whoever is left does not take it; the same person does."""
  a, b = person(0.1, z=1), person(0.9, z=2)
  world, *_ = run(fake, [[a], [a], [b], [b], [], [a], [b, a]])
  nan = np.nan
  np.testing.assert_array_equal(
    world[:, 0, 0, 2], np.float32([1, 1, nan, nan, nan, 1, 1])
  )


class Screen:
  """A landmarker that sees red, green and blue people, but at most so many at once.

  Like MediaPipe, it looks for others only when it has lost one of those it follows.
  """

  version, opened = "0.fake", []

  def __init__(self, model, people):
    Screen.opened.append(people)
    self._people, self._followed = people, []

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def detect(self, frame, milliseconds):
    there = [c for c in (2, 1, 0) if frame[..., c].any()]  # blue is largest
    self._followed = [c for c in self._followed if c in there]
    new = [c for c in there if c not in self._followed]
    self._followed += new[: self._people - len(self._followed)]
    found = []
    for c in self._followed:
      y, x = np.nonzero(frame[..., c])
      joints = person(0, z=c)
      joints[:, 3] = np.linspace(x.min(), x.max() + 1, 33) / frame.shape[1]
      joints[:, 4] = np.linspace(y.min(), y.max() + 1, 33) / frame.shape[0]
      joints[23:25, 3:5] = joints[:, 3:5].mean(axis=0)  # hips
      found.append(joints)
    return np.array(found, np.float32).reshape(-1, 33, 6)


def screen(**people):
  """A frame of 160x120 with people 16x48 at these x; None for who is not there."""
  frame = np.zeros((120, 160, 3), np.uint8)
  for name, x in people.items():
    if x is not None:
      x = round(x)
      frame[40:88, max(x - 8, 0) : max(x + 8, 0), "rgb".index(name[0])] = 200
  return frame


def followed(frames, people=1, fps=10):
  world, image, _ = pose_estimation.landmarks(frames, fps, (160, 120), "m", people)
  return world[:, :, 0, 2], image[:, :, 23, 0]


def test_a_bystander_who_stays_is_not_the_person(monkeypatch):
  """Red walks off to the left, comes back after 4 s; blue stands at the right."""
  monkeypatch.setattr(pose_estimation, "open_landmarker", Screen)
  Screen.opened.clear()
  walk = [*np.linspace(60, -8, 15), *[None] * 40, *np.linspace(-4, 60, 15)]
  frames = [screen(red=60)] * 3  # before blue comes
  frames += [screen(red=x, blue=130) for x in walk]
  who, x = followed(frames)
  assert who.shape == (73, 1)
  assert set(who[np.isfinite(who)].tolist()) == {0.0}  # red alone
  lost = np.isnan(who[:, 0])
  assert lost[18:57].all()
  assert not lost[:16].any()
  assert not lost[-10:].any()
  np.testing.assert_allclose(x[-1], 60, atol=1)
  assert Screen.opened == [1, 4]  # looks for more people once blue is in the way


def test_two_are_followed_and_a_third_is_not(monkeypatch):
  monkeypatch.setattr(pose_estimation, "open_landmarker", Screen)
  frames = [screen(red=30, green=80) for _ in range(10)]
  frames += [screen(red=30, blue=130) for _ in range(30)]
  frames += [screen(red=30, green=80, blue=130) for _ in range(5)]
  who, _ = followed(frames, people=2)
  assert who[:, 0].tolist() == [0.0] * 45
  assert np.isnan(who[10:40, 1]).all()
  assert who[:10, 1].tolist() + who[40:, 1].tolist() == [1.0] * 15


def test_a_ghost_at_the_start_is_given_up(monkeypatch):
  """What is found in two frames is no person beside one in all others."""
  monkeypatch.setattr(pose_estimation, "open_landmarker", Screen)
  frames = [screen(blue=130)] * 2 + [screen(red=30)] * 60
  who, _ = followed(frames)
  assert who[-30:, 0].tolist() == [0.0] * 30


def test_who_is_lost_inside_may_be_found_elsewhere(monkeypatch):
  """Nobody is seen for two seconds of a walk of 96 pixels, two body heights."""
  monkeypatch.setattr(pose_estimation, "open_landmarker", Screen)
  frames = [screen(red=30)] * 5 + [screen()] * 20 + [screen(red=126)] * 5
  who, _ = followed(frames)
  assert np.isfinite(who[:, 0]).tolist() == [True] * 5 + [False] * 20 + [True] * 5


def test_no_frames_and_frames_of_another_size(fake):
  with pytest.raises(BadClip, match="holds no frame"):
    pose_estimation.landmarks([], FPS, (WIDTH, HEIGHT), "m")
  with pytest.raises(BadClip, match="frame 0 is 40x80, expected 80x40"):
    pose_estimation.landmarks([np.zeros((80, 40, 3), np.uint8)], FPS, (80, 40), "m")


def test_images_instead_of_a_video(fake, bundle, tmp_path):
  """N-UCLA opens its folders of images itself."""
  name = "a01_s02_e03_v01"
  fake_nucla.write_images(tmp_path, name, 5, size=(80, 40))
  dataset = pose_estimation.WithEstimatedPoses(
    nucla.NUCLA(tmp_path, poses=False), bundle
  )
  (clip,), left_out = dataset.clips()
  assert (clip.name, left_out) == (name, [])
  fake.seen = [[person(0.5)]] * 5
  opened = dataset.read(clip)
  assert opened.pose.shape == (5, 1, 33, 3)
  np.testing.assert_array_equal(opened.image_joints[:, 0, 0], [[40, 20]] * 5)
  assert len(list(opened.frames())) == 5


class WithPoses(Opened):
  """The same with its own poses, without joints in the image."""

  def read(self, clip):
    pose = np.full((5, 1, 25, 3), 7, np.float32)
    return RawClip(pose, pose[..., :2] * np.nan, self.open_video(clip)[0], FPS)


def test_boxes_for_poses_of_the_dataset(fake, bundle):
  tall = person(0.5)
  tall[:, 3], tall[:, 4] = np.linspace(0.25, 0.5, 33), np.linspace(0.4, 0.9, 33)
  fake.seen = [[tall], [], [tall], [], []]
  made = pose_estimation.WithEstimatedBoxes(WithPoses(), bundle)
  assert made.skeleton == "kinect_v2"
  assert made.source["boxes"] == "mediapipe"
  assert "pose" not in made.source
  opened = made.read(CLIP)
  assert (opened.pose == 7).all()
  assert np.isnan(opened.boxes[[1, 3, 4]]).all()
  # x from 20 to 40; y from 16 to 36, and a tenth of that above
  np.testing.assert_allclose(opened.boxes[0], [[20, 14, 40, 36]], rtol=1e-6)
  fake.seen = [[]] * 5
  with pytest.raises(BadClip, match="found nobody in any of 5 frames"):
    made.read(CLIP)


def test_all_else_comes_from_the_other_dataset(fake, bundle):
  inner = Opened(source={"rows": 3})
  made = pose_estimation.WithEstimatedPoses(inner, bundle, people=2)
  assert (made.name, made.class_names) == ("mine", ("nod", "wave"))
  assert made.clips() == inner.clips()
  assert made.skeleton == "mediapipe_33"
  assert made.source == {
    "rows": 3,
    "pose": "mediapipe",
    "pose_version": "0.fake",
    "pose_model": hashlib.sha256(bundle.read_bytes()).hexdigest()[:12],
    "pose_people": 2,
  }


def test_read_through_the_datasets_own_reader(fake, bundle):
  made = pickle.loads(
    pickle.dumps(pose_estimation.WithEstimatedPoses(Opened(), bundle))
  )
  fake.seen, fake.opened[:] = [[], *[[person(0.5)]] * 4], []
  for _ in range(2):  # a landmarker for each clip
    opened = made.read(CLIP)
  assert fake.opened == [(str(bundle), 1), "closed"] * 2
  assert opened.pose.shape == (5, 1, 33, 3)
  assert opened.fps == FPS
  assert [f[0, 0, 0] for f in opened.frames()] == [0, 1, 2, 3, 4]
  assert [f[0, 0, 0] for f in opened.frames()] == [0, 1, 2, 3, 4]  # decoded again
  np.testing.assert_array_equal(
    np.isnan(opened.visibility).all(axis=(1, 2)), [True] + [False] * 4
  )


def test_read_a_video_file(fake, bundle, tmp_path):
  path = str(tmp_path / "x.avi")
  video_writer.write_video(path, np.zeros((3, HEIGHT, WIDTH, 3), np.uint8), 10)
  made = pose_estimation.WithEstimatedPoses(Inner(path), bundle)
  fake.seen = [[person(0.5)]] * 3
  opened = made.read(made.clips()[0][0])
  assert opened.fps == 10
  np.testing.assert_array_equal(opened.image_joints[2, 0, 0], [40, 20])
  assert len(list(opened.frames())) == 3


def test_clips_that_cannot_be_used(fake, bundle):
  fake.seen = [[]] * 5
  with pytest.raises(BadClip, match="found nobody in any of 5 frames"):
    pose_estimation.WithEstimatedPoses(Opened(), bundle).read(CLIP)
  with pytest.raises(BadClip, match="no video to estimate poses from"):
    pose_estimation.WithEstimatedPoses(Inner(), bundle).read(CLIP)


def test_refused_settings(fake, bundle, tmp_path):
  with pytest.raises(ValueError, match="people is 0, expected 1 or more"):
    pose_estimation.WithEstimatedPoses(Inner(), bundle, people=0)
  with pytest.raises(
    FileNotFoundError, match=r"no file gone\.task: .* https://ai\.goog"
  ):
    pose_estimation.WithEstimatedPoses(Inner(), "gone.task")


def test_the_bundle_is_fetched_once(fake, bundle, tmp_path, monkeypatch, caplog):
  """Into the user's cache, if it is the known one; else in one line with the place."""
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  place = tmp_path / "home" / ".cache" / "vpn_jax" / "pose_landmarker_full.task"
  monkeypatch.setattr(landmarker_bundle, "ADDRESS", f"file://{tmp_path}/none.task")
  words = (
    f"pose_model is not set, and file://.* not be fetched .*: download it to {place}"
  )
  with pytest.raises(FileNotFoundError, match=words):
    pose_estimation.WithEstimatedPoses(Inner(), "")
  monkeypatch.setattr(landmarker_bundle, "ADDRESS", bundle.as_uri())
  with pytest.raises(
    FileNotFoundError, match=r"bytes of SHA-256 .*, expected 9,398,198"
  ):
    pose_estimation.WithEstimatedPoses(Inner(), "")
  assert not place.exists()
  digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
  monkeypatch.setattr(landmarker_bundle, "DIGEST", digest)
  caplog.clear()
  assert pose_estimation.WithEstimatedPoses(Inner(), "").model == str(place)
  assert caplog.text.count("fetching") == 1
  monkeypatch.setattr(landmarker_bundle, "ADDRESS", f"file://{tmp_path}/none.task")
  found = pose_estimation.WithEstimatedPoses(Inner(), "")
  assert found.source["pose_model"] == digest[:12]
  assert caplog.text.count("fetching") == 1
  assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_people_of_the_config(fake, bundle, monkeypatch):
  monkeypatch.setitem(registry._OPEN, "mine", lambda data, **files: Inner())
  data = {"dataset": "mine", "pose": "mediapipe", "pose_model": str(bundle)}
  assert registry.open_dataset(ConfigDict(data)).people == 1
  assert registry.open_dataset(ConfigDict(data | {"pose_people": 3})).people == 3
  with pytest.raises(ValueError, match=r"config\.data\.pose_people is 0, expected"):
    registry.open_dataset(ConfigDict(data | {"pose_people": 0}))


def test_refused_bundles(fake, bundle):
  content = bundle.read_bytes()
  for damaged in (b"", b"some text\n", content[:60], content.replace(b"mod", b"nod")):
    bundle.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"x.task is not a PoseLandmarker b.*again"):
      pose_estimation.WithEstimatedPoses(Inner(), bundle)


def test_missing_package(bundle, monkeypatch):
  monkeypatch.setitem(sys.modules, "mediapipe", None)
  with pytest.raises(
    ValueError, match="needs the package mediapipe: pip install -r req"
  ):
    pose_estimation.WithEstimatedPoses(Inner(), bundle)


def test_wheels_without_the_networks(fake, tmp_path, monkeypatch):
  """As those of the present mediapipe; each in one line with what to fetch."""
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  wheel = tmp_path / "mediapipe-1.2.2-py3-none-any.whl"
  with pytest.raises(
    FileNotFoundError, match=r"no file .*whl: pip download .*0\.10\.21"
  ):
    landmarker_bundle.find_bundle(wheel)
  wheel.write_bytes(b"no archive")
  with pytest.raises(ValueError, match=r"whl has not the networks of Pose.* \(File is"):
    landmarker_bundle.find_bundle(wheel)
  with zipfile.ZipFile(wheel, "w") as file:
    file.writestr("mediapipe/__init__.py", "")
  with pytest.raises(
    ValueError, match=r"no item named .*expected a wheel of mediapipe"
  ):
    landmarker_bundle.find_bundle(wheel)
  assert not (tmp_path / "home").exists()


# With MediaPipe itself.


def built_bundle() -> str:
  """From the wheel that `make test-pose` fetches; skips without it."""
  pytest.importorskip("mediapipe")
  wheels = sorted(pathlib.Path(sys.prefix, "wheels").glob("mediapipe-*.whl"))
  if not wheels:
    pytest.skip("needs the wheel that make test-pose fetches")
  return landmarker_bundle.find_bundle(wheels[0])


@pytest.fixture(scope="module", params=["official", "built"])
def model(request):
  """Google's bundle where it lies beside the checkout, and the one that is built."""
  if request.param == "built":
    return built_bundle()
  pytest.importorskip("mediapipe")
  return request.getfixturevalue("shared") / "models" / "pose_landmarker_full.task"


def gesture(shared, name):
  """A real clip: path, world joints [F, 33, 4], image joints as fractions."""
  folder = shared / "body_gestures"
  with open(folder / "index.csv", encoding="utf-8") as file:
    path = next(r["video"] for r in csv.DictReader(file) if r["clip_id"] == name)
  joints = []
  for kind in ("world", "image"):
    with np.load(folder / f"{kind}_joints.npz") as file:
      joints.append(file[name])
  return str(folder / path), *joints


@pytest.mark.parametrize(
  ("name", "pixels"), [("S06_S_shrug_2_4m_full", 4), ("S08_S_right_3_6m_full", 2)]
)
def test_parity_and_determinism(shared, model, name, pixels):
  """The joints equal those estimated elsewhere from these videos, every time.

  The world joints are this bundle's in VIDEO mode: here equal bit by bit, also in six
  other clips; running mode IMAGE differs by 31 and 75 mm in the mean. 1 mm leaves room
  for the rounding of another processor. The image joints are of an estimator unknown to
  us, with other visibilities: 2.5 and 1.2 pixels away in the mean.
  """
  path, world, image = gesture(shared, name)
  dataset = pose_estimation.WithEstimatedPoses(Inner(path), model)
  clip = dataset.clips()[0][0]
  opened = dataset.read(clip)
  assert opened.pose.shape == (len(world), 1, 33, 3)
  far = np.linalg.norm(opened.pose[:, 0] - world[..., :3], axis=-1)
  assert far.mean() < 1e-3
  far = opened.image_joints[:, 0] - image[..., :2] * np.float32([640, 480])
  assert np.linalg.norm(far, axis=-1).mean() < pixels
  np.testing.assert_allclose(opened.visibility[:, 0], world[..., 3], atol=0.02)
  hips = opened.pose[:, 0, skeletons.get("mediapipe_33").origin_indices()]
  np.testing.assert_allclose(hips.mean(axis=1), 0, atol=0.02)  # in every frame
  again = pickle.loads(pickle.dumps(dataset)).read(clip)  # after another clip
  for field in ("pose", "image_joints", "visibility"):
    np.testing.assert_array_equal(getattr(again, field), getattr(opened, field))


def test_frames_with_nobody(shared, model, capfd):
  """Black, somebody, noise give NaN, joints, NaN; black alone is refused."""
  path, *_ = gesture(shared, "S08_S_right_3_6m_full")
  somebody = next(video.read_frames(path))
  black = np.zeros_like(somebody)
  noise = np.random.default_rng(0).integers(0, 255, black.shape, np.uint8)
  frames = [black, somebody, somebody, noise]
  world, image, visibility = pose_estimation.landmarks(frames, 10, (640, 480), model)
  for array in (world, image, visibility):
    seen = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    np.testing.assert_array_equal(seen, [False, True, True, False])
    assert np.isnan(array[~seen]).all()
  assert capfd.readouterr() == ("", "")  # no warnings of C++

  inner = Inner()
  inner.open_video = lambda clip: (lambda: iter([black] * 3), 10, (640, 480))
  with pytest.raises(BadClip, match="found nobody in any of 3 frames"):
    pose_estimation.WithEstimatedPoses(inner, model).read(CLIP)


def test_a_bundle_is_built_once_and_always_alike(tmp_path, monkeypatch, caplog):
  built = pathlib.Path(built_bundle())
  with zipfile.ZipFile(built) as file:
    assert {part.compress_type for part in file.infolist()} == {zipfile.ZIP_STORED}
  monkeypatch.setenv("HOME", str(tmp_path))
  again = pathlib.Path(built_bundle())
  assert again.parent == tmp_path / ".cache" / "vpn_jax"
  assert again.read_bytes() == built.read_bytes()
  assert [path.name for path in again.parent.iterdir()] == [built.name]
  caplog.clear()
  assert built_bundle() == str(again)
  assert not caplog.text  # nothing was built


def test_bundles_that_only_mediapipe_can_refuse(model, tmp_path):
  with zipfile.ZipFile(model) as file:
    parts = {name: file.read(name) for name in file.namelist()}
  detector, tracker = parts
  cases = {
    "other": {"a.txt": b"text"},
    "garbage": dict.fromkeys(parts, b"no model"),
    "swapped": {detector: parts[tracker], tracker: parts[detector]},
  }
  for name, content in cases.items():
    path = tmp_path / f"{name}.task"
    with zipfile.ZipFile(path, "w") as file:
      for part, data in content.items():
        file.writestr(part, data)
    with pytest.raises(ValueError, match=f"{name}.task is not a PoseLandmarker b") as e:
      pose_estimation.WithEstimatedPoses(Inner(), path)
    assert "\n" not in str(e.value)
