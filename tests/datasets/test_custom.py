"""A dataset of your own: reading csv, npz and videos, and every refusal."""

import pickle

import fake_pose_files
import ml_collections
import numpy as np
import pytest

from vpn_jax.datasets import custom, registry, video_writer
from vpn_jax.datasets.base import BadClip
from vpn_jax.datasets.synthetic import generator, synthetic_dataset

J = 33


@pytest.fixture
def folder(tmp_path):
  """Three clips of 6 frames, 64x48 pixels."""
  (tmp_path / "videos").mkdir()
  rng = np.random.default_rng(0)
  world, image = {}, {}
  for name in ("a", "b", "c"):
    frames = rng.integers(0, 255, (6, 48, 64, 3), np.uint8)
    video_writer.write_video(tmp_path / "videos" / f"{name}.mp4", frames, 10)
    world[name] = rng.uniform(0.1, 1.1, (6, J, 4)).astype(np.float32)
    image[name] = rng.uniform(size=(6, J, 4))
  world["b"][2:4] = np.nan
  np.savez(tmp_path / "world.npz", **world)
  np.savez(tmp_path / "image.npz", **image)
  write(
    tmp_path, "a,videos/a.mp4,wave,1", "b,videos/b.mp4,nod,x", "c,videos/c.mp4,nod,-2"
  )
  return tmp_path


def write(folder, *rows, header="clip,video,label,subject"):
  (folder / "index.csv").write_text("\n".join((header, *rows)) + "\n")


def open_it(folder, **options):
  files = {"world_joints": "world.npz", "image_joints": "image.npz", **options}
  return custom.Custom(folder / "index.csv", "mediapipe_33", **files)


def test_clips(folder):
  dataset = open_it(folder)
  clips, left_out = dataset.clips()
  assert left_out == []
  assert dataset.class_names == ("nod", "wave")
  assert [(c.name, c.label) for c in clips] == [("a", 1), ("b", 0), ("c", 0)]
  assert [c.attributes for c in clips] == [
    {"subject": 1},
    {"subject": "x"},
    {"subject": -2},
  ]


def test_read(folder):
  dataset = open_it(folder)
  clips = dataset.clips()[0]
  opened = dataset.read(clips[0])
  stored = np.load(folder / "image.npz")["a"]
  assert opened.pose.shape == (6, 1, J, 3)
  assert opened.pose.dtype == opened.image_joints.dtype == np.float32
  np.testing.assert_array_equal(
    opened.pose[:, 0], np.load(folder / "world.npz")["a"][..., :3]
  )
  np.testing.assert_allclose(
    opened.image_joints[:, 0], stored[..., :2] * [64, 48], rtol=1e-5
  )
  assert opened.fps == 10
  assert len(list(opened.frames())) == 6
  gap = np.isnan(dataset.read(clips[1]).pose).all(axis=(1, 2, 3))
  np.testing.assert_array_equal(gap, [0, 0, 1, 1, 0, 0])


def test_pixels_and_no_image_joints(folder):
  clip = open_it(folder).clips()[0][0]
  stored = np.load(folder / "image.npz")["a"][..., :2]
  with pytest.raises(BadClip, match=r"reaches 1\.00 .* 64x48, expected pixels: set"):
    open_it(folder, image_units="pixel").read(clip)
  np.savez(folder / "image.npz", a=40 * stored)
  pixels = open_it(folder, image_units="pixel").read(clip).image_joints
  np.testing.assert_allclose(pixels[:, 0], 40 * stored, rtol=1e-6)
  assert np.isnan(open_it(folder, image_joints=None).read(clip).image_joints).all()


def test_several_people(folder):
  pose = np.random.default_rng(0).normal(size=(6, 2, J, 3))
  np.savez(folder / "world.npz", a=pose)
  np.savez(folder / "image.npz", a=pose[..., :2])
  dataset = open_it(folder)
  assert dataset.read(dataset.clips()[0][0]).pose.shape == (6, 2, J, 3)


def test_pickling(folder):
  dataset = open_it(folder)
  clip = dataset.clips()[0][0]
  dataset.read(clip)  # opens the npz files
  copy = pickle.loads(pickle.dumps(dataset))
  np.testing.assert_array_equal(copy.read(clip).pose, dataset.read(clip).pose)


