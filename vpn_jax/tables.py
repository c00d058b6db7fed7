"""Finished runs side by side: one line per row and protocol, the paper's number first.

A run leaves `summary.json` in its workdir; runs that differ in the seed alone share a
line, with mean and spread.
"""

import csv
import json
import pathlib
import shlex
import statistics
import subprocess
import sys

SUMMARY_FILE = "summary.json"

# Percent: top-1, for Smarthome the mean over the classes. Tables 1 to 7.
PAPER = {
  ("ntu60", "cs", "VPN"): 93.5,
  ("ntu60", "cv", "VPN"): 96.2,
  ("ntu120", "cs1", "I3D"): 77.0,
  ("ntu120", "cs2", "I3D"): 80.1,
  ("ntu120", "cs1", "VPN without embedding"): 85.4,
  ("ntu120", "cs2", "VPN without embedding"): 86.9,
  ("ntu120", "cs1", "VPN"): 86.3,
  ("ntu120", "cs2", "VPN"): 87.8,
  ("ntu120", "cs1", "VPN without coupler"): 85.6,
  ("ntu120", "cs2", "VPN without coupler"): 86.8,
  ("ntu120", "cs1", "VPN, kl_fp"): 85.5,
  ("ntu120", "cs2", "VPN, kl_fp"): 87.1,
  ("ntu120", "cs1", "VPN, kl_pf"): 85.6,
  ("ntu120", "cs2", "VPN, kl_pf"): 86.9,
  ("ntu120", "cs1", "VPN, kl_bi"): 86.1,
  ("ntu120", "cs2", "VPN, kl_bi"): 87.2,
  ("ntu120", "cs1", "VPN, spatial attention, without embedding"): 82.6,
  ("ntu120", "cs2", "VPN, spatial attention, without embedding"): 84.3,
  ("ntu120", "cs1", "VPN, spatial attention"): 83.1,
  ("ntu120", "cs2", "VPN, spatial attention"): 85.3,
  ("smarthome", "cs", "I3D"): 53.4,
  ("smarthome", "cv2", "I3D"): 45.1,
  ("smarthome", "cs", "VPN without embedding"): 56.4,
  ("smarthome", "cv2", "VPN without embedding"): 50.5,
  ("smarthome", "cs", "VPN"): 60.8,
  ("smarthome", "cv2", "VPN"): 53.5,
  ("smarthome", "cs", "VPN without coupler"): 60.1,
  ("smarthome", "cv2", "VPN without coupler"): 53.1,
  ("smarthome", "cs", "VPN, kl_fp"): 57.2,
  ("smarthome", "cv2", "VPN, kl_fp"): 50.9,
  ("smarthome", "cs", "VPN, kl_pf"): 57.0,
  ("smarthome", "cv2", "VPN, kl_pf"): 51.1,
  ("smarthome", "cs", "VPN, kl_bi"): 57.2,
  ("smarthome", "cv2", "VPN, kl_bi"): 51.7,
  ("smarthome", "cs", "VPN, spatial attention, without embedding"): 49.1,
  ("smarthome", "cv2", "VPN, spatial attention, without embedding"): 51.7,
  ("smarthome", "cs", "VPN, spatial attention"): 58.4,
  ("smarthome", "cv2", "VPN, spatial attention"): 53.1,
  ("smarthome", "cv1", "I3D"): 34.9,
  ("smarthome", "cv1", "VPN"): 43.8,
  ("nucla", "v12_3", "VPN"): 93.5,
  ("ntu120", "cs1", "VPN without coupler, LSTM"): 84.7,
  ("ntu120", "cs2", "VPN without coupler, LSTM"): 83.6,
  ("smarthome", "cs", "VPN without coupler, LSTM"): 57.1,
  ("smarthome", "cv2", "VPN without coupler, LSTM"): 50.6,
  ("ntu120", "cs1", "VPN, LSTM"): 85.3,
  ("ntu120", "cs2", "VPN, LSTM"): 84.1,
  ("smarthome", "cs", "VPN, LSTM"): 57.6,
  ("smarthome", "cv2", "VPN, LSTM"): 51.5,
  ("ntu120", "cs1", "VPN, spatial attention, without embedding, LSTM"): 81.7,
  ("ntu120", "cs2", "VPN, spatial attention, without embedding, LSTM"): 81.2,
  ("smarthome", "cs", "VPN, spatial attention, without embedding, LSTM"): 45.5,
  ("smarthome", "cv2", "VPN, spatial attention, without embedding, LSTM"): 50.0,
  ("ntu120", "cs1", "VPN, spatial attention, LSTM"): 82.7,
  ("ntu120", "cs2", "VPN, spatial attention, LSTM"): 82.0,
  ("smarthome", "cs", "VPN, spatial attention, LSTM"): 56.5,
  ("smarthome", "cv2", "VPN, spatial attention, LSTM"): 52.6,
}

