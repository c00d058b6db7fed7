"""Files, webcams and streams as frames in order."""

import functools
import http.server
import threading
import urllib.parse

import cv2
import fake_clips
import numpy as np
import pytest

from vpn_jax.datasets import video, video_writer
from vpn_jax.datasets.base import BadClip
from vpn_jax.inference import options, stream


def test_names():
  assert stream.is_live("0")
  assert stream.is_live("rtsp://camera/1")
  assert not stream.is_live("0.mp4")
  assert not stream.is_live("http/x.mp4")
  assert stream.public("my/x.mp4") == "my/x.mp4"
  assert stream.public("0") == "webcam 0"
  assert stream.public("rtsp://me:a@b@cam:554/1?x=2") == "rtsp://cam:554/1?x=2"


@pytest.mark.parametrize("name", ["7", "rec12:30.mp4", "a://b.avi", "-x #1?%41.avi"])
def test_a_path_that_exists_is_a_file(name, tmp_path, monkeypatch):
  """Whether it looks like a webcam, a protocol or an address; also as file:..."""
  monkeypatch.chdir(tmp_path)
  path = tmp_path / name
  path.parent.mkdir(exist_ok=True)
  video_writer.write_video(tmp_path / "x.avi", fake_clips.frames(3), 10)
  (tmp_path / "x.avi").rename(path)
  quoted = f"file://{urllib.parse.quote(str(path))}"
  for given in (name, f"file:{name}", f"file://{path}", quoted):
    film = stream.open_stream(given)
    assert not film.live
    assert len(list(film.frames)) == 3
    assert stream.public(name) == name
    assert options.Options(video=given).video in (name, str(path))
  with pytest.raises(FileNotFoundError, match=r"no file none\.avi: config"):
    options.Options(video="file:none.avi")


def test_a_film_is_written_under_any_name(tmp_path):
  path = tmp_path / "out12:30.mp4"
  video_writer.write_video(path, fake_clips.frames(3), 10)
  assert len(list(video.read_frames(path))) == 3


def test_file(tmp_path):
  path = str(tmp_path / "x.avi")
  video_writer.write_video(path, fake_clips.frames(5), 12.5)
  film = stream.open_stream(path)
  assert (film.name, film.fps, film.size, film.live) == (path, 12.5, (64, 48), False)
  expected = list(video.read_frames(path))
  np.testing.assert_array_equal(list(film.frames), expected)
  with pytest.raises(BadClip, match="cannot be opened"):
    stream.open_stream(__file__)


class Camera:
  """In place of cv2.VideoCapture: red frames, then none."""

  count, fps = 4, 25.0

  def __init__(self, index):
    self.index, self.left, self.released = index, self.count, False
    Camera.last = self

  def isOpened(self):
    return True

  def get(self, field):
    assert field == cv2.CAP_PROP_FPS
    return self.fps

  def read(self):
    self.left -= 1
    frame = np.zeros((6, 8, 3), np.uint8)
    frame[..., 2] = 200 + self.left
    return self.left >= 0, frame

  def release(self):
    self.released = True


def test_webcam(monkeypatch):
  monkeypatch.setattr(cv2, "VideoCapture", Camera)
  film = stream.open_stream("3")
  assert (film.name, film.fps, film.size, film.live) == ("webcam 3", 25, (8, 6), True)
  assert Camera.last.index == 3
  frames = list(film.frames)
  assert [f[0, 0].tolist() for f in frames] == [[200 + i, 0, 0] for i in (3, 2, 1, 0)]
  assert Camera.last.released


@pytest.mark.parametrize("report", [0.0, -1.0, 90000.0])
def test_webcam_that_does_not_say_its_rate(report, monkeypatch):
  monkeypatch.setattr(cv2, "VideoCapture", Camera)
  monkeypatch.setattr(Camera, "fps", report)
  assert stream.open_stream("0").fps == 30


def test_webcam_without_frames(monkeypatch):
  monkeypatch.setattr(cv2, "VideoCapture", Camera)
  monkeypatch.setattr(Camera, "count", 0)
  with pytest.raises(ValueError, match="webcam 0 shows no frame: see whether another"):
    stream.open_stream("0")


@pytest.fixture
def server(tmp_path, monkeypatch):
  """Serves `tmp_path` on this machine; its address."""
  for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)

  class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
      pass

  handler = functools.partial(Quiet, directory=str(tmp_path))
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://me:secret@127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()


def test_stream(server, tmp_path):
  video_writer.write_video(tmp_path / "x.mkv", fake_clips.frames(30), 12.5)
  film = stream.open_stream(f"{server}/x.mkv")
  assert (film.fps, film.size, film.live) == (12.5, (64, 48), True)
  assert film.name == f"{server.replace('me:secret@', '')}/x.mkv"
  expected = list(video.read_frames(tmp_path / "x.mkv"))
  np.testing.assert_array_equal(list(film.frames), expected)


def test_stream_goes_on_after_damage(server, tmp_path, capfd):
  """What is lost on the way is left out, where a file would be refused."""
  path = tmp_path / "x.avi"
  noise = np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3), np.uint8)
  video_writer.write_video(path, noise, 10)
  content = bytearray(path.read_bytes())
  start = len(content) // 2
  content[start : start + 2_000] = bytes(2_000)
  path.write_bytes(content)
  with pytest.raises(BadClip, match="is damaged at frame"):
    list(video.read_frames(path))
  frames = list(stream.open_stream(f"{server}/x.avi").frames)
  assert 5 < len(frames) < 30
  assert capfd.readouterr() == ("", "")


def test_messages_of_streams(server, tmp_path):
  (tmp_path / "x.mkv").write_bytes(b"words " * 500)
  (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nx.mkv\n")
  for file in ("x.mkv", "gone.mkv", "list.m3u8"):
    with pytest.raises(ValueError, match=rf"/{file} cannot be opened \(.*: give") as e:
      stream.open_stream(f"{server}/{file}")
    assert "\n" not in str(e.value)
    assert "secret" not in str(e.value)
  with pytest.raises(ValueError, match="port_nobody_has cannot be opened"):
    stream.open_stream("udplite://port_nobody_has")
