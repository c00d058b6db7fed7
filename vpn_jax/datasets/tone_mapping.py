"""HDR and wide colours (HLG, PQ, BT.2020) -> the colours of an SDR screen, BT.709.

Networks and pose estimators are trained on SDR. The numbers of an HDR video, taken as
they are, look pale and dark to them.

Source: ITU-R BT.2100 (HLG, PQ), BT.2390 annex 5 (the curve), BT.2408 (203 nits are the
  white of SDR), BT.1886 (the screen), BT.2087 (the primaries).
Reading: the screen on which HDR was graded has 1,000 nits, whatever the metadata say.
"""

import functools

import cv2
import numpy as np
from av.video import reformatter

WHITE = 203.0  # nits of HDR that become the white of SDR
PEAK = 1000.0  # nits; brighter light is clipped
_GAMMA = 2.4  # of an SDR screen

_HLG = int(reformatter.ColorTrc.ARIB_STD_B67)
_PQ = int(reformatter.ColorTrc.SMPTE2084)
_SDR_OF_2020 = {
  int(reformatter.ColorTrc.BT2020_10),
  int(reformatter.ColorTrc.BT2020_12),
}
_BT2020 = int(reformatter.ColorPrimaries.BT2020)
_UNSPECIFIED = int(reformatter.ColorPrimaries.UNSPECIFIED)
# Linear RGB with the primaries of BT.2020 -> with those of BT.709.
_TO_709 = np.float32(
  [
    [1.6605, -0.5876, -0.0728],
    [-0.1246, 1.1329, -0.0083],
    [-0.0182, -0.1006, 1.1187],
  ]
)
_FINE = 4096  # entries of the table that encodes


def to_sdr(image: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
  """Maps a frame to SDR; returns one that is SDR already as it is.

  Args:
    image: uint8 RGB [H, W, 3], full range.
    transfer, primaries: of the frame, as libav numbers them (ITU-T H.273).
  Returns: uint8 RGB [H, W, 3], BT.709.
  """
  is_hdr = transfer in (_HLG, _PQ)
  if not is_hdr and not (primaries == _BT2020 or transfer in _SDR_OF_2020):
    return image
  light = cv2.LUT(image, np.tile(_light_table(transfer)[None, :, None], (1, 1, 3)))
  if transfer == _HLG:  # scene -> screen: brighter where the scene is
    luminance = light @ np.float32([0.2627, 0.6780, 0.0593])
    light = light * np.power(np.maximum(luminance, 1e-6), np.float32(0.2))[..., None]
    light = light * np.float32(PEAK / WHITE)
  if is_hdr:
    strongest = light.max(axis=-1)
    gain = np.interp(strongest, *_gain_table()).astype(np.float32)
    light = light * gain[..., None]
  if primaries in (_BT2020, _UNSPECIFIED):
    light = cv2.transform(light, _TO_709)
  steps = np.clip(np.sqrt(np.clip(light, 0, 1)) * (_FINE - 1) + 0.5, 0, _FINE - 1)
  return _screen_table()[steps.astype(np.uint16)]


@functools.cache
def _light_table(transfer: int) -> np.ndarray:
  """Light of each of the 256 values, float32; 1 is the white of SDR.

  For HLG the light of the scene, from 0 to 1.
  """
  signal = np.arange(256) / 255
  if transfer == _PQ:
    return (pq_to_nits(signal).clip(max=PEAK) / WHITE).astype(np.float32)
  if transfer == _HLG:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    bright = (np.exp((signal - c) / a) + b) / 12
    return np.where(signal <= 0.5, signal**2 / 3, bright).astype(np.float32)
  return (signal**_GAMMA).astype(np.float32)


@functools.cache
def _gain_table() -> tuple[np.ndarray, np.ndarray]:
  """Light and the factor that brings it into the range of SDR, by BT.2390's curve."""
  light = np.linspace(1e-4, PEAK / WHITE, 2048)
  top = nits_to_pq(np.array(PEAK))
  x, limit = nits_to_pq(light * WHITE) / top, nits_to_pq(np.array(WHITE)) / top
  knee = 1.5 * limit - 0.5  # below it, light stays as it is
  t = np.clip((x - knee) / (1 - knee), 0, 1)
  spline = (
    (2 * t**3 - 3 * t**2 + 1) * knee
    + (t**3 - 2 * t**2 + t) * (1 - knee)
    + (-2 * t**3 + 3 * t**2) * limit
  )
  mapped = pq_to_nits(np.where(x < knee, x, spline) * top) / WHITE
  return light, mapped / light


@functools.cache
def _screen_table() -> np.ndarray:
  """The values of an SDR screen, uint8, by the square root of the light."""
  light = np.linspace(0, 1, _FINE) ** 2
  return np.round(255 * light ** (1 / _GAMMA)).astype(np.uint8)


_M1, _M2 = 2610 / 16384, 2523 / 32
_C1, _C2, _C3 = 3424 / 4096, 2413 / 128, 2392 / 128


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
  """The light of a PQ signal from 0 to 1, in nits (the EOTF of BT.2100)."""
  power = np.power(signal, 1 / _M2)
  ratio = np.maximum(power - _C1, 0) / (_C2 - _C3 * power)
  return 10_000 * np.power(ratio, 1 / _M1)


def nits_to_pq(nits: np.ndarray) -> np.ndarray:
  """The PQ signal, from 0 to 1, of light in nits."""
  power = np.power(np.asarray(nits) / 10_000, _M1)
  return np.power((_C1 + _C2 * power) / (1 + _C3 * power), _M2)
