"""TensorFlow's checkpoints: published indexes, small ones by value, and damage."""

import struct

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from jax import dtypes

from vpn_jax.weights import sstable, tf_checkpoint

DATA = "model.ckpt.data-00000-of-00001"


def example():
  rng = np.random.default_rng(0)
  names = [f"net/block_{i // 3}/unit_{i}/w" for i in range(11)]
  tensors = {n: rng.normal(size=(i, 2)).astype(np.float32) for i, n in enumerate(names)}
  tensors["net/a"] = np.float64([1e300])
  tensors["net/b"] = np.array(-(2**40), np.int64)
  tensors["net/c"] = np.float16([[0.5], [2]])
  return tensors


@pytest.mark.parametrize(
  "name",
  [
    "rgb_imagenet",
    "rgb_scratch",
    "rgb_scratch_kin600",
    "flow_imagenet",
    "flow_scratch",
  ],
)
def test_published_indexes_have_known_content(shared, name):
  folder = shared / "i3d" / "checkpoints" / name
  lines = (folder / "keys.txt").read_text().splitlines()[1:]
  got = tf_checkpoint.read_index(folder)
  assert all(e.dtype == np.float32 and e.shard == 0 for e in got.values())
  assert lines == [
    f"{name}\t{e.shape}\t{e.offset}\t{e.size}\t{e.checksum:#010x}"
    for name, e in got.items()
  ]
  with pytest.raises(
    FileNotFoundError, match=f"{DATA} does not exist, but model.ckpt.i"
  ):
    tf_checkpoint.read(folder)


def test_checksum_of_the_rfc():
  # RFC 3720, B.4: 32 bytes of zeros have CRC32C 0x8a9136aa; then LevelDB's mask
  assert sstable.google_crc32c.value(bytes(32)) == 0x8A9136AA
  turned = 0x8A9136AA >> 15 | 0x8A9136AA << 17 & 0xFFFFFFFF
  assert sstable.masked_crc32c(bytes(32)) == (turned + 0xA282EAD8) % 2**32


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_varints(tf_writer, value):
  data = b"xx" + tf_writer.varint(value)
  assert sstable.varint(data, 2) == (value, len(data))
  if value > 127:
    with pytest.raises(ValueError, match=f"no number .* at byte 2 of {len(data) - 1}"):
      sstable.varint(data[:-1], 2)


def test_a_number_of_more_than_64_bits():
  with pytest.raises(ValueError, match="no number of at most 64 bits at byte 0 of 11"):
    sstable.varint(b"\xff" * 10 + b"\x01", 0)
  with pytest.raises(ValueError, match="no number of at most 64 bits at byte 0 of 10"):
    sstable.varint(b"\xff" * 9 + b"\x02", 0)


@pytest.mark.parametrize("given", ["", "model.ckpt", "model.ckpt.index", DATA])
def test_round_trip(tmp_path, tf_writer, given):
  want = example()
  got = tf_checkpoint.read(tf_writer.save(tmp_path / "c", want) / given)
  assert list(got) == sorted(want)
  for name, value in want.items():
    np.testing.assert_array_equal(got[name], value, strict=True)


def test_bfloat16_becomes_float32(tmp_path, tf_writer):
  value = np.array([1.5, -3e38], dtypes.bfloat16)
  got = tf_checkpoint.read(tf_writer.save(tmp_path, {"a": value}))["a"]
  np.testing.assert_array_equal(got, value.astype(np.float32), strict=True)


def test_several_data_files(tmp_path, tf_writer):
  first, second = np.float32([1, 2]), np.float32([3])
  header = tf_writer.message((1, 2))
  pairs = [(b"", header), (b"a", tf_writer.entry(second, 0, shard=1))]
  pairs += [(b"b", tf_writer.entry(first, 0))]
  (tmp_path / "m.index").write_bytes(tf_writer.table(pairs))
  (tmp_path / "m.data-00000-of-00002").write_bytes(first.tobytes())
  with pytest.raises(FileNotFoundError, match=r"m\.data-00001-of-00002 does not exist"):
    tf_checkpoint.read(tmp_path)
  (tmp_path / "m.data-00001-of-00002").write_bytes(second.tobytes())
  got = tf_checkpoint.read(tmp_path)
  assert (list(got), got["a"], list(got["b"])) == (["a", "b"], 3, [1, 2])


