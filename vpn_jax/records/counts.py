"""Clips counted by class, camera and part, and compared with the published dataset."""

import collections

import numpy as np

from vpn_jax import text
from vpn_jax.datasets import ntu, protocols
from vpn_jax.datasets.protocols import Protocol
from vpn_jax.records import store

MOST_VALUES = 200  # of an attribute; one with more is not counted value by value
MOST_NAMES = 10  # listed in a line


def published_counts(dataset: str, class_names) -> dict[tuple[str, int | str], int]:
  """The number of clips by (attribute, value) in the complete download.

  All clips, ("all", ""): train and test of the largest protocol that keeps every class.
  NTU RGB+D: A1 to A60 were each performed 316 times in front of three cameras, A61 to
  A120 320 times. That makes 948 and 960 clips per class, and 18,960 per camera in
  NTU-60, minus the clips on the official lists of missing skeletons.
  N-UCLA: each camera is the test part of one protocol.

  Args:
    dataset: such as "ntu60".
    class_names: in label order; the key of a class is ("class", name).
  Returns: the counts; {} where none are published.
  Source: Shahroudy et al. 2016, Liu et al. 2019 and the lists beside `datasets/ntu.py`;
    the sums agree with `protocols.EXPECTED_COUNTS`.
  """
  expected = {}
  for name in protocols.names(dataset):
    protocol = protocols.get(dataset, name)
    sizes = protocols.EXPECTED_COUNTS.get((dataset, name))
    if sizes and protocol.classes is None:
      expected["all", ""] = max(sum(sizes), expected.get(("all", ""), 0))
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


def table(
  index: store.Index, parts: list[str | None], lengths: dict[int, tuple[int, int]]
) -> tuple[list[dict], list[str]]:
  """Counts clips by attribute and value.

  Args:
    index: of the records.
    parts: of each clip of `index.clips()`.
    lengths: (frames, frames without any pose) of the sound clips, by position.
  Returns: rows as in `verify.Report.counts`; and in words, where they differ from the
    published counts, and what was not counted.
  """
  clips = index.clips()
  known = {"all", "class"}.union(*(clip["attributes"] for clip in clips))
  expected = published_counts(index.dataset, index.class_names)
  expected = {key: n for key, n in expected.items() if key[0] in known}
  groups = {("all", ""): list(range(len(clips)))}
  groups |= {("class", name): [] for name in index.class_names}
  groups |= {key: [] for key in expected.keys() - groups.keys()}
  for i, clip in enumerate(clips):
    groups.setdefault(("class", class_name(index, clip)), []).append(i)
    for key in clip["attributes"].items():
      if key[0] not in ("all", "class"):  # a column of a custom dataset
        groups.setdefault(key, []).append(i)
  values = collections.Counter(attribute for attribute, _ in groups)
  order, rows = ["all", "class", *sorted(values)], []

  def rank(key):  # numbers first; classes stay in label order
    attribute, value = key
    return order.index(attribute), attribute != "class" and (str(value) == value, value)

  for attribute, value in sorted(groups, key=rank):
    if values[attribute] > MOST_VALUES and attribute != "class":
      continue
    members = groups[attribute, value]
    split = collections.Counter(parts[i] for i in members)
    row = {"attribute": attribute, "value": value, "clips": len(members)}
    row["expected"] = expected.get((attribute, value), "")
    row |= {part: split[part] for part in protocols.PARTS}
    row["nobody"] = row["median_frames"] = ""
    found = np.array([lengths[i] for i in members if i in lengths]).reshape(-1, 2)
    if len(found):
      row["nobody"] = round(found[:, 1].sum() / found[:, 0].sum(), 4)
      row["median_frames"] = float(np.median(found[:, 0]))
    rows.append(row)
  lines = _differences(rows) + [
    f"{attribute}: has {n:,} values, too many to count each (over {MOST_VALUES})"
    for attribute, n in values.items()
    if n > MOST_VALUES and attribute != "class"
  ]
  return rows, lines


