"""Damaged videos give frames or a BadClip; playlists, which name files, are refused.

No container has checksums of its frames, so pixels may change unnoticed, and a file cut
between two frames is a shorter video; `make_record` compares its length with the poses.
"""

import fuzzing
import numpy as np
import pytest

from vpn_jax.datasets import libav, video, video_writer
from vpn_jax.datasets.base import BadClip


@pytest.fixture(scope="module")
def films(tmp_path_factory):
  """Ending -> bytes of a video of 6 frames of 64x48."""
  folder = tmp_path_factory.mktemp("films")
  rng = np.random.default_rng(0)
  small = rng.integers(0, 255, (6, 6, 8, 3), np.uint8)
  frames = small.repeat(8, axis=1).repeat(8, axis=2)
  whole = {}
  for ending in ("mp4", "avi", "mkv"):
    path = folder / f"film.{ending}"
    video_writer.write_video(path, frames, 10)
    whole[ending] = path.read_bytes()
  return whole


def read(path):
  """The probe, and the number of frames."""
  header, count = video.probe(path), 0
  for frame in video.read_frames(path):
    assert frame.dtype == np.uint8
    assert frame.ndim == 3
    assert frame.shape[2] == 3
    count += 1
  return header, count


@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
def test_frames_or_a_bad_clip(ending, films, tmp_path_factory, capfd):
  path = tmp_path_factory.mktemp("damaged") / f"film.{ending}"

  @fuzzing.fuzz(1.5)
  def damaged(steps):
    path.write_bytes(fuzzing.apply(films[ending], steps))
    got = fuzzing.value_or_none(lambda: read(path), path.name, errors=BadClip)
    if got:
      header, count = got
      assert 0 < header.width * header.height <= 2**26
      assert 0 < header.fps < np.inf
      assert 0 < count < 100

  damaged()
  assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
  ("ending", "place"), [("mp4", "stsd"), ("mkv", "V_MPEG4"), ("avi", "H264")]
)
def test_a_stream_of_unknown_kind(ending, place, films, tmp_path):
  path = tmp_path / f"film.{ending}"
  path.write_bytes(films[ending].replace(place.encode(), b"?" * len(place)))
  with pytest.raises(BadClip, match=rf"film\.{ending} "):
    read(path)


@pytest.mark.parametrize("size", range(1, 60))
def test_the_first_bytes_alone(size, films, tmp_path):
  """libav raises its own EOFError, too, which is not an OSError."""
  path = tmp_path / "film.mkv"
  path.write_bytes(films["mkv"][:size])
  with pytest.raises(BadClip, match=r"film\.mkv cannot be opened"):
    video.probe(path)


def test_a_frame_too_large(films, tmp_path, monkeypatch):
  path = tmp_path / "film.mp4"
  path.write_bytes(films["mp4"])
  monkeypatch.setattr(libav, "MOST_PIXELS", 64 * 48 - 1)
  with pytest.raises(BadClip, match=r"has a header with frames of 64x48 pixels"):
    video.probe(path)
  with pytest.raises(BadClip, match=r"film\.mp4 is damaged at frame 0"):
    next(video.read_frames(path))


PLAYLISTS = {
  "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n{}\n#EXT-X-ENDLIST\n",
  "list.mp4": "ffconcat version 1.0\nfile {}\n",
  "list.avi": "#EXTM3U\n#EXTINF:1.2,\n{}\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
@pytest.mark.parametrize("place", ["inner.ts", "../outer.ts"])
def test_a_playlist_does_not_lead_to_another_file(name, place, tmp_path):
  folder = tmp_path / "videos"
  folder.mkdir()
  film = folder / place
  frames = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8)
  video_writer.write_video(film, frames, 10)
  assert read(film)[1] == 12  # the video itself can be read
  (folder / name).write_text(PLAYLISTS[name].format(place))
  with pytest.raises(BadClip, match=f"video {name} cannot be opened"):
    video.probe(folder / name)
