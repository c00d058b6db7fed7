"""Synthetic clips: reproducible, balanced, rigid, and consistent with their truth."""

import collections
import dataclasses

import cv2
import numpy as np
import pytest

from vpn_jax.datasets.synthetic import (
  appearance,
  generator,
  kinematics,
  motion,
  rendering,
)

SHORT = generator.Settings(num_frames=6)
K = len(generator.CLASSES)
# The 24 bones as 0-based pairs, thumbs at the hands; independent of `skeletons`.
BONES = (
  "0-1 1-20 20-2 2-3 20-4 4-5 5-6 6-7 7-21 7-22 20-8 8-9 9-10 10-11 11-23 11-24 "
  "0-12 12-13 13-14 14-15 0-16 16-17 17-18 18-19"
)
BONES = np.array([bone.split("-") for bone in BONES.split()], int)
HOLDS = {
  "drink from cup": "cup",
  "drink from can": "can",
  "read a book": "book",
  "use a tablet": "tablet",
  "put on headphones": "headphones",
}


@pytest.fixture(scope="module")
def clips():
  """One clip of each class at the default settings; cameras and subjects vary."""
  return [generator.make_clip(3, i + K * (i % 5)) for i in range(K)]


@pytest.fixture
def force_label(monkeypatch):
  """Gives every clip a label, with subject 1 and camera 2."""

  def force(label):
    monkeypatch.setattr(generator, "attributes", lambda *_: (label, 1, 2))

  return force


def same(a, b):
  return all(
    np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True)
    for name in ("frames", "pose", "true_pose", "image_joints", "object_position")
  )


def motion_of(action, seed=0, frames=48, body_seed=0):
  body = kinematics.make_body(np.random.default_rng(body_seed))
  rng = np.random.default_rng(seed)
  return motion.make_motion(rng, action, body, frames, 20.0), body


def test_a_clip_depends_on_seed_and_index_alone():
  first = generator.make_clip(0, 4, SHORT)
  np.random.seed(7)  # noqa: NPY002 - the global state must not matter
  generator.make_clip(0, 9, SHORT)
  cv2.setRNGSeed(5)
  assert same(first, generator.make_clip(0, 4, SHORT))
  assert not same(first, generator.make_clip(1, 4, SHORT))
  period = K * SHORT.num_subjects * SHORT.num_cameras
  unseen = generator.make_clip(0, 4, SHORT, render=False)  # the same without frames
  assert unseen.frames.shape == (0, *first.frames.shape[1:])
  assert same(first, dataclasses.replace(unseen, frames=first.frames))
  again = generator.make_clip(0, 4 + period, SHORT)  # same attributes, other clip
  assert (again.label, again.subject, again.camera) == (
    first.label,
    first.subject,
    first.camera,
  )
  assert not same(first, again)


def test_shapes_types_and_name(clips):
  f, h, w = 48, 144, 176
  for label, clip in enumerate(clips):
    assert clip.label == label
    assert clip.frames.shape == (f, h, w, 3)
    assert clip.frames.dtype == np.uint8
    for name, shape in (
      ("pose", (f, 25, 3)),
      ("true_pose", (f, 25, 3)),
      ("image_joints", (f, 25, 2)),
      ("object_position", (f, 2)),
    ):
      value = getattr(clip, name)
      assert (value.shape, value.dtype) == (shape, np.float32), name
  assert clips[4].name == "M000060_S09_C3_A05"
  assert clips[4].name == generator.clip_name(60)
  odd = generator.make_clip(0, 0, generator.Settings(num_frames=1, height=60, width=71))
  assert odd.frames.shape == (1, 60, 71, 3)


def test_every_combination_occurs_once_and_classes_alternate():
  for subjects, cameras in ((10, 3), (4, 2), (1, 1), (3, 3), (5, 2)):
    s = generator.Settings(num_subjects=subjects, num_cameras=cameras)
    total = K * subjects * cameras
    seen = [generator.attributes(i, s) for i in range(total)]
    assert len(set(seen)) == total
    assert [label for label, _, _ in seen[:K]] == list(range(K))
    assert {c for _, c, _ in seen} == set(range(1, subjects + 1))
    assert {c for _, _, c in seen} == set(range(1, cameras + 1))


