"""One clip -> its record: lengths, gaps, units and refusals."""

import dataclasses

import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.datasets.synthetic import generator
from vpn_jax.records import crop, make_record


class Fake:
  """A dataset of one clip in memory."""

  name, class_names, skeleton, source = "fake", ("a",), "kinect_v2", {}

  def __init__(self, pose, frames, at, **options):
    joints = np.full((*pose.shape[:-1], 2), at, np.float32)
    joints[:, :, 0] *= 2
    self.opened = RawClip(pose, joints, lambda: iter(frames), 30.0, **options)

  def read(self, clip):
    return self.opened


def make(pose, num_frames, kind="joints", at=20.0, **options):
  frames = [np.full((48, 64, 3), i, np.uint8) for i in range(num_frames)]
  recipe = {**crop.recipe(kind, size=32), "jpeg_quality": 90}
  dataset = Fake(pose, frames, at, **options)
  return make_record.make_record(dataset, Clip("a", 0, {}), recipe)


def test_lengths_must_be_equal():
  pose = np.ones((20, 1, 25, 3), np.float32)
  for num_frames in (18, 19, 21, 25):
    words = f"20 poses but {num_frames} video frames, expected a pose for each frame"
    with pytest.raises(BadClip, match=words):
      make(pose, num_frames)
  with pytest.raises(BadClip, match="20 poses but more than 20 video frames"):
    make(pose, 200)
  assert make(pose, 20).note == ""


def test_lengths_that_differ_a_little_are_trimmed_where_sensors_drop_frames():
  pose = np.ones((20, 1, 25, 3), np.float32)
  for num_frames in (18, 20, 22):
    record = make(pose, num_frames, drops_frames=True)
    note = "20 poses for 18 frames: the first 18 are kept"
    assert record.note == (note if num_frames == 18 else "")
    common = min(20, num_frames)
    assert len(record.frames) == len(record.pose) == len(record.image_joints) == common
  for num_frames in (17, 23, 200):
    with pytest.raises(BadClip, match=r"20 poses but .* video frames, expected a diff"):
      make(pose, num_frames, drops_frames=True)
  with pytest.raises(BadClip, match="holds no frame"):
    make(pose, 0)


@pytest.mark.parametrize("kind", ["joints", "full"])
def test_poses_that_end_before_the_video_because_nobody_follows(kind):
  pose = np.ones((20, 1, 25, 3), np.float32)
  visibility = np.full((20, 1, 25), 0.5, np.float32)
  record = make(pose, 50, kind, open_ended=True, visibility=visibility)
  assert len(record.frames) == len(record.boxes) == 50
  for array in (record.pose, record.image_joints, record.visibility):
    assert len(array) == 50
    assert np.isfinite(array[:20]).all()
    assert np.isnan(array[20:]).all()
  np.testing.assert_array_equal(record.boxes[20:], record.boxes[[19] * 30])
  with pytest.raises(BadClip, match="20 poses but 19 video frames"):
    make(pose, 19, kind, open_ended=True)
  with pytest.raises(BadClip, match="20 poses but 15 video frames"):
    make(pose, 15, kind, open_ended=True)


def test_full_frame():
  record = make(np.ones((4, 1, 25, 3), np.float32), 4, kind="full")
  np.testing.assert_array_equal(record.boxes, [[0, -8, 64, 56]] * 4)
  np.testing.assert_allclose(record.image_joints[0, 0, 1], [10.0, 14.0])


def test_nobody():
  pose = np.full((20, 1, 25, 3), np.nan, np.float32)
  with pytest.raises(BadClip, match="nobody in any frame"):
    make(pose, 20)
  pose[19] = 1.0
  with pytest.raises(BadClip, match="nobody in the first 19 frames"):
    make(pose, 19, drops_frames=True)


def test_no_image_joints():
  pose = np.ones((4, 1, 25, 3), np.float32)
  with pytest.raises(BadClip, match=r"no joints in the image to crop by: .*crop=full"):
    make(pose, 4, at=np.nan)
  assert np.isnan(make(pose, 4, kind="full", at=np.nan).image_joints).all()


