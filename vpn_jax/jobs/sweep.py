"""The job "sweep": the runs of whole tables, then the tables."""

import pathlib
import shlex
import sys

from vpn_jax import interrupt
from vpn_jax.jobs import fuse
from vpn_jax.jobs import tables as tables_job
from vpn_jax.results import paper, sweep
from vpn_jax.training import run_summary

NOT_FROZEN = ("I3D, continued", "I3D+NL", "P-I3D")


def run(config, workdir: str) -> None:
  """The job "sweep": the runs of `config.sweep`, then the tables.

  Writes sweep.sh, all commands in order, to `workdir`. Flags of this command other than
  those of the sweep are handed to every run.
  """
  if not workdir:
    raise ValueError("--workdir is empty, expected a folder for all runs.")
  settings = config.sweep
  numbers = sweep.split_words(settings.tables)
  unknown = [n for n in numbers if n not in map(str, paper.TABLES)]
  seeds = sweep.split_words(settings.seeds)
  if unknown or not all(seed.isdigit() for seed in seeds):
    raise ValueError(
      f"config.sweep has tables {settings.tables!r} and seeds {settings.seeds!r}, "
      "expected such as 1,2,3,4 (of 1 to 7) and 0,1,2."
    )
  given = [word.partition("=") for word in sys.argv[1:]]
  chosen = [value for name, _, value in given if name == "--config"][-1]
  flags = tuple(
    f"{name}={value}"
    for name, _, value in given
    if name.startswith("--config.") and not name.startswith("--config.sweep.")
  )
  rows = sweep.split_words(settings.rows, ";") or tuple(
    dict.fromkeys(row for n in numbers for row in paper.TABLES[int(n)].rows)
  )
  if "frozen=True" in chosen:  # those that train more than a head on one backbone
    rows = tuple(row for row in rows if row not in NOT_FROZEN)
  runs = sweep.plan(
    chosen,
    workdir,
    rows=rows,
    protocols=sweep.split_words(settings.protocols),
    seeds=tuple(map(int, seeds)),
    stages=config.stages,
    flags=flags,
  )
  groups = sweep.fusions(
    settings.fuse,
    chosen,
    workdir,
    sweep.split_words(settings.protocols),
    tuple(map(int, seeds)),
  )
  folder = pathlib.Path(workdir)
  folder.mkdir(parents=True, exist_ok=True)
  script = "\n".join([f"# {len(runs)} runs, needs first", *(r.command() for r in runs)])
  (folder / sweep.SCRIPT_FILE).write_text(script + "\n")
  done = sum(r.done() for r in runs)
  print(f"{len(runs)} runs, {done} done; commands in {folder / sweep.SCRIPT_FILE}")
  if settings.dry_run:
    for r in runs:
      print(("done  " if r.done() else "to do ") + r.command())
    return
  try:
    failed = sweep.work(runs, streams=settings.streams)
  except interrupt.Interrupted as e:
    print(e, file=sys.stderr)
    sys.exit(interrupt.EXIT_CODE)
  for group in groups:
    if all((pathlib.Path(part) / run_summary.SUMMARY_FILE).exists() for part in group):
      fuse.fuse_runs(group, command=shlex.join(["python", *sys.argv]))
  if any(r.done() for r in runs):
    tables_job.run(None, workdir)
  if failed:
    raise ValueError(
      f"{len(failed)} of {len(runs)} runs failed ({', '.join(failed)}): see the log of "
      "each, fix the cause and sweep again; finished runs are kept."
    )