def test_a_small_dataset_is_balanced_over_label_and_camera():
  count = collections.Counter()
  for i in range(10 * K):  # a third of all combinations
    label, subject, camera = generator.attributes(i)
    count["subject", label, subject] += 1
    count["camera", label, camera] += 1
  assert {v for k, v in count.items() if k[0] == "subject"} == {1}
  assert {v for k, v in count.items() if k[0] == "camera"} == {3, 4}


def test_classes_and_groups_agree():
  grouped = [c for pairs in generator.LOOK_ALIKES.values() for p in pairs for c in p]
  assert sorted(grouped) == sorted(generator.CLASSES)
  assert len(generator.LOOK_ALIKES) == 3


def test_image_joints_are_the_pinhole_projection_of_the_true_pose(clips):
  for clip in clips:
    x, y, z = np.moveaxis(clip.true_pose.astype(float), -1, 0)
    focal = 1.52 * 144
    expected = np.stack([87.5 + focal * x / z, 71.5 - focal * y / z], -1)
    np.testing.assert_allclose(clip.image_joints, expected, atol=1e-3)
    got = generator.project(clip.true_pose)
    np.testing.assert_allclose(got, expected, atol=1e-3)
    head, foot = clip.true_pose[:, 3], clip.true_pose[:, 15]
    assert (head[:, 1] > foot[:, 1]).all()  # y is up
    assert (clip.image_joints[:, 3, 1] < clip.image_joints[:, 15, 1]).all()


def test_the_person_is_drawn_where_the_joints_are(clips, monkeypatch):
  monkeypatch.setattr(appearance.Figure, "draw", lambda *_: None)
  for index in (0, 2, 7):
    clip = clips[index]
    empty = generator.make_clip(3, index + K * (index % 5))
    changed = (clip.frames != empty.frames).any(-1)
    x, y = np.round(clip.image_joints).astype(int).transpose(2, 0, 1)
    on_person = changed[np.arange(48)[:, None], y, x]
    # Finger tips are thin; all other joints are inside the outline.
    assert on_person[:, :21].mean() > 0.99
    assert 0.02 < changed.mean() < 0.3


def test_the_object_is_drawn_at_its_position(clips, monkeypatch):
  monkeypatch.setattr(rendering, "make_object", lambda *_: [])
  for index, clip in enumerate(clips):
    name = HOLDS.get(generator.CLASSES[index])
    assert clip.object_name == name
    if name is None:
      assert np.isnan(clip.object_position).all()
      continue
    without = generator.make_clip(3, index + K * (index % 5))  # same person
    changed = (clip.frames != without.frames).any(-1)
    assert changed.any((1, 2)).mean() > 0.9  # visible in almost every frame
    seen = changed.nonzero()
    for frame in np.unique(seen[0]):
      y, x = (axis[seen[0] == frame] for axis in seen[1:])
      u, v = clip.object_position[frame]
      assert x.min() - 5 < u < x.max() + 5, (name, frame)
      assert y.min() - 5 < v < y.max() + 5, (name, frame)
      assert max(np.ptp(x), np.ptp(y)) < 45


def test_the_whole_body_is_in_view_and_fills_the_frame():
  inside, height = [], []
  settings = generator.Settings(num_frames=12, fps=5)
  for i in range(0, 420, 5):
    clip = generator.make_clip(1, i, settings)
    xy = clip.image_joints
    inside.append(((xy > 0) & (xy < (175, 143))).all((-1, -2)))
    height.append((xy[:, :21, 1].max(1) - xy[:, :21, 1].min(1)) / 144)
  assert np.mean(inside) > 0.99
  assert 0.5 < np.median(height) < 0.8
  assert np.mean(np.array(height) > 0.4) > 0.98


def test_bones_keep_their_length():
  for action in generator.CLASSES:
    moved, body = motion_of(action, seed=11)
    ends = moved.joints[:, BONES]
    length = np.linalg.norm(ends[:, :, 0] - ends[:, :, 1], axis=-1)
    np.testing.assert_allclose(length, length[:1].repeat(48, 0), atol=1e-9)
    arm = np.linalg.norm(moved.joints[:, 4] - moved.joints[:, 5], axis=-1)
    np.testing.assert_allclose(arm, body.upper_arm, atol=1e-9)


