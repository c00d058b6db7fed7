"""Tests of vpn_jax/inference/overlay.py: what is drawn, and where."""

import numpy as np

from vpn_jax import drawing
from vpn_jax.datasets import skeletons

GREEN = np.full((40, 60, 3), (20, 160, 40), np.uint8)


def test_heat_range_is_not_stretched_over_nothing():
  assert drawing.heat_range(np.array([0.0, 0.2, 1.0])) == (0.0, 1.0)
  assert drawing.heat_range(np.array([0.99, 1.0])) == (0.9, 1.0)


def test_heat_fills_its_box_and_nothing_else():
  heat = np.zeros((2, 2))
  heat[0, 1] = 1.0
  drawn = drawing.draw_heat(GREEN, heat, (0.0, 1.0), (20, -10, 60, 30))
  outside = np.ones((40, 60), bool)
  outside[:30, 20:] = False
  np.testing.assert_array_equal(drawn[outside], GREEN[outside])
  cold, hot = drawn[28, 22].astype(int), drawn[2, 55].astype(int)
  assert np.ptp(cold) <= 1  # grey
  assert hot[0] - hot[2] > 60  # yellow
  # The middles of the four cells are 20 pixels apart; between them it is in between.
  red = drawing.draw_heat(GREEN, heat, (0.0, 1.0), (20, -10, 60, 30))[0, :, 0]
  assert (np.diff(red[30:50].astype(int)) >= 0).all()
  assert red[49] - red[30] > 60


def test_heat_of_the_whole_frame():
  drawn = drawing.draw_heat(GREEN, np.ones((7, 7)), (0.0, 1.0))
  assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 1
  assert not (drawn == GREEN).all(axis=-1).any()


def test_skeleton_is_drawn_where_it_was_seen():
  body = skeletons.get("kinect_v2")
  joints = np.full((2, 25, 2), np.nan)
  joints[0, body.index("left_knee")] = 10, 5
  joints[0, body.index("left_ankle")] = 10, 30
  joints[0, body.index("right_knee")] = 40, 5  # its neighbours are unknown
  black = np.zeros((40, 60, 3), np.uint8)
  drawn = drawing.draw_skeleton(black, joints, body, 3)
  assert tuple(drawn[20, 10]) == drawing.LEFT
  assert not drawn[:, 20:].any()
  assert not black.any()  # the frame given is left alone


def test_skeleton_far_outside_the_frame():
  body = skeletons.get("lcrnet_13")
  joints = np.full((1, 13, 2), 1e9)
  joints[0, ::2] = -1e9
  drawing.draw_skeleton(GREEN, joints, body)


def test_scores_are_as_long_as_they_are_high():
  frame = np.zeros((360, 400, 3), np.uint8)
  drawn = drawing.draw_scores(frame, [("drink", 0.75), ("Ω read", 0.1)])
  assert drawn.shape == (360 + 2 * 20 + 10, 400, 3)
  bar = (drawn[361:] == (120, 50, 0)).all(axis=-1)
  assert bar[5, 290]
  assert not bar[5, 310]
  assert bar[26, 1]
  assert not bar[26, 50:].any()
