"""A finished run as one HTML file: config, numbers, curves, tables and figures.

Everything is inside the file, pictures as data: it opens without a network, on a phone
too, and can be sent to somebody.
"""

import base64
import csv
import html
import inspect
import json
import pathlib
from collections.abc import Iterable

import numpy as np

from vpn_jax.evaluation import metrics as metrics_lib
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import catalogue
from vpn_jax.results import tables
from vpn_jax.training import checkpoint, run_summary

FILE = "report.html"
MAX_ROWS = 200  # of the numbers under a figure
STYLE = """
:root { color-scheme: light dark; --faint: #8884; --accent: #d1495b; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem;
  max-width: 60rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.5rem; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 1rem 0; }
.headline b { display: block; font-size: 2rem; line-height: 1.2; color: var(--accent); }
figure { margin: 1.5rem 0; }
img { width: 100%; height: auto; background: white; border-radius: 4px; }
figcaption { margin: 0.3rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; overflow-wrap: normal; }
th, td { padding: 0.25rem 0.75rem 0.25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--faint); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { font-size: 0.85rem; }
pre { overflow-x: auto; padding: 0.75rem; background: var(--faint);
  border-radius: 4px; }
summary { cursor: pointer; }
"""


def _table(head: Iterable[str], rows: Iterable[Iterable]) -> str:
  """An HTML table that scrolls by itself where it is wider than the screen."""

  def cell(tag: str, value) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = f"{value:,.4g}" if isinstance(value, float) else str(value)
    kind = ' class="number"' if number else ""
    return f"<{tag}{kind}>{html.escape(text)}</{tag}>"

  lines = ["".join(cell("th", name) for name in head)]
  lines += ["".join(cell("td", value) for value in row) for row in rows]
  body = "\n".join(f"<tr>{line}</tr>" for line in lines)
  return f'<div class="wide"><table>\n{body}\n</table></div>'


def _folded(title: str, content: str) -> str:
  summary = f"<summary>{html.escape(title)}</summary>"
  return f"<details>{summary}\n{content}\n</details>"


def _flat(tree: dict, prefix: str = "") -> Iterable[tuple[str, str]]:
  """(dotted name, value) of all fields of a configuration."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _flat(value, f"{prefix}{name}.")
    else:
      yield prefix + name, json.dumps(value)


def _number_or_text(word: str):
  try:
    return float(word) if "." in word or "e" in word else int(word)
  except ValueError:
    return word


def _figure(path: pathlib.Path, caption: str) -> str:
  """A picture, its caption and, folded, the numbers beside it."""
  data = base64.b64encode(path.read_bytes()).decode()
  picture = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
  parts = [picture, f"<figcaption>{html.escape(caption)}</figcaption>"]
  numbers = path.with_suffix(".csv")
  if numbers.exists():
    with numbers.open(newline="") as file:
      head, *rows = [[*row] for row in csv.reader(file)]
    shown = [[_number_or_text(word) for word in row] for row in rows[:MAX_ROWS]]
    title = f"{numbers.name}: {len(rows)} rows"
    if len(rows) > MAX_ROWS:
      title += f", the first {MAX_ROWS} here"
    parts.append(_folded(title, _table(head, shown)))
  return f'<figure id="{path.stem}">\n' + "\n".join(parts) + "\n</figure>"


def _caption(name: str) -> str:
  """The first paragraph of what the figure's function says of itself."""
  function = catalogue.FIGURES.get(name)
  said = inspect.getdoc(function) if function else None
  return " ".join((said or name).split("\n\n")[0].split())


def _classes(predictions: predictions_lib.Predictions) -> list[tuple]:
  """(class, clips, top-1, most often taken for), worst first; those with clips."""
  matrix = metrics_lib.confusion(predictions.labels, predictions.scores)
  rows = []
  for k, name in enumerate(predictions.class_names):
    count = int(matrix[k].sum())
    if not count:
      continue
    wrong = np.where(np.arange(len(matrix)) == k, 0, matrix[k])
    other = predictions.class_names[int(wrong.argmax())] if wrong.any() else ""
    taken = f"{other} ({int(wrong.max())})" if other else ""
    rows.append((name, count, round(100.0 * float(matrix[k, k]) / count, 1), taken))
  return sorted(rows, key=lambda row: row[2])


def page(workdir: str | pathlib.Path) -> str:
  """The HTML of a finished run, from what lies in its workdir.

  Raises: FileNotFoundError when it is not finished, or not a run.
  """
  folder = pathlib.Path(workdir)
  path = folder / run_summary.SUMMARY_FILE
  if not path.is_file():
    raise FileNotFoundError(
      f"no {path}: a report is of one finished run, so train with --workdir={workdir} "
      "first, or name the folder of such a run."
    )
  summary = run_summary.read_summary(path)
  with checkpoint.reading(workdir) as runs:
    about = runs.about(runs.best_step())
  predictions = predictions_lib.read(folder / "test")
  result = summary["result"]
  title = f"{summary['row']} on {summary['dataset']} {summary['protocol']}"
  headline = {
    "top-1": f"{result['top1']:.1f} %",
    "top-5": f"{result['top5']:.1f} %",
    "mean class": f"{result['mean_class']:.1f} %",
    "test clips": f"{result['clips']:,}",
  }
  for name, poses in (("shuffled", "poses of other clips"), ("rest", "joints at rest")):
    if f"{name}_top1" in result:
      headline[f"top-1, {poses}"] = f"{result[f'{name}_top1']:.1f} %"
  parts = [
    f"<h1>{html.escape(title)}</h1>",
    f"<p>{html.escape(folder.name)}, seed {summary['seed']}</p>",
    '<div class="headline">',
    *(f"<div><b>{v}</b>{html.escape(k)}</div>" for k, v in headline.items()),
    "</div>",
    f"<pre>{html.escape(summary['command'])}</pre>",
  ]
  for heading, lines in tables.gather([summary]).items():
    shown = [[line.get(column, "") for column in tables.COLUMNS] for line in lines]
    parts += [f"<h2>{html.escape(heading)}</h2>", _table(tables.COLUMNS, shown)]
  drawn = [folder / "figures" / f"{name}.png" for name in catalogue.FIGURES]
  drawn = [path for path in drawn if path.exists()]
  if drawn:
    parts.append("<h2>Figures</h2>")
    parts += [_figure(path, _caption(path.stem)) for path in drawn]
  head = ("class", "clips", "top-1, %", "most often taken for")
  parts += ["<h2>Classes, worst first</h2>", _table(head, _classes(predictions))]
  cost = {**result, **{k: v for k, v in about.code.items() if v}}
  cost = {k: v for k, v in cost.items() if not isinstance(v, dict)}
  belongs = about.provenance.to_dict()
  parts += [
    "<h2>The run</h2>",
    _folded("Cost, results and versions", _table(("what", "value"), cost.items())),
    _folded("What it belongs to", _table(("what", "value"), _flat(belongs))),
    _folded("Configuration", _table(("field", "value"), _flat(about.config))),
  ]
  body = "\n".join(parts)
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
    f"<body>\n{body}\n</body>\n</html>\n"
  )
