"""Interprets pickles, opcode by opcode, without calling anything that they name.

Source: `pickletools` for the opcodes, `pickle.py` for what they do.
"""

import mmap
import pickletools


class Refused(Exception):
  """A pickle names or does something that is not needed."""


# Bytes between the start of an opcode and its argument.
_HEADERS = {
  "BINUNICODE": 5, "SHORT_BINUNICODE": 2, "BINUNICODE8": 9,
  "BINBYTES": 5, "SHORT_BINBYTES": 2, "BINBYTES8": 9, "BYTEARRAY8": 9,
  "BINSTRING": 5, "SHORT_BINSTRING": 2,
}  # fmt: skip


class Machine:
  """The stack machine of the pickle protocol; it builds containers and calls nothing.

  A subclass says what becomes of text, bytes, globals and calls.
  """

  def __init__(self, data: mmap.mmap):
    """`data` is the pickle; what follows its end is ignored."""
    self.data = data
    self.stack, self.marks, self.memo = [], [], {}

  def run(self):
    for opcode, argument, position in pickletools.genops(self.data):
      name = opcode.name
      if name == "STOP":
        (result,) = self.stack
        return self.finished(result)
      if name in _HEADERS:
        start = position + _HEADERS[name]
        self.stack.append(self.piece(name, argument, start, self.data.tell() - start))
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
    items = tuple(map(self.finished, self.stack[len(self.stack) - count :]))
    if len(items) != count:
      raise ValueError("the stack is too short")
    del self.stack[len(self.stack) - count :]
    self.stack.append(items)

  def tuple(self, _):
    self.stack.append(tuple(map(self.finished, self.above_mark())))

  def list(self, _):
    self.stack.append(list(map(self.finished, self.above_mark())))

  def dict(self, _):
    items = self.above_mark()
    self.stack.append({})
    self.fill(items)

  def append(self, _):
    item = self.finished(self.stack.pop())
    self.check(list).append(item)

  def appends(self, _):
    items = list(map(self.finished, self.above_mark()))
    self.check(list).extend(items)

  def set_item(self, _):
    items = self.stack[-2:]
    del self.stack[-2:]
    self.fill(items)

  def set_items(self, _):
    self.fill(self.above_mark())

  def fill(self, items: list):
    pairs = zip(items[::2], map(self.finished, items[1::2]), strict=True)
    self.check(dict).update(pairs)

  def check(self, kind: type):
    if type(self.stack[-1]) is not kind:
      got = type(self.stack[-1]).__name__
      raise ValueError(f"items for a {got}, expected a {kind.__name__}")
    return self.stack[-1]

  def name(self, argument: str):
    self.stack.append(self.named(*argument.split(" ", 1)))

  def stack_name(self, _):
    module, name = self.stack[-2:]
    del self.stack[-2:]
    self.stack.append(self.named(module, name))

  def reduce(self, _):
    arguments, function = self.stack.pop(), self.stack.pop()
    if type(arguments) is not tuple:
      raise ValueError("a call without a tuple of arguments")
    self.stack.append(self.call(function, arguments))

  def build(self, _):
    state = self.stack.pop()
    self.set_state(self.stack[-1], state)

  def piece(self, name: str, argument: str | bytes, start: int, length: int):
    """What stands for text or bytes.

    Args:
      name: of the opcode.
      argument: its value.
      start, length: where its bytes are in the pickle.
    """
    raise NotImplementedError

  def named(self, module: str, name: str):
    """What stands for a global; Refused for one that is not needed."""
    raise NotImplementedError

  def call(self, function, arguments: tuple):
    """The result of a call of what `named` returned; Refused for any other."""
    raise NotImplementedError

  def set_state(self, target, state) -> None:
    """Gives a state to what `call` returned; Refused for any other."""
    raise NotImplementedError

  def finished(self, value):
    """The value that a container holds for one on the stack."""
    raise NotImplementedError


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
  "MARK": Machine.mark,
  "POP": Machine.pop,
  "POP_MARK": Machine.pop_mark,
  "TUPLE": Machine.tuple,
  "LIST": Machine.list,
  "DICT": Machine.dict,
  "APPEND": Machine.append,
  "APPENDS": Machine.appends,
  "SETITEM": Machine.set_item,
  "SETITEMS": Machine.set_items,
  "MEMOIZE": Machine.put,
  "PUT": Machine.put,
  "BINPUT": Machine.put,
  "LONG_BINPUT": Machine.put,
  "GET": Machine.get,
  "BINGET": Machine.get,
  "LONG_BINGET": Machine.get,
  "GLOBAL": Machine.name,
  "STACK_GLOBAL": Machine.stack_name,
  "REDUCE": Machine.reduce,
  "BUILD": Machine.build,
}
