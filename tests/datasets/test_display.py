"""Videos whose stored pixels are not what a player shows."""

import fake_video
import numpy as np
import pytest

from vpn_jax.datasets import display, video
from vpn_jax.datasets.base import BadClip

# Stored: red and green above, blue and white below.
STORED = np.zeros((48, 64, 3), np.uint8)
STORED[:24, :32, 0] = STORED[:24, 32:, 1] = STORED[24:, :32, 2] = 250
STORED[24:, 32:] = 250


def shown(path):
  """The first frame of a file, which also is what `probe` says of it."""
  frame = next(video.read_frames(path))
  header = video.probe(path)
  assert (header.width, header.height) == frame.shape[1::-1]
  assert video.open_file(path)[2] == frame.shape[1::-1]
  return frame


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_all_eight_ways_to_hold_a_camera(rotation, mirrored, tmp_path):
  path = tmp_path / "x.mp4"
  fake_video.write(path, [STORED] * 2, rotation=rotation, mirrored=mirrored)
  expected = np.rot90(STORED, rotation // 90)  # counter-clockwise, too
  expected = expected[:, ::-1] if mirrored else expected
  frame = shown(path)
  assert frame.flags.c_contiguous
  assert frame.shape == expected.shape
  assert np.abs(frame.astype(int) - expected).mean() < 8


def test_a_matrix_by_hand():
  image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)  # 0 1 2 above 3 4 5
  one = 1 << 16

  def moved(a, b, c, d):
    matrix = np.array([a, b, 0, c, d, 0, 99, 99, 1 << 30], np.int32)
    return display.upright(image, matrix)[..., 0].tolist()

  assert moved(one, 0, 0, one) == [[0, 1, 2], [3, 4, 5]]
  assert moved(2 * one, 30, 0, one) == [[0, 1, 2], [3, 4, 5]]  # scaled, rounded
  assert moved(0, one, one, 0) == [[0, 3], [1, 4], [2, 5]]
  assert moved(0, one, -one, 0) == [[3, 0], [4, 1], [5, 2]]  # clockwise
  assert moved(0, 0, 0, 0) == [[0, 1, 2], [3, 4, 5]]
  with pytest.raises(display.NotShown, match="as a line"):
    moved(one, 0, 0, 0)


def test_other_angles_are_refused(tmp_path):
  fake_video.write(tmp_path / "x.mp4", [STORED] * 2, rotation=30)
  for read in (video.probe, lambda path: next(video.read_frames(path))):
    with pytest.raises(BadClip, match="turned by -30 degrees, expected quarter turns"):
      read(tmp_path / "x.mp4")


@pytest.mark.parametrize(
  ("aspect", "rotation", "size"),
  [
    ((64, 51), 0, (80, 48)),  # 64 x 64 / 51
    ((8, 9), 0, (57, 48)),  # 64 x 8 / 9
    ((3, 2), 90, (48, 96)),  # of the stored pixel, which lies then
  ],
)
def test_pixels_become_square(aspect, rotation, size, tmp_path):
  path = tmp_path / "x.mp4"
  fake_video.write(path, [STORED] * 2, aspect=aspect, rotation=rotation)
  frame = shown(path)
  assert frame.shape[1::-1] == size
  across = frame[:, :, 1].astype(float)  # green and white lie side by side
  if rotation:
    across = across[::-1].T
  middle = across.shape[1] // 2
  assert across[:20, : middle - 4].mean() < 30
  assert across[:20, middle + 4 :].mean() > 220


def test_an_aspect_that_no_picture_has():
  with pytest.raises(display.NotShown, match=r"pixels are 1:1000, .* of 0x48"):
    display.square(STORED, display.fractions.Fraction(1, 1000), 2**26)
  with pytest.raises(display.NotShown, match=r"of 6400000x48"):
    display.square(STORED, display.fractions.Fraction(100_000), 2**26)


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_becomes_sdr(transfer, tmp_path):
  grey = np.full((48, 64, 3), 128, np.uint8)
  fake_video.write(tmp_path / "x.mp4", [grey] * 2, transfer=transfer)
  # HLG 0.5 is 51 nits, PQ 0.5 is 92 nits, of 203 for the white of SDR.
  expected = {18: 144, 16: 185}[transfer]
  assert abs(shown(tmp_path / "x.mp4").mean() - expected) < 3
