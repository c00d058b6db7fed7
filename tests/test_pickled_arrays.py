"""Pickles of arrays: interpreted, never executed, and read only where they are used."""

import collections
import io
import os
import pickle
import pickletools

import numpy as np
import pytest

from vpn_jax import pickle_machine, pickled_arrays


def save(path, tree, protocol):
  path.write_bytes(pickle.dumps(tree, protocol=protocol))
  return path


def loaded(tree):
  """A tree with its arrays read."""
  if isinstance(tree, pickled_arrays.Array):
    return tree.load()
  if isinstance(tree, dict):
    return {key: loaded(value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return type(tree)(map(loaded, tree))
  return tree


def assert_same(a, b):
  assert type(a) is type(b)
  if isinstance(a, dict):
    assert list(a) == list(b)
    a, b = list(a.values()), list(b.values())
  if isinstance(a, list | tuple):
    assert len(a) == len(b)
    for x, y in zip(a, b):
      assert_same(x, y)
  elif isinstance(a, np.ndarray):
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    np.testing.assert_array_equal(a, b)
  else:
    assert a == b


RNG = np.random.default_rng(0)
SHARED = np.arange(3)
TREES = {
  "plain": {"a": [1, -2, 3.5, True, False, None, "text"], "b": (), "c": ({}, [])},
  "numbers": [0, 255, 65536, -1, 2**40, -(2**70), 1e300, float("inf")],
  "text": ["", "é\n", "x" * 256, "name"],
  "arrays": {
    "small": np.arange(6, dtype=">f4").reshape(2, 3),
    "half": RNG.normal(size=(2, 80, 25, 3)).astype(np.float16),
    "fortran": np.asfortranarray(RNG.normal(size=(40, 30))),
    "strided": RNG.normal(size=(40, 30))[::2],
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.int8),
    "scalar": np.array(3.0),
    "bytes": np.arange(256, dtype=np.uint8).repeat(4),
  },
  "shared": [SHARED, {"again": SHARED}, (SHARED,)],
  "many": [{"frame_dir": f"clip{i}", "label": i} for i in range(2000)],
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", TREES)
def test_every_protocol(name, protocol, tmp_path):
  path = save(tmp_path / "a.pkl", TREES[name], protocol)
  assert_same(loaded(pickled_arrays.read(path)), TREES[name])


def test_scalars_and_ordered_dicts(tmp_path):
  tree = collections.OrderedDict(a=np.int64(3), b=np.float16(0.5), c=np.bool_(True))
  for protocol in (2, 4, 5):
    got = pickled_arrays.read(save(tmp_path / "a.pkl", tree, protocol))
    assert got == {"a": 3, "b": 0.5, "c": True}


def test_arrays_stay_in_the_file(tmp_path):
  """Also those that protocol 2 writes as text; the object itself is small."""
  array = RNG.normal(size=50_000)
  for protocol in (2, 4, 5):
    path = save(tmp_path / "a.pkl", [array], protocol)
    (found,) = pickled_arrays.read(path)
    assert len(pickle.dumps(found)) < 500
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).load(), array)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a\.pkl changed since it was opened"):
      found.load()


class Harm:
  """Creates a folder when it is unpickled in the usual way."""

  def __init__(self, path, how):
    self.path, self.how = path, how

  def __reduce__(self):
    return {
      "call": (os.mkdir, (str(self.path),)),
      "eval": (eval, (f"__import__('os').mkdir({str(self.path)!r})",)),
      "state": (Harm, (self.path, "call")),
      "codec": (io.open, (str(self.path), "w")),
    }[self.how]


@pytest.mark.parametrize("how", ["call", "eval", "state", "codec"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_hostile_pickles_are_refused(how, protocol, tmp_path):
  path = save(tmp_path / "a.pkl", {"x": Harm(tmp_path / "harmed", how)}, protocol)
  with pytest.raises(pickled_arrays.Refused):
    pickled_arrays.read(path)
  assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
  ("code", "message"),
  [
    # Calls with other arguments than arrays need, of what is allowed otherwise.
    (b"c_codecs\nencode\n(Vx\nVidna\ntR.", "a call of _codecs.encode"),
    (b"cnumpy\nndarray\n(I9\ntR.", "a call of numpy.ndarray"),
    (b"ccollections\nOrderedDict\n(](I1\nI2\netR.", "a call of collections.Ord"),
    (b"cnumpy\ndtype\n(VO8\ntR.", r"numpy.dtype\('O8'\)"),
    (b"cnumpy\ndtype\n(Vf4,i4\ntR.", r"numpy.dtype\('f4,i4'\)"),
    (b"cnumpy\ndtype.__class__\n.", r"numpy.dtype.__class__"),
    (b"}}b.", "the state of a dict"),
    (b"cnumpy\ndtype\n)\x81.", "the opcode NEWOBJ"),
    (b"Pid\n.", "the opcode PERSID"),
    (b"\x82\x01.", "the opcode EXT1"),
    (b"(ios\nsystem\n.", "the opcode INST"),
  ],
)
def test_opcodes_and_calls_that_arrays_do_not_need(code, message, tmp_path):
  path = tmp_path / "a.pkl"
  path.write_bytes(code)
  with pytest.raises(pickled_arrays.Refused, match=message):
    pickled_arrays.read(path)


def test_damage(tmp_path):
  path = save(tmp_path / "a.pkl", TREES["arrays"], 4)
  whole = path.read_bytes()
  for data in (
    b"",
    whole[:-1],
    whole[: len(whole) // 2],
    b".",
    b"0.",
    b"a.",
    b"}."[1:],
  ):
    path.write_bytes(data)
    with pytest.raises((ValueError, IndexError)):
      pickled_arrays.read(path)
  # A shape that does not fit the bytes, and a position that does not fit the file.
  for code, message in (
    (whole.replace(b"K(K\x1e\x86", b"K)K\x1e\x86"), "9600 bytes for an array of shape"),
    (b"}r\xff\xff\xff\x7f.", "object number 2147483647 in 7 bytes"),
    (b"]I1\nI2\nI3\nI4\nu.", "pop from empty list"),
    (b"}(I1\nu.", "argument 2 is shorter"),
    (b"](I1\nI2\nu.", "items for a list, expected a dict"),
  ):
    path.write_bytes(code)
    with pytest.raises((ValueError, IndexError), match=message):
      pickled_arrays.read(path)


def test_a_container_in_itself(tmp_path):
  tree = []
  tree.append(tree)
  (inner,) = pickled_arrays.read(save(tmp_path / "a.pkl", tree, 2))
  assert inner[0] is inner


def test_every_opcode_of_plain_pickles_is_known():
  made = set(pickle_machine._STEPS) | set(pickle_machine._PUSH) | {"STOP"}
  made |= set(pickle_machine._HEADERS)
  for protocol in range(6):
    for tree in TREES.values():
      for opcode, _, _ in pickletools.genops(pickle.dumps(tree, protocol)):
        assert opcode.name in made
