"""Preparing again after clips or files changed: what is made, and what is kept."""

import json
import os
import shutil
import subprocess
import sys

import ml_collections
import numpy as np
import pytest

from vpn_jax.datasets import base, folders, video_writer
from vpn_jax.jobs import settings
from vpn_jax.records import make_record, prepare, reuse, store


def write(root, name, seed=0, frames=4):
  """A video and its joints as root/name.avi and .npz."""
  path = root / name
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 255, (frames, 48, 64, 3), np.uint8)
  video_writer.write_video(path.with_suffix(".avi"), images, 10)
  world = rng.normal(0.0, 0.2, (frames, 25, 3)).astype(np.float32)
  image = rng.uniform(0.3, 0.7, (frames, 25, 2)).astype(np.float32)
  np.savez(path.with_suffix(".npz"), world=world, image=image)


@pytest.fixture
def raw(tmp_path):
  """Seven clips of two classes."""
  root = tmp_path / "raw"
  for i in range(4):
    write(root, f"train/nod/{i}", i)
  for i in range(3):
    write(root, f"train/wave/{i}", 10 + i)
  return root


def config(raw, folder, **fields):
  data = {
    "dataset": "custom",
    "raw": str(raw),
    "skeleton": "kinect_v2",
    "train": "split:train",
    "test": "split:test",
    "records": str(folder),
  }
  c = ml_collections.ConfigDict({"data": data, "prepare": settings.prepare()})
  c.prepare.update(workers=0, clips_per_shard=2, size=16, max_skipped=0.9, **fields)
  return c


class Made(list):
  """The names of the clips that are made, instead of being kept."""

  def __init__(self, monkeypatch):
    true = make_record.make_record

    def make(dataset, clip, *rest):
      self.append(clip.name)
      return true(dataset, clip, *rest)

    monkeypatch.setattr(make_record, "make_record", make)

  def flush(self):
    made = sorted(self)
    self.clear()
    return made


@pytest.fixture
def made(monkeypatch):
  return Made(monkeypatch)


def run(c):
  lines = []
  index = prepare.prepare(c.data, c.prepare, lines.append)
  return index, "\n".join(lines)


def content(folder):
  return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}


def same_as_anew(raw, folder):
  """Whether a folder holds what a run from scratch makes."""
  fresh = folder.with_name("fresh")
  run(config(raw, fresh))
  found = content(folder) == content(fresh)
  shutil.rmtree(fresh)
  return found


def test_only_what_changed_is_made_again(raw, tmp_path, made):
  """Corrected, added, in a new class, gone, and touched without a change."""
  out = tmp_path / "out"
  first, _ = run(config(raw, out))
  assert len(made.flush()) == 7
  run(config(raw, out))
  assert made.flush() == []

  write(raw, "train/nod/2", seed=99)  # video and joints
  second, said = run(config(raw, out))
  assert made.flush() == ["train/nod/2"]
  assert "6 clips are kept, 1 changed, to make again (train/nod/2: video and" in said
  assert second.digest() != first.digest()  # features and resumed runs depend on it
  assert same_as_anew(raw, out)
  made.clear()

  joints = dict(np.load(raw / "train/wave/1.npz"))
  np.savez(raw / "train/wave/1.npz", world=joints["world"] * 1.1, image=joints["image"])
  _, said = run(config(raw, out))
  assert made.flush() == ["train/wave/1"]
  assert "(train/wave/1: pose)" in said

  write(raw, "train/hop/0", seed=50)  # all classes behind it get other numbers
  index, said = run(config(raw, out))
  assert made.flush() == ["train/hop/0"]
  assert "7 clips are kept, 1 to make (train/hop/0)" in said
  assert index.class_names == ("hop", "nod", "wave")
  assert same_as_anew(raw, out)
  made.clear()

  for ending in (".avi", ".npz"):
    (raw / "train/nod/0").with_suffix(ending).unlink()
  _, said = run(config(raw, out))
  assert made.flush() == []
  assert "1 gone (train/nod/0)" in said
  assert same_as_anew(raw, out)
  made.clear()

  for path in raw.rglob("*.*"):
    os.utime(path, (1, 1))
  before = content(out)
  run(config(raw, out))
  assert made.flush() == []
  assert content(out)["index.json"] == before["index.json"]
  assert not (out / reuse.FOLDER).exists()


