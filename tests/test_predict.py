"""Tests of vpn_jax/predict.py and trained.py: a video in, the best classes out."""

import dataclasses
import json

import made_ntu
import made_nucla
import made_run
import made_smarthome
import numpy as np
import pytest

from configs import custom
from vpn_jax import (
  evaluate,
  predict,
  prepare,
  protocols,
  records,
  skeletons,
  trained,
  video,
)
from vpn_jax.models import pretrained
from vpn_jax.provenance import Provenance
from vpn_jax.raw import Clip, detections, ntu, nucla, smarthome

LENGTHS = {"nod": 20, "wave": 13}  # frames; the network takes 8


def small(root, **model):
  """A config whose network compiles in seconds, on clips below root."""
  c = custom.get_config("split,size=tiny")
  c.data.update(
    index=str(root / "index.csv"),
    world_joints="world.npz",
    image_joints="image.npz",
    image_units="pixel",
    records=str(root / "records"),
    skeleton="kinect_v2",
    train="subject:1",
    test="subject:2",
  )
  c.data.example.update(num_frames=8, frame_size=32, pose_steps=4)
  c.prepare.update(size=40, workers=0)
  c.model.update(width=0.125, endpoint="Conv3d_2b_1x1", frozen_until="")
  c.model.update(embedding_dim=8, attention_hidden=8)
  c.init.backbone = "none"
  c.model.update(num_classes=2, **model)
  c.train.eval_batch_size = 4
  return c


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
  """Two videos with joints, as files, as records, and a network for them in `run`."""
  root = tmp_path_factory.mktemp("clips")
  rng = np.random.default_rng(0)
  lines, world, image = ["clip,video,label,subject"], {}, {}
  for name, count in LENGTHS.items():
    y, x = np.mgrid[:48, :64]
    frames = [
      np.stack([x * 4 - t * 5, y * 5, (x + y + 9 * t) * 2], -1) % 256
      for t in range(count)
    ]
    video.write_video(root / f"{name}.avi", [np.uint8(f) for f in frames], 10)
    image[name] = rng.uniform((15, 10), (50, 40), (count, 25, 2)).astype(np.float32)
    world[name] = rng.normal(size=(count, 25, 3)).astype(np.float32)
    np.savez(root / f"{name}.npz", world=world[name], image=image[name])
    for subject in (1, 2):
      lines.append(f"{name}{subject},{name}.avi,{name},{subject}")
      world[f"{name}{subject}"], image[f"{name}{subject}"] = world[name], image[name]
  (root / "index.csv").write_text("\n".join(lines) + "\n")
  np.savez(root / "world.npz", **world)
  np.savez(root / "image.npz", **image)
  config = small(root)
  index = prepare.prepare(config)
  provenance = Provenance.of(index, protocols.from_config(config.data))
  made_run.save_network(config, root / "run", provenance)
  full = dataclasses.replace(provenance, crop={**provenance.crop, "kind": "full"})
  visual = small(root, attention="none", embedding=False)
  made_run.save_network(visual, root / "visual", full)
  made_run.save_network(visual, root / "visual_crop", provenance)
  return root


def asked(root, name="nod", **fields):
  c = small(root)
  c.predict.update(
    video=str(root / f"{name}.avi"),
    pose=str(root / f"{name}.npz"),
    image_units="pixel",
  )
  c.predict.update(fields)
  return c


def test_prediction_is_what_evaluation_says(clips, tmp_path, capsys):
  """A clip gets the same scores from its files as from its record."""
  evaluate.evaluate(small(clips), str(clips / "run"))
  known = evaluate.read(clips / "run" / "test")
  assert known.names == ("nod2", "wave2")
  assert np.abs(known.scores[0] - known.scores[1]).max() > 1e-3
  for name, expected in zip(LENGTHS, known.scores):
    out = tmp_path / "made" / "x.json"
    config = asked(clips, name, json=str(out), top=9)
    predict.run(config, str(clips / "run"))
    said = json.loads(out.read_text())
    scores = {entry["class"]: entry["score"] for entry in said["top"]}
    np.testing.assert_allclose([scores["nod"], scores["wave"]], expected, atol=2e-6)
    assert said["frames"] == LENGTHS[name]
    assert said["combined"] == "max"
    # 20 frames: 16 of them at stride 2 from 2; 13 frames: 8 of them from 2.
    last = {"nod": 16, "wave": 9}[name]
    best = said["top"][0]
    assert said["windows"] == [{"first": 2, "last": last, **best}]
    lines = capsys.readouterr().out.splitlines()
    assert f"{LENGTHS[name]} frames ({LENGTHS[name] / 10} s), 1 window(s)" in lines[0]
    assert lines[1].split(maxsplit=2) == ["1", f"{best['score']:.4f}", best["class"]]


