"""Results of all parts: lines of JSON as they come, then one file and a page."""

import importlib
import json
import pathlib

RESULTS, PAGE = "results.json", "results.md"


class Lines:
  """What a part has measured so far, one JSON object a line.

  A case that begins is noted before it ends with "rows", "failed", "skipped" or
  "stopped", so that one which ended its process can be named.

  Args:
    path: of the file; what is there counts.
  """

  def __init__(self, path: pathlib.Path):
    self.path = path

  def add(self, case: str, **found) -> None:
    with self.path.open("a") as f:
      f.write(json.dumps({"case": case, **found}) + "\n")

  def read(self) -> dict[str, dict]:
    """The last that is known of each case, in the order in which they came."""
    found = {}
    if self.path.exists():
      for line in self.path.read_text().splitlines():
        try:
          entry = json.loads(line)
        except ValueError:  # cut short when its process was ended
          continue
        found[entry.pop("case")] = entry
    return found

  def done(self) -> set[str]:
    """The cases that need no other run."""
    found = self.read()
    return {c for c, e in found.items() if "rows" in e and not failures({c: e})}

  def begun(self) -> list[str]:
    """The cases that began and did not end."""
    return [case for case, entry in self.read().items() if "begin" in entry]


def failures(found: dict[str, dict]) -> list[str]:
  """The cases of a part that failed, and why: "case: reason"."""
  made = []
  for case, entry in found.items():
    reasons = [entry.get("failed", "")]
    reasons += [row.get("failed", "") for row in entry.get("rows", ())]
    made += [f"{case}: {reason}" for reason in reasons if reason]
  return made


def save(folder: pathlib.Path, about: dict, parts: dict[str, dict]) -> str:
  """Writes both files.

  Args:
    folder: of the results.
    about: the machine and what was asked for.
    parts: part -> {"cases": what `Lines.read` gives, "seconds", "not_reached"}.
  Returns: the page.
  """
  results = {"about": about, "parts": parts}
  (folder / RESULTS).write_text(json.dumps(results, indent=1) + "\n")
  text = page(about, parts)
  (folder / PAGE).write_text(text)
  return text


def page(about: dict, parts: dict[str, dict]) -> str:
  """The results as Markdown, a table a part."""
  lines = [about["line"], ""]
  for part, found in parts.items():
    module = importlib.import_module(f"benchmarks.gpu_check.{part}")
    title = module.__doc__.strip().splitlines()[0]
    lines += [f"## {part}", "", f"{title} {found['seconds']:.0f} s.", ""]
    lines += table(found["cases"], module.COLUMNS)
    if found["not_reached"]:
      lines += ["", f"Not reached in time: {'; '.join(found['not_reached'])}."]
    lines += [""]
  return "\n".join(lines)


def table(cases: dict[str, dict], columns: tuple[str, ...]) -> list[str]:
  """A row for each of `rows`, and one for each case without any."""
  rows = []
  for case, entry in cases.items():
    for row in entry.get("rows", ()):
      what = row.get("what", "")
      name = case if what in ("", case) else f"{case}: {what}"
      cells = [cell(column, row.get(column)) for column in columns]
      if row.get("failed"):
        cells[-1] = f"{cells[-1]} failed: {one_line(row['failed'])}".strip()
      rows.append([name, *cells])
    for word in ("failed", "skipped", "stopped"):
      if word in entry:
        reason = f"{word}: {one_line(entry[word])}"
        rows.append([case, reason, *[""] * (len(columns) - 1)])
  if not rows:
    return ["Nothing was measured."]
  used = [i for i in range(len(columns) + 1) if i < 2 or any(row[i] for row in rows)]
  head = ["case", *columns]
  lines = [[head[i] for i in used], ["---"] * len(used)]
  lines += [[row[i] for i in used] for row in rows]
  return [f"| {' | '.join(line)} |" for line in lines]


def cell(column: str, value) -> str:
  """A value as a cell of the table."""
  if value in (None, ""):
    return ""
  if isinstance(value, dict):
    value = ", ".join(f"{n} x {name}" for name, n in value.items()) or "none"
  if isinstance(value, (str, int)):
    return one_line(str(value))
  shares = ("of the peak", "share", "overlap")
  return format(value, ".0%" if column in shares else ".4g")


def one_line(text: str) -> str:
  """A short text without what ends a cell."""
  first = (text.strip().splitlines() or ["no message"])[0]
  first = first.replace("|", "/")
  return first if len(first) <= 300 else f"{first[:297]}..."


def last_line(text: str) -> str:
  """Of a traceback: the error."""
  return (text.strip().splitlines() or ["no message"])[-1]
