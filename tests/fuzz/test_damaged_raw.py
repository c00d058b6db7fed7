"""Damaged skeletons, joints and boxes of raw datasets give numbers or a reason.

Text, JSON and csv have no checksum, so a digit may change unnoticed, but numbers stay
finite or NaN, and of the right shape. The arrays of an npz have checksums.
"""

import json
import os

import fake_ntu
import fake_nucla
import fuzzing
import numpy as np
import pytest
from hypothesis import strategies as st

from vpn_jax.datasets import (
  clip_joints,
  custom,
  detections,
  folders,
  joint_files,
  ntu,
  nucla,
  paired_files,
  protocols,
  skeletons,
  smarthome,
  video_writer,
)
from vpn_jax.datasets.base import BadClip
from vpn_jax.records import crop

KINECT = skeletons.get("kinect_v2")


def assert_finite_or_nan(array, *shape):
  assert array.dtype == np.float32
  assert array.shape[-len(shape) :] == shape
  assert not np.isinf(array).any()


def bad_clip(read, *words):
  return fuzzing.value_or_none(read, *words, errors=BadClip)


@pytest.fixture(scope="module")
def ntu_text(tmp_path_factory):
  path = tmp_path_factory.mktemp("ntu") / "S001C001P001R001A001.skeleton"
  bodies = {"721": fake_ntu.body(3), "722": fake_ntu.body(3, center=(1, 0, 3), seed=1)}
  path.write_text("\n".join(fake_ntu.lines(3, bodies)) + "\n")
  return path, path.read_bytes()


@fuzzing.fuzz(2.0)
def test_ntu_skeletons(steps, ntu_text):
  path, whole = ntu_text
  path.write_bytes(fuzzing.apply(whole, steps))
  bodies = bad_clip(lambda: ntu.read_skeleton(path), path.name)
  if bodies is not None:
    with np.errstate(over="ignore", invalid="ignore"):  # for numbers near the largest
      people = ntu.actors(bodies)
    for body in people:
      assert_finite_or_nan(body.world, 25, 3)
      assert_finite_or_nan(body.image, 25, 2)
      assert ((body.visibility >= 0) & (body.visibility <= 1))[body.tracked].all()


@pytest.mark.parametrize("word", ["1e39", "-1e300", "nan", "inf", "1e999"])
@pytest.mark.parametrize("place", [0, 5])
def test_numbers_beyond_float32(word, place, ntu_text, tmp_path):
  lines = ntu_text[1].decode().splitlines()
  words = lines[4].split()
  words[place] = word
  lines[4] = " ".join(words)
  path = tmp_path / "a.skeleton"
  path.write_text("\n".join(lines))
  if place == 0:  # metres
    with pytest.raises(BadClip, match=r"line 5: joint 0 is at .* expected finite"):
      ntu.read_skeleton(path)
  else:  # pixels, which may be unknown
    assert np.isnan(ntu.read_skeleton(path)[0].image[0, 0]).all()


@pytest.mark.parametrize(
  "word", ["9" * 5000, "1" * 10, "\N{ARABIC-INDIC DIGIT ONE}", ""]
)
def test_wrong_counts(word, tmp_path):
  path = tmp_path / "a.skeleton"
  path.write_text(f"{word}\n1\n")
  with pytest.raises(
    BadClip, match=r"a\.skeleton, line 1: .* expected the number of fr"
  ):
    ntu.read_skeleton(path)


def lcrnet(num_frames):
  rng = np.random.default_rng(0)
  detection = {
    "pose2d": rng.uniform(50, 300, 26).tolist(),
    "pose3d": rng.normal(size=39).tolist(),
    "cumscore": 1.5,
  }
  return {"njts": 13, "frames": [[detection]] * num_frames}


JSON = {
  "smarthome": json.dumps(lcrnet(2)).encode(),
  "nucla": json.dumps({"skeletons": fake_nucla.skeleton(2)}).encode(),
}


@pytest.mark.parametrize("dataset", JSON)
def test_json_skeletons(dataset, tmp_path_factory):
  path = tmp_path_factory.mktemp("json") / "a.json"

  @fuzzing.fuzz(2.0)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(JSON[dataset], steps))
    if dataset == "nucla":
      world = bad_clip(lambda: nucla.read_skeleton(path), path.name)
      if world is not None:
        assert_finite_or_nan(world, 20, 3)
      return
    frames = bad_clip(lambda: smarthome.read_skeleton(path), path.name)
    if frames is not None:
      with np.errstate(over="ignore", invalid="ignore"):
        world, image = smarthome.main_actor(frames)
      assert_finite_or_nan(world, 13, 3)
      assert_finite_or_nan(image, 13, 2)

  damaged()


NESTED = fuzzing.trees("pose2d", "pose3d", "x")