def test_spans():
  assert predict.spans(5, 8, 0) == [(0, 5)]
  assert predict.spans(31, 8, 0) == [(0, 31)]
  assert predict.spans(35, 8, 0) == [(1, 17), (17, 33)]
  assert predict.spans(33, 8, 8) == [(0, 16), (8, 24), (16, 32)]


def test_windows_of_a_long_video_take_the_maximum(clips):
  network = trained.load(str(clips / "run"))
  record = trained.make_record(
    network, str(clips / "nod.avi"), str(clips / "nod.npz"), "pixel"
  )
  long = dataclasses.replace(
    record,
    frames=(*record.frames, *record.frames[::-1]),
    pose=np.concatenate([record.pose, 2 * record.pose]),
    image_joints=np.concatenate([record.image_joints] * 2),
    visibility=np.concatenate([record.visibility] * 2),
    boxes=np.concatenate([record.boxes] * 2),
  )
  result = predict.score_record(network, long)
  assert [(w.first, w.last) for w in result.windows] == [(4, 18), (20, 34)]
  each = np.stack([w.scores for w in result.windows])
  assert np.abs(each[0] - each[1]).max() > 1e-4
  np.testing.assert_array_equal(result.scores, each.max(axis=0))
  assert result.windows[0].attention.shape == (4, 8, 8)
  alone = predict.score_record(network, records.cut(long, 20, 36))
  np.testing.assert_allclose(alone.scores, each[1], atol=1e-6)
  assert len(predict.score_record(network, long, stride=4).windows) == 7
  assert len(predict.score_record(network, long, max_windows=1).windows) == 1
  gone = long.pose.copy()
  gone[:20] = np.nan  # nobody in the first window
  result = predict.score_record(network, dataclasses.replace(long, pose=gone))
  assert [w.first for w in result.windows] == [20]


def test_skeleton_file_is_read_as_the_dataset_reads_it(clips, tmp_path):
  name = "S001C001P001R001A001"
  skeleton, film = made_ntu.write_pair(tmp_path, name, num_frames=9)
  network = trained.load(str(clips / "run"))
  record = trained.make_record(network, str(film), str(skeleton), "fraction")
  clip = Clip(name, 0, {}, str(film), str(skeleton))
  expected = prepare.make_record(ntu.NTU(tmp_path), clip, network.provenance.crop)
  assert tuple(record.frames) == tuple(expected.frames)
  np.testing.assert_array_equal(record.boxes, expected.boxes)
  np.testing.assert_array_equal(record.pose, expected.pose)


@pytest.mark.parametrize("kind", ["smarthome", "nucla"])
def test_json_files_are_read_as_their_datasets_read_them(kind, clips, tmp_path):
  """With detections from a file, as a network trained on such crops wants them."""
  if kind == "smarthome":
    name, dataset = "Walk_p02_r00_v01_c03", smarthome.Smarthome(tmp_path)
    skeleton, film = made_smarthome.write_pair(tmp_path, name)
  else:
    name, dataset = "a01_s02_e03_v01", nucla.NUCLA(tmp_path)
    skeleton, film = made_nucla.write_pair(tmp_path, name)
  network = trained.load(str(clips / "run"))
  recipe = {**network.provenance.crop, "kind": "boxes", "head_room": 0.0}
  network = dataclasses.replace(
    network,
    skeleton=skeletons.get(dataset.skeleton),
    provenance=dataclasses.replace(network.provenance, crop=recipe),
  )
  arguments = network, str(film), str(skeleton), "fraction"
  with pytest.raises(FileNotFoundError, match=r"config\.predict\.boxes is not set"):
    trained.make_record(*arguments)
  boxes = tmp_path / "boxes.csv"
  boxes.write_text(f"clip,frame,left,top,right,bottom\n{name},0,20,10,60,50\n")
  record = trained.make_record(*arguments, boxes=str(boxes))
  expected = prepare.make_record(
    detections.Detected(dataset, boxes), dataset.clips()[0][0], recipe
  )
  assert tuple(record.frames) == tuple(expected.frames)
  np.testing.assert_array_equal(record.pose, expected.pose)
  np.testing.assert_array_equal(record.boxes, [[16, 6, 64, 54]] * 8)


def test_poses_by_mediapipe_need_a_network_of_their_joints(clips):
  network = trained.load(str(clips / "run"))
  with pytest.raises(ValueError, match=r"mediapipe_33; the network .* on kinect_v2"):
    trained.make_record(network, str(clips / "nod.avi"), "mediapipe", "fraction")
  joints = skeletons.get("mediapipe_33")
  network = dataclasses.replace(network, skeleton=joints)
  with pytest.raises(FileNotFoundError, match=r"pose_model is not set: download"):
    trained.make_record(network, str(clips / "nod.avi"), "mediapipe", "fraction")


