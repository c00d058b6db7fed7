"""Verifies prepared records: checks every clip, compares counts, draws some crops.

Writes `counts.tsv` and `contact_sheet.png` beside the records, `problems.tsv` when a
record is damaged, and `notes.tsv` when something happened to a clip.
"""

import collections
import dataclasses
import itertools
import pathlib
import sys

import cv2
import ml_collections
import numpy as np
import tqdm

from vpn_jax import files
from vpn_jax.datasets import protocol_settings, protocols, skeletons
from vpn_jax.records import contact_sheet, counts, prepare, record_format, store

COUNTS_FILE = "counts.tsv"
SHEET_FILE = "contact_sheet.png"
PROBLEMS_FILE = "problems.tsv"
NOTES_FILE = "notes.tsv"
MOST_LINES = 10  # of a list that is printed


@dataclasses.dataclass(frozen=True)
class Report:
  """What `verify` found.

  Attributes:
    folder: of the records.
    num_clips: in the index.
    problems: (clip, shard, description) of what is damaged.
    splits: a line for each protocol, with its clips by part.
    lacking: differences from the published dataset, and what the protocol names but no
      clip has, in words; these are not errors.
    counts: rows of `counts.tsv`, keyed as its header: attribute, value, clips, expected
      (published), train, validation, test (of the configured protocol), nobody (share
      of the frames without any pose), median_frames; "" where unknown.
    files: paths that were written.
    notes: (clip, description) of what happened to clips that are in order, such as
      poses that were not as many as frames.
    left_out: (clip, reason) of clips that `prepare` could not use.
    unwritten: why they were not; "" when they were.
  """

  folder: pathlib.Path
  num_clips: int
  problems: tuple[tuple[str, str, str], ...]
  splits: tuple[str, ...]
  lacking: tuple[str, ...]
  counts: tuple[dict, ...]
  files: tuple[pathlib.Path, ...]
  notes: tuple[tuple[str, str], ...] = ()
  left_out: tuple[tuple[str, str], ...] = ()
  unwritten: str = ""

  def lines(self) -> list[str]:
    """The report as text; of long lists the first `MOST_LINES`."""
    lines = [f"{self.folder}: {self.num_clips:,} clips read"]
    if self.counts[0]["nobody"] != "":
      lines.append(
        f"  median length {self.counts[0]['median_frames']:g} frames; "
        f"{self.counts[0]['nobody']:.1%} of the frames show nobody"
      )
    lines += [f"  {line}" for line in self.splits]
    problems = [f"{clip}: {what}" for clip, _, what in self.problems]
    notes = [f"{clip}: {what}" for clip, what in self.notes]
    left_out = [f"{clip}: {what}" for clip, what in self.left_out]
    for title, found in (
      ("problems", problems),
      ("lacking", self.lacking),
      ("notes", notes),
      ("left out by prepare", left_out),
    ):
      if not found and title in ("notes", "left out by prepare"):
        continue
      lines.append(f"  {title}: {len(found) or 'none'}")
      lines += [f"    {line}" for line in found[:MOST_LINES]]
      if len(found) > MOST_LINES:
        lines.append(f"    and {len(found) - MOST_LINES:,} more")
    return lines + [f"  {path}" for path in self.files]

  def check(self) -> None:
    """Raises ValueError when a record is damaged, OSError without its files."""
    if self.unwritten and not self.problems:
      raise OSError(f"{self.unwritten}: look at the space and the rights of that disk.")
    if not self.problems:
      return
    clips, shards = ({problem[i] for problem in self.problems} for i in (0, 1))
    raise ValueError(
      f"{len(clips):,} of {self.num_clips:,} clips in {self.folder} are damaged: "
      f"delete {counts.some(sorted(shards), 3)} and run --job=prepare again."
    )


