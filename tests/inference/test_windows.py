"""How a stream is cut into windows, and how little of it is kept."""

import numpy as np
import pytest

from vpn_jax.inference import windows


def places(stretches):
  """First item and number of items of each; the items are checked on the way."""
  made = []
  for stretch in stretches:
    end = stretch.first + len(stretch.items)
    assert stretch.items == list(range(stretch.first, end))
    made.append((stretch.first, len(stretch.items)))
  return made


@pytest.mark.parametrize(
  ("count", "stride", "expected"),
  [
    (64, 32, [(0, 32), (32, 32)]),
    (70, 32, [(0, 32), (32, 32), (38, 32)]),  # the last one ends with the stream
    (70, 16, [(0, 32), (16, 32), (32, 32), (38, 32)]),
    (20, 32, [(0, 20)]),
    (0, 32, []),
  ],
)
def test_slide(count, stride, expected):
  assert places(windows.slide(range(count), 32, stride)) == expected


@pytest.mark.parametrize(
  ("count", "stride", "expected"),
  [
    (5, 16, [(0, 5)]),
    (31, 16, [(0, 31)]),  # less than two windows: whole
    (32, 16, [(0, 16), (16, 16)]),
    (35, 16, [(0, 16), (16, 16), (19, 16)]),
    (23, 8, [(0, 23)]),
    (33, 8, [(0, 16), (8, 16), (16, 16), (17, 16)]),
    (0, 16, []),
  ],
)
def test_divide(count, stride, expected):
  made = list(windows.divide(range(count), 16, stride))
  assert places(made) == expected
  assert [s.alone for s in made] == [len(expected) == 1] * len(expected)


@pytest.mark.parametrize(("cut", "ahead"), [(windows.slide, 0), (windows.divide, 8)])
def test_a_window_comes_as_soon_as_it_can(cut, ahead):
  pulled = -1

  def numbers():
    nonlocal pulled
    while True:
      pulled += 1
      yield pulled

  stretches = cut(numbers(), 32, 8)
  assert next(stretches).first == 0
  assert pulled == 31 + ahead
  for first in (8, 16, 24):
    assert next(stretches).first == first
    assert pulled == first + 31


def frame(i):
  return np.full((4, 6, 3), i, np.uint8)


@pytest.mark.parametrize("memory", [10**6, 100])  # bytes: in memory, in a file
def test_buffer_keeps_the_latest(memory):
  with windows.FrameBuffer(5, memory=memory) as buffer:
    for i in range(12):
      buffer.append(frame(i))
      for j in range(max(0, i - 4), i + 1):
        np.testing.assert_array_equal(buffer[j], frame(j))
    for i in (6, 12, -1):
      with pytest.raises(IndexError, match="not among the latest 5 of 12"):
        buffer[i]


def test_buffer_in_a_file_takes_no_memory():
  with windows.FrameBuffer(5, memory=100) as buffer:
    buffer.append(frame(0))
    buffer.append(frame(1))
    assert buffer._file._rolled


def test_a_frame_is_seen_in_all_steps_that_show_it():
  segment = windows.Segment(10, 14, (10, 13), None, positions=10 + np.arange(8) % 4)
  assert segment.steps_at(10, 4) == [0, 2]  # a clip of 4 frames, shown twice
  assert segment.steps_at(13, 4) == [1, 3]
  every_other = windows.Segment(0, 16, (0, 14), None, positions=np.arange(0, 16, 2))
  assert every_other.steps_at(5, 2) == [0]  # between 4 and 6
  assert every_other.steps_at(15, 2) == [1]
  once = windows.Segment(0, 8, (0, 7), None)
  assert [once.steps_at(t, 2) for t in (0, 3, 4, 7)] == [[0], [0], [1], [1]]
