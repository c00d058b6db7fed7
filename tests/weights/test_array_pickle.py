"""Pickles of arrays: exact values, and no code is executed."""

import collections
import io
import os
import pickle
import struct

import numpy as np
import pytest

from vpn_jax.weights import array_pickle


def save(path, tree):
  path.write_bytes(pickle.dumps(tree, protocol=4))
  return path


class Harm:
  """Creates a folder when it is unpickled in the usual way."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
  path = save(tmp_path / "harm.ckpt", {"params": Harm(tmp_path / "harmed")})
  with pytest.raises(ValueError, match=r"names posix\.mkdir, which is refused"):
    array_pickle.read(path)
  assert not (tmp_path / "harmed").exists()
  pickle.loads(path.read_bytes())  # the file would have done harm
  assert (tmp_path / "harmed").exists()


def test_other_pickles_are_refused(tmp_path):
  path = tmp_path / "w.ckpt"
  with pytest.raises(ValueError, match=r"numpy\.dtype\('O8'\), which is refused"):
    array_pickle.read(save(path, {"a": np.array([{}], object)}))
  with pytest.raises(ValueError, match=r"names collections\.Counter"):
    array_pickle.read(save(path, {"a": collections.Counter()}))
  with pytest.raises(ValueError, match="holds a str where an array was expected"):
    array_pickle.read(save(path, {"a": "text"}))
  with pytest.raises(ValueError, match="holds an array where a dict was expected"):
    array_pickle.read(save(path, np.zeros(3)))
  path.write_bytes(path.read_bytes()[:-5])
  with pytest.raises(ValueError, match="not a readable pickle of arrays"):
    array_pickle.read(path)


def test_pickles_that_would_exhaust_memory_or_time_are_refused(tmp_path):
  path = tmp_path / "w.ckpt"
  path.write_bytes(b"\x80\x02}r" + struct.pack("<I", 2**31) + b".")
  with pytest.raises(ValueError, match="object number 2147483648 in 9 bytes"):
    array_pickle.read(path)
  tree = {"a": np.zeros(1)}
  for _ in range(64):
    tree = {"a": tree, "b": tree}  # 2**64 leaves in a few bytes
  with pytest.raises(ValueError, match="one dict in two places"):
    array_pickle.read(save(path, tree))


def test_the_ends_of_consecutive_pickles():
  first, second = pickle.dumps([1, "a"]), pickle.dumps({}, protocol=2)
  data = first + second + b"rest"
  assert array_pickle.stop(data) == len(first)
  assert array_pickle.stop(data, len(first)) == len(first) + len(second)
  assert pickle.load(io.BytesIO(data[len(first) :])) == {}
  with pytest.raises(ValueError, match="exhausted before seeing STOP"):
    array_pickle.stop(first[:-1])


@pytest.mark.parametrize(
  "value",
  [
    np.arange(6, dtype=">f4").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([True, False]),
    np.zeros((0, 3), np.int8),
  ],
)
def test_round_trip(tmp_path, value):
  got = array_pickle.read(save(tmp_path / "a", {"a": {"b": value}}))["a"]["b"]
  assert got.dtype == value.dtype
  np.testing.assert_array_equal(got, value)
