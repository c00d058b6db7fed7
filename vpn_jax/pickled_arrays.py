"""Reads pickles of numpy arrays without executing them, and without their numbers.

The pickle is interpreted here, opcode by opcode: containers, text, numbers and arrays
of numbers are built, anything else is refused. An array is only located in the file,
until `Array.load` reads it: a file of gigabytes takes no memory.
"""

import itertools
import math
import mmap
import os
import pathlib
from typing import NamedTuple

import numpy as np

from vpn_jax.pickle_machine import Machine, Refused

_SMALL = 256  # bytes; longer ones stay in the file


def one_line(text) -> str:
  """Text from a file, for a message: printable, at most 300 characters."""
  line = "".join(c if c.isprintable() else "?" for c in str(text))
  return line if len(line) <= 300 else f"{line[:300]}..."


class Array(NamedTuple):
  """An array in a file.

  Attributes:
    path: of the file.
    dtype, shape: of the array; numbers or booleans.
    order: "C" or "F".
    data: its bytes, or where they are.
  """

  path: str
  dtype: np.dtype
  shape: tuple[int, ...]
  order: str
  data: "_Data"

  def load(self) -> np.ndarray:
    """Reads the array, which cannot be written to; ValueError if the file changed."""
    data = self.data.read(self.path)
    if len(data) != math.prod(self.shape) * self.dtype.itemsize:
      raise ValueError(f"{self.path} changed since it was opened: open it again.")
    return np.frombuffer(data, self.dtype).reshape(self.shape, order=self.order)


class _Data(NamedTuple):
  """Bytes of a pickle: `content`, or `length` of them that start at `offset`."""

  content: bytes | None
  offset: int
  length: int
  as_text: bool = False  # each byte is a character of the file's UTF-8
  size: int = 0  # number of bytes meant, which is that of characters

  def read(self, path: str) -> bytes:
    if self.content is not None:
      return self.content
    with open(path, "rb") as file:
      file.seek(self.offset)
      raw = file.read(self.length)
    return raw.decode().encode("latin-1") if self.as_text else raw


class _Text(NamedTuple):
  """Text that is too long for a name, in the file: offset, bytes and characters."""

  offset: int
  length: int
  size: int


class _DType:
  """Stands in for numpy.dtype; numbers of a fixed size only."""

  def __init__(self, code="", *_):
    if not (isinstance(code, str) and code[:1] in ("f", "i", "u", "b")):
      raise Refused(f"numpy.dtype({code!r})")
    self.value = np.dtype(code)
    if self.value.kind not in "fiub":  # several in one
      raise Refused(f"numpy.dtype({code!r})")

  def set_state(self, state):
    if state[1] in ("<", ">"):
      self.value = self.value.newbyteorder(state[1])


class _Pending:
  """Stands in for an array whose state follows."""

  array = None


class _Global(NamedTuple):
  module: str
  name: str


_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")
_ALLOWED = {
  *itertools.product(_ARRAY_MODULES, ("_reconstruct", "scalar")),
  *itertools.product(_BUFFER_MODULES, ("_frombuffer",)),
  ("numpy", "ndarray"),
  ("numpy", "dtype"),
  ("_codecs", "encode"),
  ("__builtin__", "bytes"),  # empty ones, by protocols 0 to 2
  ("collections", "OrderedDict"),
  ("flax.core.frozen_dict", "FrozenDict"),
}


def read(path: str | pathlib.Path):
  """Reads a pickle of dicts, lists, tuples, text, numbers, booleans, None and arrays.

  Returns: the object, with an `Array` for each array and numpy's scalars as Python's.
    A container may occur in several places, even in itself. Text of more than 256
    characters is a tuple of its place in the file.
  Raises: Refused when the pickle names or calls anything else; OSError when the file
    cannot be opened; ValueError or another Exception when it is damaged.
  """
  with open(path, "rb") as file:
    if os.fstat(file.fileno()).st_size == 0:
      raise ValueError("the file is empty")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
      return _ArrayMachine(str(path), data).run()


class _ArrayMachine(Machine):
  """Builds arrays that stay in the file."""

  def __init__(self, path: str, data: mmap.mmap):
    super().__init__(data)
    self.path = path

  def piece(self, name, argument, start, length):
    if "UNICODE" in name:
      short = len(argument) <= _SMALL
      return argument if short else _Text(start, length, len(argument))
    if "STRING" in name and len(argument) <= _SMALL:
      return argument
    content = bytes(argument) if len(argument) <= _SMALL else None
    return _Data(content, start, length, False, len(argument))

  def named(self, module, name):
    if (module, name) not in _ALLOWED:
      raise Refused(f"{module}.{name}")
    return _Global(module, name)

  def call(self, function, arguments):
    if type(function) is not _Global:
      raise ValueError("a call of something that is not a function")
    match (function.name, arguments):
      case ("OrderedDict" | "FrozenDict", (dict() as content,)):
        return dict(content)
      case ("OrderedDict" | "FrozenDict", ()):
        return {}
      case ("encode", (str() | _Text() as text, "latin1" | "latin-1")):
        if isinstance(text, str):
          return _in_memory(text)
        return _Data(None, text.offset, text.length, True, text.size)
      case ("bytes", ()):
        return _in_memory("")
      case ("dtype", _):
        return _DType(*arguments)
      case ("_reconstruct", (_Global("numpy", "ndarray"), _, _)):
        return _Pending()
      case ("scalar", (_DType() as dtype, data)):
        array = self.array(dtype, (), "C", data)
        return array.load().item()
      case ("_frombuffer", (data, _DType() as dtype, shape, order)):
        return self.array(dtype, shape, order, data)
    raise Refused(f"a call of {function.module}.{function.name}")

  def set_state(self, target, state):
    if type(target) is _DType:
      target.set_state(state)
    elif type(target) is _Pending:
      _, shape, dtype, fortran, data = state
      target.array = self.array(dtype, shape, "F" if fortran else "C", data)
    else:
      raise Refused(f"the state of a {type(target).__name__}")

  def finished(self, value):
    if type(value) is _Pending and value.array is not None:
      return value.array
    return value

  def array(self, dtype, shape, order, data) -> Array:
    """Checks that the bytes make up an array of this shape."""
    if isinstance(data, str):  # of Python 2
      data = _in_memory(data)
    if not (isinstance(dtype, _DType) and isinstance(data, _Data)):
      raise Refused("numpy.ndarray of objects")
    if not (
      isinstance(shape, tuple)
      and len(shape) <= 32
      and all(type(n) is int and n >= 0 for n in shape)
      and order in ("C", "F")
    ):
      raise ValueError(f"an array of shape {shape}, order {order}")
    if math.prod(shape) * dtype.value.itemsize != data.size:
      raise ValueError(f"{data.size} bytes for an array of shape {shape}")
    return Array(self.path, dtype.value, shape, order, data)


def _in_memory(text: str) -> _Data:
  """Bytes that were written as text, a character each."""
  content = text.encode("latin-1")
  return _Data(content, 0, 0, False, len(content))
