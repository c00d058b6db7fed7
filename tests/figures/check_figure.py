"""Reads figures, written or not, for the tests."""

import csv
import dataclasses

import cv2
import numpy as np

from vpn_jax.figures import style


def picture(path):
  """A written figure, RGB; at the asked width, and with something on it."""
  image = cv2.imread(str(path))[..., ::-1]
  assert image.shape[1] == style.WIDTH * style.DPI
  assert 250 < image.shape[0] < 2000
  assert 0.02 < (image < 250).any(axis=-1).mean() < 0.9
  assert (image[:3] > 250).mean() > 0.5  # nothing runs over the border
  return image


def shows(image, color):
  """Number of pixels of a colour such as "#d1495b"."""
  rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
  return int((np.abs(image.astype(int) - rgb).max(axis=-1) <= 6).sum())


def table(path):
  """The rows of a csv, texts."""
  with path.open(newline="") as file:
    return list(csv.reader(file))


def with_settings(runs, **settings):
  """The same runs under other `config.figures`."""
  changed = runs.settings.copy_and_resolve_references()
  changed.update(settings)
  return dataclasses.replace(runs, settings=changed)


def words(figure):
  """All texts of a figure that is not yet written."""
  figure.draw_without_rendering()
  return {text.get_text() for text in figure.findobj(match=_is_text) if text.get_text()}


def _is_text(artist):
  return hasattr(artist, "get_text") and artist.get_visible()