def test_gaps():
  """Values are frame numbers, so that linear interpolation restores them."""
  joints = np.arange(40, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 3))
  holed = joints.copy()
  holed[:2] = holed[38:] = np.nan  # start and end stay
  holed[5:15, 0] = np.nan  # ten frames are filled
  holed[20:31, 1] = np.nan  # eleven are not
  holed[33, :, 2] = np.nan  # a single joint
  filled = make_record.fill_gaps(holed)
  want = joints.copy()
  want[:2] = want[38:] = np.nan
  want[20:31, 1] = np.nan
  np.testing.assert_allclose(filled, want, rtol=1e-6)
  assert filled.dtype == np.float32
  assert np.isnan(holed[5, 0]).all()  # the argument is unchanged
  assert np.isnan(make_record.fill_gaps(np.full((3, 1, 2, 3), np.nan))).all()


@pytest.mark.parametrize(
  ("factor", "message"),
  [(0.1, "multiply the joints by 10$"), (1000.0, "multiply the joints by 0.001$")],
)
def test_poses_in_another_unit_are_refused(factor, message):
  skeleton = skeletons.get("kinect_v2")
  pose = generator.make_clip(0, 0, generator.Settings(num_frames=2)).pose[:, None]
  make_record.check_unit(pose, skeleton)
  make_record.check_unit(2.0 * pose, skeleton)  # a giant, not another unit
  with pytest.raises(BadClip, match=r"longest bone measures .* m, expected 0.1 to"):
    make_record.check_unit(factor * pose, skeleton)
  with pytest.raises(BadClip, match=message):
    make_record.check_unit(factor * pose, skeleton)
  seen_at_one_place = np.zeros_like(pose)
  make_record.check_unit(seen_at_one_place, skeleton)
  pose[1] = np.nan  # not seen in half of the frames
  make_record.check_unit(pose, skeleton)


def test_the_unit_of_the_second_person_where_the_first_is_empty():
  pose = np.random.default_rng(0).normal(size=(3, 2, 25, 3)) * 200
  pose[:, 0] = np.nan
  with pytest.raises(BadClip, match=r"multiply the joints by 0\.001"):
    make_record.check_unit(pose, skeletons.get("kinect_v2"))


def test_image_joints_alone():
  """The gap is filled in the image, and there is no unit to check."""
  pose = np.full((6, 1, 25, 3), np.nan, np.float32)
  dataset = Fake(pose, [], 20.0)
  with pytest.raises(BadClip, match="nobody in any frame"):  # of poses in metres
    make_record.make_record(dataset, Clip("a", 0, {}), crop.recipe("none"))
  dataset.coordinates = "image"
  joints = dataset.opened.image_joints
  joints[:] = 1000 * np.arange(6)[:, None, None, None]  # no body is as large in metres
  joints[2] = np.nan
  record = make_record.make_record(dataset, Clip("a", 0, {}), crop.recipe("none"))
  np.testing.assert_array_equal(record.image_joints[:, 0, 0, 0], 1000 * np.arange(6))
  assert (record.visibility[2] == 0).all()
  assert np.isnan(record.visibility[[0, 1, 3]]).all()
  assert np.isnan(record.pose).all()
  joints[:] = np.nan
  with pytest.raises(BadClip, match="nobody in any frame"):
    make_record.make_record(dataset, Clip("a", 0, {}), crop.recipe("none"))


def test_frames_need_a_video():
  dataset = Fake(np.ones((6, 1, 25, 3), np.float32), [], 20.0)
  dataset.opened = dataclasses.replace(dataset.opened, frames=None)
  recipe = {**crop.recipe("full", size=32), "jpeg_quality": 90}
  with pytest.raises(BadClip, match="it has no video, as records with frames need"):
    make_record.make_record(dataset, Clip("a", 0, {}), recipe)