def test_movement_is_smooth_and_above_the_floor():
  for action in generator.CLASSES:
    for seed in range(3):
      joints = motion_of(action, seed)[0].joints
      assert np.isfinite(joints).all()
      assert joints[..., 1].min() > -0.05
      speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * 20
      assert speed.max() < 7  # metres per second
      assert speed.max() > 0.05


def test_an_object_pair_has_equal_motion():
  for a, b in generator.LOOK_ALIKES["same motion, other object"]:
    for seed in range(4):
      first, second = motion_of(a, seed)[0], motion_of(b, seed)[0]
      assert np.array_equal(first.joints, second.joints)
      assert np.array_equal(first.object_centre, second.object_centre)
      assert first.object_name != second.object_name


def test_an_object_pair_has_equal_poses_and_different_frames(force_label):
  for pair in generator.LOOK_ALIKES["same motion, other object"]:
    for index in range(3):
      made = []
      for action in pair:
        force_label(generator.CLASSES.index(action))
        made.append(generator.make_clip(0, index, SHORT))
      first, second = made
      for name in ("pose", "true_pose", "image_joints", "object_position"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name
      assert not np.array_equal(first.frames, second.frames)


def test_motion_pairs_differ_as_their_names_say():
  for seed in range(5):
    palms = {
      a: np.linalg.norm(
        np.diff(motion_of(a, seed)[0].joints[24:, [7, 11]], axis=1), axis=-1
      )
      for a in ("clap", "rub hands")
    }
    assert np.ptp(palms["clap"]) > 0.07  # hands separate
    assert np.ptp(palms["rub hands"]) < 0.09
    assert palms["rub hands"].max() < 0.16
    feet = {a: motion_of(a, seed)[0].joints[:, [14, 18], 1] for a in ("hop", "jump up")}
    assert (np.abs(np.diff(feet["hop"])) > 0.08).all()  # one foot stays up
    assert np.abs(np.diff(feet["jump up"])).max() < 0.03
    for hand, thumb in ((7, 22), (11, 24)):
      up, down = (
        motion_of(a, seed)[0].joints[-1, [hand, thumb], 1]
        for a in ("thumb up", "thumb down")
      )
      if abs(np.diff(up)[0] - np.diff(down)[0]) > 0.02:  # the acting hand
        assert np.diff(up)[0] > 0.05
        assert np.diff(down)[0] < -0.05
        break
    else:
      pytest.fail("no thumb moved")
    raised = {
      a: (motion_of(a, seed)[0].joints[24:34, [7, 11], 1].mean(0) > 1.0).sum()
      for a in ("wave with one hand", "wave with two hands")
    }
    assert raised["wave with two hands"] == 2


def test_unused_objects_are_independent_of_the_action(force_label):
  settings = generator.Settings(num_frames=1)
  seen = collections.Counter()
  for index in range(25):
    found = []
    for action in ("drink from cup", "drink from can", "read a book", "clap"):
      force_label(generator.CLASSES.index(action))
      found.append(generator.make_clip(0, index, settings).unused_objects)
    assert len(set(found)) == 1
    seen.update(found[0])
    seen["both"] += {"cup", "can"} <= set(found[0])
  assert min(seen[name] for name in ("cup", "can", "book", "tablet", "both")) > 5
  assert seen["headphones"]
  assert seen["ball"]


def test_a_pair_of_objects_shares_colours_but_not_shape():
  for a, b in (("cup", "can"), ("book", "tablet")):
    shapes = []
    for name in (a, b):
      rng = np.random.default_rng(2)
      parts = rendering.make_object(rng, name)
      assert rng.random() == pytest.approx(_after_object(2))
      points = np.concatenate([p.points for part in parts for p in part])
      shapes.append(np.ptp(points, axis=0))
    assert np.abs(shapes[0] - shapes[1]).max() > 0.03


def _after_object(seed):
  """The next draw after those of the colours of a thing."""
  rng = np.random.default_rng(seed)
  rng.random(3)  # hue, saturation, value
  rng.random(6)  # light, dark
  return rng.random()


def test_noise_resembles_that_of_a_depth_sensor(clips):
  error = np.concatenate([c.pose - c.true_pose for c in clips])
  distance = np.median(np.linalg.norm(error, axis=-1), axis=0)
  assert 0.008 < distance[[0, 1, 20]].mean() < 0.02
  assert 0.02 < distance[[7, 11]].mean() < 0.05
  assert distance[21:].mean() > 2 * distance[[0, 1, 20]].mean()
  step = np.abs(np.diff(error[:48], axis=0)).mean()
  assert step < 1.2 * np.abs(error[:48]).mean()  # errors persist, unlike white noise


def test_hidden_hands_freeze_or_drift():
  pose = np.repeat(motion_of("clap")[0].joints[24:25], 40, 0)
  pose = pose @ np.diag([-1.0, 1, -1]) + (0, -1, 3.5)  # faces the camera
  pose[10:, 7] = pose[10:, 1] + (0, 0, 0.4)  # the left hand moves behind the back
  errors = [
    generator._joint_error(np.random.default_rng(i), pose, 1.0) for i in range(40)
  ]
  size = np.linalg.norm(np.array(errors)[:, 20:], axis=-1).mean(1)  # [40, 25]
  assert np.median(size[:, 7]) > 2 * np.median(size[:, 11])
  assert size.max() < 0.6
  assert np.median(size[:, 1]) < 0.03  # the trunk is never lost


def test_noise_scales_and_can_be_switched_off():
  def error(noise):
    clip = generator.make_clip(
      0, 5, generator.Settings(num_frames=8, joint_noise=noise)
    )
    return clip.pose - clip.true_pose

  assert not error(0).any()
  np.testing.assert_allclose(error(2.0), 2 * error(1.0), atol=1e-5)


def test_hidden_joints_are_those_behind_the_trunk():
  pose = motion_of("clap")[0].joints[:1] @ np.diag([-1.0, 1, -1]) + (
    0,
    -1,
    3.5,
  )  # faces the camera
  pose[0, 7] = pose[0, 1] + (0, 0, 0.4)  # a hand behind the back
  hidden = generator._hidden(pose, 1.0)[0]
  assert hidden[7]
  assert not hidden[3]
  assert not hidden[4]
  assert not hidden[8]


def test_rotation_turns_left_bends_forward():
  z, y = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
  np.testing.assert_allclose(
    kinematics.rotation(yaw=np.pi / 2) @ z, [1, 0, 0], atol=1e-9
  )
  np.testing.assert_allclose(
    kinematics.rotation(0, np.pi / 2) @ y, [0, 0, 1], atol=1e-9
  )
  r = kinematics.rotation(0.3, 0.2, -0.4)
  np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-9)
  assert np.linalg.det(r) == pytest.approx(1)