def test_column_names(folder):
  write(folder, "a,videos/a.mp4,wave,7", header="clip_id,video,label,age")
  assert open_it(folder).clips()[0][0].attributes == {"age": 7}
  write(folder, "a,videos/a.mp4,wave", header="id,file,action")
  columns = {"clip": "id", "video": "file", "label": "action"}
  assert open_it(folder, columns=columns).class_names == ("wave",)


def test_one_class_however_it_is_spelt(folder):
  write(folder, "a,videos/a.mp4,Nod,1", "b,videos/b.mp4,nod ,1", "c,videos/c.mp4,nod,1")
  dataset = open_it(folder)
  assert dataset.class_names == ("nod",)
  assert dataset.notes == [
    "one class, nod, is spelt in several ways: 'nod' (2), 'Nod' (1)"
  ]


def test_label_ids(folder):
  header = "clip,video,label,label_id"
  write(folder, "a,videos/a.mp4,wave,0", "b,videos/b.mp4,nod,1", header=header)
  dataset = open_it(folder)
  assert dataset.class_names == ("wave", "nod")
  assert [c.label for c in dataset.clips()[0]] == [0, 1]
  assert dataset.clips()[0][0].attributes == {}
  sorted_labels = open_it(folder, columns={"label_id": ""})
  assert sorted_labels.class_names == ("nod", "wave")
  for ids in (("1", "2"), ("0", "0"), ("0", "x"), ("0", "")):
    rows = (f"a,videos/a.mp4,wave,{ids[0]}", f"b,videos/b.mp4,nod,{ids[1]}")
    write(folder, *rows, header=header)
    with pytest.raises(ValueError, match="expected one id per label, 0 to 1"):
      open_it(folder)


def test_rows_that_cannot_be_used(folder):
  (folder.parent / "out.mp4").write_bytes((folder / "videos" / "a.mp4").read_bytes())
  outside = folder.parent / "out.mp4"
  write(
    folder,
    "a,videos/a.mp4,wave,1",
    "gone,videos/gone.mp4,wave,1",
    "up,../out.mp4,wave,1",
    "round,videos/../../out.mp4,wave,1",
    f"far,{outside},wave,1",
    "no label,videos/b.mp4,,1",
    ",videos/b.mp4,wave,1",
    "short,videos/b.mp4",
    "long,videos/b.mp4,wave,1,2",
  )
  clips, left_out = open_it(folder).clips()
  assert [c.name for c in clips] == ["a"]
  reasons = dict(left_out)
  assert len(reasons) == 8
  assert reasons["gone"] == "line 3 of index.csv: no video videos/gone.mp4"
  for name in ("up", "round", "far"):
    assert "leaves the folder of the csv" in reasons[name]
  assert reasons["no label"].endswith("no label")
  assert reasons["line 8 of index.csv"].endswith("no clip")
  assert "number of fields" in reasons["short"]
  assert "number of fields" in reasons["long"]
  clips, _ = open_it(folder, allow_absolute=True).clips()
  assert {"up", "round", "far"} <= {c.name for c in clips}


@pytest.mark.parametrize(
  ("world", "words"),
  [
    ({}, "world.npz has no array 'a'"),
    ({"a": np.zeros((6, 25, 3))}, r"float64 \[6, 25, 3\], expected float \[F, 33, 3"),
    ({"a": np.zeros((6, J, 2))}, r"\[6, 33, 2\], expected float"),
    ({"a": np.zeros((0, J, 3))}, r"\[0, 33, 3\], expected float"),
    ({"a": np.zeros((6, J))}, r"\[6, 33\], expected float"),
    ({"a": np.zeros((6, J, 3), int)}, "int64"),
    ({"a": np.full((6, J, 3), np.nan)}, "has nobody in any frame"),
    ({"a": np.full((6, J, 3), np.inf)}, "infinite numbers"),
    ({"a": np.ones((5, J, 3))}, "differ in frames, persons or joints"),
    ({"a": np.array([None, {}])}, r"cannot be read as npz \(ValueError: Object arrays"),
  ],
)
def test_bad_joints(world, words, folder):
  np.savez(folder / "world.npz", **world)
  dataset = open_it(folder)
  with pytest.raises(BadClip, match=words):
    dataset.read(dataset.clips()[0][0])