def test_visual_network_needs_a_pose_only_for_the_crop(clips, capsys):
  config = asked(clips, pose="", overlay=str(clips / "visual.mp4"))
  predict.run(config, str(clips / "visual"))
  assert "20 frames" in capsys.readouterr().out
  frames = list(video.read_frames(clips / "visual.mp4"))
  assert len(frames) == 20
  with pytest.raises(FileNotFoundError, match="sees a crop around the person"):
    predict.run(config, str(clips / "visual_crop"))
  config.predict.update(pose=str(clips / "nod.npz"), overlay="")
  predict.run(config, str(clips / "visual_crop"))


def test_overlay_shows_heat_skeleton_and_scores(clips, capsys):
  film = clips / "over.mp4"
  predict.run(asked(clips, overlay=str(film)), str(clips / "run"))
  assert f"wrote {film}, 20 frames" in capsys.readouterr().out
  header = video.probe(film)
  assert (header.width, header.fps) == (480, 10)  # enlarged from 64
  assert header.height > 360
  drawn = np.stack(list(video.read_frames(film)))
  plain = np.stack(list(video.read_frames(clips / "nod.avi")))
  box = trained.make_record(
    trained.load(str(clips / "run")), str(clips / "nod.avi"),
    str(clips / "nod.npz"), "pixel",
  ).boxes[0]  # fmt: skip
  small_copy = drawn[:, :360][:, 3::7, 3::7][:, :48, :64].astype(int)  # 7.5 to one
  outside = np.abs(drawn[:, 4:356, 470:478].mean() - plain[:, :, 63:].mean())
  assert box[2] < 62
  assert outside < 6  # nothing is drawn beside the crop
  assert small_copy[:, 20:30, 25:40].std(axis=-1).mean() < plain.std(axis=-1).mean()
  assert drawn[:, 365:].max() > 200  # white words on black
  assert np.median(drawn[:, 365:, 470:]) < 30


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"video": ""}, "config.predict.video is not set: add"),
    ({"video": "none.mp4"}, "no file none.mp4: config.predict.video is a video"),
    ({"pose": ""}, "takes poses, and config.predict.pose is not set: give the"),
    ({"pose": "none.npz"}, "no file none.npz: config.predict.pose is a skeleton"),
    ({"top": 0}, "config.predict.top is 0, expected 1 or more"),
    ({"window_stride": -1}, "window_stride is -1, expected 0 or more"),
    ({"max_windows": -2}, "max_windows is -2, expected 0 or more"),
    ({"overlay": "x.gif"}, "overlay is x.gif, expected a name that ends in .mp4"),
    ({"image_units": "cm"}, "image_units is 'cm', expected 'fraction' or 'pixel'"),
    ({"image_units": "fraction"}, "expected fractions .*image_units=pixel"),
    ({"video": __file__}, "cannot be opened"),
    ({"pose": __file__}, "cannot be read as npz; expected arrays"),
  ],
)
def test_messages(fields, words, clips):
  with pytest.raises((ValueError, FileNotFoundError), match=words) as e:
    predict.run(asked(clips, **fields), str(clips / "run"))
  assert "\n" not in str(e.value)


def test_messages_of_video_and_pose_that_do_not_belong_together(clips):
  config = asked(clips, pose=str(clips / "wave.npz"))
  with pytest.raises(ValueError, match=r"13 poses but more than 14 video frames.*Give"):
    predict.run(config, str(clips / "run"))


def test_messages_of_the_workdir(clips, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"nowhere, which is no folder"):
    trained.load(str(tmp_path / "nowhere"))
  assert not (tmp_path / "nowhere").exists()
  with pytest.raises(FileNotFoundError, match="no checkpoint in"):
    trained.load(str(tmp_path))
  network = trained.load(str(clips / "run"))
  crop = {**network.provenance.crop, "version": 0}
  del crop["slack"]
  provenance = dataclasses.replace(network.provenance, crop=crop)
  old = dataclasses.replace(network, provenance=provenance)
  with pytest.raises(ValueError, match=r"expected version 2 with \['slack'\]: use the"):
    trained.make_record(old, "x.avi", "x.npz", "pixel")
  provenance = dataclasses.replace(network.provenance, skeleton_digest="0" * 8)
  made_run.save_network(small(clips), tmp_path / "old", provenance)
  with pytest.raises(ValueError, match=r"digest .* was trained with 00000000: use"):
    trained.load(str(tmp_path / "old"))


# Kinetics


