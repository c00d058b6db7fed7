"""Text files as other systems write them."""

import codecs
import re

_END = re.compile(r"[\x1a\0][\x1a\0\s]*\Z")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
# What C libraries print for numbers that are none: 1.#QNAN, -1.#IND, 1.#INF, nan(ind).
_NOT_A_NUMBER = re.compile(
  r"[-+]?(?:\d\.#(?:[QS]?NAN|IND)\w*|nan\(\w*\))", re.IGNORECASE
)
_INFINITE = re.compile(r"([-+]?)\d\.#INF\w*", re.IGNORECASE)


def decode(data: bytes, errors: str = "strict") -> str:
  """Text without its byte order mark, or the Ctrl-Z of DOS at its end.

  Args:
    data: UTF-8, or UTF-16 and UTF-32 by their marks.
    errors: what to do with other bytes, as in `bytes.decode`.
  Raises: UnicodeDecodeError for other bytes, unless `errors` says otherwise.
  """
  encoding = "utf-8-sig"
  if data.startswith(_UTF32):
    encoding = "utf-32"
  elif data.startswith(_UTF16):
    encoding = "utf-16"
  elif data[:1] and data[1:4:2] in (b"\0\0", b"\0") and data[:1] != b"\0":
    encoding = "utf-16-le"  # without its mark
  return _END.sub("", data.decode(encoding, errors))


def number(word: str) -> float:
  """A number, also as old C libraries print NaN and infinity; ValueError for others."""
  try:
    return float(word)
  except ValueError:
    if _NOT_A_NUMBER.fullmatch(word):
      return float("nan")
    if found := _INFINITE.fullmatch(word):
      return float(f"{found[1]}inf")
    raise
