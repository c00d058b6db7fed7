"""Files that are written at once or not at all."""

import os
import pathlib


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a small file at once or not at all, whoever else writes it."""
  partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
  partial.write_text(text, encoding="utf-8")
  partial.rename(path)
