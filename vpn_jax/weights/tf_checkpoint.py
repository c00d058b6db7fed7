"""TensorFlow's checkpoint files -> arrays by name, without TensorFlow.

Source: the "tensor bundle" of tensorflow/core/util/tensor_bundle and the messages of
tensor_bundle.proto. `<prefix>.index` is a table (`sstable`) from names to dtype, shape
and position; `<prefix>.data-00000-of-00001` has the tensors one after another.
"""

import itertools
import math
import pathlib
import re
from typing import NamedTuple

import numpy as np
from jax import dtypes

from vpn_jax.weights import sstable

# Numbers in types.proto. Strings, resources and quantized types are not supported.
_DTYPES = {
  1: np.float32,
  2: np.float64,
  3: np.int32,
  4: np.uint8,
  5: np.int16,
  6: np.int8,
  9: np.int64,
  10: np.bool_,
  14: dtypes.bfloat16,
  17: np.uint16,
  19: np.float16,
  22: np.uint32,
  23: np.uint64,
}
_REMEDY = "fetch the file again, or give another one."


class Entry(NamedTuple):
  """A tensor of the index: dtype, shape, and position of its bytes.

  `shard` is the number of the data file, `offset` and `size` are in bytes, `checksum`
  is the masked CRC32C of the bytes.
  """

  dtype: np.dtype
  shape: tuple[int, ...]
  shard: int
  offset: int
  size: int
  checksum: int


def read(path) -> dict[str, np.ndarray]:
  """Reads every tensor of a checkpoint.

  Args:
    path: of a folder with one checkpoint, a prefix such as ".../model.ckpt", or an
      .index or .data file.
  Returns: arrays by name, in the order of the file; bfloat16 as float32.
  Raises: FileNotFoundError without an index or a data file; ValueError in one line when
    one of them is truncated, damaged (every block and tensor has a checksum),
    compressed or big-endian, or has strings or slices of a partitioned variable.
  """
  path = index_path(path)
  entries, num_shards = _read_index(path)
  arrays = {}
  for shard in range(num_shards):
    here = {name: e for name, e in entries.items() if e.shard == shard}
    name = f"{path.name.removesuffix('.index')}.data-{shard:05d}-of-{num_shards:05d}"
    arrays |= _read_data(path.with_name(name), here, path)
  return {name: arrays[name] for name in entries}


def read_index(path) -> dict[str, Entry]:
  """Reads the entries of a checkpoint alone; path and errors as in `read`."""
  return _read_index(index_path(path))[0]


