"""Regions show the right pixels; the colours of the frames are their coordinates."""

import dataclasses

import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import example, multi_view, regions
from vpn_jax.records import record_format

KINECT = skeletons.get("kinect_v2")
SIDE, FRAMES = 64, 6
LEFT, RIGHT = KINECT.index("left_hand"), KINECT.index("right_hand")
SMALL = example.Settings(
  num_frames=FRAMES,
  frame_size=16,
  pose_steps=2,
  inputs=("frames", *regions.HANDS),
  hand_size=0.25,  # 16 pixels, so that nothing is resized
)


def marked_record(left=(30.0, 20.0), right=(44.0, 40.0)):
  """A record whose red is 3 x and green 3 y, with the hands at fixed positions."""
  y, x = np.mgrid[:SIDE, :SIDE]
  frame = np.stack([3 * x, 3 * y, np.full_like(x, 100)], axis=-1).astype(np.uint8)
  blob = record_format.encode_frame(frame, quality=100)
  image_joints = np.full((FRAMES, 1, 25, 2), 10.0, np.float32)
  image_joints[:, 0, LEFT] = left
  image_joints[:, 0, RIGHT] = right
  return record_format.Record(
    name="marked",
    label=0,
    attributes={},
    fps=20.0,
    boxes=np.zeros((FRAMES, 4), np.float32),
    frames=(blob,) * FRAMES,
    pose=np.zeros((FRAMES, 1, 25, 3), np.float32),
    image_joints=image_joints,
    visibility=np.ones((FRAMES, 1, 25), np.float32),
  )


def corner(frame):
  """Left and top of the region that a frame shows, from its colours."""
  step = np.arange(len(frame))
  return (
    (frame[..., 0] / 3 - step[None, :]).mean(),
    (frame[..., 1] / 3 - step[:, None]).mean(),
  )


def shown_by(record, rng=None, view=multi_view.MIDDLE, **changes):
  settings = dataclasses.replace(SMALL, **changes)
  return example.make(record, settings, KINECT, rng, view)


def left_squares(record):
  return regions.squares(
    record,
    "left_hand",
    np.arange(FRAMES),
    frame_side=SIDE,
    hand_size=0.25,
    skeleton=KINECT,
  )


def test_each_skeleton_names_its_hands():
  expected = {
    "kinect_v2": ("left_hand", "right_hand"),
    "kinect_v1": ("left_hand", "right_hand"),
    "lcrnet_13": ("left_wrist", "right_wrist"),
    "mediapipe_33": ("left_wrist", "right_wrist"),
  }
  found = {
    name: tuple(skeletons.get(name).joints[i] for i in skeletons.get(name).hands())
    for name in expected
  }
  assert found == expected


def test_hands_are_the_squares_around_their_joints():
  made = shown_by(marked_record())
  assert made["left_hand"].shape == (FRAMES, 16, 16, 3)
  for i in (0, FRAMES - 1):
    # 30 - 16/2, 20 - 16/2; 44 - 8, 40 - 8
    np.testing.assert_allclose(corner(made["left_hand"][i]), (22, 12), atol=0.4)
    np.testing.assert_allclose(corner(made["right_hand"][i]), (36, 32), atol=0.4)


def test_frames_show_the_region_alone():
  for region, expected in (("left_hand", (22, 12)), ("right_hand", (36, 32))):
    made = shown_by(marked_record(), region=region, inputs=("frames",))
    np.testing.assert_allclose(corner(made["frames"][0]), expected, atol=0.4)
    assert set(made) == {"label", "frames"}
  made = shown_by(marked_record(), frame_size=SIDE)
  np.testing.assert_allclose(corner(made["frames"][0]), (0, 0), atol=0.4)


def test_a_square_stays_inside_the_frame():
  made = shown_by(marked_record(left=(1.0, 63.0), right=(-30.0, 500.0)))
  for hand in regions.HANDS:
    np.testing.assert_allclose(corner(made[hand][0]), (0, SIDE - 16), atol=0.4)


