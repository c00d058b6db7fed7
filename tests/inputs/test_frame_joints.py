"""Joints in the frames that the network sees: a joint is where it is drawn."""

import dataclasses

import fake_records
import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import example, multi_view, pose_controls, pose_coordinates
from vpn_jax.records import record_format

KINECT = skeletons.get("kinect_v2")
LEFT, RIGHT = KINECT.hands()
SETTINGS = example.Settings(
  num_frames=6, frame_size=80, pose_steps=4, inputs=("frames", "pose", "frame_joints")
)


def drawn_record():
  """The left hand is a red square of 4 pixels, the right hand a green one."""
  record = fake_records.noise_record(0, frames=6, size=160)
  joints = np.full_like(record.image_joints, np.nan)
  rng, blobs = np.random.default_rng(1), []
  for frame in joints:
    pixels = np.zeros((160, 160, 3), np.uint8)
    for joint, channel, low in ((LEFT, 0, 50), (RIGHT, 1, 90)):
      x, y = rng.integers(low, low + 20, 2)
      pixels[y - 2 : y + 2, x - 2 : x + 2, channel] = 255
      frame[0, joint] = x, y
    blobs.append(record_format.encode_frame(pixels, quality=100))
  return dataclasses.replace(record, frames=tuple(blobs), image_joints=joints)


def middle(frame, channel):
  """The centre of mass of a colour, as fractions (x, y) of the frame."""
  weight = np.where(frame[..., channel] > 100, frame[..., channel], 0).astype(float)
  rows, columns = np.indices(weight.shape) + 0.5
  size = len(frame)
  return (
    np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum() / size
  )


@pytest.mark.parametrize("view", multi_view.VIEWS["three"])
@pytest.mark.parametrize("size", [0, 120])
def test_joints_follow_the_views(view, size):
  view = dataclasses.replace(view, size=size)
  made = example.make(drawn_record(), SETTINGS, KINECT, None, view)
  for frame, joints in zip(made["frames"], made["frame_joints"]):
    np.testing.assert_allclose(middle(frame, 0), joints[LEFT, :2], atol=0.01)
    np.testing.assert_allclose(middle(frame, 1), joints[RIGHT, :2], atol=0.01)


def test_joints_follow_crops_and_mirrors():
  settings = dataclasses.replace(SETTINGS, flip=True, crop=0.9)
  record, flipped = drawn_record(), 0
  for seed in range(8):
    made = example.make(record, settings, KINECT, np.random.default_rng(seed))
    plain = record.image_joints[0, 0, LEFT, 0] < record.image_joints[0, 0, RIGHT, 0]
    for frame, joints in zip(made["frames"], made["frame_joints"]):
      red, green = middle(frame, 0), middle(frame, 1)
      is_flipped = (red[0] < green[0]) != plain
      left, right = (green, red) if is_flipped else (red, green)
      np.testing.assert_allclose(left, joints[LEFT, :2], atol=0.01)
      np.testing.assert_allclose(right, joints[RIGHT, :2], atol=0.01)
    flipped += is_flipped
    assert joints[0].tolist() == [0, 0, 0]  # never seen, also in a mirror
  assert 0 < flipped < 8


def test_the_score_is_the_visibility_where_it_is_known():
  record = drawn_record()
  visibility = np.full_like(record.visibility, np.nan)
  visibility[:, 0, LEFT] = 0.25
  record = dataclasses.replace(record, visibility=visibility)
  made = example.make(record, SETTINGS, KINECT, None)["frame_joints"]
  assert (made[:, LEFT, 2] == 0.25).all()
  assert (made[:, RIGHT, 2] == 1.0).all()
  assert made.shape == (6, 25, 3) == SETTINGS.example_shapes(25)["frame_joints"].shape


def test_without_decoding_the_frames():
  settings = dataclasses.replace(SETTINGS, flip=True, crop=0.8)
  alone = dataclasses.replace(settings, inputs=("frame_joints",))
  record = drawn_record()
  both = [
    example.make(record, s, KINECT, np.random.default_rng(3)) for s in (settings, alone)
  ]
  np.testing.assert_array_equal(*(made["frame_joints"] for made in both))
  assert set(both[1]) == {"label", "frame_joints"}


def test_a_record_without_joints_in_the_image_is_refused():
  record = drawn_record()
  nowhere = np.full_like(record.image_joints, np.nan)
  record = dataclasses.replace(record, image_joints=nowhere)
  with pytest.raises(
    pose_coordinates.NoJointsError, match="no joints in image coordinates"
  ):
    example.make(record, SETTINGS, KINECT, None)


def test_joints_at_rest():
  clips = np.zeros((2, 2, 3, 3), np.float32)
  clips[0, 0, 0] = 0.2, 0.4, 1.0
  clips[1, 1, 0] = 0.8, 0.4, 0.5
  rest = pose_controls.rest_joints(clips)
  np.testing.assert_allclose(rest[0], [0.4, 0.4, 0.375], atol=1e-6)  # 1.5 of 4 frames
  assert (rest[1:] == 0).all()
  assert rest.dtype == np.float32
