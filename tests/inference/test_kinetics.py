"""Tests of vpn_jax/inference/kinetics.py: any video, frames alone."""

import json

import fake_clips
import numpy as np
import pytest

from configs import custom
from vpn_jax import timing
from vpn_jax.datasets import video
from vpn_jax.inference import kinetics, stream
from vpn_jax.jobs import predict as predict_job
from vpn_jax.weights import pretrained


def test_centre():
  y, x = np.mgrid[:64, :128]
  frame = np.stack([x, y, np.full_like(x, 7)], -1).astype(np.uint8)
  cut = kinetics.centre(frame, 64)  # not resized: 56 x 56 of it
  np.testing.assert_array_equal(cut, frame[4:60, 36:92])
  assert kinetics.centre(frame, 256).shape == (224, 224, 3)
  tall = kinetics.centre(frame.transpose(1, 0, 2), 32)
  assert tall.shape == (28, 28, 3)
  assert abs(int(tall[14, 14, 0]) - 64) <= 1
  assert abs(int(tall[14, 14, 1]) - 32) <= 1


@pytest.mark.parametrize(("count", "length"), [(5, 16), (16, 16), (20, 20)])
def test_few_frames_repeat(count, length):
  made = kinetics.clip(list(np.arange(count)))
  np.testing.assert_array_equal(made, np.arange(length) % count)


class Stand:
  """Stands in for I3D, which compiles for long: logits from the mean of each row."""

  def apply(self, variables, frames):
    assert frames.shape == (1, 16, 28, 28, 3)
    return frames.mean(axis=(1, 3, 4)) @ variables["weights"], {}


@pytest.fixture
def stand_in(monkeypatch):
  weights = np.random.default_rng(0).normal(size=(28, 400)).astype(np.float32)
  variables = {"weights": 5 * weights}
  monkeypatch.setattr(kinetics, "load", lambda: (Stand(), variables))
  monkeypatch.setattr(kinetics, "FRAMES", 16)
  return variables


def test_scores_any_video(stand_in, clips, tmp_path, capsys):
  out, film = tmp_path / "k.json", tmp_path / "k.mp4"
  config = fake_clips.asked(
    clips, pose="", short_side=32, json=str(out), overlay=str(film), top=2
  )
  predict_job.run(config)
  report = json.loads(out.read_text())
  assert report["network"] == "I3D, Kinetics-400"
  assert [(w["first"], w["last"]) for w in report["windows"]] == [(0, 15), (4, 19)]
  assert len(report["top"]) == 2
  assert set(report["speed"]["stages"]) == {"decode", "crop", "network", "draw"}
  assert len(list(video.read_frames(film))) == 20
  assert "20 frames (2.0 s), 2 window(s), mean of their" in capsys.readouterr().out
  # The same by hand.
  frames = np.stack(
    [kinetics.centre(f, 32) for f in video.read_frames(clips / "nod.avi")]
  )
  frames = frames / 127.5 - 1
  logits = np.stack([frames[:16], frames[4:]]).mean(axis=(1, 3, 4))
  odds = np.exp(logits @ stand_in["weights"])
  scores = (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)
  top = [entry["score"] for entry in report["top"]]
  np.testing.assert_allclose(top, np.sort(scores)[::-1][:2], atol=2e-5)
  names = pretrained.kinetics_class_names()
  assert report["top"][0]["class"] == names[int(np.argmax(scores))]


def test_frames_are_kept_only_to_be_drawn(stand_in, clips):
  settings = fake_clips.asked(clips, pose="", short_side=32).predict
  recognizer = kinetics.KineticsRecognizer(settings, timing.Clock())
  frames = iter(np.zeros((40, 32, 48, 3), np.uint8))
  film = stream.Stream("synthetic", frames, 10, (48, 32))
  assert [p.first for p in recognizer.segments(film, None)] == [0, 16, 24]


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({}, "I3D on Kinetics takes no pose: add --workdir"),
    ({"pose": "", "window_stride": 65}, "window_stride 65 .*expected 1 to 16"),
    ({"pose": "", "short_side": 8}, "short_side 8, expected .* at least 32"),
    ({"pose": "", "video": __file__}, "cannot be opened.*give a video that plays"),
  ],
)
def test_messages(fields, words, clips, stand_in):
  with pytest.raises(ValueError, match=words):
    predict_job.run(fake_clips.asked(clips, **fields))


def test_a_temperature_is_of_a_trained_network(clips):
  config = fake_clips.asked(clips, video=str(clips / "nod.avi"))
  config.inference.temperature = 2.0
  with pytest.raises(ValueError, match=r"temperature is 2.0 and --workdir is empty"):
    predict_job.run(config)


def test_knows_arm_wrestling(shared, capsys):
  config = custom.get_config("split,size=tiny")
  config.predict.update(
    video=str(shared / "sample" / "arm_wrestling.mp4"), max_windows=1, short_side=128
  )
  predict_job.run(config)
  lines = capsys.readouterr().out.splitlines()
  assert "64 frames" in lines[0]
  assert lines[1].endswith("arm wrestling")
  assert float(lines[1].split()[1]) > 0.5
