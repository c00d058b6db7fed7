"""The writers of `made_weights`, as fixtures."""

import types

import made_weights
import pytest


@pytest.fixture(scope="session")
def save_torch():
  """Function (path, tree, legacy=False) -> path; arrays in tree become tensors."""
  return made_weights.save_torch


@pytest.fixture(scope="session")
def tf_writer():
  """Functions: varint, message, block, table, entry, and save(folder, tensors)."""
  names = ("varint", "message", "block", "table", "entry")
  functions = {name: getattr(made_weights, name) for name in names}
  return types.SimpleNamespace(save=made_weights.save_tf, **functions)
