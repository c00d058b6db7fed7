"""Prepared records read back: every clip checked, counts compared, crops to look at.

Writes `counts.tsv` and `contact_sheet.png` beside the records, and `problems.tsv` when
one is damaged.
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
from vpn_jax.datasets import ntu, protocols, skeletons
from vpn_jax.records import contact_sheet, store

COUNTS_FILE = "counts.tsv"
SHEET_FILE = "contact_sheet.png"
PROBLEMS_FILE = "problems.tsv"
MOST_VALUES = 200  # of an attribute; one with more is not counted value by value
MOST_LINES = 10  # of a list that is printed


@dataclasses.dataclass(frozen=True)
class Report:
  """What was found.

  Attributes:
    num_clips: in the index.
    problems: damage as (clip, shard, what in words); empty when all is sound.
    splits: clips by part, a line for each protocol.
    lacking: differences from the published dataset, and what the protocol names but no
      clip has; in words, not errors.
    counts: rows of `counts.tsv`, keyed as its header: attribute, value, clips, expected
      (published), train, validation, test (of the configured protocol), nobody (share
      of the frames without any pose), median_frames; "" where not known.
    files: what was written.
  """

  num_clips: int
  problems: tuple[tuple[str, str, str], ...]
  splits: tuple[str, ...]
  lacking: tuple[str, ...]
  counts: tuple[dict, ...]
  files: tuple[pathlib.Path, ...]


def verify(
  config: ml_collections.ConfigDict, *, sheet_clips: int = 24, seed: int = 0
) -> Report:
  """`inspect`, printed; SystemExit at the end when a record is damaged."""
  report, folder = inspect(config, sheet_clips, seed), config.data.records
  print(f"{folder}: {report.num_clips:,} clips read")
  if report.counts[0]["nobody"] != "":
    print(
      f"  median length {report.counts[0]['median_frames']:g} frames; "
      f"{report.counts[0]['nobody']:.1%} of the frames show nobody"
    )
  for line in report.splits:
    print(f"  {line}")
  problems = [f"{clip}: {what}" for clip, _, what in report.problems]
  for title, lines in (("problems", problems), ("lacking", report.lacking)):
    print(f"  {title}: {len(lines) or 'none'}")
    for line in lines[:MOST_LINES]:
      print(f"    {line}")
    if len(lines) > MOST_LINES:
      print(f"    and {len(lines) - MOST_LINES:,} more")
  for path in report.files:
    print(f"  {path}")
  if report.problems:
    clips, shards = ({p[i] for p in report.problems} for i in (0, 1))
    raise SystemExit(
      f"error: {len(clips):,} of {report.num_clips:,} clips in {folder} are damaged: "
      f"delete {_some(sorted(shards), 3)} and run --job=prepare again."
    )
  return report


def inspect(config: ml_collections.ConfigDict, sheet_clips: int, seed: int) -> Report:
  """Reads all of `config.data.records`, one clip at a time, and writes the files.

  Args:
    config: `data` with `dataset`, `records`, and what `protocols.from_config` reads.
    sheet_clips: number of crops on the contact sheet, at least 1.
    seed: of the choice of these crops and their frames.
  Raises: FileNotFoundError without an index; ValueError when it is damaged, empty, of
    another dataset or skeleton, or lacks the attribute that the protocol splits by.
  """
  data, folder = config.data, pathlib.Path(config.data.records)
  index = store.read_index(folder)
  clips, skeleton = index.clips(), skeletons.get(index.skeleton)
  for what, holds, expected in (
    ("dataset", index.dataset, data.dataset),
    ("skeleton", index.skeleton_digest, skeleton.digest()),
  ):
    if holds != expected:
      raise ValueError(
        f"{folder} has {what} {holds!r}, expected {expected!r}: point "
        "config.data.records at the right folder or run --job=prepare again."
      )
  if sheet_clips < 1 or not clips:
    raise ValueError(
      f"got {len(clips)} clips in {folder} and sheet_clips {sheet_clips}, expected at "
      "least 1 each: run --job=prepare again, or ask for more."
    )
  protocol = protocols.from_config(data, clips)
  parts = [
    protocols.part(protocol, c["attributes"], _class_name(index, c)) for c in clips
  ]
  problems, lengths, tiles = _read(folder, index, _choose(clips, sheet_clips, seed))
  counts, lacking = _count(index, parts, lengths)
  name = "custom" if data.dataset == "custom" else data.protocol
  splits, differing = _splits(index, name, protocol)
  lacking = differing + lacking + _absent(name, protocol, clips, counts)
  tables = {COUNTS_FILE: [list(counts[0]), *(row.values() for row in counts)]}
  if problems:
    tables[PROBLEMS_FILE] = problems
  (folder / PROBLEMS_FILE).unlink(missing_ok=True)
  for file, rows in tables.items():
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    files.write_text(folder / file, "".join("\t".join(c) + "\n" for c in cells))
  sheet = contact_sheet.arrange(
    tiles, f"{data.dataset}: {len(tiles)} of {len(clips):,} clips"
  )
  cv2.imwrite(str(folder / SHEET_FILE), sheet[..., ::-1])
  written = tuple(folder / file for file in (*tables, SHEET_FILE))
  return Report(
    len(clips), tuple(problems), tuple(splits), tuple(lacking), tuple(counts), written
  )


def _class_name(index, clip) -> str:
  names, label = index.class_names, clip["label"]
  return names[label] if 0 <= label < len(names) else f"label {label}"


def _some(words: list[str], most: int) -> str:
  """The first of many, and how many more there are."""
  more = [f"and {len(words) - most:,} more"] if len(words) > most else []
  return ", ".join([*words[:most], *more])


# Every record.


def _choose(clips: list[dict], number: int, seed: int) -> dict:
  """Positions of random clips, of as many classes as can be -> generator of each."""
  order = np.random.default_rng(seed).permutation(len(clips)).tolist()
  turns, turn = collections.Counter(), {}
  for i in order:
    turn[i] = turns[clips[i]["label"]]
    turns[clips[i]["label"]] += 1
  chosen = sorted(order, key=turn.get)[:number]
  return {i: np.random.default_rng([seed, i]) for i in chosen}


def _read(folder, index, chosen):
  """Reads shard by shard, so that one file is open and one clip in memory at a time.

  Args:
    chosen: positions in `index.clips()` for the sheet -> generator of the frame.
  Returns: problems as in `Report`; {position: (frames, those without a pose)} of the
    sound clips; tiles, by class.
  """
  clips, skeleton = index.clips(), skeletons.get(index.skeleton)
  problems, lengths, tiles = [], {}, {}
  times = collections.Counter(clip["name"] for clip in clips)
  slow = 0.5 if sys.stderr.isatty() else 15.0
  with tqdm.tqdm(total=len(clips), unit="clip", desc="verify", mininterval=slow) as bar:
    for shard, group in itertools.groupby(enumerate(clips), lambda c: c[1]["shard"]):
      group = list(group)
      source = store.Source(folder, [clip for _, clip in group])
      for row, (i, clip) in enumerate(group):
        found = []
        if times[clip["name"]] > 1:
          found.append(f"the index has the name {times[clip['name']]} times")
        if not (folder / shard).exists():
          found.append(f"{folder / shard} is missing")
        else:
          try:
            record = source[row]
            found += check(record, clip, index)
          except ValueError as e:  # RecordError; frames are read when asked for
            found.append(str(e))
        problems += [(clip["name"], shard, what) for what in found]
        if not found:
          seen = np.isfinite(record.pose).all(axis=-1).any(axis=(1, 2))
          lengths[i] = len(seen), int((~seen).sum())
        if i in chosen:
          size, lines = index.crop["size"], (_class_name(index, clip), clip["name"])
          drawn = (
            None
            if found
            else contact_sheet.draw_crop(record, skeleton, size, chosen[i])
          )
          tiles[clip["label"], i] = contact_sheet.tile(drawn, lines)
        bar.update(1)
  return problems, lengths, [tiles[key] for key in sorted(tiles)]


def check(record: store.Record, clip: dict, index: store.Index) -> list[str]:
  """What is wrong with a record, in words.

  Args:
    record: as read from its shard.
    clip: its entry of `index.clips()`.
  Raises: RecordError when its frames cannot be read.
  """
  found = []
  classes, size = len(index.class_names), index.crop["size"]
  length, joints = len(record.frames), skeletons.get(index.skeleton).num_joints
  for what, got in (
    ("name", record.name),
    ("label", record.label),
    ("attributes", record.attributes),
    ("num_frames", length),
  ):
    if got != clip[what]:
      found.append(f"{what} is {got}, the index says {clip[what]}")
  if not 0 <= record.label < classes:
    found.append(f"label is {record.label}, expected 0 to {classes - 1}")
  if length == 0:
    found.append("has no frame")
  persons = record.pose.shape[1] if record.pose.ndim == 4 else 1
  for what, shape in (
    ("boxes", (length, 4)),
    ("pose", (length, persons, joints, 3)),
    ("image_joints", (length, persons, joints, 2)),
    ("visibility", (length, persons, joints)),
  ):
    array = getattr(record, what)
    if array.shape != shape:
      found.append(f"{what} is {list(array.shape)}, expected {list(shape)}")
    elif np.isinf(array).any():
      found.append(f"{what} is infinite somewhere, expected numbers or NaN")
  for t, blob in enumerate(record.frames):
    if blob[:2] != b"\xff\xd8" or blob[-2:] != b"\xff\xd9":
      found.append(
        f"frame {t} is no JPEG, it has {blob[:2].hex()}..{blob[-2:].hex()}, expected "
        "ffd8..ffd9"
      )
    elif t in (0, length // 2, length - 1):
      try:
        shape = store.decode_frame(blob).shape
        if shape != (size, size, 3):
          found.append(f"frame {t} is {list(shape)}, expected {[size, size, 3]}")
      except ValueError as e:
        found.append(f"frame {t} cannot be decoded: {e}")
  return found


# Counts.


def published_counts(dataset: str, class_names) -> dict[tuple[str, int | str], int]:
  """Clips by (attribute, value) of the complete download; {} where none are known.

  All clips, ("all", ""): train and test of a protocol that keeps every class.
  NTU RGB+D: A1 to A60 were each performed 316 times before three cameras, A61 to A120
  320 times, which is 948 and 960 clips a class, and 18,960 a camera in NTU-60. From
  these go the clips on the official lists of missing skeletons.
  N-UCLA: each camera is the test part of one protocol.

  Args:
    dataset: such as "ntu60".
    class_names: in label order; a class counts under ("class", name).
  Source: Shahroudy et al. 2016, Liu et al. 2019 and the lists beside `raw/ntu.py`;
    the sums are those of `protocols.EXPECTED_COUNTS`.
  """
  expected = {}
  for name in protocols.names(dataset):
    protocol = protocols.get(dataset, name)
    sizes = protocols.EXPECTED_COUNTS.get((dataset, name))
    if sizes and protocol.classes is None:
      expected["all", ""] = sum(sizes)
      if dataset == "nucla":
        expected["camera", protocol.test[0]] = sizes[1]
  which = {"ntu60": 60, "ntu120": 120}.get(dataset)
  if which == len(class_names):
    for label, name in enumerate(class_names):
      expected["class", name] = 948 if label < 60 else 960
    if which == 60:
      expected.update({("camera", camera): 18_960 for camera in (1, 2, 3)})
    for missing in ntu.missing_skeletons(which):
      label, attributes = ntu.parse_name(missing)
      for key in (("class", class_names[label]), ("camera", attributes["camera"])):
        if key in expected:
          expected[key] -= 1
  return expected


def _count(index, parts, lengths) -> tuple[list[dict], list[str]]:
  """Rows of counts.tsv; in words, where they differ from the published counts.

  Args:
    parts: of each clip.
    lengths: of the sound clips; see `_read`.
  """
  clips = index.clips()
  expected = published_counts(index.dataset, index.class_names)
  groups = {("all", ""): list(range(len(clips)))}
  groups |= {("class", name): [] for name in index.class_names}
  groups |= {key: [] for key in expected.keys() - groups.keys()}
  for i, clip in enumerate(clips):
    groups.setdefault(("class", _class_name(index, clip)), []).append(i)
    for key in clip["attributes"].items():
      if key[0] not in ("all", "class"):  # a column of a custom dataset
        groups.setdefault(key, []).append(i)
  values = collections.Counter(attribute for attribute, _ in groups)
  order, rows, lines = ["all", "class", *sorted(values)], [], []

  def place(key):  # numbers first; classes stay in label order
    attribute, value = key
    return order.index(attribute), attribute != "class" and (str(value) == value, value)

  for attribute, value in sorted(groups, key=place):
    if values[attribute] > MOST_VALUES and attribute != "class":
      continue
    mine = groups[attribute, value]
    found = np.array([lengths[i] for i in mine if i in lengths]).reshape(-1, 2)
    split = collections.Counter(parts[i] for i in mine)
    row = {"attribute": attribute, "value": value, "clips": len(mine)}
    row["expected"] = expected.get((attribute, value), "")
    row |= {part: split[part] for part in protocols.PARTS}
    row["nobody"] = row["median_frames"] = ""
    if len(found):
      row["nobody"] = round(found[:, 1].sum() / found[:, 0].sum(), 4)
      row["median_frames"] = float(np.median(found[:, 0]))
    rows.append(row)
  for attribute, group in itertools.groupby(rows, lambda row: row["attribute"]):
    group = [row for row in group if row["expected"] != "" and attribute != "all"]
    some = [
      f"{row['value']} has {row['clips']:,} of {row['expected']:,}"
      for row in group
      if row["clips"] != row["expected"]
    ]
    if some:
      lines.append(
        f"{attribute}: {len(some)} of {len(group)} differ from the published counts: "
        + _some(some, 3)
      )
  lines += [
    f"{attribute}: has {n:,} values, too many to count each (over {MOST_VALUES})"
    for attribute, n in values.items()
    if n > MOST_VALUES and attribute != "class"
  ]
  return rows, lines


def _splits(index, name, protocol) -> tuple[list[str], list[str]]:
  """Clips by part of all known protocols, and where published sizes differ; lines."""
  clips = [c for c in index.clips() if 0 <= c["label"] < len(index.class_names)]
  rules = {n: protocols.get(index.dataset, n) for n in protocols.names(index.dataset)}
  if rules.get(name) != protocol:
    rules["as configured"] = protocol
  lines, differing = [], []
  for title, rule in rules.items():
    differing += protocols.check_counts(index.dataset, title, clips, index.class_names)
    lines.append(
      protocols.describe(index.dataset, title, rule, clips, index.class_names)
    )
  return lines, differing


def _absent(name, protocol, clips, counts) -> list[str]:
  """What the configured protocol names and no clip has, in words."""
  lines = []
  for part in protocols.PARTS:
    other = part == "validation" and protocol.validation_attribute
    attribute = other or protocol.attribute
    there = {clip["attributes"].get(attribute) for clip in clips}
    values = [str(v) for v in getattr(protocol, part) or () if v not in there]
    if values:
      some = _some(values, MOST_LINES)
      lines.append(f"{name}: no clip has {attribute} {some}, named for {part}")
  classes = [row for row in counts if row["attribute"] == "class"]
  kept = [r for r in classes if r["value"] in (protocol.classes or [r["value"]])]
  for part in ("train", "test"):
    values = [row["value"] for row in kept if not row[part]]
    if values:
      some = _some(values, MOST_LINES)
      lines.append(f"{name}: {len(values)} of {len(kept)} classes lack {part}: {some}")
  return lines