@pytest.mark.parametrize("key", ["frames", "skeletons"])
def test_any_json_instead_of_a_skeleton(key, tmp_path_factory):
  path = tmp_path_factory.mktemp("json") / "a.json"
  read = smarthome.read_skeleton if key == "frames" else nucla.read_skeleton

  @fuzzing.fuzz(tree=NESTED, at_top=st.booleans())
  def any_json(tree, at_top):
    path.write_text(json.dumps(tree if at_top else {key: tree}))
    assert bad_clip(lambda: read(path), path.name) is None

  any_json()


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
  """The joints of a clip, compressed or not, as bytes."""
  rng = np.random.default_rng(0)
  arrays = {
    "world": rng.uniform(0.1, 1, (60, 25, 4)).astype(np.float32),
    "image": rng.random((60, 25, 2)).astype(np.float32),
  }
  path = tmp_path_factory.mktemp("npz") / "a.npz"
  np.savez(path, **arrays)
  plain = path.read_bytes()
  np.savez_compressed(path, **arrays)
  return path, {"plain": plain, "compressed": path.read_bytes()}, arrays


@pytest.mark.parametrize("kind", ["plain", "compressed"])
def test_npz_gives_its_joints_or_an_error(kind, npz):
  path, data, _ = npz

  def read():
    return clip_joints.read(path, KINECT, size=(64, 48))

  path.write_bytes(data[kind])
  want = read()

  @fuzzing.fuzz(2.0)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(data[kind], steps))
    got = bad_clip(read, path.name)
    if got is not None:
      # names of arrays have no checksum: one of the two may be missing
      for field in ("world", "image"):
        array = getattr(got, field)
        assert np.isnan(array).all() or (array == getattr(want, field)).all()

  damaged()


def test_a_header_for_a_shorter_array_is_noticed(npz):
  """`numpy.load` stops where the header ends, without a look at the checksum."""
  path, data, arrays = npz
  path.write_bytes(data["plain"].replace(b"(60, 25, 4)", b"(20, 25, 4)", 1))
  with np.load(path) as file:
    assert file["world"].shape == (20, 25, 4)
  with pytest.raises(ValueError, match=r"array 'world' cannot be read .*Bad CRC-32"):
    joint_files.Arrays(path)["world"]
  path.write_bytes(data["plain"])
  np.testing.assert_array_equal(joint_files.Arrays(path)["world"], arrays["world"])


@pytest.fixture(scope="module")
def own(tmp_path_factory):
  """A folder with an index of two clips, their videos and joints."""
  folder = tmp_path_factory.mktemp("own")
  (folder / "videos").mkdir()
  frames = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(4)]
  video_writer.write_video(folder / "videos" / "a.mp4", frames, 10)
  rng = np.random.default_rng(0)
  world = rng.normal(size=(4, 25, 3)).astype(np.float32)
  np.savez(folder / "world.npz", a=world, b=world)
  return folder


INDEX = b"clip,video,label,subject\na,videos/a.mp4,wave,1\nb,videos/a.mp4,nod,2\n"


def open_own(folder, **options):
  return custom.Custom(folder / "index.csv", "kinect_v2", "world.npz", **options)


@fuzzing.fuzz(2.0)
def test_an_index_of_own_videos(steps, own):
  (own / "index.csv").write_bytes(fuzzing.apply(INDEX, steps))
  dataset = fuzzing.value_or_none(lambda: open_own(own), "index.csv")
  if dataset is None:
    return
  clips, left_out = dataset.clips()
  assert all("index.csv" in reason for _, reason in left_out)
  for clip in clips:
    assert clip.video == str(own / "videos" / "a.mp4")
    assert clip.name.isprintable()
    assert 0 <= clip.label < len(dataset.class_names)
    opened = bad_clip(lambda clip=clip: dataset.read(clip), "world.npz")
    if opened:
      assert_finite_or_nan(opened.pose, 25, 3)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_index_that_holds_the_joints(save, tmp_path):
  """Whatever is damaged, what is read is as it was written."""
  path = tmp_path / "clips.npz"
  world = np.random.default_rng(0).normal(size=(4, 25, 3)).astype(np.float32)
  joints = {"world/a": world, "world/b": world}
  save(path, clip=["a", "b"], label=["wave", "nod"], **joints)
  data = path.read_bytes()

  @fuzzing.fuzz()
  def damaged(steps):
    path.write_bytes(fuzzing.apply(data, steps))
    dataset = fuzzing.value_or_none(
      lambda: custom.Custom(path, "kinect_v2", frames=False), "clips.npz"
    )
    if dataset is None:
      return
    for clip in dataset.clips()[0]:
      opened = bad_clip(lambda clip=clip: dataset.read(clip), "clips.npz")
      if opened and np.isfinite(opened.pose).any():
        np.testing.assert_array_equal(opened.pose[:, 0], world)

  damaged()


