"""A single video and its poses, from npz and skeleton files."""

import fake_pose_files
import numpy as np
import pytest

from vpn_jax.datasets import single_clip, skeletons, video_writer
from vpn_jax.datasets.base import BadClip, Clip
from vpn_jax.datasets.pose_files import reader

KINECT = skeletons.get("kinect_v2")


@pytest.fixture
def film(tmp_path):
  path = tmp_path / "x.avi"
  video_writer.write_video(path, np.zeros((6, 20, 40, 3), np.uint8), 5)
  return str(path)


def joints(*shape, scale=1.0):
  return (scale * np.random.default_rng(0).random(shape)).astype(np.float32)


def read(film, tmp_path, units="fraction", needs_image=True, **arrays):
  np.savez(tmp_path / "x.npz", **arrays)
  clip = Clip("x", 0, {}, film, str(tmp_path / "x.npz"))
  return single_clip.SingleClip(KINECT, units, needs_image=needs_image).read(clip)


def test_fractions_become_pixels(film, tmp_path):
  world, image = joints(6, 25, 4), joints(6, 25, 4)  # each with a visibility
  world[2, 3, 1] = np.nan
  made = read(film, tmp_path, world=world, image=image)
  assert made.pose.shape == (6, 1, 25, 3)
  assert np.isnan(made.pose[2, 0, 3]).all()  # a joint is known as a whole
  np.testing.assert_array_equal(made.pose[0, 0], world[0, :, :3])
  expected = image[..., :2] * np.float32([40, 20])
  np.testing.assert_allclose(made.image_joints[:, 0], expected, rtol=1e-6)
  assert made.fps == 5
  assert len(list(made.frames())) == 6


def test_pixels_and_several_persons(film, tmp_path):
  image = joints(6, 2, 25, 2, scale=30)
  made = read(film, tmp_path, "pixel", world=joints(6, 2, 25, 3), image=image)
  np.testing.assert_array_equal(made.image_joints, image)


def test_image_joints_are_optional_without_a_crop(film, tmp_path):
  made = read(film, tmp_path, needs_image=False, world=joints(6, 25, 3))
  assert np.isnan(made.image_joints).all()
  with pytest.raises(BadClip, match="holds no `image`, expected"):
    read(film, tmp_path, world=joints(6, 25, 3))


def test_without_poses_joints_are_at_the_origin(film):
  reader = single_clip.SingleClip(KINECT, "fraction", needs_image=False)
  made = reader.read(Clip("x", 0, {}, film))
  np.testing.assert_array_equal(made.pose, np.zeros((6, 1, 25, 3)))


@pytest.mark.parametrize(
  ("world", "image", "words"),
  [
    (joints(6, 33, 3), joints(6, 33, 2), r"\[6, 33, 3\], expected float \[F, 25, 3"),
    (joints(6, 25, 2), joints(6, 25, 2), r"`world` of x.npz is float32 \[6, 25, 2\]"),
    (joints(6, 25, 3), joints(5, 25, 2), "differ in frames, persons or joints"),
    (joints(0, 25, 3), joints(0, 25, 2), r"`world` of x.npz is float32 \[0, 25, 3\]"),
    (
      np.full((6, 25, 3), np.nan),
      joints(6, 25, 2),
      "`world` of x.npz has nobody in any frame",
    ),
    (np.zeros((6, 25, 3), int), joints(6, 25, 2), "`world` of x.npz is int64"),
    (joints(6, 25, 3), joints(6, 25, 2, scale=500), "image_units=pixel"),
  ],
)
def test_messages(world, image, words, film, tmp_path):
  with pytest.raises(BadClip, match=words):
    read(film, tmp_path, world=world, image=image)


@pytest.mark.parametrize("content", [b"", b"words", b"PK\x03\x04 cut off", None])
def test_files_that_are_not_npz(content, film, tmp_path):
  path = tmp_path / "x.npy"
  if content is None:
    np.save(path, joints(6, 25, 3))
  else:
    path.write_bytes(content)
  reader = single_clip.SingleClip(KINECT, "fraction", needs_image=True)
  with pytest.raises(BadClip, match="cannot be read as npz; expected arrays"):
    reader.read(Clip("x", 0, {}, film, str(path)))


def test_skeleton_file_of_another_skeleton(film, tmp_path):
  reader = single_clip.SingleClip(
    skeletons.get("mediapipe_33"), "pixel", needs_image=True
  )
  with pytest.raises(BadClip, match="those of kinect_v2, expected mediapipe_33"):
    reader.read(Clip("x", 0, {}, film, str(tmp_path / "x.skeleton")))


def test_units():
  with pytest.raises(ValueError, match="image_units is 'cm', expected 'fraction'"):
    single_clip.SingleClip(KINECT, "cm", needs_image=True)


def test_files_of_pose_estimators(film, tmp_path):
  pose, scores = fake_pose_files.clip(6, joints=17)
  path = fake_pose_files.alphapose(tmp_path / "x.json", pose, scores)
  folder = fake_pose_files.openpose(tmp_path / "x", *fake_pose_files.clip(6, joints=25))
  for file, body in ((path, "coco_17"), (folder, "openpose_25")):
    opened = single_clip.SingleClip(skeletons.get(body), "pixel", needs_image=True)
    made = opened.read(Clip("x", 0, {}, film, str(file)))
    assert np.isnan(made.pose).all()
    assert np.isfinite(made.image_joints).all()
    assert made.fps == 5
  np.testing.assert_allclose(made.image_joints, reader.read(folder).joints)


def test_a_file_without_the_empty_frames_at_the_end(film, tmp_path):
  pose, scores = fake_pose_files.clip(4, joints=17)
  path = fake_pose_files.alphapose(tmp_path / "x.json", pose, scores)
  coco = skeletons.get("coco_17")
  opened = single_clip.SingleClip(coco, "pixel", needs_image=True)
  made = opened.read(Clip("x", 0, {}, film, str(path)))  # of 6 frames
  for array in (made.pose, made.image_joints, made.visibility):
    assert len(array) == 6
    assert np.isnan(array[4:]).all()
  np.testing.assert_allclose(made.image_joints[:4], pose, rtol=1e-6)
  assert len(opened.read(Clip("x", 0, {}, None, str(path))).pose) == 4
