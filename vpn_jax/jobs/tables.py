"""The job "tables": finished runs beside the paper."""

import csv
import pathlib

from vpn_jax.results import tables as table_lib
from vpn_jax.training import run_summary


def run(config, workdir: str) -> None:
  """Prints the runs below `workdir` beside the paper.

  Writes tables.txt, tables.md and tables.csv there, with commands and commits. Does not
  read the configuration: a run carries its own.
  """
  del config
  if not workdir:
    raise ValueError("--workdir is empty, expected a folder that holds finished runs.")
  tables = table_lib.gather(run_summary.read_summaries(workdir))
  folder = pathlib.Path(workdir)
  (folder / "tables.txt").write_text(table_lib.text(tables) + "\n")
  (folder / "tables.md").write_text(table_lib.markdown(tables) + "\n")
  with (folder / "tables.csv").open("w", newline="") as f:
    extra = ("top-1", "mean class", "commit", "command")
    writer = csv.DictWriter(f, ("table", *table_lib.COLUMNS, *extra))
    writer.writeheader()
    for heading, lines in tables.items():
      writer.writerows({"table": heading, **line} for line in lines)
  print(table_lib.text(tables))