def test_damaged_npz(folder):
  dataset = open_it(folder)
  whole = bytearray((folder / "world.npz").read_bytes())
  whole[200:1200] = bytes(1000)
  (folder / "world.npz").write_bytes(whole)
  with pytest.raises(BadClip, match=r"world\.npz, array 'a' cannot be read"):
    dataset.read(dataset.clips()[0][0])
  (folder / "world.npz").write_bytes(b"PK")
  with pytest.raises(ValueError, match=r"cannot be read as npz .* numpy\.savez"):
    open_it(folder)


def test_source_follows_the_joints(folder):
  before = open_it(folder).source
  assert open_it(folder).source == before
  assert open_it(folder, image_units="pixel").source != before
  np.savez(folder / "world.npz", a=np.zeros((6, J, 3)))
  assert open_it(folder).source != before


def test_refusals(folder):
  with pytest.raises(ValueError, match="image_units is 'percent', expected"):
    open_it(folder, image_units="percent")
  with pytest.raises(ValueError, match=r"columns names \['name'\], expected among"):
    open_it(folder, columns={"name": "x"})
  with pytest.raises(FileNotFoundError, match=r"set config\.data\.world_joints"):
    open_it(folder, world_joints="nowhere.npz")
  with pytest.raises(ValueError, match="unknown skeleton 'coco'"):
    custom.Custom(folder / "index.csv", "coco", "world.npz")
  write(folder, "a,videos/a.mp4,wave,1", "a,videos/b.mp4,wave,1")
  with pytest.raises(
    ValueError, match=r"line 3 .* names 'a' again \(first on line 2\)"
  ):
    open_it(folder)
  write(folder, "a,b", header="name,film")
  with pytest.raises(
    ValueError, match=r"has the columns \['name', 'film'\], .*clip_id"
  ):
    open_it(folder)
  (folder / "index.csv").write_text("")
  with pytest.raises(ValueError, match=r"has the columns \[\]"):
    open_it(folder)
  (folder / "index.csv").unlink()
  with pytest.raises(FileNotFoundError, match=r"set config\.data\.index to a csv"):
    open_it(folder)


def config(**fields):
  return ml_collections.ConfigDict({"raw": "", **fields})


def test_open_dataset(folder):
  data = config(
    dataset="custom",
    index=str(folder / "index.csv"),
    skeleton="mediapipe_33",
    world_joints="world.npz",
    image_joints="image.npz",
    image_units="pixel",
  )
  assert (
    registry.open_dataset(data).source == open_it(folder, image_units="pixel").source
  )
  data.index = ""
  with pytest.raises(FileNotFoundError, match=r"config\.data\.index is not set"):
    registry.open_dataset(data)
  with pytest.raises(
    FileNotFoundError, match=r"config\.data\.raw is not set\. Request"
  ):
    registry.open_dataset(config(dataset="ntu60"))
  with pytest.raises(ValueError, match="'imagenet', expected one of"):
    registry.open_dataset(config(dataset="imagenet"))


def test_synthetic():
  data = config(dataset="synthetic", seed=3, num_clips=5, clip_frames=7)
  dataset = pickle.loads(pickle.dumps(registry.open_dataset(data)))
  assert dataset.class_names == generator.CLASSES
  clips, left_out = dataset.clips()
  assert (len(clips), left_out) == (5, [])
  assert [c.label for c in clips] == [0, 1, 2, 3, 4]
  opened = dataset.read(clips[2])
  assert opened.pose.shape == (7, 1, 25, 3)
  assert opened.image_joints.shape == (7, 1, 25, 2)
  frames = np.stack(list(opened.frames()))
  np.testing.assert_array_equal(
    frames, generator.make_clip(3, 2, dataset.settings).frames
  )
  with pytest.raises(ValueError, match="num_clips is 0"):
    synthetic_dataset.Synthetic(0, 0, generator.Settings())


