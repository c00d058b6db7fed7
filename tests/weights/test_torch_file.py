"""Files of torch.save: both formats by value, refusals, and any kind of damage."""

import collections
import fractions
import io
import pickle
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from jax import dtypes

from vpn_jax.weights import torch_file

both = pytest.mark.parametrize("legacy", [False, True])


def example():
  base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
  return collections.OrderedDict(
    a=base,
    transposed=base.transpose(2, 0, 1),
    part=base[1, 1:],
    half=np.float16([0.5, 2]),
    double=np.float64([1e300]),
    long=np.int64([2**40, -1]),
    int=np.int32([-3]),
    short=np.int16([-300]),
    char=np.int8([-3]),
    byte=np.uint8([200]),
    bool=np.array([True, False]),
    scalar=np.array(3, np.int64),
    none=np.zeros((0, 3), np.float32),
  )


@both
def test_round_trip(tmp_path, save_torch, legacy):
  want = example()
  got = torch_file.read(save_torch(tmp_path / "w.pt", want, legacy))
  assert list(got) == list(want)
  for name, value in want.items():
    assert got[name].dtype == value.dtype
    np.testing.assert_array_equal(got[name], value, strict=True)
  assert np.shares_memory(got["a"], got["transposed"])


@both
def test_bfloat16_becomes_float32(tmp_path, save_torch, legacy):
  value = np.array([1.5, -3e38], dtypes.bfloat16)
  got = torch_file.read(save_torch(tmp_path / "w.pt", {"a": value}, legacy))["a"]
  np.testing.assert_array_equal(got, value.astype(np.float32), strict=True)


@both
def test_a_wrapping_dict_and_module_are_removed(tmp_path, save_torch, legacy):
  value = np.float32([1, 2])
  state = collections.OrderedDict({"module.fc.bias": value})
  state._metadata = collections.OrderedDict(version=1)  # as modules add it
  tree = {"epoch": 3, "arch": "x", "state_dict": state, "optimizer": {"state": {}}}
  got = torch_file.read(save_torch(tmp_path / "w.pt", tree, legacy))
  assert list(got) == ["fc.bias"]
  np.testing.assert_array_equal(got["fc.bias"], value)


@both
def test_files_without_weights(tmp_path, save_torch, legacy):
  path, value = tmp_path / "w.pt", np.zeros(2, np.float32)
  optimizer = {"state": {0: {"momentum_buffer": value}}, "param_groups": [{"lr": 0.1}]}
  for tree in (optimizer, {"epoch": 3, "optimizer": optimizer}):
    with pytest.raises(
      ValueError, match=r"holds the state of an optimizer .* instead of weights"
    ):
      torch_file.read(save_torch(path, tree, legacy))
  with pytest.raises(ValueError, match=r"w\.pt holds a list, expected a state dict"):
    torch_file.read(save_torch(path, [value], legacy))
  with pytest.raises(
    ValueError, match=r"2 entries, 1 of them not named tensors \(lr\)"
  ):
    torch_file.read(save_torch(path, {"a": value, "lr": 0.1}, legacy))
  with pytest.raises(
    ValueError, match="0 entries, 0 of them not named tensors, expected"
  ):
    torch_file.read(save_torch(path, {}, legacy))
  with pytest.raises(ValueError, match=r"names fractions\.Fraction, which is refused"):
    torch_file.read(save_torch(path, {"a": fractions.Fraction(1, 2)}, legacy))
  with pytest.raises(FileNotFoundError):
    torch_file.read(tmp_path / "none.pt")


def test_messages_with_text_of_a_file_have_one_line(tmp_path, save_torch):
  value = np.zeros(1, np.float32)
  path = save_torch(tmp_path / "w.pt", {"a\nb": value})
  with pytest.raises(
    ValueError, match=r"1 of them not named tensors \(a\?b\), expected"
  ):
    torch_file.read(path)
  path = save_torch(path, {f"x{'y' * 1000}": 3})
  with pytest.raises(ValueError, match=r"\(xy+\.\.\.$"):
    torch_file.read(path)


class Call:
  """Pickled as a call of a function by its name."""

  def __init__(self, line):
    self.line = line

  def __reduce__(self):
    return eval, (self.line,)


@both
def test_no_code_is_executed(tmp_path, save_torch, legacy):
  line = f"__import__('os').mkdir({str(tmp_path / 'harmed')!r})"
  path = save_torch(tmp_path / "w.pt", {"a": Call(line)}, legacy)
  with pytest.raises(ValueError, match=r"builtins?__?\.eval, which is refused"):
    torch_file.read(path)
  assert not (tmp_path / "harmed").exists()


def edit(path, old, new):
  data = path.read_bytes()
  assert data.count(old) == 1
  path.write_bytes(data.replace(old, new))
  return path


def rezip(path, members, kind=zipfile.ZIP_STORED):
  """Rewrites a zip with some members replaced, or removed where None."""
  with zipfile.ZipFile(path) as archive:
    old = {name: archive.read(name) for name in archive.namelist()}
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", kind) as archive:
    for name, data in (old | members).items():
      if data is not None:
        archive.writestr(name, data)
  path.write_bytes(file.getvalue())
  return path


