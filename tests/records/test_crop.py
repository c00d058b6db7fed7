"""The person crop: a square that contains everybody; joints stay on their pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpn_jax.datasets import ntu
from vpn_jax.datasets.base import BadClip
from vpn_jax.records import crop


def person(x, y, *, frames=10, size=100.0, seed=0):
  """Joints around (x, y) within size/2 each way: [F, 1, 25, 2]."""
  rng = np.random.default_rng(seed)
  spread = rng.uniform(-0.5, 0.5, (frames, 1, 25, 2))
  spread[:, :, :2] = [[-0.5, -0.5], [0.5, 0.5]]
  return np.array([x, y]) + size * spread


def inside(joints, box):
  left, top, right, bottom = box
  x, y = joints[..., 0], joints[..., 1]
  return (left <= x) & (x <= right) & (top <= y) & (y <= bottom)


def test_box_by_hand():
  """Joints span x 100-200, y 150-250; slack and head room 10 % make 120 x 130."""
  box = crop.joint_box(person(150, 200), 640, 480, slack=0.1, head_room=0.1)
  assert box == (85.0, 130.0, 215.0, 260.0)
  tight = crop.joint_box(person(150, 200), 640, 480, slack=0.0, head_room=0.0)
  assert tight == (100.0, 150.0, 200.0, 250.0)


@given(
  st.floats(0, 640), st.floats(0, 480), st.floats(1, 900), st.integers(0, 5)
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_box_is_square_and_contains_every_joint_in_the_image(x, y, size, seed):
  joints = person(x, y, size=size, seed=seed)
  joints[:, :, 0] = [x, y]
  box = crop.joint_box(joints, 640, 480)
  assert box[2] - box[0] == box[3] - box[1] >= 16
  assert all(v == int(v) for v in box)
  # There are no pixels beyond the border; such a joint counts as on it.
  assert inside(np.clip(joints, 0, [640, 480]), box).all()


def test_two_people_share_a_box():
  two = np.concatenate([person(100, 200), person(400, 220)], axis=1)
  box = crop.joint_box(two, 640, 480)
  assert inside(two, box).all()
  absent = two.copy()
  absent[:, 1] = np.nan
  assert crop.joint_box(absent, 640, 480) == crop.joint_box(two[:, :1], 640, 480)


def test_nan_is_ignored():
  joints = person(200, 200)
  whole = crop.joint_box(joints, 640, 480)
  joints[3] = np.nan
  joints[5, 0, 7:] = np.nan
  joints[6, 0, 8, 0] = np.inf
  assert crop.joint_box(joints, 640, 480) == whole


def test_a_leap_of_one_frame_is_ignored_but_an_arm_is_not():
  joints = np.repeat(person(200, 200, frames=1), 30, axis=0)
  calm = crop.joint_box(joints, 640, 480)
  leap = joints.copy()
  leap[15, 0, 4] += [300, 0]
  assert crop.joint_box(leap, 640, 480) == calm
  reach = joints.copy()
  reach[15, 0, 4] += [90, 0]  # less than the size of the body, as an arm can
  assert inside(reach, crop.joint_box(reach, 640, 480)).all()
  stays = joints.copy()
  stays[15:18, 0, 4] += [300, 0]
  assert inside(stays, crop.joint_box(stays, 640, 480)).all()
  gone = joints.copy()
  gone[20:, 0] += [300, 0]  # walks off
  assert inside(gone, crop.joint_box(gone, 640, 480)).all()


def walk(frames=60):
  """A person of 100 pixels who walks 300 to the right, and waves."""
  joints = person(0, 200, frames=frames)
  joints[..., 0] += np.linspace(150, 450, frames)[:, None, None]
  return joints


@pytest.mark.parametrize("window", [1, 2, 15, 200])
def test_moving_boxes_contain_the_person_of_their_frame(window):
  joints = walk()
  joints[20:24] = np.nan
  boxes = crop.moving_boxes(joints, 640, 480, window=window)
  assert boxes.shape == (60, 4)
  assert boxes.dtype == np.float32
  assert (boxes == np.floor(boxes)).all()
  np.testing.assert_array_equal(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
  seen = np.isfinite(joints[:, 0, 0, 0])
  for frame in np.flatnonzero(seen):
    assert inside(joints[frame], boxes[frame]).all()
  largest = crop.joint_box(joints, 640, 480)
  assert (boxes[:, 2] - boxes[:, 0] <= largest[2] - largest[0]).all()
  if window <= 15:
    assert boxes[-1, 0] - boxes[0, 0] > 200  # follows the person
    assert (boxes[:, 2] - boxes[:, 0] < 280).all()  # stays narrow
    assert (abs(np.diff(boxes[:, 0])) < 30).all()  # also across the gap


def test_moving_boxes_are_smooth():
  """A jittering box would add motion to a person who stands still."""
  joints = person(200, 200, frames=80)
  joints += np.random.default_rng(1).normal(0, 8, (80, 1, 1, 2))
  rough = crop.moving_boxes(joints, 640, 480, window=1)
  calm = crop.moving_boxes(joints, 640, 480, window=31)
  assert abs(np.diff(calm[:, 0])).max() <= 2 < abs(np.diff(rough[:, 0])).max()


def test_clip_boxes():
  joints = walk(30)
  box = crop.joint_box(joints, 640, 480, slack=0.2, head_room=0.1)
  still = crop.clip_boxes(crop.recipe(slack=0.2), joints, 640, 480)
  np.testing.assert_array_equal(still, np.tile(np.float32(box), (30, 1)))
  moving = crop.clip_boxes(crop.recipe(moving=9), joints, 640, 480)
  assert (moving[0] != moving[-1]).any()
  full = crop.clip_boxes(crop.recipe("full"), np.full((2, 0, 1, 2), np.nan), 640, 480)
  np.testing.assert_array_equal(full, [[0, -80, 640, 560]] * 2)
  corners = np.array([[[[100, 50], [140, 150]]]])
  tight = crop.clip_boxes(crop.recipe("boxes", slack=0.0), corners, 640, 480)
  np.testing.assert_array_equal(tight, [[70, 50, 170, 150]])  # no head room


def test_nobody_in_the_image():
  for joints in (np.full((5, 1, 25, 2), np.nan), person(-500, -500), person(5000, 100)):
    with pytest.raises(BadClip, match="no joint lies inside the 640x480 image"):
      crop.joint_box(joints, 640, 480)


def test_few_frames():
  for frames in (1, 2):
    joints = person(200, 200, frames=frames)
    assert inside(joints, crop.joint_box(joints, 640, 480)).all()


def test_full_box():
  assert crop.full_box(640, 480) == (0.0, -80.0, 640.0, 560.0)
  assert crop.full_box(3, 6) == (-1.0, 0.0, 5.0, 6.0)
  assert crop.full_box(7, 7) == (0.0, 0.0, 7.0, 7.0)


def test_crop_is_a_slice_where_no_scaling_is_needed():
  frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
  cut = crop.crop_and_resize(frame, (10.0, 5.0, 42.0, 37.0), 32)
  np.testing.assert_array_equal(cut, frame[5:37, 10:42])


def test_the_edge_is_repeated_beyond_the_border():
  frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
  cut = crop.crop_and_resize(frame, (-4.0, -2.0, 12.0, 14.0), 16)
  np.testing.assert_array_equal(cut[2:, 4:], frame[:14, :12])
  np.testing.assert_array_equal(cut[2:, 0], frame[:14, 0])
  np.testing.assert_array_equal(cut[0, 4:], frame[0, :12])
  with pytest.raises(ValueError, match="lies outside the 64x48 frame"):
    crop.crop_and_resize(frame, (100.0, 0.0, 110.0, 10.0), 8)


def test_shrinking_averages():
  frame = np.zeros((32, 32, 3), np.uint8)
  frame[::2] = 200
  assert (crop.crop_and_resize(frame, (0.0, 0.0, 32.0, 32.0), 16) == 100).all()


@pytest.mark.parametrize("size", [24, 60, 128])
def test_joints_follow_the_pixels(size):
  """A white spot is in the crop where `to_crop` maps it."""
  frame = np.zeros((120, 160, 3), np.uint8)
  frame[68:73, 98:103] = 255
  box = (60.0, -10.0, 160.0, 90.0)
  cut = crop.crop_and_resize(frame, box, size)[..., 0].astype(float)
  rows, columns = np.indices(cut.shape)
  found = [(columns * cut).sum() / cut.sum(), (rows * cut).sum() / cut.sum()]
  joints = np.array([[[[100.5, 70.5]]]])  # the centre of the spot
  got = crop.to_crop(joints, box, size)
  assert got.dtype == np.float32
  np.testing.assert_allclose(got[0, 0, 0] - 0.5, found, atol=0.3)


def test_from_crop_inverts_to_crop():
  joints = walk(20).astype(np.float32)
  boxes = crop.moving_boxes(joints, 640, 480, window=5)
  there = crop.to_crop(joints, boxes, 128)
  assert ((there >= 0) & (there <= 128)).all()
  np.testing.assert_allclose(crop.from_crop(there, boxes, 128), joints, atol=1e-3)


def test_to_crop_keeps_nan():
  assert np.isnan(crop.to_crop(np.full((2, 1, 3, 2), np.nan), (0, 0, 9, 9), 3)).all()


def test_recipe():
  made = crop.recipe("full", size=128, slack=0.2)
  assert (made["kind"], made["size"], made["slack"]) == ("full", 128, 0.2)
  assert made["version"] == crop.VERSION
  with pytest.raises(ValueError, match="crop is 'face', expected one of"):
    crop.recipe("face")
  with pytest.raises(ValueError, match="crop size is 4 pixels, expected 8 or more"):
    crop.recipe(size=4)
  with pytest.raises(ValueError, match="must not be negative"):
    crop.recipe(slack=-0.1)
  with pytest.raises(ValueError, match="moving -1 must not be negative"):
    crop.recipe(moving=-1)


def test_real_clip_keeps_every_joint(shared):
  if not (shared / "sample" / "S001C001P001R001A001.skeleton").exists():
    pytest.skip("needs the real NTU sample of ../shared/data/sample")
  dataset = ntu.NTU(shared / "sample")
  opened = dataset.read(dataset.clips()[0][0])
  joints = opened.image_joints[:, 0]
  assert joints.shape == (103, 25, 2)
  assert not crop._leaps(opened.image_joints).any()
  box = crop.joint_box(opened.image_joints, 1920, 1080)
  assert inside(joints, box).all()
  assert box[2] - box[0] < 1080 / 2  # and little else
  moved = crop.to_crop(joints, box, 256)
  assert ((moved >= 0) & (moved <= 256)).all()
