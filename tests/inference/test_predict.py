"""Tests of vpn_jax/inference/predict.py: a video in, the best classes out."""

import dataclasses
import json
import signal

import fake_clips
import fake_run
import fake_video
import numpy as np
import pytest

import vpn_jax
from vpn_jax import drawing
from vpn_jax.datasets import protocol_settings, video
from vpn_jax.datasets.base import BadClip
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.inference import (
  overlay,
  predict,
  stream,
  trained_network,
  video_scores,
  windows,
)
from vpn_jax.jobs import predict as predict_job
from vpn_jax.records import store
from vpn_jax.training.provenance import Provenance

asked, small, LENGTHS = fake_clips.asked, fake_clips.small, fake_clips.LENGTHS


def test_prediction_is_what_evaluation_says(clips, tmp_path, capsys):
  """A clip gets the same scores from its files as from its record."""
  vpn_jax.evaluate(small(clips), str(clips / "run"))
  known = predictions_lib.read(clips / "run" / "test")
  assert known.names == ("nod2", "wave2")
  assert np.abs(known.scores[0] - known.scores[1]).max() > 1e-3
  for name, expected in zip(LENGTHS, known.scores):
    out = tmp_path / "made" / "x.json"
    config = asked(clips, name, json=str(out), top=9)
    predict_job.run(config, str(clips / "run"))
    report = json.loads(out.read_text())
    scores = {entry["class"]: entry["score"] for entry in report["top"]}
    np.testing.assert_allclose([scores["nod"], scores["wave"]], expected, atol=2e-6)
    assert report["frames"] == LENGTHS[name]
    assert report["combined"] == "max"
    # 20 frames: 16 of them at stride 2 from 2; 13 frames: 8 of them from 2.
    last = {"nod": 16, "wave": 9}[name]
    best = report["top"][0]
    times = {"start": 0.0, "end": LENGTHS[name] / 10}
    assert report["windows"] == [{"first": 2, "last": last, **times, **best}]
    assert set(report["speed"]["stages"]) == {"decode", "crop", "network"}
    printed = capsys.readouterr()
    assert f"loading {clips / 'run'}" in printed.err
    lines = printed.out.splitlines()
    assert f"{LENGTHS[name]} frames ({LENGTHS[name] / 10} s), 1 window(s)" in lines[0]
    assert lines[1].split(maxsplit=2) == ["1", f"{best['score']:.4f}", best["class"]]
    assert "frames/s end to end" in lines[-1]


def test_joints_in_the_image_are_those_of_the_record(clips, tmp_path):
  """Their place in the crop and its size do not count."""
  config = small(clips)
  config.data.example.coordinates = "image"
  index = store.read_index(config.data.records)
  protocol = protocol_settings.from_config(config.data)
  fake_run.save_network(config, tmp_path / "run", Provenance.of(index, protocol))
  vpn_jax.evaluate(config, str(tmp_path / "run"))
  known = predictions_lib.read(tmp_path / "run" / "test")
  network = vpn_jax.load(str(tmp_path / "run"))
  for name, expected in zip(LENGTHS, known.scores):
    video, pose = (str(clips / f"{name}.{end}") for end in ("avi", "npz"))
    result = vpn_jax.predict(network, video, pose=pose, image_units="pixel")
    np.testing.assert_allclose(result.scores, expected, atol=2e-6)


def test_visual_network_needs_a_pose_only_for_the_crop(clips, capsys):
  config = asked(clips, pose="", overlay=str(clips / "visual.mp4"))
  predict_job.run(config, str(clips / "visual"))
  assert "20 frames" in capsys.readouterr().out
  frames = list(video.read_frames(clips / "visual.mp4"))
  assert len(frames) == 20
  with pytest.raises(FileNotFoundError, match="sees a crop around the person"):
    predict_job.run(config, str(clips / "visual_crop"))
  config.predict.update(pose=str(clips / "nod.npz"), overlay="")
  predict_job.run(config, str(clips / "visual_crop"))


