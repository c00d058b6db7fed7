"""An index of clips of your own: a csv, or the columns of an npz; see `custom`."""

import csv
import dataclasses
import io
import os
import pathlib
import reprlib
from collections.abc import Iterable, Iterator

from vpn_jax.datasets import joint_files, protocols, spellings, text_files
from vpn_jax.datasets.base import Clip

# Field -> possible names of its column; the first one in the index counts.
COLUMNS = {
  "clip": ("clip", "clip_id"),
  "video": ("video",),
  "label": ("label",),
  "label_id": ("label_id",),
  "pose": ("pose",),
}
Row = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Rules:
  """How an index is read.

  Attributes:
    columns: other names for the columns of `COLUMNS`; "" for no column.
    needs_video: False where clips need no video.
    pose_column: whether the column `pose` names the joints of each clip; otherwise a
      column of that name is an attribute.
    allow_absolute: accept files outside the folder of the index.
  """

  columns: dict[str, str]
  needs_video: bool
  pose_column: bool
  allow_absolute: bool


def read(
  path: pathlib.Path, rules: Rules
) -> tuple[tuple[str, ...], list[Clip], list[tuple[str, str]], list[str]]:
  """Reads an index.

  Args:
    path: csv, or an npz whose arrays without a "/" in their names are the columns.
    rules: how.
  Returns: class names in label order; the clips that can be used, whose `pose` is a
    path or, without a pose column, their name; (name, reason) of the others; and a line
    for each class that is spelt in several ways.
  Raises: FileNotFoundError without a pose column that is needed; ValueError for a file
    that is damaged or lacks columns, a name that appears twice, and label ids that are
    not 0, 1, 2, ...
  """
  unknown = sorted(set(rules.columns) - set(COLUMNS))
  if unknown:
    raise ValueError(f"columns names {unknown}, expected among {list(COLUMNS)}.")
  entries, left_out, seen = [], [], {}
  try:
    header, rows = _open(path)
    chosen = _choose(header, path, rules)
    for place, row in rows:
      name = (row[chosen["clip"]] or "").strip()
      where = f"{place} of {path.name}"
      if name in seen and name:
        raise ValueError(
          f"{where} names {name!r} again (first on {seen[name]}), expected each clip "
          "once: rename one of the two."
        )
      seen[name] = place
      entry, reason = _entry(row, name, chosen, path.parent, rules)
      if reason:
        left_out.append((name or where, f"{where}: {reason}"))
      else:
        entries.append(entry)
  except (UnicodeDecodeError, csv.Error) as e:
    raise ValueError(
      f"{path} cannot be read as csv ({e}): write UTF-8, one line per clip."
    ) from e
  notes: list[str] = []
  if entries and entries[0]["label_id"] is None:
    spelt, notes = spellings.join(entry["label"] for entry in entries)
    entries = [{**entry, "label": spelt[entry["label"]]} for entry in entries]
  names, labels = _number_labels(entries, path.name)
  clips = [
    Clip(e["clip"], label, e["attributes"], e["video"], e["pose"])
    for e, label in zip(entries, labels)
  ]
  return names, clips, left_out, notes


def _open(path: pathlib.Path) -> tuple[list[str], Iterable[tuple[str, Row]]]:
  """The names of the columns; and place, for messages, and row of each clip."""
  if path.suffix == ".npz":
    return _unpack(path)
  text = text_files.decode(path.read_bytes())
  table = csv.DictReader(io.StringIO(text, newline=""))
  return table.fieldnames or [], ((f"line {table.line_num}", row) for row in table)


def _unpack(path: pathlib.Path) -> tuple[list[str], Iterator[tuple[str, Row]]]:
  """As `_open`; ValueError for arrays that are not one value per clip."""
  arrays = joint_files.Arrays(path)
  columns = {name: arrays[name] for name in arrays if "/" not in name}
  shapes = {name: list(array.shape) for name, array in columns.items()}
  if any(len(s) != 1 or s != shapes[next(iter(shapes))] for s in shapes.values()):
    raise ValueError(
      f"{path.name} has columns of shapes {reprlib.repr(shapes)}, expected one value "
      "per clip in each: give joints names with a /, such as world/<clip>."
    )
  texts = {name: array.astype(str).tolist() for name, array in columns.items()}
  rows = (dict(zip(texts, values)) for values in zip(*texts.values()))
  return list(texts), ((f"clip {i}", row) for i, row in enumerate(rows))


