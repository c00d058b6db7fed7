"""Finished runs beside the numbers of the paper: tables 1 to 7 as text and markdown.

Runs that differ in the seed alone share a line, with mean and standard deviation over
the seeds; several runs of one seed count as one.
"""

import pathlib
import shlex
import statistics

from vpn_jax import text as text_lib
from vpn_jax.results import paper
from vpn_jax.training import run_summary

COLUMNS = (
  "row", "dataset", "protocol", "paper", "ours", "shuffled", "at rest", "seeds", "from",
  "parameters", "minutes", "train clips/s", "test clips/s",
)  # fmt: skip


def variant(summary: dict) -> str:
  """What the command of a run changes of its row, "" for nothing.

  Such as "size=cpu" or "optimizer.learning_rate=0.005"; "from <row>" and "pose
  backbone from <row>" for backbones that are not from the row's own stages. For a fused
  run, the changes of its parts, and weights that differ.
  """
  if "parts" in summary:
    return _fused_variant(summary["parts"])
  row = paper.ROWS.get(paper.of_any_recipe(summary["row"]), paper.Row(""))
  changes = []
  if corrected := summary["result"].get("corrected_labels"):
    changes.append(f"{corrected} labels corrected")
  if not summary["command"] and summary.get("settings"):  # trained from Python
    changes.append(f"settings {summary['settings']}")
  for word in text_lib.joined_flags(shlex.split(summary["command"])):
    name, _, value = word.partition("=")
    if name == "--config":
      words = value.partition(":")[2].split(",")[1:]
      said = {*row.arg.split(","), "recipe=best", "recipe=paper"}  # by the row's name
      changes += [w for w in words if w not in said]
    elif name == "--config.init.backbone":
      rows = map(run_summary.row_of, value.split(","))
      starts = list(dict.fromkeys(map(paper.of_any_recipe, rows)))
      if starts != [row.starts_from]:
        changes.append("from " + ", ".join(starts))
    elif name == "--config.init.pose_backbone":
      start = paper.of_any_recipe(run_summary.row_of(value))
      if start != row.pose_from:
        changes.append(f"pose backbone from {start}")
    elif name == "--config.init.network":
      changes.append("all from " + paper.of_any_recipe(run_summary.row_of(value)))
    elif name == "--config.init.teacher":
      start = paper.of_any_recipe(run_summary.row_of(value))
      if start != row.teacher:
        changes.append(f"teacher {start}")
    elif name.startswith("--config.init.kinetics."):
      name = name.removeprefix("--config.")
      changes.append(f"{name}={pathlib.PurePath(value).name}")
    elif name.startswith("--config."):
      name = name.removeprefix("--config.")
      if not name.startswith(run_summary.NOT_SETTINGS):
        changes.append(f"{name}={value}")
  return ", ".join(changes)


def _fused_variant(parts: list[dict]) -> str:
  changes = [f"{part['row']}: {part['variant']}" for part in parts if part["variant"]]
  weights = [float(part["weight"]) for part in parts]
  if len(set(weights)) > 1:
    changes.append("weights " + ":".join(f"{weight:g}" for weight in weights))
  return "; ".join(changes)


def _by_seed(summaries: list[dict]) -> list[dict]:
  """The results of each seed; for several runs of one seed, the means of them."""
  seeds: dict[int | str, list[dict]] = {}
  for summary in summaries:
    seed = summary.get("seed", summary.get("workdir"))
    seeds.setdefault(seed, []).append(summary["result"])
  found = []
  for results in seeds.values():
    common = set.intersection(*map(set, results))
    numbers = {
      name
      for name in common
      if all(isinstance(result[name], (int, float)) for result in results)
    }
    means = {name: statistics.fmean(r[name] for r in results) for name in numbers}
    found.append(results[0] | means if len(results) > 1 else results[0])
  return found


def _spread(values: list[float]) -> str:
  """Mean, and the sample standard deviation of more than one value."""
  mean = statistics.fmean(values)
  if len(values) == 1:
    return f"{mean:.1f}"
  return f"{mean:.1f} ± {statistics.stdev(values):.1f}"


def _number(value: float | None) -> str:
  return "-" if value is None else f"{value:.1f}"


def _line(row: str, summaries: list[dict]) -> dict[str, str]:
  """The line of the runs of one row, dataset and protocol: column -> text."""
  first, results = summaries[0], _by_seed(summaries)
  dataset, protocol = first["dataset"], first["protocol"]
  metric = "mean_class" if dataset == "smarthome" else "top1"
  changes = variant(first)

  def values(name: str) -> list[float]:
    return [result[name] for result in results]

  controls = {
    column: f"{control}_{metric}" for column, control in run_summary.CONTROLS.items()
  }
  return {
    "row": row + (f" ({changes})" if changes else ""),
    "dataset": dataset,
    "protocol": protocol,
    "paper": _number(paper.published(row, dataset, protocol)),
    "ours": _spread(values(metric)),
    **{
      column: _spread(values(name)) if all(name in r for r in results) else "-"
      for column, name in controls.items()
    },
    "top-1": _spread(values("top1")),
    "mean class": _spread(values("mean_class")),
    "seeds": str(len(results)),
    "from": started_rows(first),
    "parameters": f"{results[0]['parameters'] / 1e6:.2f} M",
    "minutes": _number(statistics.fmean(values("seconds")) / 60),
    "train clips/s": _number(statistics.median(values("train_clips_per_second"))),
    "test clips/s": _number(statistics.median(values("eval_clips_per_second"))),
    "commit": ", ".join(sorted({s["commit"] for s in summaries})),
    "command": first["command"],
  }