def index_path(path) -> pathlib.Path:
  """The .index file of a checkpoint, for any path that `read` takes.

  Raises: FileNotFoundError when there is none, ValueError when a folder has several.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    found = sorted(path.glob("*.index"))
    if len(found) > 1:
      raise ValueError(
        f"{path} holds {len(found)} checkpoints ({found[0].name}, {found[1].name}"
        f"{', ...' if len(found) > 2 else ''}), expected one: give the .index file."
      )
    index = found[0] if found else path / "model.ckpt.index"
  else:
    prefix = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path.name)
    index = path.with_name(prefix + ".index")
  if not index.is_file():
    raise FileNotFoundError(
      f"{index} does not exist: a TensorFlow checkpoint is an .index file and a .data "
      "file beside it; fetch both."
    )
  return index


def _read_index(path: pathlib.Path) -> tuple[dict[str, Entry], int]:
  """Reads and checks the entries and the number of data files."""
  try:
    pairs = sstable.pairs(path.read_bytes())
    key, value = next(pairs, (None, b""))
    if key != b"":
      raise ValueError("no header at the empty key: a table, but not of a checkpoint")
    num_shards = _header(value)
    entries = {}
    for key, value in pairs:
      name = key.decode()
      if not name.isprintable():
        raise ValueError(f"a tensor has the name {name!r}")
      entries[name] = _entry(name, value, num_shards)
    _check_overlaps(entries)
  except ValueError as e:
    raise ValueError(
      f"{path} is not a readable checkpoint index: {e}: {_REMEDY}"
    ) from None
  return entries, num_shards


def _read_data(path, entries: dict[str, Entry], index) -> dict[str, np.ndarray]:
  """Reads and checks the tensors of one data file."""
  if not path.is_file():
    raise FileNotFoundError(
      f"{path} does not exist, but {index.name} names {len(entries)} tensors in it: "
      "put the checkpoint's .data file beside its .index file."
    )
  arrays = {}
  with open(path, "rb") as file:
    length = path.stat().st_size
    for name, entry in sorted(entries.items(), key=lambda item: item[1].offset):
      end = entry.offset + entry.size
      if end > length:
        raise ValueError(
          f"{path} has {length} bytes, but {name} ends at byte {end}: it is truncated "
          f"or from another checkpoint: {_REMEDY}"
        )
      file.seek(entry.offset)
      data = file.read(entry.size)
      if sstable.masked_crc32c(data) != entry.checksum:
        raise ValueError(
          f"{path}: {name} has checksum {sstable.masked_crc32c(data):#010x}, "
          f"{index.name} has {entry.checksum:#010x}: it is damaged or from another "
          f"checkpoint: {_REMEDY}"
        )
      array = np.frombuffer(data, entry.dtype).reshape(entry.shape)
      is_short = entry.dtype == dtypes.bfloat16
      arrays[name] = array.astype(np.float32) if is_short else array
  return arrays


# Protobuf messages.


def _header(data: bytes) -> int:
  """BundleHeaderProto -> the number of data files."""
  fields = _fields(data)
  num_shards, endianness = _last(fields, 1, 0), _last(fields, 2, 0)
  if endianness != 0:
    raise ValueError("it is big-endian, expected little-endian")
  if not 1 <= num_shards <= 10_000:
    raise ValueError(f"{num_shards} data files, expected 1 to 10000")
  return num_shards


def _entry(name: str, data: bytes, num_shards: int) -> Entry:
  """BundleEntryProto -> Entry."""
  fields = _fields(data)
  if 7 in fields:
    raise ValueError(
      f"{name} is a variable in {len(fields[7])} slices, expected a whole one (save it "
      "unpartitioned)"
    )
  code = _last(fields, 1, 0)
  if code not in _DTYPES:
    kind = "strings" if code == 7 else f"type {code}"
    raise ValueError(f"{name} has {kind}, expected numbers")
  shape = []
  for dim in _fields(_last(fields, 2, b"")).get(2, []):
    size = _last(_fields(_message(dim)), 1, 0)
    shape.append(size - 2**64 if size >> 63 else size)
  dtype, shape, size = np.dtype(_DTYPES[code]), tuple(shape), _last(fields, 5, 0)
  if (
    len(shape) > 32 or min(shape, default=0) < 0 or math.prod(filter(None, shape)) >> 48
  ):
    raise ValueError(f"{name} has shape {list(shape)}, expected at most 32 sizes >= 0")
  if math.prod(shape) * dtype.itemsize != size:
    raise ValueError(f"{name} has {size} bytes, expected {list(shape)} of {dtype.name}")
  if _last(fields, 3, 0) >= num_shards:
    raise ValueError(f"{name} is in data file {fields[3][-1]} of {num_shards}")
  shard, offset, checksum = (_last(fields, number, 0) for number in (3, 4, 6))
  return Entry(dtype, shape, shard, offset, size, checksum)


def _check_overlaps(entries: dict[str, Entry]) -> None:
  """Raises ValueError when two tensors share bytes, which no sound file needs."""
  order = sorted(entries.items(), key=lambda item: item[1][2:5])
  for (first, a), (second, b) in itertools.pairwise(order):
    if a.shard == b.shard and a.offset + a.size > b.offset:
      raise ValueError(f"{first} and {second} overlap at byte {b.offset}")


def _fields(data: bytes) -> dict[int, list]:
  """Reads the fields of a protobuf message by number: ints, or bytes if nested."""
  fields, at = {}, 0
  data = _message(data)
  while at < len(data):
    tag, at = sstable.varint(data, at)
    number, wire = tag >> 3, tag & 7
    if wire == 0:
      value, at = sstable.varint(data, at)
    elif wire in (1, 2, 5):
      length = 8 if wire == 1 else 4
      if wire == 2:
        length, at = sstable.varint(data, at)
      value, at = data[at : at + length], at + length
      if at > len(data):
        raise ValueError(
          f"field {number} of a message ends at byte {at} of {len(data)}"
        )
      value = value if wire == 2 else int.from_bytes(value, "little")
    else:
      raise ValueError(f"field {number} of a message has the unknown kind {wire}")
    fields.setdefault(number, []).append(value)
  return fields


def _last(fields: dict[int, list], number: int, default):
  """The last value of a field, of the type of the default."""
  value = fields.get(number, [default])[-1]
  if type(value) is not type(default):
    raise ValueError(f"field {number} of a message is {value!r}")
  return value


def _message(value) -> bytes:
  if not isinstance(value, bytes):
    raise ValueError(f"a number, {value}, where a message was expected")
  return value
