"""Damaged files of weights give numbers or one line; no code is ever executed.

TensorFlow's checkpoints and PyTorch's zips have checksums; old files of PyTorch and
pickles have none, so a number may change unnoticed, but not its shape or type.
"""

import os
import pathlib
import pickle
import sys

import fake_weights
import fuzzing
import numpy as np
import pytest
from hypothesis import strategies as st

from vpn_jax.weights import pretrained, weight_file

ARRAYS = {
  "a": np.arange(30, dtype=np.float32).reshape(2, 3, 5),
  "b": np.float32([1.5]),
  "c/d": np.float64([[2.5, -1]]),
}


def write(kind, folder, arrays=ARRAYS):
  """Writes weights; returns the path to read, and the files."""
  if kind == "tf":
    fake_weights.save_tf(folder, arrays)
    return folder, sorted(folder.iterdir())
  path = folder / "w.bin"
  if kind == "pickle":
    path.write_bytes(pickle.dumps({"params": dict(arrays), "batch_stats": {}}))
  else:
    fake_weights.save_torch(path, {"state_dict": dict(arrays)}, kind == "legacy")
  return path, [path]


KINDS = ("tf", "zip", "legacy", "pickle")
HAS_CHECKSUM = ("tf", "zip")
_watched = {"on": False, "events": []}


HARMFUL = (
  "pickle.find_class", "exec", "os.system", "os.mkdir", "subprocess.Popen", "os.exec",
  "os.posix_spawn", "socket.connect", "ctypes.dlopen", "os.remove",
)  # fmt: skip


def _hook(event, args):
  if not (_watched["on"] and event in HARMFUL):
    return
  if event == "exec" and args[0].co_filename != "<string>":
    return  # a module of the standard library, imported on first use
  _watched["events"].append((event, args))


@pytest.fixture(scope="module", autouse=True)
def audit():
  """An audit hook, which stays until the process ends but acts only here."""
  sys.addaudithook(_hook)


def read(source):
  """`weight_file.read`; fails when the interpreter executes anything."""
  _watched.update(on=True, events=[])
  try:
    return weight_file.read(source)
  finally:
    _watched["on"] = False
    assert _watched["events"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_or_one_line(kind, tmp_path_factory):
  source, files = write(kind, tmp_path_factory.mktemp(kind))
  whole = {path: path.read_bytes() for path in files}
  want = read(source).tensors

  @fuzzing.fuzz(3.0, steps=fuzzing.damages, which=st.integers(0, 9))
  def damaged(steps, which):
    for path, data in whole.items():
      path.write_bytes(data)
    path = files[which % len(files)]
    path.write_bytes(fuzzing.apply(whole[path], steps))
    got = fuzzing.value_or_none(lambda: read(source), str(source))
    if got is None:
      return
    for name, array in got.tensors.items():
      assert isinstance(array, np.ndarray)
      assert array.dtype.kind in "fiub"
      assert array.nbytes <= 240
      if kind in HAS_CHECKSUM:
        np.testing.assert_array_equal(array, want[name], strict=True)
    assert kind not in HAS_CHECKSUM or got.tensors.keys() == want.keys()

  damaged()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loader_of_a_backbone_names_the_file(kind, tmp_path_factory):
  """Including the names, shapes and values of I3D."""
  source, files = write(kind, tmp_path_factory.mktemp(kind))
  whole = files[0].read_bytes()

  @fuzzing.fuzz(0.5)
  def damaged(steps):
    files[0].write_bytes(fuzzing.apply(whole, steps))
    with pytest.raises((ValueError, OSError)) as caught:
      pretrained.load("i3d", source, "Mixed_3b")
    assert str(source) in str(caught.value)
    assert str(caught.value).isprintable()

  damaged()


class Harm:
  """Pickled as a call; protocols 0 to 4 write it with different instructions."""

  def __init__(self, function, *args):
    self.call = function, args

  def __reduce__(self):
    return self.call


def harmful(folder):
  """Pickles that would execute something, by name."""
  place = str(folder / "harmed")
  line = f"__import__('os').mkdir({place!r})"
  made = {
    f"{name}-{protocol}": pickle.dumps(
      {"params": {"w": harm}, "batch_stats": {}}, protocol
    )
    for protocol in (0, 2, 4)
    for name, harm in (
      ("mkdir", Harm(os.mkdir, place)),
      ("eval", Harm(eval, line)),
      ("exec", Harm(exec, line)),
      ("system", Harm(os.system, f"mkdir {place}")),
    )
  }
  made["inst"] = b"\x80\x02(S'" + place.encode() + b"'\nios\nmkdir\n."
  made["obj"] = b"\x80\x02(cos\nmkdir\nX\x01\x00\x00\x00ao."
  made["build"] = (
    b"\x80\x02cnumpy\ndtype\n}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb."
  )
  made["numpy"] = (
    b"\x80\x02cnumpy.testing._private.utils\nrunstring\nX\x01\x00\x00\x00a}\x86R."
  )
  made["dotted"] = b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93."
  made["extension"] = b"\x80\x02\x82\x01."
  return made


@pytest.mark.parametrize("name", sorted(harmful(pathlib.Path("here"))))
def test_no_code_is_executed(name, tmp_path):
  """As a file, as the pickle in a zip, and after the magic number of old files."""
  data = harmful(tmp_path)[name]
  path = tmp_path / "w.bin"
  fake_weights.save_torch(path, {"a": ARRAYS["b"]})
  zipped = fake_weights.with_pickle(path.read_bytes(), data)
  fake_weights.save_torch(path, {"a": ARRAYS["b"]}, legacy=True)
  magic = path.read_bytes()[: len(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2))]
  for content in (data, zipped, magic + data):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.bin") as caught:
      read(path)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "harmed").exists()


def test_damage_does_not_execute_code(tmp_path_factory):
  folder = tmp_path_factory.mktemp("harm")
  path, made = folder / "w.bin", list(harmful(folder).values())

  @fuzzing.fuzz(4.0, steps=fuzzing.damages, which=st.integers(0, len(made) - 1))
  def damaged(steps, which):
    path.write_bytes(fuzzing.apply(made[which], steps))
    fuzzing.value_or_none(lambda: read(path), str(path))
    assert not (folder / "harmed").exists()

  damaged()


@pytest.mark.parametrize(
  "key", ["../../escaped", "/escaped", "a\0b", "a\nb", "..", "C:\\escaped"]
)
def test_names_in_a_zip_write_no_file(key, tmp_path):
  """Members are read in memory, and only those that storages name."""
  path = fake_weights.save_torch(tmp_path / "w.pt", {"a": ARRAYS["a"]})
  before = sorted(tmp_path.rglob("*"))
  path.write_bytes(fake_weights.with_storage(path.read_bytes(), key))
  got = fuzzing.value_or_none(lambda: read(path), "w.pt")
  if got is not None:
    np.testing.assert_array_equal(got.tensors["a"], ARRAYS["a"])
  assert sorted(tmp_path.rglob("*")) == before
  assert not (tmp_path.parent / "escaped").exists()


def test_a_link_instead_of_a_data_file(tmp_path):
  """The index does not give the path of the data, whose checksum is verified."""
  fake_weights.save_tf(tmp_path / "c", ARRAYS)
  data = tmp_path / "c" / "model.ckpt.data-00000-of-00001"
  data.unlink()
  data.symlink_to("/etc/hostname")
  with pytest.raises(ValueError, match=r"data-00000-of-00001"):
    read(tmp_path / "c")