def test_real_set(shared):
  index = shared / "body_gestures" / "index.csv"
  if not index.exists():
    pytest.skip("needs the real set of ../shared/data/body_gestures")
  files = {"world_joints": "world_joints.npz", "image_joints": "image_joints.npz"}
  dataset = custom.Custom(index, "mediapipe_33", **files)
  clips, left_out = dataset.clips()
  assert (len(clips), left_out, len(dataset.class_names)) == (225, [], 15)
  assert {c.attributes["subject"] for c in clips} == {1, 3, 5, 6, 8}
  opened = dataset.read(clips[0])
  assert opened.pose.shape == (80, 1, J, 3)
  # Inside the image, but for joints that the pose network extrapolates.
  assert 0 < np.nanmedian(opened.image_joints[..., 0]) < 640


def test_a_column_of_pose_files(folder, tmp_path):
  pose, scores = fake_pose_files.clip(6, joints=17)
  fake_pose_files.alphapose(folder / "poses" / "a.json", pose, scores)
  fake_pose_files.ultralytics_labels(folder / "poses" / "b", pose, scores, (64, 48))
  np.savez(
    folder / "poses" / "c.npz", world=np.ones((6, 17, 3)) * [[[1], [2]] * 8 + [[3]]]
  )
  out = fake_pose_files.alphapose(tmp_path.parent / "out.json", pose, scores)
  rows = {
    "a": "poses/a.json", "b": "poses/b", "c": "poses/c.npz", "d": "", "e": "poses/e",
    "f": out,
  }  # fmt: skip
  lines = [f"{name},videos/a.mp4,wave,{path}" for name, path in rows.items()]
  write(folder, *lines, header="clip,video,label,pose")
  opened = custom.Custom(folder / "index.csv", "coco_17")
  clips, left_out = opened.clips()
  assert [clip.name for clip in clips] == ["a", "b", "c"]
  assert clips[0].attributes == {}
  for (name, reason), want in zip(
    left_out,
    ("no pose", "no pose poses/e", "leaves the folder of the csv"),
    strict=True,
  ):
    assert want in reason, name
  for clip in clips[:2]:
    raw = opened.read(clip)
    np.testing.assert_allclose(raw.image_joints, pose, atol=1e-3)
    np.testing.assert_allclose(raw.visibility, scores, rtol=1e-5)
    assert (len(list(raw.frames())), raw.fps) == (6, 10)
  assert np.isfinite(opened.read(clips[2]).pose).all()
  assert opened.source["pose_format"] == ""

  # Without videos; a line may give the size of the image.
  write(folder, "b,wave,poses/b,640,480", header="clip,label,pose,width,height")
  opened = custom.Custom(folder / "index.csv", "coco_17", frames=False)
  raw = opened.read(opened.clips()[0][0])
  np.testing.assert_allclose(raw.image_joints, 10 * pose, atol=1e-2)
  assert (raw.frames, raw.fps) == (None, 30)
  with pytest.raises(ValueError, match="pose_format is 'bvh', expected one of"):
    custom.Custom(folder / "index.csv", "coco_17", pose_format="bvh")

  # Beside joints for all clips, a column of that name is like any other.
  write(folder, "a,videos/a.mp4,wave,1", header="clip,video,label,pose")
  assert open_it(folder).clips()[0][0].attributes == {"pose": 1}


def test_an_index_without_joints(folder):
  with pytest.raises(
    FileNotFoundError,
    match=r"world_joints is not set, and index\.csv has no column pose",
  ):
    custom.Custom(folder / "index.csv", "coco_17")


def pack(path, **more):
  """One npz of three clips with everything; returns the world joints of the first."""
  rng = np.random.default_rng(0)
  world = {f"world/c{i}": rng.uniform(0.1, 1.1, (5 + i, J, 4)) for i in range(3)}
  columns = {"clip": ["c0", "c1", "c2"], "label": ["b", "a", "b"], "fps": [20, 25, 30]}
  np.savez(path, **{**columns, "subject": [1, 2, 2], **world, **more})
  return world["world/c0"]


