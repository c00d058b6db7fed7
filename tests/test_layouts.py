"""Each raw layout, half of it damaged -> records -> batches -> a train step."""

import json

import fake_landmarker
import fake_ntu
import fake_nucla
import fake_smarthome
import numpy as np
import pytest

from configs import custom, ntu60, ntu120, nucla, smarthome
from vpn_jax.datasets import pose_estimation, skeletons, video_writer
from vpn_jax.inputs import protocol_data
from vpn_jax.jobs import prepare as prepare_job
from vpn_jax.records import store
from vpn_jax.training import loop

FRAMES = 8
# clip -> words of the reason to skip it
Damage = dict[str, str]


def spoil_video(damage: Damage, kind: str, name: str, film) -> None:
  """The kinds of damage to a video that every layout shares."""
  content = film.read_bytes()
  if kind == "empty":
    film.write_bytes(b"")
    damage[name] = "is an empty file"
  elif kind == "cut":
    film.write_bytes(content[: len(content) // 3])
    damage[name] = "video"
  elif kind == "words":
    film.write_bytes(b"no video, only words. " * 40)
    damage[name] = "cannot be opened"
  elif kind == "folder":
    film.unlink()
    film.mkdir()
    damage[name] = "video"


def ntu_tree(root, actions=(1, 2)) -> Damage:
  def name(subject, action):
    return f"S001C001P{subject:03d}R001A{action:03d}"

  def pair(subject, action, frames=FRAMES, **fields):
    return fake_ntu.write_pair(root, name(subject, action), frames, **fields)

  def text(path, frames, bodies):
    path.write_text("\n".join(fake_ntu.lines(frames, bodies)) + "\n")

  def bodies(frames, *seeds):
    return {
      str(seed): fake_ntu.body(
        frames, seed=seed, center=(0.4 * seed, 0, 3), motion=0.3 / (1 + seed)
      )
      for seed in seeds
    }

  for subject in (1, 2, 3, 6, 7):
    for action in actions:
      pair(subject, action)
  first = actions[0]
  text(pair(4, first)[0], FRAMES, bodies(FRAMES, 0, 1, 2))  # three bodies
  one = {"7": fake_ntu.body(1)}
  fake_ntu.write_pair(root / "größe", name(5, first), 1, one)  # one frame
  damage: Damage = {}
  for subject, kind in enumerate(("empty", "cut", "words"), 8):
    spoil_video(damage, kind, name(subject, first), pair(subject, first)[1])
  skeleton, _ = pair(11, first)
  text(skeleton, 20, bodies(20, 0))
  damage[name(11, first)] = "20 poses but 8 video frames"
  pair(12, first, frames=20)
  text(root / "skeletons" / f"{name(12, first)}.skeleton", FRAMES, bodies(FRAMES, 0))
  damage[name(12, first)] = "8 poses but more than 8 video frames"
  skeleton, _ = pair(13, first)
  skeleton.write_text(f"{FRAMES}\n" + "0\n" * FRAMES)
  damage[name(13, first)] = "no body in any of"
  skeleton, _ = pair(14, first)
  skeleton.write_text(skeleton.read_text().replace("\n25\n", "\n17\n"))
  damage[name(14, first)] = "17 joints, expected 25"
  skeleton, _ = pair(15, first)
  skeleton.write_text(skeleton.read_text()[:3000])
  damage[name(15, first)] = "line "
  skeleton, _ = pair(16, first)
  words = skeleton.read_text().splitlines()
  words[4] = " ".join(["nan", *words[4].split()[1:]])
  skeleton.write_text("\n".join(words))
  damage[name(16, first)] = "expected finite metres"
  skeleton, _ = pair(17, first)
  skeleton.write_text("")
  damage[name(17, first)] = "the file ends"
  pair(18, first)[0].unlink()
  damage[name(18, first)] = "no skeleton"
  return damage


def open_ntu60(root, tmp_path):
  c = ntu60.get_config("cs")
  c.data.raw = str(root)
  return c, ntu_tree(root), 12


def open_ntu120(root, tmp_path):
  c = ntu120.get_config("cs1")
  c.data.raw = str(root)
  return c, ntu_tree(root, actions=(61, 120)), 12


def open_smarthome(root, tmp_path):
  def name(subject, activity="Walk"):
    return f"{activity}_p{subject:02d}_r00_v01_c03"

  def pair(subject, activity="Walk", frames=FRAMES, detections=None):
    return fake_smarthome.write_pair(root, name(subject, activity), frames, detections)

  for subject in (2, 3, 4, 6, 10):
    for activity in ("Walk", "Drink.Fromcup"):
      pair(subject, activity)
  ghosts = fake_smarthome.person(FRAMES)
  for t in range(FRAMES):
    ghosts[t] += [fake_smarthome.detection(x) for x in (60.0, 600.0)[: 1 + t % 2]]
  pair(7, detections=ghosts)  # three bodies in a frame
  damage: Damage = {}
  for subject, kind in ((9, "empty"), (11, "cut"), (12, "words"), (13, "folder")):
    spoil_video(damage, kind, name(subject), pair(subject)[1])
  pair(14, detections=fake_smarthome.person(20))
  damage[name(14)] = "20 poses but 8 video frames"
  pair(15, frames=20, detections=fake_smarthome.person(FRAMES))
  damage[name(15)] = "8 poses but more than 8 video frames"
  pair(16, detections=[[]] * FRAMES)
  damage[name(16)] = "nobody"
  for subject, change in (
    (17, {"njts": 15}),
    (18, {"frames": [[{"pose2d": [0.0] * 30, "pose3d": [0.0] * 45}]]}),
    (19, {"frames": None}),
    (20, {"frames": []}),
  ):
    skeleton, _ = pair(subject)
    skeleton.write_text(json.dumps({**json.loads(skeleton.read_text()), **change}))
    damage[name(subject)] = "_pose3d.json"
  skeleton, _ = pair(25)
  skeleton.write_text(skeleton.read_text().replace("13", "NaN", 1)[:-40])
  damage[name(25)] = "_pose3d.json"
  pair(2, "Pour.Fromcup")
  damage[name(2, "Pour.Fromcup")] = "class"
  c = smarthome.get_config("cs")
  c.data.raw = str(root)
  return c, damage, 11


def open_nucla(root, tmp_path):
  def name(subject, camera, action=1):
    return f"a{action:02d}_s{subject:02d}_e00_v{camera:02d}"

  boxes = ["clip,frame,left,top,right,bottom"]

  def pair(subject, camera, action=1, frames=FRAMES, skeleton=None):
    boxes.append(f"{name(subject, camera, action)},0,20,10,60,70")
    return fake_nucla.write_pair(root, name(subject, camera, action), frames, skeleton)

  for camera in (1, 2, 3):
    for action in (1, 12):
      pair(1, camera, action)
      pair(2, camera, action)
  fake_nucla.write_images(root, name(3, 1), FRAMES)  # images instead of a video
  fake_nucla.write_skeleton(root, name(3, 1), fake_nucla.skeleton(FRAMES))
  boxes.append(f"{name(3, 1)},0,20,10,60,70")
  damage: Damage = {}
  for subject, kind in ((4, "empty"), (5, "cut"), (6, "words")):
    spoil_video(damage, kind, name(subject, 1), pair(subject, 1)[1])
  for subject, skeleton, words in (
    (7, fake_nucla.skeleton(20), "20 poses but 8 video frames"),
    (8, np.zeros((FRAMES, 20, 3)).tolist(), "nobody"),
    (9, np.ones((FRAMES, 25, 3)).tolist(), "20"),
    (10, [[]], "_v01.json"),
    (11, np.full((FRAMES, 20, 3), np.nan).tolist(), "_v01.json"),
    (12, "words", "_v01.json"),
  ):
    pair(subject, 1, skeleton=skeleton)
    damage[name(subject, 1)] = words
  pair(13, 1)
  boxes.pop()
  damage[name(13, 1)] = "has no box for it"
  (tmp_path / "boxes.csv").write_text("\n".join(boxes))
  c = nucla.get_config("v12_3")
  c.data.update(raw=str(root), boxes=str(tmp_path / "boxes.csv"))
  return c, damage, 13


def write_film(path, frames=FRAMES):
  path.parent.mkdir(parents=True, exist_ok=True)
  pixels = np.random.default_rng(frames).integers(0, 255, (frames, 48, 64, 3), np.uint8)
  video_writer.write_video(path, pixels, 15)
  return path


def open_index(root, tmp_path):
  world, image, rows, damage = {}, {}, ["clip,video,label,subject"], {}
  rng = np.random.default_rng(0)

  def add(name, subject, *, frames=FRAMES, poses=FRAMES, label="wave", joints=25):
    world[name] = rng.normal(0.0, 0.2, (poses, joints, 3))
    image[name] = rng.uniform(0.2, 0.8, (poses, joints, 2))
    rows.append(f"{name},{name}.mp4,{label},{subject}")
    return write_film(root / f"{name}.mp4", frames)

  for subject in (1, 2, 3):
    for label in ("wave", "grüßen"):
      add(f"{label}_{subject}", subject, label=label)
  add("one_frame", 1, frames=1, poses=1)
  world["wave_1"][2:4] = np.nan  # a short gap
  for kind in ("empty", "cut", "words"):
    spoil_video(damage, kind, kind, add(kind, 1))
  spoil_video(damage, "folder", "folder", add("folder", 1))
  add("long_pose", 1, poses=20)
  damage["long_pose"] = "20 poses but 8 video frames"
  add("long_video", 1, frames=20)
  damage["long_video"] = "8 poses but more than 8 video frames"
  add("joints", 1, joints=17)
  damage["joints"] = "[8, 17, 3], expected float [F, 25, 3"
  add("nan", 1)
  world["nan"][:] = np.nan
  damage["nan"] = "nobody in any frame"
  add("away", 1)
  image["away"] += 5
  damage["away"] = "no joint lies inside"
  add("missing", 1)
  del world["missing"]
  damage["missing"] = "has no array"
  rows.append("gone,gone.mp4,wave,1")
  damage["gone"] = "no video gone.mp4"
  np.savez(root / "world.npz", **world)
  np.savez(root / "image.npz", **image)
  (root / "index.csv").write_text("\n".join(rows), encoding="utf-8")
  c = custom.get_config()
  c.data.update(
    index=str(root / "index.csv"),
    world_joints="world.npz",
    image_joints="image.npz",
    skeleton="kinect_v2",
    train="subject:1,2",
    test="subject:3",
  )
  return c, damage, 7


def open_folders(root, tmp_path):
  damage: Damage = {}
  for label in ("wave", "aufräumen"):
    for i in range(4):
      write_film(root / label / f"{i}.mp4")
  write_film(root / "wave" / "one.mp4", frames=1)
  for kind in ("empty", "cut", "words"):
    film = write_film(root / "wave" / f"{kind}.mp4")
    spoil_video(damage, kind, f"wave/{kind}", film)
  black = np.zeros((FRAMES, 48, 64, 3), np.uint8)
  video_writer.write_video(root / "wave" / "black.mp4", black, 15)
  damage["wave/black"] = "found nobody in any of 8 frames"
  write_film(root / "loose.mp4")
  damage["loose"] = "in no class folder"
  import zipfile

  with zipfile.ZipFile(tmp_path / "model.task", "w") as file:
    file.writestr("model", "made up")
  c = custom.get_config()
  c.data.update(
    raw=str(root), pose="mediapipe", pose_model=str(tmp_path / "model.task")
  )
  return c, damage, 9


@pytest.mark.parametrize(
  ("open_layout", "skeleton"),
  [
    (open_ntu60, "kinect_v2"),
    (open_ntu120, "kinect_v2"),
    (open_smarthome, "lcrnet_13"),
    (open_nucla, "kinect_v1"),
    (open_index, "kinect_v2"),
    (open_folders, "mediapipe_33"),
  ],
)
def test_raw_to_train_step(
  open_layout, skeleton, tmp_path, shrunk, plain_operations, monkeypatch, capfd
):
  monkeypatch.setattr(pose_estimation, "open_landmarker", fake_landmarker.Landmarker)
  root = tmp_path / "raw"
  root.mkdir()
  c, damage, good = open_layout(root, tmp_path)
  c.data.records = str(tmp_path / "records")
  c.prepare.update(workers=0, clips_per_shard=4, size=40, max_skipped=0.9)
  prepare_job.run(c)
  lines = (tmp_path / "records" / "skipped.tsv").read_text().splitlines()
  skipped = dict(line.split("\t") for line in lines)
  assert skipped.keys() == damage.keys()
  for name, words in damage.items():
    assert words in skipped[name], (name, skipped[name])
    assert str(tmp_path) not in skipped[name]
  index = store.read_index(c.data.records)
  assert len(index.clips()) == good
  assert index.skeleton == skeleton

  c.prepare.verify = True
  prepare_job.run(c)
  printed = capfd.readouterr().out
  assert "problems: none" in printed
  assert (tmp_path / "records" / "contact_sheet.png").exists()

  shrunk(c)
  c.model.endpoint = "Conv3d_2b_1x1"  # a few layers, since six networks are compiled
  c.train.update(batch_size=4, eval_batch_size=4, steps=1)
  _, parts = protocol_data.open_parts(c.data)
  batch = next(parts["train"].train_batches(4, 0))
  joints = skeletons.get(skeleton).num_joints
  assert batch["frames"].shape == (4, 8, 32, 32, 3)
  assert batch["pose"].shape == (4, 4, joints, 3)
  assert np.isfinite(batch["pose"]).all()
  result = loop.train(c, str(tmp_path / "run"))
  assert np.isfinite(result["loss"])
