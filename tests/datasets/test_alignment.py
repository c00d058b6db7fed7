"""Poses that are not as many as the frames of their video."""

import fake_video
import numpy as np
import pytest

from vpn_jax.datasets import alignment, custom, folders, single_clip, skeletons, video
from vpn_jax.datasets.base import BadClip, Clip, RawClip

BODY = skeletons.get("kinect_v2")
NAN = float("nan")


def test_resampled_by_hand():
  array = np.float32([[0, 0], [10, NAN], [20, 4]])
  made = alignment.resample(array, np.array([0, 0.4, 0.6, 1.5, 2, 7]))
  expected = [[0, 0], [4, 0], [6, NAN], [15, 4], [20, 4], [20, 4]]
  np.testing.assert_allclose(made, expected, rtol=1e-6)
  assert made.dtype == np.float32


def linear(count, fps):
  """A person whose joints all are at (1 + t, 1 + t, 1 + t) after t seconds."""
  line = 1 + np.arange(count) / fps
  return np.tile(line[:, None, None], (1, 25, 3)).astype(np.float32)


@pytest.fixture
def film(tmp_path):
  """62 frames at 20 a second, but for a pause of half a second in the middle."""
  seconds = np.arange(62) / 20 + 0.5 * (np.arange(62) >= 31)
  path = tmp_path / "a" / "x.mp4"
  path.parent.mkdir()
  fake_video.write(path, [np.zeros((32, 32, 3), np.uint8)] * 62, times=seconds)
  return path, seconds


def save(path, rate, count, **more):
  pose = linear(count, rate)
  np.savez(path.with_suffix(".npz"), world=pose, image=pose[..., :2] * 5, **more)


def readers(path):
  """The clip as each kind of dataset reads it."""
  yield folders.Folders(path.parents[1], "kinect_v2", image_units="pixel"), None
  (path.parents[1] / "index.csv").write_text(
    "clip,video,label,pose\nx,a/x.mp4,a,a/x.npz\n"
  )
  yield (
    custom.Custom(path.parents[1] / "index.csv", "kinect_v2", image_units="pixel"),
    None,
  )
  clip = Clip("x", 0, {}, str(path), str(path.with_suffix(".npz")))
  yield single_clip.SingleClip(BODY, "pixel", needs_image=True), clip


def test_both_rates_are_known(film):
  """Poses of 3.6 s at 15 a second are taken when the frames are shown."""
  path, seconds = film
  save(path, 15, 54, fps=15)
  for dataset, clip in readers(path):
    raw = dataset.read(clip or dataset.clips()[0][0])
    expected = 1 + np.minimum(seconds, 53 / 15)
    np.testing.assert_allclose(raw.pose[:, 0, 7, 0], expected, atol=2e-3)
    np.testing.assert_allclose(raw.image_joints[:, 0, 7, 1], 5 * expected, atol=1e-2)
    assert raw.note == "54 poses at 15 a second, taken at the times of 62 frames"


def test_a_pose_for_every_frame_stays(film):
  path, _ = film
  save(path, 20, 62, fps=15)
  for dataset, clip in readers(path):
    raw = dataset.read(clip or dataset.clips()[0][0])
    np.testing.assert_array_equal(raw.pose[:, 0], linear(62, 20))
    assert raw.note == ""


def test_poses_of_another_duration_are_refused(film):
  path, _ = film
  save(path, 15, 48, fps=15)
  words = r"48 poses at 15 a second last 3.20 s, its 62 video frames 3.6\d s, expected"
  for dataset, clip in readers(path):
    with pytest.raises(BadClip, match=words):
      dataset.read(clip or dataset.clips()[0][0])


def test_a_rate_in_the_index(film):
  path, seconds = film
  np.savez(path.parent / "world.npz", x=linear(54, 15))
  index = path.parents[1] / "index.csv"
  index.write_text("clip,video,label,fps\nx,a/x.mp4,a,15\n")
  dataset = custom.Custom(index, "kinect_v2", path.parent / "world.npz")
  raw = dataset.read(dataset.clips()[0][0])
  expected = 1 + np.minimum(seconds, 53 / 15)
  np.testing.assert_allclose(raw.pose[:, 0, 7, 0], expected, atol=2e-3)


def test_without_a_rate_or_a_video_nothing_changes(film):
  pose = linear(5, 10)[:, None]
  for frames, fps in ((None, 10), (video.File(film[0]), None)):
    raw = RawClip(pose, pose[..., :2], frames, 20.0)
    assert alignment.to_video(raw, fps) is raw