def test_an_index_that_is_not_a_csv(own):
  for content in (b"\xff\xfe\x00", b"clip,video,label\n" + b"x" * 200_000):
    (own / "index.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"index\.csv cannot be read as csv .*UTF-8"):
      open_own(own)


def test_videos_outside_the_folder_of_the_index(own, tmp_path):
  """By "..", an absolute path or a link; links that stay inside are accepted."""
  film = tmp_path / "out.mp4"
  film.write_bytes((own / "videos" / "a.mp4").read_bytes())
  for name, target in (("link.mp4", film), ("in.mp4", "a.mp4"), ("round", "round")):
    (own / "videos" / name).symlink_to(target)
  (own / "videos" / "away").symlink_to(tmp_path)
  up = os.path.relpath(film, own)
  rows = {
    "far": film, "up": up, "link": "videos/link.mp4", "folder": "videos/away/out.mp4",
    "passwd": "/etc/passwd", "nul": "videos/a.mp4\0", "circle": "videos/round/a.mp4",
    "long": "x" * 5000, "in": "videos/in.mp4",
  }  # fmt: skip
  lines = [f"{name},{path},wave,1" for name, path in rows.items()]
  lines.append('"two\nlines",videos/a.mp4,wave,1')
  (own / "index.csv").write_text("\n".join([INDEX.decode().splitlines()[0], *lines]))
  clips, left_out = open_own(own).clips()
  assert [clip.name for clip in clips] == ["in"]
  reasons = dict(left_out)
  for name in ("far", "up", "link", "folder", "passwd"):
    assert "leaves the folder of the csv, expected one inside" in reasons[name]
    assert "config.data.allow_absolute=True" in reasons[name]
  for name in ("nul", "two\nlines"):
    assert "has characters that cannot be printed" in reasons[name]
  for name in ("circle", "long"):
    assert "no video" in reasons[name]
  allowed = {c.name for c in open_own(own, allow_absolute=True).clips()[0]}
  assert allowed == {"far", "up", "link", "folder", "passwd", "in"}


BOXES = (
  b"clip,frame,left,top,right,bottom,score\na,0,1,2,30,40,0.9\na,1,2,2,31,40,0.8\n"
)


class Inner:
  """A stand-in for the dataset that the boxes belong to."""

  name, class_names, skeleton, source = "custom", ("x",), "kinect_v2", {}


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_boxes(ending, tmp_path_factory):
  path = tmp_path_factory.mktemp("boxes") / f"boxes.{ending}"
  whole = BOXES
  if ending == "npz":
    np.savez(path, a=np.float64([[0, 1, 2, 30, 40, 0.9], [1, 2, 2, 31, 40, 0.8]]))
    whole = path.read_bytes()

  @fuzzing.fuzz(2.0)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(whole, steps))

    def read():
      found = detections.WithDetections(Inner(), path)._boxes
      return found["a"] if "a" in found else None

    rows = fuzzing.value_or_none(read, path.name)
    if rows is None:
      return
    boxes = bad_clip(lambda: detections.arrange(rows, 4, path.name), path.name)
    if boxes is not None:
      assert_finite_or_nan(boxes, 4)
      corners = boxes.reshape(*boxes.shape[:2], 2, 2)
      square = bad_clip(lambda: crop.joint_box(corners, 64, 48), "64x48")
      assert square is None or np.isfinite(square).all()

  damaged()


# Names of files and folders.


def test_links_in_a_circle_terminate(tmp_path):
  fake_nucla.write_pair(tmp_path / "data", "a01_s02_e03_v01", 2)
  for name in ("one", "two", "three"):
    (tmp_path / "data" / name).symlink_to(tmp_path / "data")
  (tmp_path / "data" / "videos" / "up").symlink_to(tmp_path)
  walked = list(paired_files.walk(tmp_path / "data"))
  assert len(walked) < 20
  clips, left_out = nucla.NUCLA(tmp_path / "data").clips()
  assert ([clip.name for clip in clips], left_out) == (["a01_s02_e03_v01"], [])


@pytest.mark.parametrize("name", [b"a\nb", b"a\tb", b"\xff\xfe", b"a\x1b[2J"])
def test_file_names_that_cannot_be_printed_are_left_out(name, tmp_path):
  folder = os.fsencode(tmp_path) + b"/wave/"
  os.mkdir(folder)
  for stem in (name, b"good"):
    with open(folder + stem + b".mp4", "wb"):
      pass
  clips, left_out = folders.Folders(tmp_path, "mediapipe_33", poses=False).clips()
  assert [clip.name for clip in clips] == ["wave/good"]
  ((shown, reason),) = left_out
  assert shown.isprintable()
  assert "cannot be printed" in reason


def test_long_numbers_in_an_index_are_words():
  assert protocols.parse_value("9" * 18) == int("9" * 18)
  for digits in (
    "9" * 19,
    "-" + "1" * 5000,
  ):  # beyond 64 bits, or what int() takes
    assert protocols.parse_value(digits) == digits
