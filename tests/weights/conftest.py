"""The writers of `fake_weights`, as fixtures."""

import types

import fake_weights
import pytest


@pytest.fixture(scope="session")
def save_torch():
  """Function (path, tree, legacy=False) -> path; arrays in tree become tensors."""
  return fake_weights.save_torch


@pytest.fixture(scope="session")
def tf_writer():
  """Functions: varint, message, block, table, entry, and save(folder, tensors)."""
  names = ("varint", "message", "block", "table", "entry")
  functions = {name: getattr(fake_weights, name) for name in names}
  return types.SimpleNamespace(save=fake_weights.save_tf, **functions)