def test_overlay_shows_heat_skeleton_and_scores(clips, capsys):
  film = clips / "over.mp4"
  predict_job.run(asked(clips, overlay=str(film)), str(clips / "run"))
  assert f"wrote {film}, 20 frames" in capsys.readouterr().out
  header = video.probe(film)
  assert (header.width, header.fps) == (480, 10)  # enlarged from 64
  assert header.height > 360
  drawn = np.stack(list(video.read_frames(film)))
  plain = np.stack(list(video.read_frames(clips / "nod.avi")))
  with np.load(clips / "nod.npz") as file:
    right = file["image"][..., 0].max() + 0.2 * 40  # beyond the slack around it
  small_copy = drawn[:, :360][:, 3::7, 3::7][:, :48, :64].astype(int)  # 7.5 to one
  outside = np.abs(drawn[:, 4:356, 470:478].mean() - plain[:, :, 63:].mean())
  assert right < 62
  assert outside < 6  # nothing is drawn beside the crop
  assert small_copy[:, 20:30, 25:40].std(axis=-1).mean() < plain.std(axis=-1).mean()
  assert drawn[:, 365:].max() > 200  # white words on black
  assert np.median(drawn[:, 365:, 470:]) < 30


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"video": "", "pose": ""}, "config.predict.video is not set: add"),
    ({"video": ""}, "takes frames, and config.predict.video is not set: give the"),
    ({"video": "none.mp4"}, "no file none.mp4: config.predict.video is a video"),
    ({"pose": ""}, "takes poses, and config.predict.pose is not set: give the"),
    ({"pose": "none.npz"}, "no file none.npz: config.predict.pose is a skeleton"),
    ({"top": 0}, "config.predict.top is 0, expected 1 or more"),
    ({"window_stride": -1}, "window_stride is -1, expected 0 or more"),
    ({"max_windows": -2}, "max_windows is -2, expected 0 or more"),
    ({"overlay": "x.gif"}, "overlay is x.gif, expected a name that ends in .mp4"),
    ({"timeline": "x.gif"}, "timeline is x.gif, expected a name that ends in .png, "),
    ({"image_units": "cm"}, "image_units is 'cm', expected 'fraction' or 'pixel'"),
    ({"image_units": "fraction"}, "expected fractions .*image_units=pixel"),
    ({"video": __file__}, "cannot be opened"),
    ({"pose": __file__}, "cannot be read as npz; expected arrays"),
  ],
)
def test_messages(fields, words, clips):
  with pytest.raises((ValueError, FileNotFoundError), match=words) as e:
    predict_job.run(asked(clips, **fields), str(clips / "run"))
  assert "\n" not in str(e.value)


def test_messages_of_video_and_pose_that_do_not_belong_together(clips):
  config = asked(clips, pose=str(clips / "wave.npz"))
  with pytest.raises(ValueError, match=r"13 poses but 20 video frames.*Give"):
    predict_job.run(config, str(clips / "run"))


def test_messages_of_the_workdir(clips, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"nowhere, which is not a folder"):
    trained_network.load(str(tmp_path / "nowhere"))
  assert not (tmp_path / "nowhere").exists()
  with pytest.raises(FileNotFoundError, match="no checkpoint in"):
    trained_network.load(str(tmp_path))
  network = trained_network.load(str(clips / "run"))
  provenance = dataclasses.replace(network.provenance, skeleton_digest="0" * 8)
  fake_run.save_network(small(clips), tmp_path / "old", provenance)
  with pytest.raises(ValueError, match=r"digest .* was trained with 00000000: use"):
    trained_network.load(str(tmp_path / "old"))


def test_records_are_not_needed(clips, tmp_path, monkeypatch):
  """Prediction opens no dataset: not its index, not its records."""

  def refuse(*_):
    raise AssertionError("opened an index")

  monkeypatch.setattr(store, "read_index", refuse)
  predict_job.run(asked(clips), str(clips / "run"))


# Long videos


@pytest.fixture
def long(clips, tmp_path):
  """A config for a video of 40 frames, five of the network's; nobody until 17."""
  world, image = fake_clips.write(tmp_path, "long", 40)
  world[:17] = np.nan
  np.savez(tmp_path / "long.npz", world=world, image=image)
  return asked(tmp_path, "long")


