"""`benchmarks.residuals`: what a step keeps, by hand for one layer."""

from benchmarks import residuals, step


def test_what_one_layer_keeps(shrunk):
  config = shrunk(step.configuration("i3d", "tiny", "bfloat16"))
  config.model.endpoint = "Conv3d_1a_7x7"
  arrays, params = residuals.kept(config, batch_size=2)
  frames = 2 * 8 * 32 * 32 * 3  # what the convolution is applied to
  places = 2 * 4 * 16 * 16 * 8  # what BatchNorm is applied to, 8 channels
  # Beside them what has no places: statistics, pooled features, logits.
  assert 2 * (frames + places) <= arrays < 2.1 * (frames + places)
  assert params == 4 * (7**3 * 3 * 8 + 8 + 8 * step.CLASSES + step.CLASSES)


def test_remat_and_bfloat16_keep_less(shrunk):
  found = {}
  for dtype in ("float32", "bfloat16"):
    for remat in (False, True):
      config = shrunk(step.configuration("vpn_rnx", "tiny", dtype))
      config.model.update(endpoint="layer1", remat=remat)
      found[dtype, remat] = residuals.kept(config)[0]
  assert found["bfloat16", False] < 0.6 * found["float32", False]
  for dtype in ("float32", "bfloat16"):
    assert found[dtype, True] < 0.6 * found[dtype, False]