def started_rows(summary: dict) -> str:
  """The rows that a run started from, such as "I3D, pose alone"; "" for a fused run."""
  if "parts" in summary:
    return ""
  sources = summary.get("started_from", {}).values()
  words = [word.strip() for source in sources for word in source.split(", ")]
  rows = [word.partition(" in ")[0].partition(" (")[0] for word in words]
  return ", ".join(dict.fromkeys(rows))


def _not_run(row: str, dataset: str, protocol: str) -> dict[str, str]:
  """The line of a row without a run: the paper's number alone."""
  number = _number(paper.published(row, dataset, protocol))
  line = {"row": row, "dataset": dataset, "protocol": protocol, "paper": number}
  return {**line, "ours": "not run"}


def gather(summaries: list[dict]) -> dict[str, list[dict[str, str]]]:
  """Sorts runs into the tables of the paper.

  A row of the paper's table without a run has "not run" instead of a number. Runs on a
  dataset that the paper does not have share a table, in the order of `paper.ROWS`,
  changed settings after the row as it is, fused runs last. Fused runs on the paper's
  datasets, and runs that are in none of its tables, follow.

  Args:
    summaries: from `run_summary.read_summaries`.
  Returns: heading -> lines, each column -> text, of the tables that have a run.
  """
  groups: dict[tuple, list[dict]] = {}
  for s in summaries:
    key = (s["dataset"], s["protocol"], s["row"], variant(s))
    groups.setdefault(key, []).append(s)
  tables, shown = {}, set()
  for number, table in paper.TABLES.items():
    lines = []
    for column in sorted({key[:2] for key in groups} & set(table.columns)):
      found = {
        row: [key for key in groups if key[:3] == (*column, row)] for row in table.rows
      }
      if any(found.values()):
        for row, keys in found.items():
          lines += [_line(row, groups[k]) for k in keys] or [_not_run(row, *column)]
          shown.update(keys)
    if lines:
      tables[f"Table {number}: {table.title}"] = lines

  rows = [*paper.ROWS]

  def order(key: tuple) -> tuple:
    name = paper.of_any_recipe(key[2])
    row = rows.index(name) if name in rows else len(rows)
    return (key[1], "parts" in groups[key][0], row, key)

  in_paper = {dataset for t in paper.TABLES.values() for dataset, _ in t.columns}
  rest = {}  # heading -> keys
  for dataset in sorted({key[0] for key in groups} - in_paper):
    own = (key for key in groups if key[0] == dataset)
    rest[f"Runs on {dataset}"] = sorted(own, key=order)
  left = sorted(key for key in set(groups) - shown if key[0] in in_paper)
  rest["Late fusion"] = [key for key in left if "parts" in groups[key][0]]
  rest["Other runs"] = [key for key in left if "parts" not in groups[key][0]]
  for heading, keys in rest.items():
    if keys:
      tables[heading] = [_line(key[2], groups[key]) for key in keys]
  return tables


def _cells(lines: list[dict[str, str]]) -> list[list[str]]:
  """Head and lines, padded, without the columns that are empty."""
  shown = [
    c for c in COLUMNS if any(line.get(c, "-") not in ("", "-") for line in lines)
  ]
  return text_lib.padded([shown, *([line.get(c, "") for c in shown] for line in lines)])


def text(tables: dict[str, list[dict[str, str]]]) -> str:
  """Formats tables for a terminal.

  Args:
    tables: from `gather`.
  """
  blocks = []
  for heading, lines in tables.items():
    rows = ["  ".join(row).rstrip() for row in _cells(lines)]
    blocks.append("\n".join([heading, *rows]))
  return "\n\n".join(blocks)


def markdown(tables: dict[str, list[dict[str, str]]]) -> str:
  """Formats tables as markdown; under each, the command of every line's first run.

  Args:
    tables: from `gather`.
  """
  blocks = []
  for heading, lines in tables.items():
    head, *rows = _cells(lines)
    rows = [head, ["-" * len(cell) for cell in head], *rows]
    rows = [f"| {' | '.join(row)} |" for row in rows]
    commands = [line["command"] for line in lines if "command" in line]
    blocks.append("\n".join([f"## {heading}", "", *rows, "", "```", *commands, "```"]))
  return "\n\n".join(blocks)