def test_parts_of_several_machines_reuse_as_well(raw, tmp_path, made):
  out = tmp_path / "out"
  run(config(raw, out))
  made.clear()
  write(raw, "train/bow/0", seed=7)
  c = config(raw, out)
  c.data.shard = "1/2"
  assert run(c)[0] is None
  assert made.flush() == []
  c.data.shard = "0/2"
  assert len(run(c)[0].clips()) == 8
  assert made.flush() == ["train/bow/0"]
  assert same_as_anew(raw, out)


def test_a_skipped_clip_is_tried_again_once_it_is_repaired(raw, tmp_path, made):
  whole = (raw / "train/nod/1.avi").read_bytes()
  (raw / "train/nod/1.avi").write_bytes(b"")
  out = tmp_path / "out"
  index, said = run(config(raw, out))
  assert "1 x video 1.avi is an empty file (0 bytes) (train/nod/1)" in said
  assert (len(index.clips()), index.skipped) == (6, 1)
  made.clear()
  run(config(raw, out))
  assert made.flush() == []
  run(config(raw, out, retry=True))
  assert made.flush() == ["train/nod/1"]
  (raw / "train/nod/1.avi").write_bytes(whole)
  assert len(run(config(raw, out))[0].clips()) == 7
  assert made.flush() == ["train/nod/1"]


def test_boxes_and_arrays_of_all_clips_are_compared_by_clip(raw, tmp_path, made):
  """A row of a csv of boxes, and an array of an npz, concern their clip alone."""
  names = ["train/nod/0", "train/nod/1", "train/wave/0"]
  lines = ["clip,video,label"]
  lines += [f"{n},{n}.avi,{n.split('/')[1]}" for n in names]
  (raw / "index.csv").write_text("\n".join(lines))
  joints = {n: np.load(raw / f"{n}.npz")["world"] for n in names}
  np.savez(raw / "world.npz", **joints)
  boxes = {n: f"{n},0,10,10,30,40\n" for n in names}

  def write_boxes():
    text = "clip,frame,left,top,right,bottom\n" + "".join(boxes.values())
    (raw / "boxes.csv").write_text(text)

  write_boxes()
  c = config(raw, tmp_path / "out")
  c.data.raw = ""
  c.data.update(
    index=str(raw / "index.csv"), world_joints="world.npz",
    boxes=str(raw / "boxes.csv"),
  )  # fmt: skip
  run(c)
  assert made.flush() == names
  boxes[names[1]] = f"{names[1]},0,12,10,30,40\n"
  write_boxes()
  assert "(train/nod/1: boxes)" in run(c)[1]
  assert made.flush() == names[1:2]
  joints[names[2]] = joints[names[2]] * np.float32(1.5)
  np.savez(raw / "world.npz", **joints)
  assert "(train/wave/0: world_joints)" in run(c)[1]
  assert made.flush() == names[2:]


def test_a_folder_of_an_earlier_version(raw, tmp_path, made):
  """Its sidecars do not say what clips were made from: it stays, or is refused."""
  out = tmp_path / "out"
  run(config(raw, out))
  for path in out.glob("clips-*.json"):
    old = json.loads(path.read_text())
    clips = [{k: v for k, v in e.items() if k != "made_from"} for e in old["clips"]]
    path.write_text(json.dumps({**old, "clips": clips} | {"digest": ""}))
    old = {"clips": clips, "skipped": old["skipped"], "bytes": old["bytes"]}
    path.write_text(json.dumps(old))
  plan = json.loads((out / "plan.json").read_text())
  (out / "plan.json").write_text(json.dumps({**plan, "clip_list": "of that version"}))
  made.clear()
  index, said = run(config(raw, out))
  assert made.flush() == []
  assert "7 clips were made by an earlier version" in said
  assert store.read_index(out) == index
  write(raw, "train/wave/9")
  with pytest.raises(ValueError, match="with another plan: num_clips was 7, now 8"):
    run(config(raw, out))


