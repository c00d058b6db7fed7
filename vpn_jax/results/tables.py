"""Finished runs beside the paper: tables 1 to 7 as text, markdown and csv.

A run leaves `summary.json` in its workdir; runs that differ in the seed alone share a
line, with mean and spread.
"""

import shlex
import statistics

from vpn_jax.results import paper
from vpn_jax.training import run_summary

COLUMNS = (
  "row", "dataset", "protocol", "paper", "ours", "shuffled", "at rest", "seeds", "from",
  "parameters", "minutes", "train clips/s", "test clips/s",
)  # fmt: skip
# Flags that say where things are or how a run is watched, not what is trained.
_NOT_SETTINGS = (
  "seed", "data.records", "data.raw", "data.threads", "data.workers", "init.",
  "train.tensorboard", "train.log_every", "train.save_every", "train.eval_batch_size",
)  # fmt: skip


def variant(summary: dict) -> str:
  """What a run changes of its row by words and flags, "" when nothing.

  Such as "size=cpu" or "optimizer.learning_rate=0.005"; "from <row>" and "pose
  backbone from <row>" for backbones that are not from the row's own stages. Of a fused
  run, what its parts change, and weights that differ.
  """
  if "parts" in summary:
    return _fused_variant(summary["parts"])
  row = paper.ROWS.get(summary["row"], paper.Row(""))
  usual, usual_pose = row.arg, row.pose_from
  said = []
  for word in shlex.split(summary["command"]):
    name, _, value = word.partition("=")
    if name == "--config":
      words = value.partition(":")[2].split(",")[1:]
      said += [w for w in words if w not in usual.split(",")]
    elif name == "--config.init.backbone":
      starts = list(dict.fromkeys(map(run_summary.row_of, value.split(","))))
      if starts != [row.starts_from]:
        said.append("from " + ", ".join(starts))
    elif name == "--config.init.pose_backbone":
      if run_summary.row_of(value) != usual_pose:
        said.append(f"pose backbone from {run_summary.row_of(value)}")
    elif name.startswith("--config."):
      name = name.removeprefix("--config.")
      if not name.startswith(_NOT_SETTINGS):
        said.append(f"{name}={value}")
  return ", ".join(said)


def _fused_variant(parts: list[dict]) -> str:
  said = [f"{part['row']}: {part['variant']}" for part in parts if part["variant"]]
  weights = [float(part["weight"]) for part in parts]
  if len(set(weights)) > 1:
    said.append("weights " + ":".join(f"{weight:g}" for weight in weights))
  return "; ".join(said)


def _spread(values: list[float]) -> str:
  """Mean, and the sample standard deviation where there is more than one value."""
  mean = statistics.fmean(values)
  if len(values) == 1:
    return f"{mean:.1f}"
  return f"{mean:.1f} ± {statistics.stdev(values):.1f}"


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.1f}"


def _control(results: list[dict], name: str) -> str:
  """`_spread` of the accuracy with a control; "-" where a run has none."""
  if not all(name in result for result in results):
    return "-"
  return _spread([result[name] for result in results])


def _line(row: str, summaries: list[dict]) -> dict[str, str]:
  """One line of a table: the runs of one row, dataset and protocol."""
  dataset, protocol = summaries[0]["dataset"], summaries[0]["protocol"]
  results = [s["result"] for s in summaries]
  metric = "mean_class" if dataset == "smarthome" else "top1"
  said = variant(summaries[0])
  return {
    "row": row + (f" ({said})" if said else ""),
    "dataset": dataset,
    "protocol": protocol,
    "paper": _number(paper.published(row, dataset, protocol)),
    "ours": _spread([r[metric] for r in results]),
    **{c: _control(results, f"{n}_{metric}") for c, n in run_summary.CONTROLS.items()},
    "top-1": _spread([r["top1"] for r in results]),
    "mean class": _spread([r["mean_class"] for r in results]),
    "seeds": str(len(results)),
    "from": started_rows(summaries[0]),
    "parameters": f"{results[0]['parameters'] / 1e6:.2f} M",
    "minutes": f"{statistics.fmean([r['seconds'] for r in results]) / 60:.1f}",
    "train clips/s": _number(
      statistics.median([r["train_clips_per_second"] for r in results])
    ),
    "test clips/s": _number(
      statistics.median([r["eval_clips_per_second"] for r in results])
    ),
    "commit": ", ".join(sorted({s["commit"] for s in summaries})),
    "command": summaries[0]["command"],
  }


