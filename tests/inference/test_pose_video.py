"""A video and its poses as clips of a trained network."""

import dataclasses
import tracemalloc
import zipfile

import fake_clips
import fake_landmarker
import fake_ntu
import fake_nucla
import fake_smarthome
import numpy as np
import pytest

from vpn_jax import timing
from vpn_jax.datasets import (
  detections,
  landmarker_bundle,
  ntu,
  nucla,
  pose_estimation,
  single_clip,
  skeletons,
)
from vpn_jax.datasets import smarthome as smarthome_lib
from vpn_jax.datasets.base import BadClip, Clip, RawClip
from vpn_jax.inference import (
  overlay,
  pose_video,
  predict,
  stream,
  trained_network,
  windows,
)
from vpn_jax.records import make_record

BODY = skeletons.get("mediapipe_33")


@pytest.fixture(scope="module")
def network(clips):
  return trained_network.load(str(clips / "run"))


def recipe(network, kind):
  """The network as if its records had been cropped in another way."""
  crop = {**network.provenance.crop, "kind": kind}
  if kind == "boxes":
    crop["head_room"] = 0.0
  provenance = dataclasses.replace(network.provenance, crop=crop)
  return dataclasses.replace(network, provenance=provenance)


def settings(root, **fields):
  fields = {"pose": "", "image_units": "fraction", **fields}
  return fake_clips.asked(root, **fields).predict


def parts(network, settings, film=None):
  """All windows of the video that the settings name, or of another."""
  recognizer = pose_video.PoseRecognizer(network, settings, timing.Clock())
  with windows.FrameBuffer(recognizer.length + recognizer.stride) as buffer:
    return list(recognizer.segments(film or stream.open_stream(settings.video), buffer))


def only_record(network, film, pose, **fields):
  """The record of a short video."""
  fields = {"video": str(film), "pose": str(pose), **fields}
  (part,) = parts(network, settings(film.parent, **fields))
  return part.record


def assert_same(made, expected):
  assert tuple(made.frames) == tuple(expected.frames)
  for field in ("boxes", "pose", "image_joints", "visibility"):
    np.testing.assert_array_equal(getattr(made, field), getattr(expected, field))


class Opened:
  """A dataset of one clip, open already."""

  name, class_names, skeleton, source = "opened", (), "kinect_v2", {}

  def __init__(self, clip):
    self.clip = clip

  def read(self, _):
    return self.clip


# Poses from files.


def test_skeleton_file_is_read_as_the_dataset_reads_it(network, tmp_path):
  """Also where the poses go on for a frame after the video."""
  name = "S001C001P001R001A001"
  bodies = {"721": fake_ntu.body(20, motion=0.6)}
  skeleton, film = fake_ntu.write_pair(tmp_path, name, num_frames=20, bodies=bodies)
  fake_ntu.write_pair(tmp_path, name, num_frames=19)
  skeleton.write_text("\n".join(fake_ntu.lines(20, bodies)) + "\n")
  record = only_record(network, film, skeleton)
  assert len(record.frames) == 19
  clip = Clip(name, 0, {}, str(film), str(skeleton))
  assert_same(
    record, make_record.make_record(ntu.NTU(tmp_path), clip, network.provenance.crop)
  )


@pytest.mark.parametrize("kind", ["smarthome", "nucla"])
def test_json_files_are_read_as_their_datasets_read_them(kind, network, tmp_path):
  """With detections from a file, as a network trained on such crops wants them."""
  if kind == "smarthome":
    name, dataset = "Walk_p02_r00_v01_c03", smarthome_lib.Smarthome(tmp_path)
    skeleton, film = fake_smarthome.write_pair(tmp_path, name)
  else:
    name, dataset = "a01_s02_e03_v01", nucla.NUCLA(tmp_path)
    skeleton, film = fake_nucla.write_pair(tmp_path, name)
  network = recipe(network, "boxes")
  network = dataclasses.replace(network, skeleton=skeletons.get(dataset.skeleton))
  with pytest.raises(FileNotFoundError, match=r"config\.predict\.boxes is not set"):
    only_record(network, film, skeleton)
  boxes = tmp_path / "boxes.csv"
  boxes.write_text(f"clip,frame,left,top,right,bottom\n{name},0,20,10,60,50\n")
  record = only_record(network, film, skeleton, boxes=str(boxes))
  dataset = detections.WithDetections(dataset, boxes)
  clip = dataset.clips()[0][0]
  assert_same(record, make_record.make_record(dataset, clip, network.provenance.crop))
  np.testing.assert_array_equal(record.boxes, [[16, 6, 64, 54]] * 8)


