"""Videos: round trips, and reasons without other output for damaged files."""

import types

import fake_video
import numpy as np
import pytest

from vpn_jax.datasets import video, video_writer
from vpn_jax.datasets.base import BadClip


@pytest.fixture(scope="module")
def film(tmp_path_factory):
  """An mp4 of 20 grey frames; the level is ten times the frame number."""
  path = tmp_path_factory.mktemp("video") / "film.mp4"
  frames = (np.full((48, 64, 3), 10 * i, np.uint8) for i in range(20))
  assert video_writer.write_video(path, frames, 12.5) == 20
  return path


def test_round_trip_in_order(film):
  frames = list(video.read_frames(film))
  assert [f.shape for f in frames] == [(48, 64, 3)] * 20
  assert all(f.dtype == np.uint8 for f in frames)
  np.testing.assert_allclose([f.mean() for f in frames], 10.0 * np.arange(20), atol=3)


def test_colours_are_rgb(tmp_path):
  red = np.zeros((32, 32, 3), np.uint8)
  red[..., 0] = 200
  video_writer.write_video(tmp_path / "red.mp4", [red] * 3, 10)
  mean = next(video.read_frames(tmp_path / "red.mp4")).mean(axis=(0, 1))
  np.testing.assert_allclose(mean, [200, 0, 0], atol=12)


def test_probe(film):
  assert video.probe(film) == video.Probe(64, 48, 12.5, 20)


def test_frames_are_decoded_one_by_one(film):
  frames = video.read_frames(film)
  assert isinstance(frames, types.GeneratorType)
  next(frames)
  frames.close()  # closes the file; pytest warns about open ones


def test_threads_do_not_change_frames(film):
  one, two = (np.stack(list(video.read_frames(film, threads=n))) for n in (1, 2))
  np.testing.assert_array_equal(one, two)


def test_times_follow_the_time_stamps(tmp_path):
  """Half the rate from the third frame on, and a pause; the file begins at 3 s."""
  seconds = [0, 0.05, 0.1, 0.2, 0.3, 1.5]
  frames = [np.full((32, 32, 3), 40 * i, np.uint8) for i in range(6)]
  for name in ("x.mp4", "x.mkv"):
    fake_video.write(tmp_path / name, frames, times=[3 + t for t in seconds])
    times = video.Times(20)
    read = video.read_frames(tmp_path / name, times=times)
    for i, frame in enumerate(read):  # known as soon as the frame is
      assert frame.mean() == pytest.approx(40 * i, abs=3)
      assert times[i] == pytest.approx(seconds[i], abs=1e-3)
    assert times[6] == pytest.approx(1.55, abs=1e-3)  # the end: 1 / 20 s later
    assert times.at(4.5) == pytest.approx(0.9, abs=1e-3)


def test_times_without_stamps_and_with_wrong_ones():
  times = video.Times(10)
  assert times[7] == pytest.approx(0.7)
  for stamp in (5, None, 5.3, 5.3, 4):
    times.add(stamp)
  assert [times[i] for i in range(6)] == pytest.approx([0, 0.1, 0.3, 0.4, 0.5, 0.6])


def test_damaged_files_say_why_and_print_nothing(film, tmp_path, capfd):
  whole = film.read_bytes()
  cases = {
    "empty": (b"", r"empty\.mp4 is an empty file"),
    "text": (b"not a video at all " * 50, r"text\.mp4 cannot be opened"),
    "half": (whole[: len(whole) // 2], r"half\.mp4 cannot be opened"),
  }
  for name, (content, words) in cases.items():
    path = tmp_path / f"{name}.mp4"
    path.write_bytes(content)
    for read in (video.probe, lambda p: list(video.read_frames(p))):
      with pytest.raises(BadClip, match=words) as caught:
        read(path)
      assert str(tmp_path) not in str(caught.value)
  assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("place", [0.25, 0.5])
def test_damage_in_the_middle_names_the_frame(place, tmp_path, capfd):
  path = tmp_path / "film.avi"
  frames = np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3), np.uint8)
  video_writer.write_video(path, frames, 10)
  content = bytearray(path.read_bytes())
  start = int(place * len(content))
  content[start : start + 2_000] = bytes(2_000)
  path.write_bytes(content)
  with pytest.raises(BadClip, match=r"film\.avi is damaged at frame \d+"):
    list(video.read_frames(path))
  assert capfd.readouterr() == ("", "")


def test_no_video(tmp_path):
  with pytest.raises(BadClip, match=r"gone\.mp4 does not exist"):
    video.probe(tmp_path / "gone.mp4")
  with pytest.raises(BadClip, match="does not exist or is not a file"):
    video.probe(tmp_path)


def test_real_video(shared):
  path = shared / "sample" / "S001C001P001R001A001_rgb.avi"
  if not path.exists():
    pytest.skip("needs the real NTU sample of ../shared/data/sample")
  assert video.probe(path) == video.Probe(1920, 1080, 30.0, 103)