def test_capsule_outline_touches_both_balls():
  a, b = np.array([10.0, 10]), np.array([30.0, 10])
  outline = appearance.capsule(a, b, np.array(4.0), np.array(2.0))
  assert outline[:, 0].min() == pytest.approx(6, abs=0.3)
  assert outline[:, 0].max() == pytest.approx(32, abs=0.3)
  gap = np.minimum(
    np.abs(np.linalg.norm(outline - a, axis=-1) - 4),
    np.abs(np.linalg.norm(outline - b, axis=-1) - 2),
  )
  assert gap.max() < 1e-6


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: generator.Settings(num_frames=0), "num_frames=0, expected 1 to"),
    (lambda: generator.Settings(height=20), "height=20, expected 48"),
    (lambda: generator.Settings(width=90), "width=90 for height=144"),
    (lambda: generator.Settings(num_cameras=4), "num_cameras=4, expected 1 to 3"),
    (lambda: generator.Settings(num_subjects=0), "num_subjects=0"),
    (lambda: generator.Settings(fps=0), "fps=0, expected 1"),
    (lambda: generator.Settings(joint_noise=-1), "joint_noise=-1, expected 0"),
    (lambda: generator.make_clip(-1, 0), "seed=-1, expected 0 or more"),
    (lambda: generator.make_clip(0, -2), "index=-2, expected 0 or more"),
    (lambda: motion_of("juggle"), "'juggle', expected one of clap, rub hands"),
  ],
)
def test_messages(make, words):
  with pytest.raises(ValueError, match=words):
    make()