def test_kinetics_frame_takes_the_centre():
  y, x = np.mgrid[:64, :128]
  frame = np.stack([x, y, np.full_like(x, 7)], -1).astype(np.uint8)
  cut = predict.kinetics_frame(frame, 64)  # not resized: 56 x 56 of it
  np.testing.assert_array_equal(cut, frame[4:60, 36:92])
  assert predict.kinetics_frame(frame, 256).shape == (224, 224, 3)
  tall = predict.kinetics_frame(frame.transpose(1, 0, 2), 32)
  assert tall.shape == (28, 28, 3)
  assert abs(int(tall[14, 14, 0]) - 64) <= 1
  assert abs(int(tall[14, 14, 1]) - 32) <= 1


@pytest.mark.parametrize(
  ("count", "stride", "expected"),
  [
    (64, 32, [(0, 32), (32, 32)]),
    (70, 32, [(0, 32), (32, 32), (38, 32)]),  # the last one ends with the stream
    (70, 16, [(0, 32), (16, 32), (32, 32), (38, 32)]),
    (20, 32, [(0, 20)]),
    (5, 32, [(0, 16)]),  # repeats
  ],
)
def test_stream_windows(count, stride, expected):
  made = list(predict.stream_windows(iter(np.arange(count)), 32, stride))
  assert [(first, len(w)) for first, w in made] == expected
  for first, window in made:
    np.testing.assert_array_equal(window, (first + np.arange(len(window))) % count)


def test_stream_windows_hold_one_window():
  pulled = 0

  def frames():
    nonlocal pulled
    for pulled in range(1, 10**9):  # noqa: B007
      yield np.zeros(1)

  next(predict.stream_windows(frames(), 32, 32))
  assert pulled == 32


class Stand:
  """Stands in for I3D, which compiles for long: logits from the mean of each row."""

  def apply(self, variables, frames):
    assert frames.shape == (1, 16, 28, 28, 3)
    return frames.mean(axis=(1, 3, 4)) @ variables["weights"], {}


@pytest.fixture
def stand_in(monkeypatch):
  weights = np.random.default_rng(0).normal(size=(28, 400)).astype(np.float32)
  variables = {"weights": 5 * weights}
  monkeypatch.setattr(predict, "load_kinetics", lambda: (Stand(), variables))
  return variables


def test_kinetics_scores_any_video(stand_in, clips, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(predict, "KINETICS_FRAMES", 16)
  out, film = tmp_path / "k.json", tmp_path / "k.mp4"
  config = asked(clips, pose="", short_side=32, json=str(out), overlay=str(film), top=2)
  predict.run(config)
  said = json.loads(out.read_text())
  assert said["network"] == "I3D, Kinetics-400"
  assert [(w["first"], w["last"]) for w in said["windows"]] == [(0, 15), (4, 19)]
  assert len(said["top"]) == 2
  assert len(list(video.read_frames(film))) == 20
  assert "20 frames (2.0 s), 2 window(s), mean of their" in capsys.readouterr().out
  # The same by hand.
  frames = np.stack(
    [predict.kinetics_frame(f, 32) for f in video.read_frames(clips / "nod.avi")]
  )
  frames = frames / 127.5 - 1
  logits = np.stack([frames[:16], frames[4:]]).mean(axis=(1, 3, 4))
  odds = np.exp(logits @ stand_in["weights"])
  scores = (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)
  top = [entry["score"] for entry in said["top"]]
  np.testing.assert_allclose(top, np.sort(scores)[::-1][:2], atol=2e-5)
  names = pretrained.kinetics_class_names()
  assert said["top"][0]["class"] == names[int(np.argmax(scores))]


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({}, "I3D on Kinetics takes no pose: add --workdir"),
    ({"pose": "", "window_stride": 65}, "window_stride 65 .*expected 1 to 64"),
    ({"pose": "", "short_side": 8}, "short_side 8, expected .* at least 32"),
    ({"pose": "", "video": __file__}, "cannot be opened.*give a video that plays"),
  ],
)
def test_kinetics_messages(fields, words, clips, stand_in):
  with pytest.raises(ValueError, match=words):
    predict.run(asked(clips, **fields))


def test_kinetics_knows_arm_wrestling(shared, capsys):
  config = custom.get_config("split,size=tiny")
  config.predict.update(
    video=str(shared / "sample" / "arm_wrestling.mp4"), max_windows=1, short_side=128
  )
  predict.run(config)
  lines = capsys.readouterr().out.splitlines()
  assert "64 frames" in lines[0]
  assert lines[1].endswith("arm wrestling")
  assert float(lines[1].split()[1]) > 0.5


def test_records_are_not_needed(clips, tmp_path, monkeypatch):
  """Prediction opens no dataset: not its index, not its records."""

  def refuse(*_):
    raise AssertionError("opened an index")

  monkeypatch.setattr(records, "read_index", refuse)
  predict.run(asked(clips), str(clips / "run"))