def test_long_video_takes_the_maximum_of_its_windows(clips, long, tmp_path, capsys):
  files = {
    name: str(tmp_path / "made" / f"x.{name}") for name in ("json", "png", "mp4")
  }
  long.predict.update(
    json=files["json"], timeline=files["png"], overlay=files["mp4"], top=2
  )
  predict_job.run(long, str(clips / "run"))
  with open(files["json"]) as file:
    report = json.load(file)
  assert [(w["first"], w["last"]) for w in report["windows"]] == [(16, 30), (24, 38)]
  best = max(w["score"] for w in report["windows"])
  assert report["top"][0]["score"] == best
  assert report["frames"] == 40
  printed = capsys.readouterr().out
  assert "40 frames (4.0 s), 2 window(s), 1 left out, max of their" in printed
  for file in files.values():
    assert f"wrote {file}" in printed
  drawn = list(video.read_frames(files["mp4"]))
  assert len(drawn) == 40
  bars = [(abs(f[360:].astype(int) - (120, 50, 0)).max(axis=-1) < 40) for f in drawn]
  assert not bars[0].any()  # nobody, no score
  assert bars[35].any()


def test_max_windows_are_those_that_were_looked_at(clips, long, tmp_path, capsys):
  long.predict.update(max_windows=1, overlay=str(tmp_path / "x.mp4"))
  predict_job.run(long, str(clips / "run"))
  assert "32 frames (3.2 s), 1 window(s), 1 left" in capsys.readouterr().out
  assert len(list(video.read_frames(tmp_path / "x.mp4"))) == 32


class Stub:
  """Looks at the first frame of each window, and says how bright it is."""

  network, combined, skeleton = "stub", "max", None
  class_names, length, stride = ("dark", "bright"), 4, 2

  def segments(self, film, buffer):
    def kept():
      for frame in film.frames:
        buffer.append(frame)
        yield frame

    for first, frames, _ in windows.slide(kept(), self.length, self.stride):
      end = first + len(frames)
      yield windows.Segment(first, end, (first, end - 1), frames[0].mean() / 255)

  def forward(self, batch):
    return np.float32([1 - batch, batch]), None


def film(count, live=False):
  frames = (np.full((360, 480, 3), 10 * t, np.uint8) for t in range(count))
  return stream.Stream("synthetic", frames, 10, (480, 360), live)


def test_frames_show_the_window_whose_middle_is_nearest(monkeypatch, tmp_path):
  shown = []
  monkeypatch.setattr(
    drawing, "draw_scores", lambda f, best, rows: shown.append(dict(best)) or f
  )
  with windows.FrameBuffer(6) as buffer:
    with overlay.OverlayWriter(str(tmp_path / "x.mp4"), 10, Stub(), buffer) as drawn:
      result = predict.recognize(Stub(), film(9), buffer, drawn)
  assert [w.span for w in result.windows] == [(0, 4), (2, 6), (4, 8), (5, 9)]
  firsts = [round(s["bright"] * 25.5) for s in shown]
  assert firsts == [0, 0, 0, 2, 2, 4, 4, 5, 5]  # middles at 2, 4, 6 and 7


def test_times_follow_the_time_stamps(tmp_path):
  """Frame 8 of 10 is shown at 1.6 s: the rate halves in the middle."""
  seconds = [0.1 * t if t < 5 else 0.5 + 0.3 * (t - 5) for t in range(10)]
  frames = [np.full((360, 480, 3), 10 * t, np.uint8) for t in range(10)]
  fake_video.write(tmp_path / "x.mp4", frames, times=seconds)
  drawn = str(tmp_path / "drawn.mp4")
  opened = stream.open_stream(str(tmp_path / "x.mp4"))
  with windows.FrameBuffer(6) as buffer:
    with overlay.OverlayWriter(
      drawn, opened.fps, Stub(), buffer, opened.times
    ) as writer:
      result = predict.recognize(Stub(), opened, buffer, writer)
  times = video.Times(1)
  list(video.read_frames(drawn, times=times))
  np.testing.assert_allclose([times[t] for t in range(10)], seconds, atol=1e-3)
  video_scores.write_json(str(tmp_path / "x.json"), result, 1, {})
  content = json.loads((tmp_path / "x.json").read_text())
  found = [(w["start"], w["end"]) for w in content["windows"]]
  expected = [(0, 0.4), (0.2, 0.8), (0.4, 1.4), (0.8, 1.7 + 1 / opened.fps)]
  np.testing.assert_allclose(found, expected, atol=2e-3)
  assert content["seconds"] == found[-1][1]