def started_rows(summary: dict) -> str:
  """What a run started from in a few words, such as "I3D, pose alone"."""
  if "parts" in summary:
    return ""
  sources = summary.get("started_from", {}).values()
  words = [word.strip() for source in sources for word in source.split(", ")]
  rows = [word.partition(" in ")[0].partition(" (")[0] for word in words]
  return ", ".join(dict.fromkeys(rows))


def _not_run(row: str, dataset: str, protocol: str) -> dict[str, str]:
  """The line of a row that has no run: the paper's number alone."""
  number = _number(paper.published(row, dataset, protocol))
  line = {"row": row, "dataset": dataset, "protocol": protocol, "paper": number}
  return {**line, "ours": "not run"}


def gather(summaries: list[dict]) -> dict[str, list[dict[str, str]]]:
  """Heading -> lines, as text per column, of each table that has a run.

  A row of the paper's table without a run says so. Runs on datasets that the paper has
  not share a table per dataset, in the order of `paper.ROWS`, those with changed
  settings and fused ones last. Fused runs on the paper's datasets, and runs that no
  table of the paper has room for, follow.
  """
  groups: dict[tuple, list[dict]] = {}
  for s in summaries:
    key = (s["dataset"], s["protocol"], s["row"], variant(s))
    groups.setdefault(key, []).append(s)
  places = sorted({key[:2] for key in groups})
  in_paper = {place[0] for t in paper.TABLES.values() for place in t.columns}
  made, shown = {}, set()
  for number, table in paper.TABLES.items():
    lines = []
    for place in places:
      found = {row: [k for k in groups if k[:3] == (*place, row)] for row in table.rows}
      if place not in table.columns or not any(found.values()):
        continue
      for row, keys in found.items():
        lines += [_line(row, groups[key]) for key in keys] or [_not_run(row, *place)]
        shown.update(keys)
    if lines:
      made[f"Table {number}: {table.title}"] = lines

  def order(key: tuple) -> tuple:
    rows = list(paper.ROWS)
    place = rows.index(key[2]) if key[2] in rows else len(rows)
    return (key[1], "parts" in groups[key][0], place, key)

  for dataset in sorted({key[0] for key in groups} - in_paper):
    keys = sorted((key for key in groups if key[0] == dataset), key=order)
    made[f"Runs on {dataset}"] = [_line(key[2], groups[key]) for key in keys]
    shown.update(keys)
  rest = sorted(set(groups) - shown)
  fused = [key for key in rest if "parts" in groups[key][0]]
  others = [key for key in rest if key not in fused]
  for heading, keys in (("Late fusion", fused), ("Other runs", others)):
    if keys:
      made[heading] = [_line(key[2], groups[key]) for key in keys]
  return made


def _cells(lines: list[dict[str, str]]) -> tuple[list[list[str]], list[int]]:
  """Heading and lines without the columns that say nothing, and the columns' widths."""
  shown = [
    c for c in COLUMNS if any(line.get(c, "-") not in ("", "-") for line in lines)
  ]
  rows = [shown, *([line.get(c, "") for c in shown] for line in lines)]
  return rows, [max(len(row[i]) for row in rows) for i in range(len(shown))]


def text(tables: dict[str, list[dict[str, str]]]) -> str:
  """The tables with their columns lined up, for a terminal."""
  blocks = []
  for heading, lines in tables.items():
    rows, widths = _cells(lines)
    rows = ["  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows]
    blocks.append("\n".join([heading, *rows]))
  return "\n\n".join(blocks)


def markdown(tables: dict[str, list[dict[str, str]]]) -> str:
  """The tables, and under each the command of every line's first run."""
  blocks = []
  for heading, lines in tables.items():
    rows, widths = _cells(lines)
    rows.insert(1, ["-" * w for w in widths])
    rows = [
      "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |" for r in rows
    ]
    commands = [line["command"] for line in lines if "command" in line]
    blocks.append("\n".join([f"## {heading}", "", *rows, "", "```", *commands, "```"]))
  return "\n\n".join(blocks)
