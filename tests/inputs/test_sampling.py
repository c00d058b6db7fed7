"""Windows of frames, and poses of each segment."""

import numpy as np
import pytest

from vpn_jax.inputs import sampling


@pytest.mark.parametrize(
  ("available", "expected"),
  [
    (300, range((300 - 128) // 2, (300 - 128) // 2 + 128, 2)),  # stride 2, the middle
    (128, range(0, 128, 2)),  # 2F frames: still stride 2
    (127, range(31, 31 + 64)),  # fewer: stride 1
    (64, range(64)),
  ],
)
def test_window_in_the_middle(available, expected):
  np.testing.assert_array_equal(
    sampling.frame_window(available, 64, None), list(expected)
  )


def test_short_clip_loops():
  window = sampling.frame_window(5, 8, None)
  np.testing.assert_array_equal(window, [0, 1, 2, 3, 4, 0, 1, 2])


def test_random_windows_reach_both_ends():
  rng = np.random.default_rng(0)
  starts = {int(sampling.frame_window(131, 64, rng)[0]) for _ in range(100)}
  assert starts == {0, 1, 2, 3}


def test_one_pose_of_each_segment():
  centres = sampling.pose_indices(10, 49, 20, None)  # 40 frames, segments of 2
  np.testing.assert_array_equal(centres, 10 + 2 * np.arange(20) + 1)
  rng = np.random.default_rng(0)
  drawn = np.array([sampling.pose_indices(10, 49, 20, rng) for _ in range(50)])
  segments = (drawn - 10) // 2
  np.testing.assert_array_equal(segments, np.tile(np.arange(20), (50, 1)))
  assert len(np.unique(drawn)) == 40  # every frame is drawn


def test_more_poses_than_frames():
  indices = sampling.pose_indices(0, 4, 20, None)
  assert indices.min() == 0
  assert indices.max() == 4
  assert (np.diff(indices) >= 0).all()
