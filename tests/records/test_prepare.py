"""The prepare job: the same bytes however it runs, and a list of bad clips."""

import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import fake_ntu
import fake_nucla
import ml_collections
import numpy as np
import pytest

from vpn_jax.datasets import nucla, skeletons, video_writer
from vpn_jax.jobs import settings
from vpn_jax.records import crop, prepare, record_format, store, summary

ROOT = pathlib.Path(__file__).parents[2]


def config(folder, clips=10, **fields):
  """Synthetic clips of 6 frames, 3 to a shard, in this process."""
  data = {
    "dataset": "synthetic",
    "seed": 0,
    "num_clips": clips,
    "clip_frames": 6,
    "records": str(folder),
  }
  c = ml_collections.ConfigDict({"data": data, "prepare": settings.prepare()})
  c.prepare.update(workers=0, clips_per_shard=3, size=32, **fields)
  return c


def run(c, say=lambda line: None):
  return prepare.prepare(c.data, c.prepare, say)


def content(folder):
  """File name -> bytes of a finished folder."""
  return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def read_all(folder):
  source = store.RecordReader(folder, store.read_index(folder).clips())
  return [source[i] for i in range(len(source))]


def test_synthetic_clips(tmp_path, capfd):
  index = run(config(tmp_path), print)
  assert index == store.read_index(tmp_path)
  assert index.dataset == "synthetic"
  assert index.skeleton_digest == skeletons.get("kinect_v2").digest()
  assert index.crop["size"] == 32
  assert index.crop["jpeg_quality"] == 92
  assert [len(c) for c in index.shards.values()] == [3, 3, 3, 1]
  made = read_all(tmp_path)
  assert [r.label for r in made] == list(range(10))
  for record in made:
    assert len(record.frames) == 6
    assert record.pose.shape == (6, 1, 25, 3)
    assert record.boxes.shape == (6, 4)
    assert np.isnan(record.visibility).all()  # unknown for synthetic clips
    assert record.image_joints.shape == (6, 1, 25, 2)
    assert record_format.decode_frame(record.frames[0]).shape == (32, 32, 3)
    assert set(record.attributes) == {"subject", "camera"}
    assert (record.image_joints >= 0).all()
    assert (record.image_joints <= 32).all()
  assert set(content(tmp_path)) == {
    "index.json",
    "plan.json",
    "skipped.tsv",
    *(
      f"clips-0000{i}-of-00004.{end}"
      for i in range(4)
      for end in ("array_record", "json")
    ),
  }
  printed = capfd.readouterr()
  assert "10 clips, 0 skipped" in printed.out
  assert "clips/s" in printed.out
  assert "synthetic cv: train" in printed.out
  assert "10/10" in printed.err  # the bar


SCRIPT = """
import ml_collections, sys, json
from vpn_jax.jobs import prepare
if __name__ == "__main__":
  prepare.run(ml_collections.ConfigDict(json.loads(sys.argv[1])))
"""