def test_windows_of_a_long_video_are_clips(network, tmp_path):
  """Each as a dataset would have it, were it a clip of its own."""
  world, image = fake_clips.write(tmp_path, "long", 40)
  image[20:] += (8, 4)
  np.savez(tmp_path / "long.npz", world=world, image=image)
  asked = settings(
    tmp_path,
    video=str(tmp_path / "long.avi"),
    pose=str(tmp_path / "long.npz"),
    image_units="pixel",
  )
  made = parts(network, asked)
  assert [(p.first, p.end) for p in made] == [(0, 16), (16, 32), (24, 40)]
  assert [p.shown for p in made] == [(0, 14), (16, 30), (24, 38)]
  assert made[0].record.boxes[0, 0] < made[2].record.boxes[0, 0]
  frames = list(stream.open_stream(asked.video).frames)
  for part in made:
    cut = slice(part.first, part.end)
    clip = RawClip(
      world[cut, None], image[cut, None], lambda cut=cut: iter(frames[cut]), 10
    )
    assert_same(
      part.record,
      make_record.make_record(
        Opened(clip), Clip("long", 0, {}), network.provenance.crop
      ),
    )
  asked.window_stride = 4
  assert [p.first for p in parts(network, asked)] == [0, 4, 8, 12, 16, 20, 24]
  asked.window_stride = 17
  with pytest.raises(ValueError, match=r"stride is 17, expected at most 16, the fr"):
    parts(network, asked)


def test_windows_without_anybody_are_left_out(network, tmp_path):
  world, image = fake_clips.write(tmp_path, "long", 40)
  world[:20] = np.nan
  np.savez(tmp_path / "long.npz", world=world, image=image)
  fields = {"video": "long.avi", "pose": "long.npz"}
  fields = {name: str(tmp_path / file) for name, file in fields.items()}
  asked = settings(tmp_path, image_units="pixel", **fields)
  made = parts(network, asked)
  assert [(p.first, p.batch is None) for p in made] == [
    (0, True), (16, False), (24, False)
  ]  # fmt: skip
  assert made[0].reason == "nobody in any frame"
  two = np.stack([np.full_like(world, np.nan), world], axis=1)  # no main actor
  two[0, 0] = 0
  np.savez(tmp_path / "long.npz", world=two, image=np.stack([image] * 2, axis=1))
  made = parts(network, asked)
  assert made[2].reason == "the main actor is in no frame"


@pytest.mark.parametrize(("frames", "poses"), [(40, 37), (40, 41), (40, 20)])
def test_poses_of_another_length(frames, poses, network, tmp_path, monkeypatch):
  """They are refused, for a long video too, unless the sensor drops a few frames."""
  fake_clips.write(tmp_path, "long", frames)
  world, image = fake_clips.write(tmp_path, "other", poses)
  asked = settings(
    tmp_path,
    video=str(tmp_path / "long.avi"),
    pose=str(tmp_path / "other.npz"),
    image_units="pixel",
  )
  with pytest.raises(BadClip, match=rf"{poses} poses but {frames} video"):
    parts(network, asked)
  read = single_clip.SingleClip.read
  monkeypatch.setattr(
    single_clip.SingleClip,
    "read",
    lambda self, clip: dataclasses.replace(read(self, clip), drops_frames=True),
  )
  keep = 37
  np.savez(
    tmp_path / "other.npz",
    world=np.resize(world, (keep, 25, 3)),
    image=np.resize(image, (keep, 25, 2)),
  )
  assert parts(network, asked)[-1].end == keep


# Poses by MediaPipe, or by its stand-in.


@pytest.fixture
def bundle(tmp_path):
  path = tmp_path / "x.task"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("pose_detector.tflite", "model")
  return str(path)


@pytest.fixture
def mediapipe(monkeypatch):
  monkeypatch.setattr(pose_estimation, "open_landmarker", fake_landmarker.Landmarker)


def estimated(network):
  return dataclasses.replace(network, skeleton=BODY)


@pytest.mark.parametrize("kind", ["joints", "full", "boxes"])
def test_short_video_is_read_as_prepare_reads_it(
  kind, network, clips, bundle, mediapipe
):
  network = recipe(estimated(network), kind)
  record = only_record(
    network,
    clips / "nod.avi",
    "mediapipe",
    pose_model=bundle,
    boxes="mediapipe" if kind == "boxes" else "",
  )
  files = Opened(RawClip(np.zeros((20, 1, 33, 3)), np.zeros((20, 1, 33, 2)), None, 10))
  dataset = pose_estimation.WithEstimatedPoses(files, bundle)
  clip = Clip("nod", 0, {}, str(clips / "nod.avi"))
  if kind == "boxes":
    dataset = pose_estimation.WithEstimatedBoxes(dataset, bundle)
  assert_same(record, make_record.make_record(dataset, clip, network.provenance.crop))


def play(count, black=()):
  """Frames of a synthetic video, one at a time."""
  rng = np.random.default_rng(0)
  for t in range(count):
    frame = rng.integers(1, 255, (48, 64, 3), np.uint8)
    yield 0 * frame if t in black else frame