def _differences(rows: list[dict]) -> list[str]:
  """A line for each attribute whose counts differ from the published ones."""
  published = collections.defaultdict(list)
  for row in rows:
    if row["expected"] != "" and row["attribute"] != "all":
      published[row["attribute"]].append(row)
  lines = []
  for attribute, group in published.items():
    differing = [
      f"{row['value']} has {row['clips']:,} of {row['expected']:,}"
      for row in group
      if row["clips"] != row["expected"]
    ]
    if differing:
      lines.append(
        f"{attribute}: {len(differing)} of {len(group)} differ from the published "
        f"counts: {some(differing, 3)}"
      )
  return lines


def by_class(class_names, clips: list, protocol: Protocol | None) -> list[str]:
  """Clips by class and part: a heading and a line for each class.

  Args:
    class_names: in label order.
    clips: each a `base.Clip`, a record or an entry of `Index.clips()`.
    protocol: says which part a clip belongs to; None to count them alone.
  Raises: ValueError when a clip lacks the attribute that the protocol splits by.
  """
  found = {name: collections.Counter() for name in class_names}
  for clip in clips:
    name = class_names[clip["label"] if isinstance(clip, dict) else clip.label]
    attributes = protocols.attributes_of(clip)
    part = protocol and protocols.part(protocol, attributes, name)
    found[name][(part or "no part") if protocol else "clips"] += 1
  total = sum(found.values(), collections.Counter())
  columns = ["train", "validation", "test", "no part"] if protocol else ["clips"]
  columns = [c for c in columns if total[c] or c in ("train", "test", "clips")]
  rows = [["class", *columns]]
  for name in list(class_names)[:MOST_VALUES]:
    rows.append([name, *(f"{found[name][c]:,}" for c in columns)])
  rows.append(["all", *(f"{total[c]:,}" for c in columns)])
  lines = ["  ".join(row).rstrip() for row in text.padded(rows)]
  if len(found) > MOST_VALUES:
    lines.append(f"and {len(found) - MOST_VALUES:,} more classes")
  return lines


def missing_values(protocol: Protocol, clips: list) -> list[str]:
  """Values that the protocol names and no clip has, a line for each part."""
  lines = []
  for part in protocols.PARTS:
    attribute, values = protocols.missing(protocol, part, clips)
    if values:
      listed = some([str(v) for v in values], MOST_NAMES)
      lines.append(f"no clip has {attribute} {listed}, named for {part}")
  return lines


def splits(
  index: store.Index, name: str, protocol: Protocol
) -> tuple[list[str], list[str]]:
  """Clips by part of all known protocols, and of the configured one.

  Returns: a line for each protocol, and a line for each part whose size is not the
    published one.
  """
  clips = [c for c in index.clips() if 0 <= c["label"] < len(index.class_names)]
  rules = protocols.applicable(index.dataset, clips)
  if rules.get(name) != protocol:
    rules["as configured"] = protocol
  lines, differing = [], []
  for title, rule in rules.items():
    differing += protocols.check_counts(index.dataset, title, clips, index.class_names)
    lines.append(
      protocols.describe(index.dataset, title, rule, clips, index.class_names)
    )
  return lines, differing


def absent(
  name: str, protocol: Protocol, clips: list[dict], rows: list[dict]
) -> list[str]:
  """What the configured protocol names but no clip has, in words."""
  lines = [f"{name}: {line}" for line in missing_values(protocol, clips)]
  kept = [
    row
    for row in rows
    if row["attribute"] == "class"
    and (protocol.classes is None or row["value"] in protocol.classes)
  ]
  for part in ("train", "test"):
    values = [row["value"] for row in kept if not row[part]]
    if values:
      listed = some(values, MOST_NAMES)
      lines.append(
        f"{name}: {len(values)} of {len(kept)} classes lack {part}: {listed}"
      )
  return lines


def class_name(index: store.Index, clip: dict) -> str:
  """The class of an entry of `index.clips()`, also when its label is damaged."""
  names, label = index.class_names, clip["label"]
  return names[label] if 0 <= label < len(names) else f"label {label}"


def some(words: list[str], most: int) -> str:
  """The first of many words, and how many more there are."""
  more = [f"and {len(words) - most:,} more"] if len(words) > most else []
  return ", ".join([*words[:most], *more])
