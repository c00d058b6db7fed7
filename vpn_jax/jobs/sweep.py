"""The job "sweep": the runs of whole tables, then the tables."""

import functools
import pathlib
import shlex
import sys

from vpn_jax import interrupt, text
from vpn_jax.evaluation import fusion
from vpn_jax.jobs import fuse
from vpn_jax.jobs import tables as tables_job
from vpn_jax.results import paper, sweep, sweep_plan
from vpn_jax.training import run_summary, settings_check

SCRIPT_FILE = "sweep.sh"  # all commands, in the folder of the runs
OF_EACH_RUN = ("--config.seed=", "--config.data.protocol=")
# Word of --config -> rows that do not have it: they train more than a head on one
# backbone, or are the paper's as they stand.
ROWS_WITHOUT = {"frozen=True": ("I3D, continued", "I3D+NL", "P-I3D")}
ROWS_WITHOUT["start=heads"] = (*ROWS_WITHOUT["frozen=True"], "Separable STA", "Student")


def _rows(settings, config_argument: str) -> tuple[tuple[str, ...], str]:
  """What to run and what to fuse of it.

  Returns: the rows of `config.sweep`, with the parts of fusions instead of their names
    and without those that the --config does not allow; and `config.sweep.fuse` with the
    fusions that are among the rows.
  """
  rows = text.split_words(settings.rows, ";")
  if not rows:
    tables = (paper.TABLES[int(n)] for n in text.split_words(settings.tables))
    rows = tuple(dict.fromkeys(row for table in tables for row in table.rows))
  for word, without in ROWS_WITHOUT.items():
    if word in config_argument:
      rows = tuple(row for row in rows if row not in without)
  parts = [paper.FUSIONS.get(row, (row,)) for row in rows]
  fused = [fusion.JOIN.join(group) for group in parts if len(group) > 1]
  single = tuple(dict.fromkeys(row for group in parts for row in group))
  return single, "; ".join(filter(None, [settings.fuse, *fused]))


def run(config, workdir: str) -> None:
  """Runs the rows of `config.sweep`, fuses those of `config.sweep.fuse`, then "tables".

  Writes sweep.sh, all commands in order, to `workdir`. Flags of this command other than
  those of the sweep are given to every run.
  """
  if not workdir:
    raise ValueError("--workdir is empty, expected a folder for all runs.")
  settings_check.check_folder_of_runs(workdir)
  settings = config.sweep
  numbers = text.split_words(settings.tables)
  seeds = text.split_words(settings.seeds)
  if not ({*numbers} <= {*map(str, paper.TABLES)} and all(map(str.isdigit, seeds))):
    raise ValueError(
      f"config.sweep has tables {settings.tables!r} and seeds {settings.seeds!r}, "
      "expected such as 1,2,3,4 (of 1 to 7) and 0,1,2."
    )
  words = text.joined_flags(sys.argv[1:])
  if own := [word for word in words if word.startswith(OF_EACH_RUN)]:
    raise ValueError(
      f"{own[0]} would be that of every run of the sweep: leave it out, "
      "config.sweep.seeds and config.sweep.protocols say which there are."
    )
  chosen = [w.partition("=")[2] for w in words if w.startswith("--config=")][-1]
  seeds = tuple(map(int, seeds))
  protocols = text.split_words(settings.protocols)
  rows, fused = _rows(settings, chosen)
  runs = sweep_plan.plan(
    chosen,
    workdir,
    rows=rows,
    protocols=protocols,
    seeds=seeds,
    stages=config.stages,
    flags=tuple(
      word
      for word in words
      if word.startswith("--config.") and not word.startswith("--config.sweep.")
    ),
  )
  groups = sweep_plan.fusions(fused, chosen, workdir, protocols, seeds)
  script = pathlib.Path(workdir) / SCRIPT_FILE
  script.parent.mkdir(parents=True, exist_ok=True)
  commands = [r.command() for r in runs]
  title = f"# {len(runs)} runs, dependencies first"
  script.write_text("\n".join([title, *commands]) + "\n")
  done = sum(r.done() for r in runs)
  print(f"{len(runs)} runs, {done} done; commands in {script}")
  for r in runs:
    if r.done() and (changes := r.changes()):
      print(f"{r.workdir} is done, with other settings: {'; '.join(changes)}")
  if settings.dry_run:
    for r in runs:
      print(("done  " if r.done() else "to do ") + r.command())
    return
  try:
    say = functools.partial(print, flush=True)
    failed = sweep.work(runs, parallel=settings.parallel, say=say)
  except interrupt.Interrupted as e:
    print(e, file=sys.stderr)
    sys.exit(interrupt.EXIT_CODE)
  for group in groups:
    if all((pathlib.Path(part) / run_summary.SUMMARY_FILE).exists() for part in group):
      fuse.fuse_runs(group, command=shlex.join(["python", sys.argv[0], *words]))
  if any(r.done() for r in runs):
    tables_job.run(None, workdir)
  if failed:
    raise ValueError(
      f"{len(failed)} of {len(runs)} runs failed ({', '.join(failed)}): see the log of "
      "each, fix the cause and sweep again; finished runs are kept."
    )