def test_long_video_is_decoded_once(network, clips, bundle, mediapipe):
  asked = settings(clips, pose="mediapipe", pose_model=bundle)
  film = stream.Stream("synthetic", play(40, black=range(14, 36)), 10, (64, 48))
  made = parts(estimated(network), asked, film)
  assert [(p.first, p.reason) for p in made] == [
    (0, ""), (16, "MediaPipe found nobody in any of 16 frames"), (24, "")
  ]  # fmt: skip
  seen = np.isfinite(made[0].record.pose).all(axis=(1, 2, 3))
  np.testing.assert_array_equal(seen, [True] * 14 + [False] * 2)
  assert (made[0].record.boxes != made[2].record.boxes).any()


def test_a_stream_does_not_wait(network, clips, bundle, mediapipe):
  """A window of a file waits for the next one, of a stream it does not."""
  pulled = 0

  def frames():
    nonlocal pulled
    for frame in play(100):
      pulled += 1
      yield frame

  asked = settings(clips, pose="mediapipe", pose_model=bundle, video="0")
  recognizer = pose_video.PoseRecognizer(estimated(network), asked, timing.Clock())
  film = stream.Stream("webcam 0", frames(), 10, (64, 48), live=True)
  with windows.FrameBuffer(32) as buffer:
    playing = recognizer.segments(film, buffer)
    for count in (16, 32):
      assert next(playing).end == pulled == count
    playing.close()


def test_nobody_at_all(network, clips, bundle, mediapipe):
  asked = settings(clips, pose="mediapipe", pose_model=bundle)
  recognizer = pose_video.PoseRecognizer(estimated(network), asked, timing.Clock())
  for count, words in ((20, "of 20 frames$"), (64, "of 16 frames, nor in the 3 windo")):
    film = stream.Stream("x", play(count, black=range(count)), 10, (64, 48))
    with windows.FrameBuffer(32) as buffer, pytest.raises(BadClip, match=words):
      predict.recognize(recognizer, film, buffer)


def test_memory_does_not_grow_with_the_length(
  network, clips, bundle, mediapipe, tmp_path, monkeypatch
):
  """Poses, crops, windows and the overlay of a video four times as long."""
  monkeypatch.setattr(overlay, "SIDES", (64, 64))  # larger ones take longer
  asked = settings(clips, pose="mediapipe", pose_model=bundle)

  def peak(count):
    recognizer = pose_video.PoseRecognizer(estimated(network), asked, timing.Clock())
    scores = np.float32([0.4, 0.6]), np.random.default_rng(0).random((4, 8, 8))
    recognizer.forward = lambda batch: scores
    film = stream.Stream("synthetic", play(count), 10, (64, 48))
    tracemalloc.start()
    with windows.FrameBuffer(32) as buffer:
      with overlay.OverlayWriter(
        str(tmp_path / "x.mp4"), 10, recognizer, buffer
      ) as drawn:
        result = predict.recognize(recognizer, film, buffer, drawn)
      most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert drawn.count == count
    assert len(result.windows) == count // 16
    return most

  peak(32)  # what is loaded once
  short, long = peak(48), peak(192)
  assert long < short + 40 * 48 * 64 * 3  # of 144 frames more


def test_fields_that_are_not_used_are_refused(network, clips):
  with pytest.raises(
    ValueError, match="does not see a crop around detections but 'joi"
  ):
    parts(network, settings(clips, pose=str(clips / "nod.npz"), boxes="b.csv"))
  with pytest.raises(ValueError, match=r"pose_model is 'a\.task', but nothing is est"):
    parts(network, settings(clips, pose=str(clips / "nod.npz"), pose_model="a.task"))


def test_messages_of_mediapipe(network, clips, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setattr(landmarker_bundle, "ADDRESS", f"file://{tmp_path}/none.task")
  with pytest.raises(ValueError, match=r"mediapipe_33; the network .* on kinect_v2"):
    parts(network, settings(clips, pose="mediapipe"))
  with pytest.raises(FileNotFoundError, match="pose_model is not set, and file:"):
    parts(estimated(network), settings(clips, pose="mediapipe"))


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    (
      {"pose": "x.npz"},
      r"pose is x.npz, but rtsp://cam/1 is not a file .* mediapipe\.",
    ),
    (
      {"boxes": "x.csv"},
      r"boxes is x.csv, but rtsp://cam/1 is not a file .* mediapipe",
    ),
    ({}, "takes poses, and .*pose is not set: a webcam or stream has .* mediapipe on"),
    ({"pose": "mediapipe"}, "was trained on kinect_v2: take one trained on MediaPipe"),
  ],
)
def test_messages_of_streams(fields, words, network, clips):
  asked = settings(clips, video="rtsp://me:secret@cam/1", **fields)
  with pytest.raises((ValueError, FileNotFoundError), match=words) as e:
    pose_video.PoseRecognizer(network, asked, timing.Clock())
  assert "\n" not in str(e.value)
  assert "secret" not in str(e.value)


def test_crop_recipe_of_another_version(network, clips):
  crop = {**network.provenance.crop, "version": 0}
  del crop["slack"]
  provenance = dataclasses.replace(network.provenance, crop=crop)
  old = dataclasses.replace(network, provenance=provenance)
  with pytest.raises(ValueError, match=r"expected version 2 with \['slack'\]: use the"):
    parts(old, settings(clips))