def verify(
  data: ml_collections.ConfigDict, *, sheet_clips: int = 24, seed: int = 0
) -> Report:
  """Reads all of `data.records`, one clip at a time, and writes the files.

  Args:
    data: `config.data` with `dataset`, `records`, and what
      `protocol_settings.from_config` reads.
    sheet_clips: number of crops on the contact sheet, at least 1.
    seed: draws these crops and their frames.
  Raises: FileNotFoundError without an index; ValueError when it is damaged, empty, of
    another dataset or skeleton, or lacks the attribute that the protocol splits by.
  """
  folder = pathlib.Path(data.records)
  index = store.read_index(folder)
  clips, skeleton = index.clips(), skeletons.get(index.skeleton)
  for what, found, expected in (
    ("dataset", index.dataset, data.dataset),
    ("skeleton", index.skeleton_digest, skeleton.digest()),
  ):
    if found != expected:
      raise ValueError(
        f"{folder} has {what} {found!r}, expected {expected!r}: point "
        "config.data.records at the right folder or run --job=prepare again."
      )
  if sheet_clips < 1 or not clips:
    raise ValueError(
      f"got {len(clips)} clips in {folder} and sheet_clips {sheet_clips}, expected at "
      "least 1 each: run --job=prepare again, or ask for more."
    )
  protocol = protocol_settings.from_config(data, clips)
  name = "custom" if data.dataset == "custom" else data.protocol
  parts = [
    protocols.part(protocol, clip["attributes"], counts.class_name(index, clip))
    for clip in clips
  ]
  chosen = _choose(clips, sheet_clips, seed)
  problems, notes, lengths, tiles = _read(folder, index, chosen)
  rows, differing = counts.table(index, parts, lengths)
  splits, incomplete = counts.splits(index, name, protocol)
  lacking = [*incomplete, *differing, *counts.absent(name, protocol, clips, rows)]

  tables = {COUNTS_FILE: [list(rows[0]), *(row.values() for row in rows)]}
  if problems:
    tables[PROBLEMS_FILE] = problems
  if notes:
    tables[NOTES_FILE] = notes
  title = f"{data.dataset}: {len(tiles)} of {len(clips):,} clips"
  sheet = contact_sheet.arrange(tiles, title)
  written, unwritten = (), ""
  try:
    written = _write(folder, tables, sheet)
  except OSError as e:
    unwritten = f"{folder} cannot be written ({e.strerror or e})"
  return Report(
    folder, len(clips), tuple(problems), tuple(splits), tuple(lacking), tuple(rows),
    written, tuple(notes), _left_out(folder), unwritten,
  )  # fmt: skip


def _write(
  folder: pathlib.Path, tables: dict[str, list], sheet
) -> tuple[pathlib.Path, ...]:
  """Writes the tables as tab-separated text, and the sheet; returns their paths."""
  for file in (PROBLEMS_FILE, NOTES_FILE):
    (folder / file).unlink(missing_ok=True)
  for file, lines in tables.items():
    cells = [[" ".join(str(cell).split()) for cell in line] for line in lines]
    files.write_text(folder / file, "".join("\t".join(c) + "\n" for c in cells))
  if not cv2.imwrite(str(folder / SHEET_FILE), sheet[..., ::-1]):
    raise OSError(f"no {SHEET_FILE}")
  return tuple(folder / file for file in (*tables, SHEET_FILE))


def _left_out(folder: pathlib.Path) -> tuple[tuple[str, str], ...]:
  """The clips in the list of `prepare`, if it is there, and why each is left out."""
  path = folder / prepare.SKIPPED_FILE
  lines = path.read_text().splitlines() if path.is_file() else []
  return tuple(tuple(line.partition("\t")[::2]) for line in lines)


def _choose(
  clips: list[dict], number: int, seed: int
) -> dict[int, np.random.Generator]:
  """Chooses random clips of as many classes as possible.

  Returns: {position in `clips`: what draws its frame}.
  """
  order = np.random.default_rng(seed).permutation(len(clips)).tolist()
  turns, turn = collections.Counter(), {}
  for i in order:
    turn[i] = turns[clips[i]["label"]]
    turns[clips[i]["label"]] += 1
  chosen = sorted(order, key=turn.get)[:number]
  return {i: np.random.default_rng([seed, i]) for i in chosen}


