"""Exported networks: equal to the live one, content of the file, and messages."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import fake_run
import jax
import jax.export
import numpy as np
import pytest

from configs import custom
from vpn_jax.datasets import protocols
from vpn_jax.inference import export, serve, trained_network
from vpn_jax.inputs import example, missing_joints, pose_coordinates, sampling
from vpn_jax.jobs import export as export_job
from vpn_jax.records import store
from vpn_jax.training.provenance import Provenance

CLASSES = ("a", "b", "c", "d")
ROOT = pathlib.Path(__file__).parents[2]


def config_of(arg, noise_records, shrunk, **model):
  c = custom.get_config(f"split,{arg}size=tiny")
  if c.network == "vpn":
    shrunk(c)
  else:
    c.data.example.update(num_frames=8, frame_size=32, pose_steps=4)
  c.model.update(num_classes=4, **model)
  c.data.update(records=str(noise_records), skeleton="kinect_v2")
  return c


@pytest.fixture(scope="module")
def workdirs(noise_records, shrunk, tmp_path_factory):
  """Runs of random weights: VPN of two persons, the visual backbone, the pose alone."""
  root = tmp_path_factory.mktemp("export")
  index = store.read_index(noise_records)
  provenance = Provenance.of(index, protocols.Protocol("subject", (1,)))
  rows = {"vpn": {}, "i3d": {"endpoint": "Conv3d_2b_1x1"}, "pose": {}, "aligned": {}}
  for name, fields in rows.items():
    row = "attention=aligned," if name == "aligned" else f"model={name},"
    c = config_of(row, noise_records, shrunk, **fields)
    c.data.example.persons = 2 if name == "vpn" else 1
    if name == "pose":
      c.model.pose.update(kind="stgcn", blocks=2, block_features=8, stream="bone")
    fake_run.save_network(c, root / name, provenance)
  return root


def asked(workdirs, noise_records, shrunk, **fields):
  c = config_of("", noise_records, shrunk)
  c.export.update({"file": str(workdirs / "net.zip"), **fields})
  return c


@pytest.fixture(scope="module")
def exported(workdirs, noise_records, shrunk):
  """The VPN in a file for any number of clips, on the CPU and CUDA."""
  export_job.run(asked(workdirs, noise_records, shrunk), str(workdirs / "vpn"))
  return workdirs / "net.zip"


def raw_inputs(network, noise_records, clips):
  """Raw inputs of clips, and the batch that the pipeline makes of them."""
  index = store.read_index(noise_records)
  source = store.RecordReader(noise_records, index.clips()[:clips])
  given, batches = [], []
  s = network.settings
  for i in range(clips):
    record = source[i]
    pose = record.pose.copy()
    pose[: 3 if i else 0, 0] = np.nan  # nobody is seen at first
    record = dataclasses.replace(record, pose=pose)
    batch = example.make(record, s, network.skeleton, None)
    window = sampling.frame_window(len(pose), s.num_frames, None)
    steps = sampling.pose_indices(window.min(), window.max(), s.pose_steps, None)
    body = pose[:, 0, network.skeleton.origin_indices()].mean(1)
    first = np.argmax(np.isfinite(body).all(-1))
    joints = missing_joints.fill(pose[:, : s.persons], network.skeleton)[steps]
    joints = joints.reshape(s.pose_steps, -1, 3)
    del batch["label"]
    shown = {k: v for k, v in batch.items() if k != "pose"}
    given.append({**shown, "joints": joints, "origin": body[first]})
    batches.append(batch)
  stack = lambda clips: {k: np.stack([c[k] for c in clips]) for k in clips[0]}  # noqa: E731
  return stack(given), stack(batches)


def assert_same(got, want):
  assert got.keys() == want.keys()
  for name, x in want.items():
    np.testing.assert_allclose(got[name], x, rtol=1e-4, atol=1e-6)


def test_exported_is_the_live_network(
  exported, workdirs, noise_records, plain_operations
):
  network = trained_network.load(str(workdirs / "vpn"))
  about, call = serve.load(exported)
  for clips in (1, 3):
    given, batch = raw_inputs(network, noise_records, clips)
    assert np.isnan(given["joints"]).any()  # of the second person
    scores, out = network.forward(network.variables, batch)
    got = call(serve.batch(about, given))
    assert np.std(scores) > 1e-3
    assert_same(got, {"scores": scores, **out})
    assert got.keys() == about["outputs"].keys()


def test_without_an_origin_it_is_that_of_the_first_step_seen(workdirs):
  skeleton = trained_network.load(str(workdirs / "vpn")).skeleton
  rng = np.random.default_rng(0)
  joints = rng.normal(size=(3, 4, 50, 3)).astype(np.float32)
  joints[0, :2, :25] = np.nan  # the first person is seen at the third step
  joints[1, :, :25] = np.nan  # and here never
  unknown = np.full((3, 3), np.nan, np.float32)
  got = export.centered(joints, unknown, skeleton)
  for i in range(3):
    persons = joints[i].reshape(4, 2, 25, 3)
    want = pose_coordinates.center_pose(persons, skeleton).reshape(4, 50, 3)
    np.testing.assert_allclose(got[i], want, atol=1e-6)


def test_joints_that_were_not_seen_are_filled_on_the_device(
  workdirs, noise_records, plain_operations
):
  """Where the steps are all frames of the clip, exactly as in an example."""
  network = trained_network.load(str(workdirs / "pose"))
  record = store.RecordReader(
    noise_records, store.read_index(noise_records).clips()[:1]
  )[0]
  pose = record.pose[:4].copy()
  pose[1:3, 0, 5:9] = pose[:, 0, 20] = np.nan
  settings = dataclasses.replace(network.settings, num_frames=4)
  record = dataclasses.replace(
    record, pose=pose, image_joints=record.image_joints[:4],
    visibility=record.visibility[:4], frames=record.frames[:4],
  )  # fmt: skip
  batch = example.make(record, settings, network.skeleton, None)
  # At 0 is the origin in the first frame, and the joint that hangs on it.
  assert (batch["pose"] == 0).all(axis=-1).sum() == 2
  scores, _ = network.forward(network.variables, {"pose": batch["pose"][None]})
  joints = pose[:, 0][None]
  origin = np.full((1, 3), np.nan, np.float32)
  call = export.serving(network)
  got = call({"joints": joints, "origin": origin})["scores"]
  np.testing.assert_allclose(got, scores, rtol=1e-4, atol=1e-6)


def test_joints_in_the_image_are_boxed_as_in_an_example():
  rng = np.random.default_rng(0)
  joints = rng.uniform(0, 300, (3, 4, 50, 3)).astype(np.float32)
  joints[..., 2] = rng.uniform(0, 1, (3, 4, 50))
  joints[0, :2, :25] = np.nan
  joints[1, :, :25] = np.nan  # the main actor is never seen
  joints[2, 0, 3, 2] = np.nan  # of an unknown score
  unknown = np.full((3, 3), np.nan, np.float32)
  got = export.boxed(joints, unknown, 25)
  for i in range(3):
    people = joints[i].reshape(4, 2, 25, 3)
    want = pose_coordinates.image_pose(people[..., :2], people[..., 2], (0, 3))
    np.testing.assert_allclose(got[i], want.reshape(4, 50, 3), atol=1e-5)
  given = export.boxed(joints, np.float32([[10, 20, 50]] * 3), 25)
  expected = (joints[0, 3, 7, :2] - [10, 20]) / 50
  np.testing.assert_allclose(given[0, 3, 7, :2], expected, rtol=1e-5)
  assert (np.asarray(given[1, :, 25:]) != 0).all()  # the box says where the others are


def test_a_fixed_batch_on_one_platform(workdirs, noise_records, plain_operations):
  network = trained_network.load(str(workdirs / "vpn"))
  file = workdirs / "made" / "fixed.zip"
  about = export.export(network, str(file), 2, ("cpu",))
  read, call = serve.load(file)
  assert read == json.loads(json.dumps(about))
  assert read["inputs"]["frames"]["shape"] == [2, 8, 32, 32, 3]
  assert read["outputs"]["scores"] == {"dtype": "float32", "shape": [2, 4]}
  given, batch = raw_inputs(network, noise_records, 2)
  scores, out = network.forward(network.variables, batch)
  assert_same(call(serve.batch(read, given)), {"scores": scores, **out})
  one = {name: x[0] for name, x in given.items()}
  with pytest.raises(
    ValueError, match=r"frames is uint8 \[1, 8, 32, 32, 3\], expected"
  ):
    serve.batch(read, one)


@pytest.mark.parametrize(
  ("row", "takes"), [("i3d", ["frames"]), ("pose", ["joints", "origin"])]
)
def test_a_network_takes_only_the_inputs_it_uses(
  row, takes, workdirs, noise_records, plain_operations
):
  network = trained_network.load(str(workdirs / row))
  about = export.export(network, str(workdirs / f"{row}.zip"), 0, ("cpu",))
  assert list(about["inputs"]) == takes
  _, call = serve.load(workdirs / f"{row}.zip")
  given, batch = raw_inputs(network, noise_records, 1)
  scores, _ = network.forward(network.variables, batch)
  assert_same(call(serve.batch(about, given)), {"scores": scores})


def test_joints_in_the_frames_are_an_input(workdirs):
  network = trained_network.load(str(workdirs / "aligned"))
  about = export.export(network, str(workdirs / "aligned.zip"), 0, ("cpu",))
  assert set(about["inputs"]) == {"frames", "joints", "origin", "frame_joints"}
  assert about["inputs"]["frame_joints"]["meaning"].startswith("x and y as fractions")
  _, call = serve.load(workdirs / "aligned.zip")
  rng = np.random.default_rng(0)
  given = {
    name: rng.random((2, *spec["shape"][1:])).astype(spec["dtype"])
    for name, spec in about["inputs"].items()
  }
  scores = call(serve.batch(about, given))["scores"]
  np.testing.assert_allclose(scores.sum(axis=-1), 1.0, rtol=1e-5)
  given["frame_joints"] = given["frame_joints"][:, :, ::-1]
  assert np.abs(call(serve.batch(about, given))["scores"] - scores).max() > 0


def test_each_platform_gets_its_own_operations(workdirs):
  """A pool is a reduction over windows in the plain form, not in that for a CPU."""
  network = trained_network.load(str(workdirs / "i3d"))
  shapes = export.inputs(network, 1)
  for platform, pools in (("cpu", 0), ("cuda", 1)):
    function = jax.jit(export.serving(network))
    made = jax.export.export(function, platforms=(platform,))(shapes)
    assert made.mlir_module().count("stablehlo.reduce_window") == pools


def test_weights_once_and_no_foreign_calls(exported, workdirs):
  _, stored = serve.read(exported)
  params = trained_network.load(str(workdirs / "vpn")).variables["params"]
  kernels = {
    "folded": params["backbone"]["Conv3d_2b_1x1"]["conv"]["kernel"],
    "attention": params["attention"]["spatial_hidden"]["kernel"],
    "embedding": params["embedding"]["video_projection"],
  }
  times = {name: stored.count(np.asarray(x).tobytes()) for name, x in kernels.items()}
  made = jax.export.deserialize(bytearray(stored)).mlir_module()
  # jax promises nothing for other calls in another release.
  assert set(re.findall(r"custom_call @(\w+)", made)) == {"shape_assertion"}
  assert times == {"folded": 1, "attention": 1, "embedding": 0}  # for two platforms


def test_a_temperature_is_exported(workdirs, noise_records, shrunk, plain_operations):
  c = asked(workdirs, noise_records, shrunk, file=str(workdirs / "warm.zip"), batch=1)
  c.inference.temperature = 3.0
  export_job.run(c, str(workdirs / "vpn"))
  about, call = serve.load(workdirs / "warm.zip")
  assert about["temperature"] == 3.0
  network = trained_network.load(str(workdirs / "vpn"))
  given, batch = raw_inputs(network, noise_records, 1)
  scores, _ = network.forward(network.variables, batch)
  expected = np.asarray(scores) ** (1 / 3)
  got = call(serve.batch(about, given))["scores"]
  np.testing.assert_allclose(got, expected / expected.sum(), rtol=1e-4)


def test_the_content_of_about_json(exported, workdirs, noise_records):
  about, network = serve.read(exported)
  index = store.read_index(noise_records)
  assert about["classes"] == list(CLASSES)
  assert (about["workdir"], about["step"]) == (str(workdirs / "vpn"), 3)
  assert about["skeleton"] == "kinect_v2"
  assert (len(about["joints"]), about["origin_joints"]) == (25, ["spine_mid"])
  assert (about["persons"], about["example"]["num_frames"]) == (2, 8)
  assert about["crop"] == index.crop
  assert about["config"]["model"]["width"] == 0.125
  assert about["platforms"] == ["cpu", "cuda"]
  assert about["inputs"]["joints"]["shape"] == ["B", 4, 50, 3]
  assert str(ROOT).encode() not in network  # nor any other path of this machine
  assert b"convolution.py" not in network


def run_alone(folder, *words):
  """A copy of serve.py where nothing of this repository can be imported."""
  shutil.copy(serve.__file__, folder / "serve.py")
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  return subprocess.run(
    [sys.executable, "serve.py", *map(str, words)],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )


def test_the_script_alone(
  exported, workdirs, noise_records, plain_operations, tmp_path
):
  network = trained_network.load(str(workdirs / "vpn"))
  given, batch = raw_inputs(network, noise_records, 2)
  scores, out = jax.device_get(network.forward(network.variables, batch))
  np.savez(tmp_path / "clips.npz", **given)
  options = (tmp_path / "clips.npz", "--top=2", "--out=out.npz")
  done = run_alone(tmp_path, exported, *options)
  assert done.returncode == 0, done.stderr
  with np.load(tmp_path / "out.npz") as got:
    assert_same(dict(got), {"scores": scores, **out})
  lines = done.stdout.splitlines()
  assert [line for line in lines if "clip" in line] == ["clip 0", "clip 1"]
  best = int(scores[1].argmax())
  assert lines[4].split() == ["1", f"{scores[1, best]:.4f}", CLASSES[best]]
  assert len(lines) == 7


def test_the_script_prints_the_inputs(exported, capsys):
  serve.main([str(exported)])
  printed = capsys.readouterr().out
  assert "step 3, 4 classes" in printed
  assert "frames: uint8 [B, 8, 32, 32, 3], RGB" in printed
  assert "joints: float32 [B, 4, 50, 3], camera axes, metres" in printed


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (
      {"frames": np.zeros((1, 8, 32, 32, 3), np.float32)},
      r"float32 .*, expected uint8",
    ),
    ({"frames": np.zeros((1, 9, 32, 32, 3), np.uint8)}, r"\[1, 9, .* \[1, 8, 32"),
    ({"joints": np.zeros((2, 4, 50, 3), np.float32)}, r"\[2, 4, .* \[1, 4, 50"),
    ({"joints": np.zeros((1, 4, 50, 3))}, r"joints is float64 .* expected float32"),
    ({"origin": np.zeros((), np.float32)}, r"origin is float32 \[\], expected"),
    ({"frames": np.zeros((0, 8, 32, 32, 3), np.uint8)}, r"\[0, 8"),
    ({"joints": None}, r"no joints, but \['frames'\]: expected\n  frames: uint8"),
  ],
)
def test_inputs_that_do_not_fit(changes, words, exported):
  about, _ = serve.read(exported)
  given = {
    "frames": np.zeros((1, 8, 32, 32, 3), np.uint8),
    "joints": np.zeros((1, 4, 50, 3), np.float32),
  }
  given = {k: v for k, v in (given | changes).items() if v is not None}
  with pytest.raises(ValueError, match=words):
    serve.batch(about, given)


def rewritten(file, to, **changes):
  about, network = serve.read(file)
  with zipfile.ZipFile(to, "w") as members:
    members.writestr(serve.ABOUT, json.dumps(about | changes))
    members.writestr(serve.NETWORK, network)
  return to


def test_files_that_are_not_run(exported, tmp_path):
  whole = exported.read_bytes()
  place = whole.index(serve.read(exported)[1]) + 5000
  flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
  for name, data in (("flipped", flipped), ("cut", whole[:-9]), ("other", b"text")):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(
      ValueError, match=f"{name} is damaged or not an exported network"
    ):
      serve.read(tmp_path / name)
  with zipfile.ZipFile(tmp_path / "zip", "w") as members:
    members.writestr("something", "else")
  with pytest.raises(ValueError, match=r"no item named 'about.json'.*export it again"):
    serve.read(tmp_path / "zip")
  newer = rewritten(exported, tmp_path / "newer.zip", version=2)
  with pytest.raises(ValueError, match=r"newer.zip has format .* 2\), expected .* 1\)"):
    serve.read(newer)
  elsewhere = rewritten(exported, tmp_path / "tpu.zip", platforms=["tpu"])
  with pytest.raises(ValueError, match=r"is for \['tpu'\], this machine runs cpu"):
    serve.load(elsewhere)


def test_the_script_ends_with_one_line(exported, tmp_path):
  with pytest.raises(SystemExit, match=r"error: .*none\.zip"):
    serve.main([str(tmp_path / "none.zip")])
  (tmp_path / "clips.npz").write_text("text")
  with pytest.raises(SystemExit, match=r"error: .*clips.npz is not an npz file"):
    serve.main([str(exported), str(tmp_path / "clips.npz")])
  np.savez(tmp_path / "clips.npz", frames=np.zeros((1, 8, 32, 32, 3), np.uint8))
  with pytest.raises(SystemExit, match=r"error: no joints, but \['frames'\]: expected"):
    serve.main([str(exported), str(tmp_path / "clips.npz")])


@pytest.mark.parametrize(
  ("run", "fields", "error", "words"),
  [
    ("", {}, ValueError, "--workdir is empty"),
    ("vpn", {"file": ""}, ValueError, "config.export.file is not set: add"),
    ("vpn", {"batch": -1}, ValueError, "config.export.batch is -1, expected 0 or more"),
    (
      "vpn",
      {"platforms": "cpu,gpu"},
      ValueError,
      "'cpu,gpu', expected some of cpu,cuda",
    ),
    ("vpn", {"platforms": ""}, ValueError, "platforms is '', expected some of"),
    ("none", {}, FileNotFoundError, "no checkpoint in .*none, which is not a folder"),
  ],
)
def test_messages_of_the_job(
  run, fields, error, words, workdirs, noise_records, shrunk
):
  c = asked(workdirs, noise_records, shrunk, **fields)
  with pytest.raises(error, match=words):
    export_job.run(c, run and str(workdirs / run))
