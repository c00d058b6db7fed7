"""The public functions: the examples of docs/api.md and of the docstrings run."""

import doctest
import inspect
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import vpn_jax

ROOT = pathlib.Path(__file__).parents[1]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


@pytest.fixture
def folder(clips, tmp_path, monkeypatch):
  """runs/vpn is a small network, videos/ holds two videos with joints as fractions."""
  (tmp_path / "runs").mkdir()
  shutil.copytree(clips / "run", tmp_path / "runs" / "vpn")
  (tmp_path / "videos").mkdir()
  for name in ("nod", "wave"):
    shutil.copy(clips / f"{name}.avi", tmp_path / "videos")
    with np.load(clips / f"{name}.npz") as joints:
      image = joints["image"] / np.float32([64, 48])
      np.savez(tmp_path / "videos" / f"{name}.npz", world=joints["world"], image=image)
  monkeypatch.chdir(tmp_path)
  return tmp_path


def examples():
  """What holds examples, by its name."""
  found = {"docs/api.md": (ROOT / "docs" / "api.md").read_text()}
  for name in vpn_jax.__all__:
    found[name] = inspect.getdoc(getattr(vpn_jax, name))
  return found


@pytest.mark.parametrize("name", ["docs/api.md", *vpn_jax.__all__])
def test_examples(name, folder, small_config):
  config = small_config
  config.train.steps = 1
  names = {"vpn_jax": vpn_jax, "np": np, "config": config}
  names["get_config"] = lambda arg: config
  text = examples()[name].replace("```", "")
  test = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
  assert test.examples, f"{name} has no example"
  report = []
  doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=report.append)
  assert not report, "".join(report)


def test_the_docstring_names_the_public_functions():
  for name in vpn_jax.__all__:
    assert f"vpn_jax.{name}(" in vpn_jax.__doc__
    assert name in dir(vpn_jax)
  with pytest.raises(AttributeError, match="'vpn_jax' has no attribute 'nothing'"):
    vpn_jax.nothing  # noqa: B018


def test_import_is_light():
  code = "import sys, vpn_jax; print(*sorted(sys.modules))"
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
  )
  loaded = set(done.stdout.split())
  assert not loaded & {"jax", "numpy", "flax", "matplotlib", "cv2"}


def test_arrays_get_the_scores_of_the_video(folder):
  """What `predict` shows the network for a video of one window, by hand."""
  from vpn_jax import timing
  from vpn_jax.inference import pose_video, stream, windows
  from vpn_jax.inference.options import Options

  net = vpn_jax.load("runs/vpn")
  result = vpn_jax.predict(net, "videos/nod.avi", pose="videos/nod.npz")
  options = Options(video="videos/nod.avi", pose="videos/nod.npz")
  recognizer = pose_video.PoseRecognizer(net, options, timing.Clock())
  with windows.FrameBuffer(32) as buffer:
    (segment,) = recognizer.segments(stream.open_stream(options.video), buffer)
  scores, out = net(**segment.batch)
  np.testing.assert_allclose(scores[0], result.scores, atol=1e-6)
  a_s, a_t = out["spatial_attention"], out["temporal_attention"]
  expected = a_t.shape[1] * a_t[:, :, None, None] * a_s[:, None]  # times T
  np.testing.assert_allclose(out["attention"], expected, rtol=1e-5)


def test_a_temperature_divides_the_logits(folder):
  plain = vpn_jax.predict(
    vpn_jax.load("runs/vpn"), "videos/nod.avi", pose="videos/nod.npz"
  )
  net = vpn_jax.load("runs/vpn", temperature=3.0)
  result = vpn_jax.predict(net, "videos/nod.avi", pose="videos/nod.npz")
  expected = plain.scores ** (1 / 3)
  np.testing.assert_allclose(result.scores, expected / expected.sum(), rtol=1e-5)
  assert np.ptp(result.scores) < np.ptp(plain.scores)
  with pytest.raises(ValueError, match="temperature is 0, expected a positive number"):
    vpn_jax.load("runs/vpn", temperature=0)


def test_arrays_that_do_not_fit(folder):
  net = vpn_jax.load("runs/vpn")
  frames = np.zeros((2, *net.input_shapes["frames"].shape), np.uint8)
  pose = np.zeros((2, *net.input_shapes["pose"].shape), np.float32)
  with pytest.raises(ValueError, match="pose is missing, expected float32 of shape"):
    net(frames)
  with pytest.raises(ValueError, match=r"frames is float32 .*expected uint8 of shape"):
    net(frames.astype(np.float32), pose)
  with pytest.raises(ValueError, match=r"pose is float32 \[1, .*shape \[2, 4, 25, 3\]"):
    net(frames, pose[:1])


def test_folder_leaves_out_what_cannot_be_scored(folder):
  net = vpn_jax.load("runs/vpn")
  (folder / "videos" / "more").mkdir()
  (folder / "videos" / "more" / "bad.mp4").write_bytes(b"no video")
  (folder / "videos" / "more" / "bad.npz").write_bytes(b"no joints")
  failed = []
  found = vpn_jax.predict_folder(
    net, "videos", on_error=lambda path, error: failed.append((path.name, str(error)))
  )
  assert [path.name for path, _ in found] == ["nod.avi", "wave.avi"]
  ((name, message),) = failed
  assert name == "bad.mp4"
  assert "bad.mp4 cannot be opened" in message
  with pytest.raises(ValueError, match="bad"):
    list(vpn_jax.predict_folder(net, "videos"))
  with pytest.raises(FileNotFoundError, match=r"no video in runs, expected files that"):
    list(vpn_jax.predict_folder(net, "runs"))