def _read(
  folder: pathlib.Path, index: store.Index, chosen: dict[int, np.random.Generator]
) -> tuple[list, list, dict[int, tuple[int, int]], list[np.ndarray]]:
  """Reads shard by shard, so that one file is open and one clip in memory at a time.

  Args:
    folder: of the records.
    index: of the records.
    chosen: as `_choose` gives them.
  Returns: problems and notes as in `Report`; {position: (frames, frames without a
    pose)} of the sound clips; tiles of the sheet, by class.
  """
  clips, skeleton = index.clips(), skeletons.get(index.skeleton)
  problems, notes, lengths, tiles = [], [], {}, {}
  times = collections.Counter(clip["name"] for clip in clips)
  seconds = 0.5 if sys.stderr.isatty() else 15.0
  bar = tqdm.tqdm(total=len(clips), unit="clip", desc="verify", mininterval=seconds)
  with bar:
    for shard, group in itertools.groupby(enumerate(clips), lambda c: c[1]["shard"]):
      group = list(group)
      reader = store.RecordReader(folder, [clip for _, clip in group])
      for row, (i, clip) in enumerate(group):
        found = []
        if times[clip["name"]] > 1:
          found.append(f"the index has the name {times[clip['name']]} times")
        if not (folder / shard).exists():
          found.append(f"{folder / shard} is missing")
        else:
          try:
            record = reader[row]
            found += check(record, clip, index)
          except ValueError as e:  # RecordError; frames are read on demand
            found.append(str(e))
        problems += [(clip["name"], shard, what) for what in found]
        drawn = None
        if not found:
          notes += [(clip["name"], record.note)] if record.note else []
          seen = record.seen.any(axis=(1, 2))
          lengths[i] = len(seen), int((~seen).sum())
          if i in chosen:
            drawn = contact_sheet.draw_clip(record, skeleton, chosen[i])
        if i in chosen:
          lines = counts.class_name(index, clip), clip["name"]
          tiles[clip["label"], i] = contact_sheet.tile(drawn, lines)
        bar.update(1)
  return problems, notes, lengths, [tiles[key] for key in sorted(tiles)]


def check(record: record_format.Record, clip: dict, index: store.Index) -> list[str]:
  """Lists what is wrong with a record.

  Args:
    record: as read from its shard.
    clip: its entry of `index.clips()`.
  Raises: RecordError when its frames cannot be read.
  """
  found = []
  classes, size = len(index.class_names), index.crop.get("size")
  length, joints = record.num_frames, skeletons.get(index.skeleton).num_joints
  frames = length if index.frames else 0
  for what, got in (
    ("name", record.name),
    ("label", record.label),
    ("attributes", record.attributes),
    ("num_frames", length),
  ):
    if got != clip[what]:
      found.append(f"{what} is {got}, the index has {clip[what]}")
  if not 0 <= record.label < classes:
    found.append(f"label is {record.label}, expected 0 to {classes - 1}")
  if length == 0:
    found.append("has no frame")
  if len(record.frames) != frames:
    found.append(f"has {len(record.frames)} frames, expected {frames}")
  persons = record.pose.shape[1] if record.pose.ndim == 4 else 1
  for what, shape in (
    ("boxes", (frames, 4)),
    ("pose", (length, persons, joints, 3)),
    ("image_joints", (length, persons, joints, 2)),
    ("visibility", (length, persons, joints)),
  ):
    array = getattr(record, what)
    if array.shape != shape:
      found.append(f"{what} is {list(array.shape)}, expected {list(shape)}")
    elif np.isinf(array).any():
      found.append(f"{what} is infinite somewhere, expected finite numbers or NaN")
  for t, blob in enumerate(record.frames):
    if blob[:2] != b"\xff\xd8" or blob[-2:] != b"\xff\xd9":
      found.append(
        f"frame {t} is not a JPEG, it has {blob[:2].hex()}..{blob[-2:].hex()}, "
        "expected ffd8..ffd9"
      )
    elif t in (0, length // 2, length - 1):
      try:
        shape = record_format.decode_frame(blob).shape
        if shape != (size, size, 3):
          found.append(f"frame {t} is {list(shape)}, expected {[size, size, 3]}")
      except ValueError as e:
        found.append(f"frame {t} cannot be decoded: {e}")
  return found