def test_damaged_zips(tmp_path, save_torch):
  def fresh():
    return save_torch(tmp_path / "w.pt", {"a": np.zeros(2000, np.float32)})

  with pytest.raises(
    ValueError, match=r"w\.pt is not a readable .*no member archive/da"
  ):
    torch_file.read(rezip(fresh(), {"archive/data/0": None}))
  with pytest.raises(
    ValueError, match="storage 0 has 7996 bytes, expected 2000 of flo"
  ):
    torch_file.read(rezip(fresh(), {"archive/data/0": b"\0" * 7996}))
  with pytest.raises(ValueError, match="byte order b'big', expected little"):
    torch_file.read(rezip(fresh(), {"archive/byteorder": b"big"}))
  with pytest.raises(ValueError, match=r"0 members \*/data.pkl, expected one"):
    torch_file.read(rezip(fresh(), {"archive/data.pkl": None}))
  with pytest.raises(ValueError, match="in a smaller file, expected no compr"):
    torch_file.read(rezip(fresh(), {}, zipfile.ZIP_DEFLATED))
  path = fresh()
  data = bytearray(path.read_bytes())
  data[data.index(b"\0" * 4000) + 10] ^= 1
  path.write_bytes(data)
  with pytest.raises(ValueError, match="Bad CRC-32"):
    torch_file.read(path)


def test_damaged_legacy_files(tmp_path, save_torch):
  def fresh():
    return save_torch(tmp_path / "w.pt", {"a": np.float32([1, 2, 3])}, legacy=True)

  size, wrong = (3).to_bytes(8, "little"), (2**60).to_bytes(8, "little")
  with pytest.raises(ValueError, match=f"storage 0 has {2**60} numbers, expected 3"):
    torch_file.read(edit(fresh(), size, wrong))
  path = fresh()
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ValueError, match="storage 0 has 11 bytes, expected 3 of float32"):
    torch_file.read(path)
  protocol = pickle.dumps(1001, protocol=2)
  with pytest.raises(ValueError, match=r"protocol 1002 of .* expected 1001"):
    torch_file.read(edit(fresh(), protocol, pickle.dumps(1002, protocol=2)))
  keys = pickle.dumps(["0"], protocol=2)
  with pytest.raises(ValueError, match="2 storages in the file, its tensors use 1"):
    torch_file.read(edit(fresh(), keys, pickle.dumps(["0", "1"], protocol=2)))
  path.write_bytes(b"<!DOCTYPE html>")
  with pytest.raises(
    ValueError, match="starts with b'<!DOCTYPE html>', expected a zip"
  ):
    torch_file.read(path)


@both
@pytest.mark.parametrize(
  ("old", "new"),
  [
    (b"K\x06\x85", b"K\x07\x85"),  # shape (6,) -> (7,)
    (b"K\x01\x85", b"K\x02\x85"),  # strides (1,) -> (2,)
    (b"K\x06\x85", b"K\x06K\x01\x86"),  # shape (6, 1), one stride
    (b"K\x06\x85", b"J\xfa\xff\xff\xff\x85"),  # shape (-6,)
    (b"K\x06\x85", b"J\xff\xff\xff\x7f\x85"),  # shape (2**31 - 1,)
  ],
)
def test_tensors_that_exceed_their_storage(tmp_path, save_torch, legacy, old, new):
  path = save_torch(tmp_path / "w.pt", {"a": np.zeros(6, np.float32)}, legacy)
  if legacy:
    edit(path, old, new)
  else:
    with zipfile.ZipFile(path) as archive:
      data = archive.read("archive/data.pkl")
    assert data.count(old) == 1
    rezip(path, {"archive/data.pkl": data.replace(old, new)})
  with pytest.raises(ValueError, match=r"w\.pt is not a readable .*tensor of shape"):
    torch_file.read(path)


@both
def test_an_expanded_tensor_is_refused(tmp_path, save_torch, legacy):
  value = np.zeros(1, np.float32)
  path = save_torch(tmp_path / "w.pt", {"a": value, "b": value[:0]}, legacy)
  assert torch_file.read(path)["b"].shape == (0,)
  value = np.broadcast_to(np.zeros(4, np.float32), (2000, 4))
  with pytest.raises(
    ValueError, match=r"shape \(2000, 4\), strides \(0, 1\), .* of 4 num"
  ):
    torch_file.read(save_torch(path, {"a": value}, legacy))


def read_or_message(path):
  try:
    return torch_file.read(path)
  except ValueError as e:
    return str(e)


@both
def test_any_damage_is_reported_in_one_line(tmp_path_factory, save_torch, legacy):
  path = tmp_path_factory.mktemp("w") / "w.pt"
  tree = {"state_dict": {"a": np.arange(4.0), "b": np.float32([1])}, "epoch": 1}
  data = save_torch(path, tree, legacy).read_bytes()

  @hypothesis.settings(max_examples=150, deadline=None, database=None)
  @hypothesis.given(
    flips=st.lists(
      st.tuples(st.integers(0, len(data) - 1), st.integers(1, 255)), max_size=3
    ),
    end=st.integers(0, len(data)),
  )
  def damaged(flips, end):
    changed = bytearray(data)
    for place, bits in flips:
      changed[place] ^= bits
    path.write_bytes(changed[:end] if not flips else changed)
    arrays = read_or_message(path)
    if isinstance(arrays, str):
      assert str(path) in arrays
      assert "\n" not in arrays
    else:
      assert all(isinstance(v, np.ndarray) and v.size <= 4 for v in arrays.values())

  damaged()
