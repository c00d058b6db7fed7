"""Renders a finished run as one HTML file: results, tables, figures and configuration.

Everything is inside the file, pictures included: it opens without a network, on a phone
too, and can be sent to somebody. `report.html.j2` is its template.
"""

import base64
import csv
import inspect
import json
import pathlib
from collections.abc import Iterator

import jinja2

from vpn_jax.analysis import classes
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import catalogue
from vpn_jax.results import tables
from vpn_jax.training import checkpoint, run_summary

FILE = "report.html"
MAX_ROWS = 200  # of the numbers under a figure


def _flat(tree: dict, prefix: str = "") -> Iterator[tuple[str, str]]:
  """Yields (dotted name, value as JSON) of every leaf of nested dictionaries."""
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _flat(value, f"{prefix}{name}.")
    else:
      yield prefix + name, json.dumps(value)


def _number_or_text(word: str) -> float | int | str:
  try:
    return float(word) if "." in word or "e" in word else int(word)
  except ValueError:
    return word


def _figure(path: pathlib.Path) -> dict:
  """Reads a picture, the csv beside it (up to `MAX_ROWS` rows) and its caption.

  The caption is the first paragraph of the docstring of the figure's function.
  """
  docstring = inspect.getdoc(catalogue.FIGURES[path.stem])
  head, rows = [], []
  numbers = path.with_suffix(".csv")
  if numbers.exists():
    with numbers.open(newline="") as file:
      head, *rows = csv.reader(file)
  return {
    "name": path.stem,
    "caption": " ".join(docstring.split("\n\n")[0].split()),
    "picture": base64.b64encode(path.read_bytes()).decode(),
    "head": head,
    "rows": [[_number_or_text(word) for word in row] for row in rows[:MAX_ROWS]],
    "count": len(rows),
  }


def _headline(result: dict) -> dict[str, str]:
  """What the numbers at the top of the page mean -> the numbers."""
  headline = {
    "top-1": f"{result['top1']:.1f} %",
    "top-5": f"{result['top5']:.1f} %",
    "mean class": f"{result['mean_class']:.1f} %",
    "test clips": f"{result['clips']:,}",
  }
  for name, poses in (("shuffled", "poses of other clips"), ("rest", "joints at rest")):
    if f"{name}_top1" in result:
      headline[f"top-1, {poses}"] = f"{result[f'{name}_top1']:.1f} %"
  return headline


def _class_rows(predictions: predictions_lib.Predictions) -> list[tuple]:
  """(class, clips, top-1, most often taken for) of each class, worst first."""
  rows = []
  for found in classes.class_results(predictions):
    taken = f"{found.taken_for} ({found.taken})" if found.taken else ""
    rows.append((found.name, found.clips, round(found.accuracy, 1), taken))
  return sorted(rows, key=lambda row: row[2])


def page(workdir: str | pathlib.Path, figures: pathlib.Path | None = None) -> str:
  """Renders the HTML of a finished run from the files in its workdir.

  Args:
    workdir: of the run.
    figures: folder of its figures; None for the one in the workdir.
  Raises: FileNotFoundError when the run is not finished, or `workdir` is not a run.
  """
  folder = pathlib.Path(workdir)
  path = folder / run_summary.SUMMARY_FILE
  if not path.is_file():
    raise FileNotFoundError(
      f"no {path}: a report is of one finished run, so train with --workdir={workdir} "
      "first, or name the folder of such a run."
    )
  summary = run_summary.read_summary(path)
  # The page is of the test that is there, which may be later than the training's.
  tested = predictions_lib.read_metrics(folder / "test")
  summary = {**summary, "result": {**summary["result"], **tested}}
  with checkpoint.reading(workdir) as runs:
    about = runs.about(runs.best_step())
  result = summary["result"]
  figures = figures or folder / "figures"
  pictures = (figures / f"{name}.png" for name in catalogue.FIGURES)
  versions = {name: value for name, value in about.code.items() if value}
  cost = {**result, **versions}
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template("report.html.j2").render(
    title=f"{summary['row']} on {summary['dataset']} {summary['protocol']}",
    name=folder.name,
    summary=summary,
    headline=_headline(result),
    columns=tables.COLUMNS,
    tables={
      heading: [[line.get(column, "") for column in tables.COLUMNS] for line in lines]
      for heading, lines in tables.gather([summary]).items()
    },
    figures=[_figure(path) for path in pictures if path.exists()],
    classes=_class_rows(predictions_lib.read(folder / "test")),
    cost={name: value for name, value in cost.items() if not isinstance(value, dict)},
    provenance=list(_flat(about.provenance.to_dict())),
    config=list(_flat(about.config)),
  )