def test_no_frame_at_all():
  with (
    windows.FrameBuffer(6) as buffer,
    pytest.raises(BadClip, match="ended before the first"),
  ):
    predict.recognize(Stub(), film(0), buffer)


# Webcams and streams


def test_windows_of_a_stream_are_reported_as_they_come():
  lines = []
  with windows.FrameBuffer(6) as buffer:
    predict.recognize(
      Stub(), film(9, live=True), buffer, max_windows=3, say=lines.append
    )
  assert [line.split() for line in lines] == [
    ["0.0", "to", "0.4", "s", "1.0000", "dark"],
    ["0.2", "to", "0.6", "s", "0.9216", "dark"],
    ["0.4", "to", "0.8", "s", "0.8431", "dark"],
  ]


@pytest.fixture
def webcam(monkeypatch):
  """A webcam that never ends; calls `at[n]` before it shows frame n."""
  at = {}

  def frames():
    for t in range(10**6):
      at.get(t, lambda: None)()
      yield np.full((48, 64, 3), t % 200, np.uint8)

  def open_stream(name):
    return stream.Stream(f"webcam {name}", frames(), 10, (64, 48), live=True)

  monkeypatch.setattr(stream, "open_stream", open_stream)
  return at


def test_ctrl_c_ends_a_webcam_and_all_is_written(webcam, clips, tmp_path, capsys):
  webcam[38] = lambda: signal.raise_signal(signal.SIGINT)
  before = signal.getsignal(signal.SIGINT)
  files = {name: str(tmp_path / f"x.{name}") for name in ("json", "png", "mp4")}
  config = asked(
    clips, video="0", pose="", json=files["json"], timeline=files["png"],
    overlay=files["mp4"],
  )  # fmt: skip
  predict_job.run(config, str(clips / "visual"))
  assert signal.getsignal(signal.SIGINT) == before
  printed = capsys.readouterr().out.splitlines()
  assert printed[0].startswith("webcam 0, 10 frames/s: windows as they come; Ctrl-C")
  times = [line.split()[:3] for line in printed[1:4]]
  assert times == [["0.0", "to", "1.6"], ["1.6", "to", "3.2"], ["2.2", "to", "3.8"]]
  assert printed[4].startswith("webcam 0: 38 frames (3.8 s), 3 window(s)")
  with open(files["json"]) as file:
    assert json.load(file)["video"] == "webcam 0"
  assert len(list(video.read_frames(files["mp4"]))) == 38
  assert (tmp_path / "x.png").stat().st_size > 5000


def test_ctrl_c_before_the_first_window(webcam, clips):
  webcam[0] = lambda: signal.raise_signal(signal.SIGINT)
  config = asked(clips, video="0", pose="")
  with pytest.raises(ValueError, match="webcam 0: it ended before the first frame"):
    predict_job.run(config, str(clips / "visual"))


def test_messages_of_a_webcam(clips, capfd):
  config = asked(clips, video="97", pose="")
  with pytest.raises(ValueError, match="webcam 97 cannot be opened: give the") as e:
    predict_job.run(config, str(clips / "visual"))
  assert "\n" not in str(e.value)
  assert capfd.readouterr().err == f"loading {clips / 'visual'}\n"
  with pytest.raises(FileNotFoundError, match="not set: a webcam or stream has poses"):
    predict_job.run(config, str(clips / "run"))


def test_no_score_is_printed_as_zero():
  scores = (0.98765, 0.00005, 0.0000499, 1.234e-7, 0.0)
  assert [predict_job.in_digits(s) for s in scores] == [
    "0.9877", "0.0001", "5.0e-05", "1.2e-07", "0.0000"
  ]  # fmt: skip