COLUMNS = (
  "row", "dataset", "protocol", "paper", "top-1", "mean class", "seeds",
  "train clips/s", "test clips/s", "minutes",
)  # fmt: skip


def row_name(config: dict) -> str:
  """The row of tables 1 to 4 that a configuration is, in words."""
  model = config["model"]
  lstm = ", LSTM" if model["pose"]["kind"] == "lstm" else ""
  if config["network"] == "pose":
    return "pose alone" + lstm
  if model["attention"] == "none":
    return "I3D"
  name = "VPN"
  if model["attention"] == "spatial":
    name += ", spatial attention"
  elif not model["coupler"]:
    name += " without coupler"
  if not model["embedding"]:
    return name + (", without" if "," in name else " without") + " embedding" + lstm
  kind = config["loss"]["embedding"]
  return name + ("" if kind == "euclidean" else f", {kind}") + lstm


def code_commit() -> str:
  """The commit of this code, with a "+" where files differ; "" without git."""
  git = ("git", "-C", str(pathlib.Path(__file__).parent))
  try:
    commit = subprocess.run(
      (*git, "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=True
    )
    changed = subprocess.run((*git, "diff", "--quiet", "HEAD"), check=False)
  except (OSError, subprocess.CalledProcessError):
    return ""
  return commit.stdout.strip() + ("+" if changed.returncode else "")


def write_summary(workdir: str | pathlib.Path, config: dict, result: dict) -> None:
  """Leaves what a table needs of a finished run in its workdir."""
  content = {
    "command": shlex.join(["python", *sys.argv]),
    "commit": code_commit(),
    "row": row_name(config),
    "dataset": config["data"]["dataset"],
    "protocol": config["data"]["protocol"],
    "seed": config["seed"],
    "result": result,
  }
  path = pathlib.Path(workdir) / SUMMARY_FILE
  path.write_text(json.dumps(content, indent=1) + "\n")


def read_summaries(folder: str | pathlib.Path) -> list[dict]:
  """Summaries of all runs at any depth below `folder`.

  Raises: FileNotFoundError when there is none.
  """
  paths = sorted(pathlib.Path(folder).rglob(SUMMARY_FILE))
  if not paths:
    raise FileNotFoundError(
      f"no finished run below {folder!r}: train with --workdir={folder}/<name> first."
    )
  return [{**json.loads(p.read_text()), "workdir": str(p.parent)} for p in paths]


def _spread(values: list[float]) -> str:
  """Mean, and the sample standard deviation where there is more than one value."""
  mean = statistics.fmean(values)
  if len(values) == 1:
    return f"{mean:.1f}"
  return f"{mean:.1f} ± {statistics.stdev(values):.1f}"


def gather(summaries: list[dict]) -> list[dict[str, str]]:
  """Lines of the table, one per row, dataset and protocol, as text per column."""
  groups: dict[tuple, list[dict]] = {}
  for s in summaries:
    groups.setdefault((s["dataset"], s["protocol"], s["row"]), []).append(s)
  order = {"pose alone": 0, "I3D": 1, "VPN without embedding": 2, "VPN": 3}
  lines = []
  for key in sorted(groups, key=lambda k: (k[0], k[1], order.get(k[2], 4), k[2])):
    dataset, protocol, row = key
    results = [s["result"] for s in groups[key]]
    paper = PAPER.get(key)
    speed = [r["train_clips_per_second"] for r in results]
    test_speed = [r["eval_clips_per_second"] for r in results]
    lines.append(
      {
        "row": row,
        "dataset": dataset,
        "protocol": protocol,
        "paper": "-" if paper is None else f"{paper:.1f}",
        "top-1": _spread([r["top1"] for r in results]),
        "mean class": _spread([r["mean_class"] for r in results]),
        "seeds": str(len(results)),
        "train clips/s": f"{statistics.median(speed):.1f}",
        "test clips/s": f"{statistics.median(test_speed):.1f}",
        "minutes": f"{statistics.fmean([r['seconds'] for r in results]) / 60:.1f}",
      }
    )
  return lines


def markdown(lines: list[dict[str, str]]) -> str:
  """The table, its columns lined up."""
  rows = [COLUMNS, *([line[c] for c in COLUMNS] for line in lines)]
  widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
  text = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |" for r in rows]
  text.insert(1, "| " + " | ".join("-" * w for w in widths) + " |")
  return "\n".join(text)


def run(config, workdir: str) -> None:
  """The job "tables": prints the runs below `workdir`, writes tables.md and .csv there.

  The configuration is not read: a run carries its own.
  """
  del config
  if not workdir:
    raise ValueError("--workdir is empty, expected a folder that holds finished runs.")
  lines = gather(read_summaries(workdir))
  text = markdown(lines)
  folder = pathlib.Path(workdir)
  (folder / "tables.md").write_text(text + "\n")
  with (folder / "tables.csv").open("w", newline="") as f:
    writer = csv.DictWriter(f, COLUMNS)
    writer.writeheader()
    writer.writerows(lines)
  print(text)