def test_ways_to_name_a_checkpoint(tmp_path, tf_writer):
  with pytest.raises(
    FileNotFoundError, match=r"model\.ckpt\.index does not exist: a Tens"
  ):
    tf_checkpoint.read(tmp_path)
  tf_writer.save(tmp_path, {"a": np.zeros(1, np.float32)})
  (tmp_path / "b.index").write_bytes(b"")
  with pytest.raises(
    ValueError, match=r"holds 2 checkpoints \(b.index, model.ckpt.inde"
  ):
    tf_checkpoint.read(tmp_path)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"dtype": 7}, "a has strings, expected numbers"),
    ({"dtype": 20}, "a has type 20, expected numbers"),
    ({"slices": [b"", b""]}, "a is a variable in 2 slices, expected a whole one"),
    ({"dims": (3,)}, r"a has 8 bytes, expected \[3\] of float32"),
    ({"dims": (-1, -2)}, r"a has shape \[-1, -2\], expected at most 32 sizes >= 0"),
    ({"dims": (2**40, 2**40, 0)}, "expected at most 32 sizes"),
    ({"size": 2**50}, rf"a has {2**50} bytes, expected \[2\] of float32"),
    ({"shard": 1}, "a is in data file 1 of 1"),
    ({"checksum": 7}, "a has checksum 0x.*model.ckpt.index has 0x00000007: it is dam"),
    ({"dtype": b"x"}, "field 1 of a message is b'x'"),
    ({"header": b"\x08\x00"}, "0 data files, expected 1 to 10000"),
    ({"header": b"\x08\x01\x10\x01"}, "it is big-endian, expected little-endian"),
    ({"header": b"\x08"}, "no number of at most 64 bits at byte 1 of 1"),
    ({"header": b"\x0b\x01"}, "field 1 of a message has the unknown kind 3"),
    ({"header": b"\x0a\x05"}, "field 1 of a message ends at byte 7 of 2"),
  ],
)
def test_entries_that_are_refused(tmp_path, tf_writer, changes, message):
  folder = tf_writer.save(tmp_path, {"a": np.zeros(2, np.float32)}, **changes)
  with pytest.raises(ValueError, match=message) as raised:
    tf_checkpoint.read(folder)
  assert str(folder / "model.ckpt.") in str(raised.value)
  assert "\n" not in str(raised.value)


def test_a_data_file_that_is_truncated_or_changed(tmp_path, tf_writer):
  folder = tf_writer.save(tmp_path, {"a": np.zeros(2), "b": np.ones(3)})
  data = (folder / DATA).read_bytes()
  (folder / DATA).write_bytes(data[:-1])
  with pytest.raises(
    ValueError, match="has 39 bytes, but b ends at byte 40: it is trunc"
  ):
    tf_checkpoint.read(folder)
  (folder / DATA).write_bytes(data[:17] + b"\x01" + data[18:])
  with pytest.raises(ValueError, match=f"{DATA}: b has checksum 0x"):
    tf_checkpoint.read(folder)


def damaged_table(tmp_path, data, message):
  (tmp_path / "m.index").write_bytes(data)
  with pytest.raises(ValueError, match=message) as raised:
    tf_checkpoint.read_index(tmp_path)
  assert str(tmp_path / "m.index") in str(raised.value)