def _choose(header: list[str], path: pathlib.Path, rules: Rules) -> dict:
  """The column of each field; None for one that need not be there."""
  chosen = {}
  for field, usual in COLUMNS.items():
    names = [rules.columns[field]] if field in rules.columns else usual
    chosen[field] = next((name for name in names if name in header), None)
  if not rules.pose_column:  # then a column of that name is an attribute
    del chosen["pose"]
  elif not chosen["pose"]:
    raise FileNotFoundError(
      f"config.data.world_joints is not set, and {path.name} has no column pose: give "
      "the joints of all clips as npz, or name the file or folder of each clip in that "
      "column."
    )
  optional = ("label_id",) if rules.needs_video else ("label_id", "video")
  lacking = [f for f in chosen if not chosen[f] and f not in optional]
  if lacking or (rules.columns.get("label_id") and not chosen["label_id"]):
    lacking = lacking or ["label_id"]
    names = ", ".join(" or ".join(COLUMNS[field]) for field in lacking)
    raise ValueError(
      f"{path.name} has the columns {reprlib.repr(header)}, expected one for each of "
      f"{lacking}: name them {names}."
    )
  return chosen


def _entry(
  row: Row, name: str, chosen: dict, folder: pathlib.Path, rules: Rules
) -> tuple[dict, str]:
  """Returns the fields of a clip, or the reason to leave it out."""
  if None in row or None in row.values():
    return {}, "another number of fields than the header has"
  words = {f: (row[c] or "").strip() for f, c in chosen.items() if c}
  for field in ("clip", "video", "label", "pose"):
    if field not in words:
      continue
    if field == "video" and not (rules.needs_video or words[field]):
      continue
    if not words[field]:
      return {}, f"no {field}"
    if not words[field].isprintable():
      return {}, f"{field} {words[field]!r} has characters that cannot be printed"
  paths = {"video": None, "pose": name}
  for field in paths.keys() & words.keys():
    paths[field], reason = _inside(words[field], field, folder, rules)
    if reason and (field == "pose" or rules.needs_video):
      return {}, reason
  own = set(chosen.values())
  attributes = {
    k: protocols.parse_value(v) for k, v in row.items() if k and k not in own
  }
  label_id = words.get("label_id")
  return {
    "clip": name,
    **paths,
    "label": words["label"],
    "label_id": label_id if label_id is None else protocols.parse_value(label_id),
    "attributes": attributes,
  }, ""


def _inside(
  name: str, what: str, folder: pathlib.Path, rules: Rules
) -> tuple[str | None, str]:
  """Returns the path of a video or pose, or None and the reason not to open it."""
  path = folder / os.path.normpath(name)
  inside = pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
  if not (inside or rules.allow_absolute):
    return None, (
      f"{what} {name} leaves the folder of the csv, expected one inside it: move it "
      "there, or set config.data.allow_absolute=True"
    )
  if not (os.path.isfile(path) or (what == "pose" and os.path.isdir(path))):
    return None, f"no {what} {name}"
  return str(path), ""


def _number_labels(entries: list[dict], file: str) -> tuple[tuple[str, ...], list[int]]:
  """Class names in label order and the label of each entry."""
  if not entries:
    return (), []
  if entries[0]["label_id"] is None:
    names = sorted({e["label"] for e in entries})
    return tuple(names), [names.index(e["label"]) for e in entries]
  pairs = sorted({(e["label_id"], e["label"]) for e in entries}, key=str)
  ids = [i for i, _ in pairs]
  num_labels = len({label for _, label in pairs})
  if num_labels != len(pairs) or set(ids) != set(range(len(pairs))):
    raise ValueError(
      f"{file}: the column label_id pairs ids and labels as {pairs[:8]}, expected one "
      f"id per label, 0 to {num_labels - 1}: correct it, or rename the column to "
      "number the sorted labels."
    )
  names = dict(pairs)
  return tuple(names[i] for i in range(len(names))), [e["label_id"] for e in entries]
