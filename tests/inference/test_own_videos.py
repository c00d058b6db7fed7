"""The README's way from video files to a trained network, with MediaPipe itself."""

import csv
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LABELS = ("shrug", "yes")
# A network that compiles in seconds; everything else is as in the README.
SMALL = """
--config.model.width=0.125 --config.model.endpoint=Mixed_3b --config.init.backbone=none
--config.model.frozen_until=Mixed_3b --config.data.example.num_frames=8
--config.data.example.frame_size=32 --config.train.steps=2 --config.train.batch_size=4
--config.train.eval_batch_size=4 --config.train.tensorboard=False
--config.pretraining.pose.train.steps=2 --config.pretraining.pose.train.batch_size=4
""".split()


def launch(folder, *arguments):
  """Runs launch.py in a folder; its output."""
  environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
  environment.pop("XLA_FLAGS", None)  # the tests' four devices
  done = subprocess.run(
    [sys.executable, str(ROOT / "launch.py"), *arguments],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    timeout=400,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return done.stdout


def test_three_commands(shared, tmp_path):
  pytest.importorskip("mediapipe")
  folder = shared / "body_gestures"
  if not folder.exists():
    pytest.skip("needs the genuine clips of ../shared/data/body_gestures")
  with open(folder / "index.csv", encoding="utf-8") as file:
    rows = [r for r in csv.DictReader(file) if r["label"] in LABELS]
  for row in [r for r in rows if r["subject"] in ("6", "8")]:
    path = tmp_path / "my" / "videos" / row["label"] / f"{row['clip_id']}.avi"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(folder / row["video"])
  config = f"--config={ROOT / 'configs' / 'custom.py'}"
  model = shared / "models" / "pose_landmarker_full.task"
  printed = launch(
    tmp_path, config, "--job=prepare", "--config.data.raw=my/videos",
    "--config.data.pose=mediapipe", f"--config.data.pose_model={model}",
  )  # fmt: skip
  assert "12 clips, 0 skipped" in printed
  printed = launch(
    tmp_path, f"{config}:split,size=tiny,frozen=True", "--workdir=runs/my", *SMALL
  )
  assert "top-1" in printed
  printed = launch(tmp_path, config, "--workdir=runs/my", "--job=figures")
  assert list((tmp_path / "runs" / "my" / "figures").glob("*.png"))
  film = next((tmp_path / "my" / "videos" / "yes").iterdir())
  printed = launch(
    tmp_path, config, "--workdir=runs/my", "--job=predict",
    f"--config.predict.video={film}", "--config.predict.pose=mediapipe",
    f"--config.predict.pose_model={model}", "--config.predict.timeline=x.png",
    "--config.predict.overlay=x.mp4",
  )  # fmt: skip
  assert "frames/s end to end" in printed
  assert "pose" in printed.splitlines()[-1]
  assert (tmp_path / "x.png").exists()
  assert (tmp_path / "x.mp4").exists()
  assert any(label in printed for label in LABELS)