def test_tables_that_are_refused(tmp_path, tf_writer):
  value = tf_writer.entry(np.zeros(2, np.float32), 0)
  header = (b"", tf_writer.message((1, 1)))
  good = tf_writer.table([header, (b"a", value)])
  damaged_table(tmp_path, b"", "0 bytes that end in nothing, expected a table's last 8")
  damaged_table(
    tmp_path, good[:-1], r"bytes that end in 00\w+, expected a table's last"
  )
  damaged_table(
    tmp_path, bytes([good[0] ^ 1]) + good[1:], "the block at byte 0 has che"
  )
  damaged_table(
    tmp_path, tf_writer.table([(b"a", value)]), "no header at the empty key"
  )
  pairs = [header, (b"b", value), (b"a", value)]
  damaged_table(tmp_path, tf_writer.table(pairs), "key b'a' comes after b'b', expected")
  pairs = [header, (b"a", value), (b"b", value)]
  damaged_table(tmp_path, tf_writer.table(pairs), "a and b overlap at byte 0")
  snappy = tf_writer.table([header, (b"a", value)], kind=1)
  damaged_table(
    tmp_path, snappy, r"block at byte 0 is compressed \(snappy\), expected a"
  )
  pairs = [header, (b"a\nb", value)]
  damaged_table(tmp_path, tf_writer.table(pairs), r"a tensor has the name 'a\\nb'")
  pairs = [header, (b"a" * 5000, value)]
  damaged_table(
    tmp_path, tf_writer.table(pairs), "a key of 5000 bytes, expected at most 4096"
  )


def with_footer(data, offset, size, tf_writer):
  handles = tf_writer.varint(0) * 2 + tf_writer.varint(offset) + tf_writer.varint(size)
  return data + handles.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def forged(tf_writer, body):
  """A table whose index block has the given bytes and a correct checksum."""
  block = body + b"\0"
  block += struct.pack("<I", sstable.masked_crc32c(block))
  return with_footer(block, 0, len(body), tf_writer)


def test_forged_blocks_are_refused(tmp_path, tf_writer):
  out = with_footer(b"", 5, 100, tf_writer)
  damaged_table(
    tmp_path, out, "a block of 100 bytes at byte 5, expected one within the 0"
  )
  out = forged(tf_writer, b"ab")
  damaged_table(tmp_path, out, "a block of 2 bytes with 25185 restart points")
  out = forged(tf_writer, struct.pack("<I", 9))
  damaged_table(tmp_path, out, "a block of 4 bytes with 9 restart points")
  out = forged(tf_writer, b"\x01\x00\x00" + struct.pack("<II", 0, 1))
  damaged_table(tmp_path, out, "an entry of a block exceeds it at byte 3 of 3")
  # two index entries for one data block, which would be read twice
  block = tf_writer.block([])
  handle = tf_writer.varint(0) + tf_writer.varint(len(block) - 5)
  index = tf_writer.block([(b"a", handle), (b"b", handle)])
  out = with_footer(block + index, len(block), len(index) - 5, tf_writer)
  damaged_table(tmp_path, out, "a block at byte 0, expected it after byte 8")


def read_or_message(path):
  try:
    return tf_checkpoint.read(path)
  except ValueError as e:
    return str(e)


def test_any_damage_is_reported_in_one_line(tmp_path, tf_writer):
  want = {"a": np.arange(3, dtype=np.float32), "net/b": np.float32([[1]])}
  folder = tf_writer.save(tmp_path, want)
  index = (folder / "model.ckpt.index").read_bytes()
  data = (folder / DATA).read_bytes()

  @hypothesis.settings(max_examples=300, deadline=None, database=None)
  @hypothesis.given(
    place=st.integers(0, len(index) + len(data) - 1), bits=st.integers(0, 255)
  )
  def damaged(place, bits):
    changed = bytearray(index + data)
    changed[place] ^= bits
    if bits == 0:  # truncate instead
      (folder / "model.ckpt.index").write_bytes(index[:place])
      (folder / DATA).write_bytes(data[: max(0, place - len(index))])
    else:
      (folder / "model.ckpt.index").write_bytes(changed[: len(index)])
      (folder / DATA).write_bytes(changed[len(index) :])
    got = read_or_message(folder)
    if isinstance(got, str):
      assert str(folder) in got
      assert "\n" not in got
    else:  # the handle of the empty block, or padding, which are not read
      assert got.keys() == want.keys()
      assert all((got[name] == v).all() for name, v in want.items())

  damaged()