def test_one_npz_with_everything(tmp_path):
  path = tmp_path / "clips.npz"
  image = np.random.default_rng(1).uniform(0, 99, (5, J, 2))
  world = pack(path, **{"image/c0": image})
  opened = custom.Custom(path, "mediapipe_33", image_units="pixel", frames=False)
  clips, left_out = opened.clips()
  assert left_out == []
  assert (opened.class_names, opened.coordinates) == (("a", "b"), "world")
  assert [(c.name, c.label, c.video) for c in clips] == [
    ("c0", 1, None), ("c1", 0, None), ("c2", 1, None)
  ]  # fmt: skip
  assert [c.attributes["subject"] for c in clips] == [1, 2, 2]
  raw = pickle.loads(pickle.dumps(opened)).read(clips[0])
  np.testing.assert_array_equal(raw.pose[:, 0], np.float32(world[..., :3]))
  np.testing.assert_array_equal(
    raw.visibility[:, 0], np.float32(world[..., 3]).clip(0, 1)
  )
  np.testing.assert_array_equal(raw.image_joints[:, 0], np.float32(image))
  assert (raw.frames, raw.fps) == (None, 20.0)
  assert np.isnan(opened.read(clips[1]).image_joints).all()  # not all need both
  before = opened.source
  pack(path)
  assert custom.Custom(path, "mediapipe_33", frames=False).source != before


def test_one_npz_of_joints_in_the_image(tmp_path):
  path = tmp_path / "clips.npz"
  joints = np.random.default_rng(1).uniform(0, 1, (5, J, 3))
  columns = {"clip": ["x", "y"], "label": ["a", "b"]}
  size = {"width": [200, 200], "height": [100, 100]}
  np.savez(path, **columns, **size, **{"image/x": joints})
  opened = custom.Custom(path, "mediapipe_33", frames=False)
  assert opened.coordinates == "image"
  x, y = opened.clips()[0]
  raw = opened.read(x)
  np.testing.assert_allclose(
    raw.image_joints[:, 0], joints[..., :2] * [200, 100], rtol=1e-5
  )
  np.testing.assert_allclose(raw.visibility[:, 0], joints[..., 2], rtol=1e-6)
  with pytest.raises(BadClip, match=r"neither clips\.npz, array 'world/y' nor clips"):
    opened.read(y)
  np.savez(path, **columns, **{"image/x": joints})
  opened = custom.Custom(path, "mediapipe_33", frames=False)
  with pytest.raises(BadClip, match=r"fractions of a video whose size is unknown"):
    opened.read(opened.clips()[0][0])


def test_columns_of_one_npz_that_do_not_fit(tmp_path):
  path = tmp_path / "clips.npz"
  pack(path, subject=[1, 2])
  with pytest.raises(
    ValueError, match=r"has columns of shapes .*expected one value per"
  ):
    custom.Custom(path, "mediapipe_33", frames=False)
  pack(path, clip=["c0", "c0", "c2"])
  with pytest.raises(
    ValueError, match=r"clip 1 of clips\.npz names 'c0' again .*clip 0"
  ):
    custom.Custom(path, "mediapipe_33", frames=False)
  pack(path)
  with pytest.raises(ValueError, match=r"expected one for each of \['video'\]"):
    custom.Custom(path, "mediapipe_33")
  path.write_bytes(b"no npz")
  with pytest.raises(ValueError, match=r"clips\.npz cannot be read as npz"):
    custom.Custom(path, "mediapipe_33", frames=False)


def test_an_index_of_another_system(folder):
  text = (folder / "index.csv").read_text().replace("\n", "\r\n") + "\x1a"
  want = open_it(folder).clips()
  for encoding in ("utf-8-sig", "utf-16"):
    (folder / "index.csv").write_bytes(text.encode(encoding))
    assert open_it(folder).clips() == want


def test_joints_of_none_of_the_clips_are_refused_at_once(folder):
  np.savez(folder / "other.npz", x=np.ones((6, J, 3), np.float32))
  words = r"other\.npz has joints of none of the 3 clips: it holds 'x', .* 'a', 'b'"
  with pytest.raises(ValueError, match=words):
    open_it(folder, world_joints="other.npz").check()
  open_it(folder).check()
