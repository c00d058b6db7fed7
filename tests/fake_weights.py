"""Writes small files of weights."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
from jax import dtypes

from vpn_jax.weights import sstable

# The part of torch.save for state dicts

# Independent of the reader under test.
_STORAGES = {
  "FloatStorage": np.float32,
  "DoubleStorage": np.float64,
  "HalfStorage": np.float16,
  "BFloat16Storage": dtypes.bfloat16,
  "LongStorage": np.int64,
  "IntStorage": np.int32,
  "ShortStorage": np.int16,
  "CharStorage": np.int8,
  "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
}


class _Storage:
  def __init__(self, values):
    self.values = values


def _fake_torch():
  """Modules with classes and functions named as in PyTorch, for pickled references."""
  torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
  for name in _STORAGES:
    setattr(torch, name, type(name, (), {"__module__": "torch"}))
  for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
    function = types.FunctionType((lambda *_: None).__code__, {}, name)
    function.__module__, function.__qualname__ = "torch._utils", name
    setattr(utils, name, function)
  torch._utils = utils
  return torch


class _TorchPickler(pickle.Pickler):
  """Writes numpy arrays as tensors; a view of an array shares its storage."""

  def __init__(self, file, torch, legacy):
    super().__init__(file, protocol=2)
    self.torch, self.legacy, self.storages = torch, legacy, {}

  def reducer_override(self, value):
    if not isinstance(value, np.ndarray):
      return NotImplemented
    owner = value.base if isinstance(value.base, np.ndarray) else value
    if id(owner) not in self.storages:
      self.storages[id(owner)] = (str(len(self.storages)), _Storage(owner))
    offset = value.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    strides = tuple(s // value.itemsize for s in value.strides)
    args = self.storages[id(owner)][1], offset // value.itemsize, value.shape, strides
    if self.legacy:
      return self.torch._utils._rebuild_tensor, args
    rest = False, collections.OrderedDict()
    return self.torch._utils._rebuild_tensor_v2, (*args, *rest)

  def persistent_id(self, value):
    if not isinstance(value, _Storage):
      return None
    key, _ = self.storages[id(value.values)]
    (name,) = [n for n, dtype in _STORAGES.items() if dtype == value.values.dtype]
    storage_type = getattr(self.torch, name)
    saved = ("storage", storage_type, key, "cpu", value.values.size)
    return (*saved, None) if self.legacy else saved


def _torch_bytes(tree, legacy):
  torch, file = _fake_torch(), io.BytesIO()
  before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
  sys.modules.update({"torch": torch, "torch._utils": torch._utils})
  try:
    pickler = _TorchPickler(file, torch, legacy)
    pickler.dump(tree)
  finally:
    for name, module in before.items():
      sys.modules.pop(name)
      if module is not None:
        sys.modules[name] = module
  storages = {key: s.values.tobytes("K") for key, s in pickler.storages.values()}
  sizes = {key: s.values.size for key, s in pickler.storages.values()}
  if legacy:
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    head = [0x1950A86A20F9469CFC6C, 1001, system]
    parts = [pickle.dumps(v, protocol=2) for v in head]
    parts += [file.getvalue(), pickle.dumps(sorted(storages), protocol=2)]
    for key in sorted(storages):
      parts += [struct.pack("<q", sizes[key]), storages[key]]
    return b"".join(parts)
  zipped = io.BytesIO()
  with zipfile.ZipFile(zipped, "w") as archive:
    archive.writestr("archive/data.pkl", file.getvalue())
    archive.writestr("archive/byteorder", "little")
    for key, data in storages.items():
      archive.writestr(f"archive/data/{key}", data)
    archive.writestr("archive/version", "3\n")
  return zipped.getvalue()


def save_torch(path, tree, legacy=False):
  """Writes like `torch.save`; arrays in `tree` become tensors. Returns the path."""
  path.write_bytes(_torch_bytes(tree, legacy))
  return path


# TensorFlow's checkpoints


def varint(value):
  data = bytearray()
  while value > 0x7F:
    data.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes([*data, value])


def message(*fields):
  """A protobuf message of (number, int or bytes), or (number, int, 5) for fixed32."""
  data = b""
  for number, value, *wire in fields:
    if wire:
      data += varint(number << 3 | 5) + struct.pack("<I", value)
    elif isinstance(value, bytes):
      data += varint(number << 3 | 2) + varint(len(value)) + value
    else:
      data += varint(number << 3) + varint(value & 0xFFFFFFFFFFFFFFFF)
  return data


def block(pairs, interval=3, kind=0):
  """A block with its trailer; one of `interval` keys is stored whole."""
  data, restarts, last = b"", [], b""
  for i, (key, value) in enumerate(pairs):
    shared = 0
    if i % interval == 0:
      restarts.append(len(data))
    else:
      while shared < min(len(key), len(last)) and key[shared] == last[shared]:
        shared += 1
    data += varint(shared) + varint(len(key) - shared) + varint(len(value))
    data += key[shared:] + value
    last = key
  restarts = restarts or [0]
  data += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
  data += bytes([kind])
  return data + struct.pack("<I", sstable.masked_crc32c(data))


def table(pairs, per_block=4, kind=0):
  """A table file of sorted (key, value)."""
  data, index = b"", []
  for i in range(0, len(pairs), per_block):
    part = block(pairs[i : i + per_block], kind=kind)
    index.append(
      (pairs[min(i + per_block, len(pairs)) - 1][0], (len(data), len(part) - 5))
    )
    data += part
  handles = []
  for part in (
    block([]),
    block([(k, varint(a) + varint(b)) for k, (a, b) in index], interval=1),
  ):
    handles.append(varint(len(data)) + varint(len(part) - 5))
    data += part
  return data + b"".join(handles).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


_TF_TYPES = {"float32": 1, "float64": 2, "int64": 9, "bfloat16": 14, "float16": 19}


def entry(array, offset, **changes):
  """BundleEntryProto of an array at an offset."""
  values = {
    "dtype": _TF_TYPES[array.dtype.name],
    "dims": array.shape,
    "shard": 0,
    "size": array.nbytes,
    "checksum": sstable.masked_crc32c(array.tobytes()),
    "slices": (),
  }
  v = values | changes
  shape = message(*((2, message((1, d))) for d in v["dims"]))
  fields = [(1, v["dtype"]), (2, shape), (3, v["shard"]), (4, offset), (5, v["size"])]
  fields += [(6, v["checksum"], 5), *((7, s) for s in v["slices"])]
  return message(*fields)


HEADER = message((1, 1), (3, message((1, 1))))


def save_tf(folder, tensors, header=HEADER, **changes):
  """Writes model.ckpt; `changes` apply to the entry of the last tensor."""
  pairs, data = [(b"", header)], b""
  for name in sorted(tensors):
    array = np.asarray(tensors[name])
    change = changes if name == max(tensors) else {}
    pairs.append((name.encode(), entry(array, len(data), **change)))
    data += array.tobytes()
  folder.mkdir(exist_ok=True)
  (folder / "model.ckpt.index").write_bytes(table(pairs))
  (folder / "model.ckpt.data-00000-of-00001").write_bytes(data)
  return folder


# Changed zips of torch.save


def _rezip(data, change):
  """A zip whose members (name, content) pass through `change`."""
  made = io.BytesIO()
  with (
    zipfile.ZipFile(io.BytesIO(data)) as old,
    zipfile.ZipFile(made, "w") as new,
  ):
    for name in old.namelist():
      new.writestr(*change(name, old.read(name)))
  return made.getvalue()


def with_pickle(data, content):
  """A zip with another pickle, bytes -> bytes."""
  is_pickle = "archive/data.pkl".__eq__
  return _rezip(data, lambda name, old: (name, content if is_pickle(name) else old))


def with_storage(data, key):
  """A zip of one tensor whose storage has another name, bytes -> bytes."""

  def change(name, old):
    if name == "archive/data.pkl":
      raw = key.encode()
      old = old.replace(b"X\x01\x00\x00\x000", b"X" + struct.pack("<I", len(raw)) + raw)
    return name.replace("data/0", f"data/{key}"), old

  return _rezip(data, change)
