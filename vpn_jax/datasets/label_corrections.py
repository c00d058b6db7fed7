"""Classes of clips that were labelled wrongly: known errors of a dataset, or a file."""

import csv
import io
import pathlib
from collections.abc import Sequence

from vpn_jax.datasets import text_files

KNOWN = "known"
_PACKAGE = pathlib.Path(__file__).parent
# Lists of this package; docs/data.md says how each was found.
_KNOWN = {"nucla": "nucla_label_errors.txt"}
_COLUMNS = ("clip", "class")


def read(source: str, dataset: str, class_names: Sequence[str]) -> dict[str, str]:
  """Reads which clips belong to another class than their labels say.

  Args:
    source: "known" for the errors that this package lists for a dataset; the path of a
      csv with the columns clip and class; "" for none.
    dataset: its name.
    class_names: of the dataset.
  Returns: clip -> class.
  Raises: ValueError for a dataset without known errors, other columns, an unknown
    class, or two classes of one clip; OSError when the file cannot be read.
  """
  if not source:
    return {}
  path = pathlib.Path(source)
  if source == KNOWN:
    if dataset not in _KNOWN:
      raise ValueError(
        f"config.data.corrections is 'known', but no errors of {dataset} are listed, "
        f"only of {', '.join(_KNOWN)}: leave it out, or name a csv with the columns "
        "clip and class."
      )
    path = _PACKAGE / _KNOWN[dataset]
  try:
    text = text_files.decode(path.read_bytes())
    table = csv.DictReader(io.StringIO(text, newline=""))
    columns, rows = tuple(table.fieldnames or ()), list(table)
  except (UnicodeDecodeError, csv.Error) as e:
    raise ValueError(f"{path} is not a csv ({e}): save it as UTF-8.") from e
  if not set(_COLUMNS) <= set(columns):
    raise ValueError(
      f"{path} has the columns {list(columns)}, expected {list(_COLUMNS)}: name them "
      "in its first line."
    )
  found: dict[str, str] = {}
  for row in rows:
    clip, name = (str(row[column] or "").strip() for column in _COLUMNS)
    if name not in class_names:
      raise ValueError(
        f"{path} gives {clip!r} the class {name!r}, expected one of "
        f"{', '.join(class_names)}."
      )
    if found.setdefault(clip, name) != name:
      raise ValueError(
        f"{path} gives {clip!r} the classes {found[clip]!r} and {name!r}: keep one."
      )
  return found
