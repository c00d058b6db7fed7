"""HDR to SDR, by numbers of the standards."""

import numpy as np
import pytest

from vpn_jax.datasets import tone_mapping

SDR, BT2020_10, PQ, HLG = 1, 14, 16, 18
BT709, BT2020 = 1, 9


def mapped(rgb, transfer, primaries=BT2020):
  image = np.uint8(rgb).reshape(1, 1, 3)
  return tone_mapping.to_sdr(image, transfer, primaries)[0, 0].tolist()


def test_pq_of_the_standard():
  # BT.2408, table 1: 203 nits are 58 %, 1,000 nits 75 %.
  np.testing.assert_allclose(
    tone_mapping.nits_to_pq(np.array([0, 100, 203, 1000, 10_000])),
    [0, 0.508, 0.581, 0.752, 1], atol=1e-3,
  )  # fmt: skip
  signal = np.linspace(0, 1, 9)
  back = tone_mapping.nits_to_pq(tone_mapping.pq_to_nits(signal))
  np.testing.assert_allclose(back, signal, atol=1e-6)


def test_dark_light_stays_and_bright_light_fits():
  # HLG 0.5 is 1/12 of the scene's light, 1000 (1/12)^1.2 = 50.7 nits, 0.250 of SDR's
  # white, and the screen's value for it 0.250^(1 / 2.4) = 0.561.
  assert mapped([127.5] * 3, HLG)[0] == pytest.approx(0.561 * 255, abs=1.5)
  # PQ 0.40 is 32.5 nits: 0.160^(1 / 2.4) = 0.466.
  assert mapped([102] * 3, PQ)[0] == pytest.approx(0.466 * 255, abs=1.5)
  for transfer in (HLG, PQ):
    assert mapped([0] * 3, transfer) == [0] * 3
    assert mapped([255] * 3, transfer) == [255] * 3
    levels = [mapped([v] * 3, transfer)[1] for v in range(0, 256, 5)]
    assert (np.diff(levels) >= 0).all()


def test_primaries():
  # Red of BT.709 in BT.2020's primaries, light (0.6274, 0.0691, 0.0164).
  red = 255 * np.array([0.6274, 0.0691, 0.0164]) ** (1 / 2.4)
  np.testing.assert_allclose(mapped(np.round(red), BT2020_10), [255, 0, 0], atol=12)
  np.testing.assert_allclose(mapped(np.round(red), SDR), [255, 0, 0], atol=12)
  assert mapped([100] * 3, SDR) == [100] * 3


def test_sdr_stays_as_it_is():
  image = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
  assert tone_mapping.to_sdr(image, SDR, BT709) is image
  assert tone_mapping.to_sdr(image, 2, 2) is image  # unspecified
