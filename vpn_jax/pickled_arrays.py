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
import pickletools
from typing import NamedTuple

import numpy as np

_SMALL = 256  # bytes; longer ones stay in the file


class Refused(Exception):
  """A pickle names something that is not needed to build arrays."""


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
      return _Machine(str(path), data).run()


# Bytes between the start of an opcode and its argument.
_HEADERS = {
  "BINUNICODE": 5, "SHORT_BINUNICODE": 2, "BINUNICODE8": 9,
  "BINBYTES": 5, "SHORT_BINBYTES": 2, "BINBYTES8": 9, "BYTEARRAY8": 9,
  "BINSTRING": 5, "SHORT_BINSTRING": 2,
}  # fmt: skip


class _Machine:
  """The stack machine of the pickle protocol, without its power to call."""

  def __init__(self, path: str, data: mmap.mmap):
    self.path, self.data = path, data
    self.stack, self.marks, self.memo = [], [], {}

  def run(self):
    for opcode, argument, position in pickletools.genops(self.data):
      name = opcode.name
      if name == "STOP":
        (result,) = self.stack
        return _finished(result)
      if name in _HEADERS:
        start = position + _HEADERS[name]
        self.stack.append(_piece(name, argument, start, self.data.tell() - start))
      elif name in _PUSH:
        self.stack.append(argument)
      elif (step := _STEPS.get(name)) is not None:
        step(self, argument)
      else:
        raise Refused(f"the opcode {name}")
    raise ValueError("the pickle has no end")

  def above_mark(self) -> list:
    mark = self.marks.pop()
    items = self.stack[mark:]
    del self.stack[mark:]
    return items

  def put(self, argument):
    if argument is not None and argument > len(self.data):
      raise ValueError(f"object number {argument} in {len(self.data)} bytes")
    self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]

  def get(self, argument):
    self.stack.append(self.memo[argument])

  def mark(self, _):
    self.marks.append(len(self.stack))

  def pop(self, _):
    if self.marks and self.marks[-1] == len(self.stack):
      self.marks.pop()
    else:
      self.stack.pop()

  def pop_mark(self, _):
    self.above_mark()

  def tuple_of(self, count):
    items = tuple(map(_finished, self.stack[len(self.stack) - count :]))
    if len(items) != count:
      raise ValueError("the stack is too short")
    del self.stack[len(self.stack) - count :]
    self.stack.append(items)

  def tuple(self, _):
    self.stack.append(tuple(map(_finished, self.above_mark())))

  def list(self, _):
    self.stack.append(list(map(_finished, self.above_mark())))

  def dict(self, _):
    items = self.above_mark()
    self.stack.append({})
    self.fill(items)

  def append(self, _):
    item = _finished(self.stack.pop())
    self.check(list).append(item)

  def appends(self, _):
    items = list(map(_finished, self.above_mark()))
    self.check(list).extend(items)

  def set_item(self, _):
    items = self.stack[-2:]
    del self.stack[-2:]
    self.fill(items)

  def set_items(self, _):
    self.fill(self.above_mark())

  def fill(self, items: list):
    pairs = zip(items[::2], map(_finished, items[1::2]), strict=True)
    self.check(dict).update(pairs)

  def check(self, kind: type):
    if type(self.stack[-1]) is not kind:
      got = type(self.stack[-1]).__name__
      raise ValueError(f"items for a {got}, expected a {kind.__name__}")
    return self.stack[-1]

  def name(self, argument: str):
    self.push_global(*argument.split(" ", 1))

  def stack_name(self, _):
    module, name = self.stack[-2:]
    del self.stack[-2:]
    self.push_global(module, name)

  def push_global(self, module, name):
    if (module, name) not in _ALLOWED:
      raise Refused(f"{module}.{name}")
    self.stack.append(_Global(module, name))

  def reduce(self, _):
    arguments, function = self.stack.pop(), self.stack.pop()
    if type(function) is not _Global or type(arguments) is not tuple:
      raise ValueError("a call of something that is no function")
    self.stack.append(self.call(function, arguments))

  def call(self, function: _Global, arguments: tuple):
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

  def build(self, _):
    state, target = self.stack.pop(), self.stack[-1]
    if type(target) is _DType:
      target.set_state(state)
    elif type(target) is _Pending:
      _, shape, dtype, fortran, data = state
      target.array = self.array(dtype, shape, "F" if fortran else "C", data)
    else:
      raise Refused(f"the state of a {type(target).__name__}")

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


def _piece(name: str, argument, start: int, length: int):
  """Text or bytes: the value if it is short, or where it is."""
  if "UNICODE" in name:
    short = len(argument) <= _SMALL
    return argument if short else _Text(start, length, len(argument))
  if "STRING" in name and len(argument) <= _SMALL:
    return argument
  content = bytes(argument) if len(argument) <= _SMALL else None
  return _Data(content, start, length, False, len(argument))


def _in_memory(text: str) -> _Data:
  """Bytes that were written as text, a character each."""
  content = text.encode("latin-1")
  return _Data(content, 0, 0, False, len(content))


def _finished(value):
  """An array once its state was set."""
  if type(value) is _Pending and value.array is not None:
    return value.array
  return value


_PUSH = (
  "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
  "UNICODE", "STRING",
)  # fmt: skip
_STEPS = {
  "PROTO": lambda machine, _: None,
  "FRAME": lambda machine, _: None,
  "NONE": lambda machine, _: machine.stack.append(None),
  "NEWTRUE": lambda machine, _: machine.stack.append(True),
  "NEWFALSE": lambda machine, _: machine.stack.append(False),
  "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
  "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
  "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
  "TUPLE1": lambda machine, _: machine.tuple_of(1),
  "TUPLE2": lambda machine, _: machine.tuple_of(2),
  "TUPLE3": lambda machine, _: machine.tuple_of(3),
  "MARK": _Machine.mark,
  "POP": _Machine.pop,
  "POP_MARK": _Machine.pop_mark,
  "TUPLE": _Machine.tuple,
  "LIST": _Machine.list,
  "DICT": _Machine.dict,
  "APPEND": _Machine.append,
  "APPENDS": _Machine.appends,
  "SETITEM": _Machine.set_item,
  "SETITEMS": _Machine.set_items,
  "MEMOIZE": _Machine.put,
  "PUT": _Machine.put,
  "BINPUT": _Machine.put,
  "LONG_BINPUT": _Machine.put,
  "GET": _Machine.get,
  "BINGET": _Machine.get,
  "LONG_BINGET": _Machine.get,
  "GLOBAL": _Machine.name,
  "STACK_GLOBAL": _Machine.stack_name,
  "REDUCE": _Machine.reduce,
  "BUILD": _Machine.build,
}