def children(pid):
  """The ids of the child processes of a process."""
  path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
  return [int(p) for p in path.read_text().split()]


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux's /proc")
def test_a_killed_run_continues_with_any_number_of_workers(tmp_path):
  """Two workers are killed with SIGKILL; a single process finishes their work."""
  killed, whole = tmp_path / "killed", tmp_path / "whole"
  c = config(killed, clips=75)
  c.data.clip_frames = 16
  c.prepare.workers = 2
  script = tmp_path / "script.py"
  script.write_text(SCRIPT)
  process = subprocess.Popen(
    [sys.executable, str(script), c.to_json()],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 60
  while len(list(killed.glob("clips-*.json"))) < 3:
    assert process.poll() is None
    assert time.monotonic() < deadline
    time.sleep(0.005)
  workers = children(process.pid)
  c.prepare.workers = 0
  with pytest.raises(ValueError, match="another run is preparing"):
    run(c)
  process.send_signal(signal.SIGKILL)
  process.wait()
  while any(_alive(pid) for pid in workers):  # no worker outlives its parent
    assert time.monotonic() < deadline
    time.sleep(0.01)
  finished = {p.name: p.stat().st_mtime_ns for p in killed.glob("clips-*.json")}
  assert 3 <= len(finished) < 25
  assert not (killed / "index.json").exists()
  with pytest.raises(FileNotFoundError, match=r"no index\.json"):
    store.read_index(killed)
  (killed / "clips-00024-of-00025.array_record.partial").write_bytes(b"half a shard")
  run(c)
  for name, when in finished.items():
    assert (killed / name).stat().st_mtime_ns == when  # kept, not made again
  c.data.records = str(whole)
  run(c)
  assert content(killed) == content(whole)


def _alive(pid):
  try:
    state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
  except (FileNotFoundError, ProcessLookupError):
    return False
  return state != "Z"


KILL_LOOP = """
import ml_collections, sys, json, os, signal, time, random
from vpn_jax.records import prepare

config = ml_collections.ConfigDict(json.loads(sys.argv[1]))
random.seed(0)
for kills in range(200):
  child = os.fork()
  if not child:
    prepare.prepare(config.data, config.prepare)
    os._exit(0)
  # Later and later, so that a busy machine finishes, too.
  end = time.monotonic() + random.uniform(0.0, 0.3 * (1 + kills / 10))
  while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
    time.sleep(0.001)
  if ended[0]:
    sys.exit(0 if ended[1] == 0 else "the child failed")
  os.kill(child, signal.SIGKILL)
  os.waitpid(child, 0)
  print("killed", flush=True)
sys.exit("never finished")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_loop(tmp_path):
  """Killed at random times until a run finishes; nothing is lost."""
  c = config(tmp_path / "killed", clips=60)
  c.data.clip_frames = 12
  script = tmp_path / "script.py"
  script.write_text(KILL_LOOP)
  done = subprocess.run(
    [sys.executable, str(script), c.to_json()],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.count("killed") >= 5
  c.data.records = str(tmp_path / "whole")
  run(c)
  assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_running_again_changes_nothing(tmp_path):
  run(config(tmp_path, clips=4))
  before = content(tmp_path)
  (tmp_path / "index.json.1.partial").touch()  # left by a killed run
  times = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("clips-*")}
  run(config(tmp_path, clips=4))
  assert content(tmp_path) == before
  assert times == {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("clips-*")}


def test_a_truncated_shard_is_made_again(tmp_path):
  run(config(tmp_path, clips=6))
  before = content(tmp_path)
  shard = tmp_path / "clips-00000-of-00002.array_record"
  shard.write_bytes(shard.read_bytes()[:1000])
  (tmp_path / "clips-00001-of-00002.json").write_text("{")
  run(config(tmp_path, clips=6))
  assert content(tmp_path) == before


@pytest.mark.parametrize(
  ("block", "field", "value", "words"),
  [
    ("prepare", "size", 64, r"crop\.size was 32, now 64"),
    ("prepare", "jpeg_quality", 50, r"crop\.jpeg_quality was 92, now 50"),
    ("prepare", "slack", 0.3, r"crop\.slack was 0\.1, now 0\.3"),
    ("prepare", "crop", "full", r"crop\.kind was joints, now full"),
    ("prepare", "moving", 5, r"crop\.moving was 0, now 5"),
    ("prepare", "head_room", 0.2, r"crop\.head_room was 0\.1, now 0\.2"),
    ("prepare", "clips_per_shard", 2, "clips_per_shard was 3, now 2"),
    ("data", "seed", 1, "source was .*'seed': 0.*, now .*'seed': 1"),
  ],
)
def test_another_plan_is_refused(block, field, value, words, tmp_path, once):
  shutil.copytree(once, tmp_path, dirs_exist_ok=True)
  before = content(tmp_path)
  c = config(tmp_path, clips=4)
  c[block][field] = value
  with pytest.raises(ValueError, match=f"begun with another plan: {words}") as e:
    run(c)
  assert "set config.data.records to another" in str(e.value)
  assert content(tmp_path) == before


@pytest.fixture(scope="module")
def once(tmp_path_factory):
  folder = tmp_path_factory.mktemp("once")
  run(config(folder, clips=4))
  return folder


def test_damaged_plan_and_foreign_records(tmp_path, once):
  shutil.copytree(once, tmp_path, dirs_exist_ok=True)
  (tmp_path / "plan.json").write_text("{")
  with pytest.raises(ValueError, match=r"plan\.json is damaged"):
    run(config(tmp_path, clips=4))
  (tmp_path / "plan.json").unlink()
  with pytest.raises(ValueError, match=r"holds records .* but no plan\.json"):
    run(config(tmp_path, clips=4))


def test_dry_run_only_counts(tmp_path, capfd):
  assert run(config(tmp_path / "x", dry_run=True), print) is None
  assert not (tmp_path / "x").exists()
  assert "synthetic: 10 clips" in capfd.readouterr().out


def test_parts_of_several_machines_make_the_whole(tmp_path, capfd):
  """Ten clips in four shards and three parts; the last part writes the index."""
  run(config(tmp_path / "whole"), print)
  c = config(tmp_path / "parts", dry_run=True)
  c.data.shard = "2/3"
  assert run(c, print) is None
  assert "part 2 of 3: 4 clips, shards 2 to 3" in capfd.readouterr().out
  c.prepare.dry_run = False
  for part in ("2/3", "0/3"):
    c.data.shard = part
    assert run(c, print) is None
    assert not (tmp_path / "parts" / "index.json").exists()
  assert "1 of 4 shards are left to other parts" in capfd.readouterr().out
  c.data.shard = "1/3"
  assert len(run(c).clips()) == 10
  assert content(tmp_path / "parts") == content(tmp_path / "whole")
  c.data.shard = "5/9"  # with more parts than shards, this part has nothing to do
  assert run(c, print) is not None


HOLD = """
import sys
from vpn_jax import file_locks
with file_locks.FileLock(sys.argv[1], "") as lock:
  lock.hold(range(2, 4))
  print("held", flush=True)
  sys.stdin.read()
"""


def test_parts_run_in_parallel_but_not_twice(tmp_path):
  """Another process makes shards 2 and 3 of four."""
  with subprocess.Popen(
    [sys.executable, "-c", HOLD, str(tmp_path)],
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  ) as process:
    assert process.stdout.readline() == b"held\n"
    c = config(tmp_path)
    for part in ("1/2", "3/4", ""):
      c.data.shard = part
      with pytest.raises(ValueError, match=r"another run is .* to another part"):
        run(c)
    c.data.shard = "0/2"
    assert run(c) is None
    process.stdin.close()
  c.data.shard = "1/2"
  assert len(run(c).clips()) == 10


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "a/b", "1/0", "/", "²/3"])
def test_wrong_parts(text, tmp_path):
  c = config(tmp_path)
  c.data.shard = text
  with pytest.raises(ValueError, match=r"config\.data\.shard is .*, expected i/n"):
    run(c)


def test_settings_out_of_range(tmp_path):
  for name, value, least in (
    ("clips_per_shard", 0, 1),
    ("workers", -2, -1),
    ("clip_seconds", -1.0, 0),
  ):
    c = config(tmp_path)
    c.prepare[name] = value
    words = rf"config\.prepare\.{name} is {value}, expected {least} or more"
    with pytest.raises(ValueError, match=words):
      run(c)
  with pytest.raises(ValueError, match="crop is 'face', expected 'person' or 'full'"):
    run(config(tmp_path, crop="face"))


def ntu_config(root, folder, **fields):
  c = config(folder, **fields)
  c.data = ml_collections.ConfigDict(
    {"dataset": "ntu60", "raw": str(root), "records": str(folder)}
  )
  return c


@pytest.fixture
def ntu_root(tmp_path):
  """Six good clips of NTU-60 by two subjects; the last of each shows two people."""
  root = tmp_path / "raw"
  for subject in (1, 3):
    for action in (1, 2, 50):
      bodies = {"7": fake_ntu.body(8, center=(-0.5, 0, 3), motion=0.2)}
      if action == 50:
        bodies["8"] = fake_ntu.body(8, center=(0.5, 0, 3), seed=1)
      name = f"S001C001P{subject:03d}R001A{action:03d}"
      fake_ntu.write_pair(root, name, 8, bodies)
  return root


def test_ntu(ntu_root, tmp_path, capfd):
  index = run(ntu_config(ntu_root, tmp_path / "out"), print)
  assert len(index.clips()) == 6
  assert len(index.class_names) == 60
  one, two = read_all(tmp_path / "out")[0], read_all(tmp_path / "out")[2]
  assert one.pose.shape == (8, 2, 25, 3)
  assert np.isnan(one.pose[:, 1]).all()
  assert np.isfinite(two.pose).all()
  sides = [r.boxes[0, 2] - r.boxes[0, 0] for r in (one, two)]
  assert sides[1] > sides[0]  # contains both
  assert (one.visibility[:, 0] == 1).all()
  printed = capfd.readouterr().out
  assert "ntu60 cs: train 3 of 40,091, test 3 of 16,487" in printed
  assert "ntu60 cv: train 0 of 37,646, test 6 of 18,932" in printed


def test_bad_clips_are_skipped_with_their_reason(ntu_root, tmp_path, capfd):
  good = 6

  def pair(subject, frames=8):
    name = f"S001C001P{subject:03d}R001A005"
    return name, *fake_ntu.write_pair(ntu_root, name, frames)

  expected = {}
  name, _, film = pair(10)
  film.write_bytes(b"")
  expected[name] = "is an empty file"
  name, _, film = pair(11)
  film.write_bytes(film.read_bytes()[:300])
  expected[name] = "_rgb.avi"
  name, skeleton, _ = pair(12)
  skeleton.write_text(skeleton.read_text()[:2000])
  expected[name] = ", line "
  name, skeleton, _ = pair(13)
  skeleton.write_text("8\n" + "0\n" * 8)
  expected[name] = "no body in any of 8 frames"
  name, skeleton, _ = pair(14)
  skeleton.write_bytes(bytes(range(256)) * 40)
  expected[name] = "line 1:"
  name, skeleton, _ = pair(15, frames=30)
  skeleton.write_text("\n".join(fake_ntu.lines(8, {"7": fake_ntu.body(8)})))
  expected[name] = "8 poses but more than 8 video frames"
  name, skeleton, _ = pair(16)
  skeleton.write_text("\n".join(fake_ntu.lines(30, {"7": fake_ntu.body(30)})))
  expected[name] = "30 poses but 8 video frames, expected a difference of at most 10%"
  name, skeleton, _ = pair(17)
  away = fake_ntu.body(8, center=(50, 0, 3))
  skeleton.write_text("\n".join(fake_ntu.lines(8, {"7": away})))
  expected[name] = "no joint lies inside the 96x54 image"
  name, skeleton, _ = pair(18)
  skeleton.unlink()
  expected[name] = "no skeleton"
  name, _, film = pair(19)
  film.unlink()
  film.mkdir()  # a folder with the name of a video
  expected[name] = "no video"
  name, skeleton, _ = pair(20)
  skeleton.chmod(0o000)
  if os.access(skeleton, os.R_OK):  # root reads everything
    skeleton.unlink()
    skeleton.symlink_to(ntu_root / "nowhere")
  expected[name] = "cannot be read"

  out = tmp_path / "out"
  index = run(ntu_config(ntu_root, out, max_skipped=0.7), print)
  assert len(index.clips()) == good
  assert index.skipped == len(expected)
  rows = [line.split("\t") for line in (out / "skipped.tsv").read_text().splitlines()]
  assert rows == sorted(rows)
  assert dict(rows).keys() == expected.keys()
  for name, reason in rows:
    assert expected[name] in reason, (name, reason)
    assert str(tmp_path) not in reason
  assert f"{good} clips, {len(expected)} skipped" in capfd.readouterr().out


def test_too_many_skipped_ends_with_an_error(ntu_root, tmp_path):
  for film in list((ntu_root / "rgb").rglob("*P001*.avi")):
    film.write_bytes(b"")
  c = ntu_config(ntu_root, tmp_path / "out", max_skipped=0.4)
  with pytest.raises(ValueError, match=r"3 of 6 clips cannot .* accepted are 40\.0%"):
    run(c)
  assert not (tmp_path / "out" / "index.json").exists()
  assert len((tmp_path / "out" / "skipped.tsv").read_text().splitlines()) == 3
  c.prepare.max_skipped = 0.5
  assert len(run(c).clips()) == 3


def test_repaired_clips_are_tried_again(ntu_root, tmp_path):
  films = list((ntu_root / "rgb").rglob("*A001*.avi"))
  whole = [film.read_bytes() for film in films]
  for film in films:
    film.write_bytes(b"")
  c = ntu_config(ntu_root, tmp_path / "out", max_skipped=1.0)
  assert len(run(c).clips()) == 4
  for film, film_bytes in zip(films, whole):
    film.write_bytes(film_bytes)
  assert len(run(c).clips()) == 6  # a file that changed is tried again by itself
  c.data.records = str(tmp_path / "fresh")
  run(c)
  assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_a_full_disk_skips_no_clip(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(record_format.Spool, "append", full)
    with pytest.raises(OSError, match="No space left"):
      run(config(tmp_path, clips=4))
  assert not list(tmp_path.glob("*.json.*"))
  assert len(run(config(tmp_path, clips=4)).clips()) == 4
  assert (tmp_path / "skipped.tsv").read_text() == ""


def test_a_disk_that_is_full_for_the_writer_of_records(tmp_path, monkeypatch):
  """Its own error becomes one line; nothing stays in the way of the next run."""
  if not os.path.exists("/dev/full"):
    pytest.skip("needs /dev/full")
  true = store.array_record_module.ArrayRecordWriter
  with monkeypatch.context() as patch:
    full = lambda path, options: true("/dev/full", options)  # noqa: E731
    patch.setattr(store.array_record_module, "ArrayRecordWriter", full)
    with pytest.raises(OSError, match=r"No space left .* the same command again"):
      run(config(tmp_path, clips=2))
  assert len(run(config(tmp_path, clips=2)).clips()) == 2


def test_detections_and_a_moving_crop(ntu_root, tmp_path):
  """The crop follows the boxes of a file, which has none for two clips."""
  lines = ["clip,frame,left,top,right,bottom"]
  for subject in (1, 3):
    for action in (1, 2):
      name = f"S001C001P{subject:03d}R001A{action:03d}"
      lines += [f"{name},{t},{10 + 5 * t},10,{30 + 5 * t},30" for t in range(0, 8, 2)]
  (tmp_path / "boxes.csv").write_text("\n".join(lines))
  c = ntu_config(ntu_root, tmp_path / "out", max_skipped=0.5, slack=0.0, moving=1)
  c.data.boxes = str(tmp_path / "boxes.csv")
  index = run(c)
  assert (index.crop["kind"], index.crop["head_room"]) == ("boxes", 0.0)
  assert index.source["boxes"]
  made = read_all(tmp_path / "out")
  assert len(made) == 4
  left = made[0].boxes[:, 0]
  np.testing.assert_allclose(left[:7], 10 + 5 * np.arange(7), atol=1)  # also in between
  np.testing.assert_array_equal(made[0].boxes[:, 3] - made[0].boxes[:, 1], 20)
  skipped = (tmp_path / "out" / "skipped.tsv").read_text()
  assert skipped.count("boxes.csv has no box for it") == 2
  c.prepare.crop = "full"
  with pytest.raises(ValueError, match=r"crop is 'full', but config\.data\.boxes is"):
    run(c)


def test_without_usable_clips_it_ends_with_an_error(ntu_root, tmp_path):
  c = ntu_config(ntu_root, tmp_path / "out", max_skipped=1.0)
  for film in list((ntu_root / "rgb").rglob("*.avi")):
    film.write_bytes(b"")
  with pytest.raises(ValueError, match="6 of 6 clips cannot be used"):
    run(c)
  shutil.rmtree(ntu_root / "rgb")
  with pytest.raises(ValueError, match="no clip of ntu60 can be used"):
    run(c)


def test_custom_clips_with_gaps(tmp_path):
  """From csv, npz and video to records by the config."""
  world = np.random.default_rng(0).normal(0.0, 0.2, (12, 33, 4)).astype(np.float32)
  world[..., 3] = 0.75
  world[4:6] = np.nan
  image = np.random.default_rng(1).uniform(0.3, 0.7, (12, 33, 2))
  np.savez(tmp_path / "world.npz", a=world)
  np.savez(tmp_path / "image.npz", a=image)
  (tmp_path / "index.csv").write_text("clip,video,label,split\na,a.mp4,wave,train\n")
  frames = np.zeros((12, 48, 64, 3), np.uint8)
  video_writer.write_video(tmp_path / "a.mp4", frames, 15)
  c = config(tmp_path / "out")
  c.data = ml_collections.ConfigDict(
    {
      "dataset": "custom",
      "index": str(tmp_path / "index.csv"),
      "world_joints": str(tmp_path / "world.npz"),
      "image_joints": str(tmp_path / "image.npz"),
      "skeleton": "mediapipe_33",
      "records": str(tmp_path / "out"),
    }
  )
  run(c)
  (record,) = read_all(tmp_path / "out")
  assert record.attributes == {"split": "train"}
  assert record.fps == 15
  assert np.isfinite(record.pose).all()
  back = crop.from_crop(record.image_joints, record.boxes, 32)[:, 0]
  np.testing.assert_allclose(back, image * [64, 48], atol=1e-3)
  np.testing.assert_array_equal(record.visibility[4:6], 0)  # interpolated
  np.testing.assert_array_equal(np.delete(record.visibility, (4, 5), axis=0), 0.75)


def test_plan_is_readable(once):
  plan = json.loads((once / "plan.json").read_text())
  assert plan["dataset"] == "synthetic"
  assert plan["num_clips"] == 4
  assert plan["crop.kind"] == "joints"


def test_real_pair(shared, tmp_path):
  if not (shared / "sample" / "S001C001P001R001A001.skeleton").exists():
    pytest.skip("needs the real NTU sample of ../shared/data/sample")
  c = ntu_config(shared / "sample", tmp_path)
  c.prepare.size = 128
  run(c)
  (record,) = read_all(tmp_path)
  assert len(record.frames) == 103
  assert record.label == 0
  joints = record.image_joints[:, 0]
  assert ((joints >= 0) & (joints <= 128)).all()


def test_poses_without_joints_in_the_image_are_refused_before_the_first_clip(
  tmp_path, monkeypatch
):
  """N-UCLA's generic command: 1,484 clips were read before."""
  fake_nucla.write_pair(tmp_path / "raw", "a01_s02_e03_v01", 8)
  monkeypatch.setattr(nucla.NUCLA, "read", None)
  c = ntu_config(tmp_path / "raw", tmp_path / "out")
  c.data.dataset = "nucla"
  with pytest.raises(ValueError, match=r"--config\.data\.boxes=<file.*crop=full for"):
    run(c)
  assert not (tmp_path / "out").exists()
  monkeypatch.undo()
  c.prepare.crop = "full"
  assert len(run(c).clips()) == 1


def test_reasons_are_printed_whole_with_an_example():
  long = "a reason of many words, " * 10 + "--config.data.boxes=mediapipe"
  left_out = [
    ("a/1", f"1.avi has 57 poses: {long}"),
    ("a/22", f"22.avi has 3 poses: {long}"),
  ]
  left_out.append(("b", "another"))
  assert summary.by_reason(left_out) == [
    f"2 x 1.avi has 57 poses: {long} (a/1)", "1 x another (b)"
  ]  # fmt: skip
