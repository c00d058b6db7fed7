"""Lists in flags and settings, commands, and tables of text."""

import os
import re
from collections.abc import Sequence

_SINGLE_DASH = re.compile(r"^-(?=[A-Za-z])")


def split_words(text: str, separator: str = ",") -> tuple[str, ...]:
  """The words of a list, stripped; empty ones are left out."""
  return tuple(word.strip() for word in text.split(separator) if word.strip())


def split_paths(text: str) -> tuple[str, ...]:
  """Paths separated by commas; one that exists may hold commas itself."""
  return (text,) if text and os.path.exists(text) else split_words(text)


def joined_flags(words: Sequence[str]) -> list[str]:
  """The words of a command with `--flag value` as `--flag=value`.

  Flags with a single dash, which absl takes as well, get two.
  """
  found: list[str] = []
  for word in words:
    word = _SINGLE_DASH.sub("--", word)
    flag = found[-1] if found else ""
    if flag.startswith("--") and "=" not in flag and not word.startswith("--"):
      found[-1] = f"{flag}={word}"
    else:
      found.append(word)
  return found


def padded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
  """Pads the cells of a table with spaces, so that its columns line up."""
  widths = [max(map(len, column)) for column in zip(*rows)]
  return [[cell.ljust(width) for cell, width in zip(row, widths)] for row in rows]