def test_records_of_another_version_of_the_code(raw, tmp_path, monkeypatch, made):
  """A finished folder stays as it is; nothing of another version is added to it."""
  out = tmp_path / "out"
  monkeypatch.setattr(make_record, "VERSION", 1)
  run(config(raw, out))
  plan = json.loads((out / "plan.json").read_text())
  del plan["version"]  # as the first version wrote it
  (out / "plan.json").write_text(json.dumps(plan))
  monkeypatch.setattr(make_record, "VERSION", 2)
  made.clear()
  for _ in range(2):
    _, said = run(config(raw, out))
    assert "all records are of version 1, and stay; this version, 2, makes" in said
  assert made.flush() == []
  assert json.loads((out / "plan.json").read_text())["version"] == 1
  write(raw, "train/wave/9")
  with pytest.raises(
    ValueError, match=r"begun with version 1 of the code .* now it is 2"
  ):
    run(config(raw, out))


KILLED = """
import json, os, sys
import ml_collections
from vpn_jax.records import prepare, reuse
c = ml_collections.ConfigDict(json.loads(sys.argv[1]))
moves, true = int(sys.argv[2]), os.replace
def replace(*paths):
  global moves
  moves -= 1
  if moves < 0:
    os._exit(9)
  true(*paths)
os.replace = replace
prepare.prepare(c.data, c.prepare)
"""


def test_killed_while_shards_are_set_aside(raw, tmp_path, made):
  """After any number of moves: nothing that was made is lost."""
  out = tmp_path / "out"
  run(config(raw, out))
  write(raw, "train/bow/0", seed=7)
  root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
  for moves in (1, 2):
    c = config(raw, out)
    script = [sys.executable, "-c", KILLED, c.to_json(), str(moves)]
    done = subprocess.run(script, env={**os.environ, "PYTHONPATH": root}, check=False)
    assert done.returncode == 9
  made.clear()
  run(config(raw, out))
  assert made.flush() == ["train/bow/0"]
  assert same_as_anew(raw, out)


def test_a_damaged_shard_set_aside_is_made_anew(raw, tmp_path, made):
  out = tmp_path / "out"
  run(config(raw, out))
  shard = out / "clips-00000-of-00004.array_record"
  data = bytearray(shard.read_bytes())
  data[300:400] = bytes(100)
  shard.write_bytes(data)
  write(raw, "train/nod/1", seed=7)  # of that shard
  made.clear()
  run(config(raw, out))
  assert "train/nod/1" in made.flush()
  assert same_as_anew(raw, out)


def test_classes_parts_and_what_was_left_out_are_printed(raw, tmp_path):
  write(raw, "val/nod/0")
  write(raw, "test/nod/0")
  (raw / "train" / "hop").mkdir()
  (raw / "train/wave/2.avi").write_bytes(b"")
  (raw / "train/wave/0.npz").unlink()
  _, said = run(config(raw, tmp_path / "out"))
  table = said.splitlines()
  row = next(i for i, line in enumerate(table) if line.split()[0] == "class")
  assert [line.split() for line in table[row : row + 4]] == [
    ["class", "train", "test", "no", "part"],
    ["nod", "4", "1", "1"],
    ["wave", "1", "0", "0"],
    ["all", "5", "1", "1"],
  ]
  assert "1 x an empty folder: no video in it (train/hop/)" in said
  assert "1 x no npz of joints beside it" in said
  assert "1 x video 2.avi is an empty file (0 bytes) (train/wave/2)" in said
  skipped = (tmp_path / "out" / "skipped.tsv").read_text()
  assert skipped.startswith("train/hop/\tan empty folder: no video in it\n")
  c = config(raw, tmp_path / "out", dry_run=True)
  c.data.update(train="split:train,trial", validation="split:validation")
  said = run(c)[1]
  assert "no clip has split trial, named for train" in said
  assert "class  train  validation  test" in said


def test_origin_of_a_dataset_that_does_not_say():
  clip = base.Clip("a", 0, {}, video="a.mp4")
  assert base.origin(object(), clip) == base.Origin({"video": "a.mp4"})
  inner = type(
    "Inner", (), {"origin": lambda self, c: base.Origin({}, {"x": c.name})}
  )()
  outer = type("Outer", (), {"inner": inner})()
  assert base.origin(outer, clip).values == {"x": "a"}
  assert base.notes(object()) == []
  assert folders.Folders.name == "custom"
