"""Frames are written as a reader finds them."""

import numpy as np
import pytest

from vpn_jax.datasets import video, video_writer


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_written_times_are_read(ending, tmp_path):
  seconds = [0, 0.1, 0.2, 0.4, 0.6, 0.7, 1.5]
  path = tmp_path / f"x.{ending}"
  with video_writer.Writer(path, 10) as film:
    for i, time in enumerate(seconds):
      film.add(np.full((32, 32, 3), 30 * i, np.uint8), time)
  times = video.Times(10)
  frames = [f.mean() for f in video.read_frames(path, times=times)]
  np.testing.assert_allclose(frames, 30 * np.arange(7), atol=3)
  np.testing.assert_allclose([times[i] for i in range(7)], seconds, atol=1e-3)


def test_odd_sides_lose_a_pixel(tmp_path):
  video_writer.write_video(
    tmp_path / "odd.mp4", [np.zeros((33, 35, 3), np.uint8)] * 2, 5
  )
  assert next(video.read_frames(tmp_path / "odd.mp4")).shape == (32, 34, 3)


def test_write_refuses_invalid_frames(tmp_path):
  with pytest.raises(ValueError, match="got 0, expected at least 1"):
    video_writer.write_video(tmp_path / "a.mp4", [], 10)
  frames = [np.zeros((32, 32, 3), np.uint8), np.zeros((16, 32, 3), np.uint8)]
  with pytest.raises(ValueError, match=r"frame 1 .* expected uint8 \(32, 32, 3\)"):
    video_writer.write_video(tmp_path / "b.mp4", frames, 10)
  with pytest.raises(ValueError, match=r"frame 0 .* float64"):
    video_writer.write_video(tmp_path / "c.mp4", [np.zeros((32, 32, 3))], 10)
