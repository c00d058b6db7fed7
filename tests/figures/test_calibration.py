"""The reliability diagram and the accuracy-coverage curve of two runs."""

import numpy as np
import pytest
from check_figure import table, words

from vpn_jax.figures import calibration

# conftest: scores of 0.60, 0.62, ..., 0.74 in the order of the clips.


def test_bins_and_curves_by_hand(drawn):
  rows = table(drawn.folder / "calibration.csv")
  assert rows[0] == ["run", "confidence", "accuracy", "clips"]
  right = {
    name: found.scores.argmax(axis=1) == found.labels
    for name, found in zip(drawn.runs.names, drawn.runs.predictions)
  }
  confidence = 60 + 2 * np.arange(8)
  expected = []
  for name in ("base", "vpn"):
    # 0.60 lies in the bin that it ends, 0.62 to 0.70 in the next, then two more
    for block in (slice(0, 1), slice(1, 6), slice(6, 8)):
      said, found = confidence[block].mean(), 100 * right[name][block].mean()
      expected.append((name, said, found, len(confidence[block])))
  assert [(row[0], *map(float, row[1:])) for row in rows[1:]] == [
    (name, pytest.approx(said), pytest.approx(found, abs=0.01), count)
    for name, said, found, count in expected
  ]
  figure, _ = calibration.calibration(drawn.runs)
  _, selective = figure.axes
  for line, name in zip(selective.lines, ("base", "vpn"), strict=True):
    falling = right[name][::-1]  # the last clip has the highest score
    np.testing.assert_allclose(
      line.get_ydata(), 100 * np.cumsum(falling) / np.arange(1, 9)
    )
    np.testing.assert_allclose(line.get_xdata(), 12.5 * np.arange(1, 9))
  assert any(word.startswith("vpn: calibration error ") for word in words(figure))