def test_hands_are_interpolated_across_gaps():
  record = marked_record()
  track = record.image_joints[:, 0, LEFT]
  track[:] = np.nan
  track[1], track[3] = (20, 40), (28, 32)
  track[4, 0] = 50  # y is missing: not seen
  np.testing.assert_array_equal(
    left_squares(record),
    [[12, 32, 16], [12, 32, 16], [16, 28, 16]] + 3 * [[20, 24, 16]],
  )
  shown = shown_by(record)["left_hand"]  # equal frames, other squares
  np.testing.assert_allclose(corner(shown[0]), (12, 32), atol=0.4)
  np.testing.assert_allclose(corner(shown[2]), (16, 28), atol=0.4)
  track[:] = np.nan
  np.testing.assert_array_equal(left_squares(record), FRAMES * [[24, 24, 16]])


def test_a_mirror_swaps_the_hands():
  record = marked_record()
  plain = shown_by(record)
  for region in regions.REGIONS:
    pictures = {}
    for seed in range(20):  # the window has all frames: only the flip is random
      rng = np.random.default_rng(seed)
      made = shown_by(record, rng, flip=True, region=region)
      pictures[corner(made["left_hand"][0][:, ::-1])[0] > 30] = made
    assert set(pictures) == {True, False}
    flipped, same = pictures[True], pictures[False]
    for a, b in (regions.HANDS, regions.HANDS[::-1]):
      np.testing.assert_array_equal(flipped[a], plain[b][:, :, ::-1])
      np.testing.assert_array_equal(same[a], plain[a])
    mirrored = shown_by(record, region=regions.mirrored(region))["frames"]
    np.testing.assert_array_equal(flipped["frames"], mirrored[:, :, ::-1])


def test_a_random_crop_lies_in_its_region():
  record = marked_record()
  places = set()
  for seed in range(30):
    rng = np.random.default_rng(seed)
    made = shown_by(record, rng, crop=0.5, region="left_hand")
    red, green = made["frames"][..., 0] / 3, made["frames"][..., 1] / 3
    assert red.min() > 21
    assert red.max() < 39
    assert green.min() > 11
    assert green.max() < 29
    places.add(round(float(red.min())))
    np.testing.assert_array_equal(made["left_hand"], shown_by(record)["left_hand"])
  assert len(places) > 3


def test_views_show_all_of_the_hands_at_the_size_of_the_frames():
  record = marked_record()
  size = multi_view.Inference(views="full").spatial_views(SIDE)[0]
  full = shown_by(record, view=size)
  third = multi_view.Inference(views="three").spatial_views(SIDE)[2]
  part, plain = shown_by(record, view=third), shown_by(record)
  for hand in regions.HANDS:
    assert full[hand].shape == full["frames"].shape == (FRAMES, SIDE, SIDE, 3)
    np.testing.assert_array_equal(part[hand], plain[hand])


def test_example_shapes():
  settings = dataclasses.replace(SMALL, inputs=("frames", "left_hand", "pose"))
  made = example.make(marked_record(), settings, KINECT, None)
  shapes = settings.example_shapes(25)
  assert list(shapes) == ["frames", "left_hand", "pose"]
  for name, shape in shapes.items():
    assert (made[name].shape, made[name].dtype) == (shape.shape, shape.dtype)


def test_hands_need_no_second_decoding(monkeypatch):
  decoded = []

  def decode_frame(blob):
    decoded.append(blob)
    return np.zeros((SIDE, SIDE, 3), np.uint8)

  monkeypatch.setattr(record_format, "decode_frame", decode_frame)
  shown_by(marked_record())
  assert len(decoded) == 1  # three inputs, six equal frames


def test_messages():
  record = marked_record()
  blind = dataclasses.replace(
    record, image_joints=np.full_like(record.image_joints, np.nan)
  )
  words = "marked has no image joints, expected those of the hands for left_hand: leave"
  with pytest.raises(ValueError, match=words):
    shown_by(blind)
  assert "frames" in shown_by(blind, inputs=("frames",))
  with pytest.raises(ValueError, match=r"region is 'head', expected one of .*body"):
    example.Settings(region="head")
  with pytest.raises(ValueError, match="hand_size is 0, expected a fraction"):
    example.Settings(hand_size=0)
  with pytest.raises(
    ValueError, match=r"inputs are \('feet',\), expected some of \('fr"
  ):
    example.Settings(inputs=("feet",))
