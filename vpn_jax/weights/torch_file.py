"""Files of `torch.save` -> arrays by name, without PyTorch and without executing them.

Source: torch/serialization.py and torch/_utils.py of pytorch/pytorch. There are two
formats: since 1.6, a zip with a pickle and a member for each storage; before, several
pickles followed by the storages. The pickle describes tensors as views of storages.
"""

import io
import math
import pathlib
import pickle
import zipfile
from typing import NamedTuple

import numpy as np
from jax import dtypes

from vpn_jax import pickled_arrays
from vpn_jax.weights import array_pickle

_DTYPES = {
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
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_ZIP_START = b"PK\x03\x04"
_LEGACY_START = pickle.dumps(_MAGIC_NUMBER, protocol=2)
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def is_torch_file(path) -> bool:
  """Whether a file starts like one of `torch.save`, in either format."""
  with open(path, "rb") as file:
    start = file.read(len(_LEGACY_START))
  return start.startswith((_ZIP_START, _LEGACY_START))


def read(path) -> dict[str, np.ndarray]:
  """Reads the state dict in a file of `torch.save`.

  A dict around it, as training programs save one, and the prefix "module." of
  DataParallel are removed.

  Returns: arrays by name; bfloat16 as float32. Tensors that share a storage share
    memory.
  Raises: ValueError in one line when the file has neither format, is truncated or
    damaged (only zips have checksums), has no state dict, or when its pickle names
    anything but numeric tensors; OSError when it cannot be opened.
  """
  with open(path, "rb") as file:
    is_zip = file.read(len(_ZIP_START)) == _ZIP_START
  try:
    tree, numbers = (_read_zip if is_zip else _read_legacy)(path)
    arrays = {name: _array(v, numbers) for name, v in _state_dict(tree).items()}
  except pickled_arrays.Refused as e:
    raise ValueError(
      f"{path} names {pickled_arrays.one_line(e)}, which is refused: weights need "
      "tensors only; if it is a whole model, save model.state_dict() instead."
    ) from None
  except _NoWeights as e:
    raise ValueError(f"{path} {pickled_arrays.one_line(e)}") from None
  except Exception as e:  # whatever a damaged file makes of pickle and zipfile
    reason = pickled_arrays.one_line(f"{type(e).__name__}: {e}")
    raise ValueError(
      f"{path} is not a readable file of torch.save ({reason}): fetch it again."
    ) from e
  if all(name.startswith("module.") for name in arrays):
    return {name.removeprefix("module."): v for name, v in arrays.items()}
  return arrays


class _NoWeights(Exception):
  """An undamaged file without a state dict."""


class _Storage(NamedTuple):
  """Numbers in the file, of which tensors are views."""

  dtype: np.dtype
  key: str
  size: int


class _Tensor(NamedTuple):
  """A view of a storage; offset and strides are in numbers, not bytes."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class _Dict(dict):
  """Stands in for OrderedDict; its attributes, such as _metadata, are dropped."""

  def __setstate__(self, state):
    pass


class _Global(NamedTuple):
  """Stands in for a class or function; immutable, so that no pickle can change it."""

  module: str
  name: str

  def __call__(self, *args):
    match self:
      case ("collections", "OrderedDict"):
        return _Dict(*args)
      case ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"):
        return _Tensor(*args[:4])
      case ("torch._utils", "_rebuild_parameter"):
        return args[0]
    raise pickled_arrays.Refused(f"a call of {self.module}.{self.name}")


_GLOBALS = {
  ("collections", "OrderedDict"),
  ("torch._utils", "_rebuild_tensor"),
  ("torch._utils", "_rebuild_tensor_v2"),
  ("torch._utils", "_rebuild_parameter"),
  *(("torch", name) for name in _DTYPES),
}


class _Unpickler(pickle.Unpickler):
  """Maps globals to stand-ins, refuses all others, and collects the storages."""

  def __init__(self, data: bytes):
    super().__init__(io.BytesIO(data), encoding="utf-8")  # strings of Python 2
    self.storages = {}

  def find_class(self, module, name):
    if (module, name) not in _GLOBALS:
      raise pickled_arrays.Refused(f"{module}.{name}")
    return _Global(module, name)

  def persistent_load(self, saved_id):
    kind, *rest = saved_id
    if kind != "storage":
      raise pickled_arrays.Refused(f"a {kind}")
    storage_type, key, _, size, *view = rest
    if view not in ([], [None]):
      raise pickled_arrays.Refused(f"a view of storage {key}")
    storage = _Storage(np.dtype(_DTYPES[storage_type.name]), str(key), int(size))
    if self.storages.setdefault(storage.key, storage) != storage:
      raise ValueError(f"storage {key} is described in two ways")
    return storage


def _read_zip(path):
  """Returns the pickled object of a zip file, and the numbers of its storages."""
  with zipfile.ZipFile(path) as archive:
    members = {info.filename: info for info in archive.infolist()}
    top = {
      name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")
    }
    if len(top) != 1:
      raise ValueError(f"a zip with {len(top)} members */data.pkl, expected one")
    (top,) = top
    size = sum(info.file_size for info in members.values())
    if size > pathlib.Path(path).stat().st_size:
      raise ValueError(
        f"members of {size} bytes in a smaller file, expected no compression"
      )

    def member(name):
      if top + name not in members:
        raise ValueError(f"no member {top}{name}")
      return archive.read(members[top + name])

    order = member("byteorder") if top + "byteorder" in members else b"little"
    if order != b"little":
      raise ValueError(f"byte order {order!r}, expected little")
    data = member("data.pkl")
    array_pickle.stop(data)
    unpickler = _Unpickler(data)
    tree = unpickler.load()
    numbers = {
      storage: _numbers(storage, member(f"data/{storage.key}"))
      for storage in unpickler.storages.values()
    }
  return tree, numbers


def _read_legacy(path):
  """The same for the format before PyTorch 1.6."""
  data, at = pathlib.Path(path).read_bytes(), 0
  if not data.startswith(_LEGACY_START):
    raise ValueError(f"it starts with {data[:16]!r}, expected a zip or a magic number")
  pickles = []
  for _ in range(5):  # magic number, protocol, system, object, keys of storages
    end = array_pickle.stop(data, at)
    pickles.append(_Unpickler(data[at:end]))
    at = end
  _, protocol, system, tree, keys = (p.load() for p in pickles)
  if protocol != _PROTOCOL or system["little_endian"] is not True:
    raise ValueError(f"protocol {protocol} of {system}, expected {_PROTOCOL}, little")
  storages, numbers = pickles[3].storages, {}
  if sorted(map(str, keys)) != sorted(storages):
    raise ValueError(
      f"{len(keys)} storages in the file, its tensors use {len(storages)}"
    )
  for key in keys:
    storage = storages[str(key)]
    size = int.from_bytes(data[at : at + 8], "little")
    if size != storage.size:
      raise ValueError(f"storage {key} has {size} numbers, expected {storage.size}")
    at, end = at + 8, at + 8 + size * storage.dtype.itemsize
    numbers[storage] = _numbers(storage, data[at:end])
    at = end
  return tree, numbers


def _numbers(storage: _Storage, data: bytes) -> np.ndarray:
  """The bytes of a storage as numbers [size]."""
  if len(data) != storage.size * storage.dtype.itemsize:
    raise ValueError(
      f"storage {storage.key} has {len(data)} bytes, expected {storage.size} of "
      f"{storage.dtype.name}"
    )
  numbers = np.frombuffer(data, storage.dtype)
  is_short = storage.dtype == dtypes.bfloat16
  return numbers.astype(np.float32) if is_short else numbers


def _array(tensor: _Tensor, numbers) -> np.ndarray:
  """The array of a tensor, a view of its storage."""
  storage, offset, shape, strides = tensor
  values = numbers[storage]
  bad = [n for n in (offset, *shape, *strides) if type(n) is not int or n < 0]
  if bad or len(shape) != len(strides) or len(shape) > 32:
    raise ValueError(f"a tensor of shape {shape}, strides {strides}, offset {offset}")
  reach = 0
  if 0 not in shape:
    reach = offset + 1 + sum((d - 1) * s for d, s in zip(shape, strides))
  if max(reach, math.prod(shape)) > len(values):
    raise ValueError(
      f"a tensor of shape {shape}, strides {strides}, offset {offset} in a storage of "
      f"{len(values)} numbers"
    )
  if 0 in shape:
    return np.zeros(shape, values.dtype)
  strides = [s * values.itemsize for s in strides]
  return np.lib.stride_tricks.as_strided(
    values[offset:], shape, strides, writeable=False
  )


def _state_dict(tree) -> dict[str, _Tensor]:
  """Finds the dict of tensors in the saved object."""
  if not isinstance(tree, dict):
    raise _NoWeights(
      f"holds a {type(tree).__name__}, expected a state dict: save model.state_dict()."
    )
  for name in _WRAPPERS:
    if isinstance(tree.get(name), dict):
      tree = tree[name]
      break
  others = [
    str(key)
    for key, value in tree.items()
    if not (isinstance(key, str) and key.isprintable() and isinstance(value, _Tensor))
  ]
  if {"state", "param_groups"} <= tree.keys() or "optimizer" in others:
    raise _NoWeights(
      f"holds the state of an optimizer ({', '.join(others[:3])}) instead of weights, "
      f"expected a state dict, bare or as {_WRAPPERS[0]!r}: give the file of the model."
    )
  if others or not tree:
    found = f" ({', '.join(others[:3])})" if others else ""
    raise _NoWeights(
      f"holds {len(tree)} entries, {len(others)} of them not named tensors{found}, "
      f"expected a state dict, bare or as {_WRAPPERS[0]!r}: save model.state_dict()."
    )
  return tree
