"""The job "figures": the pictures of finished runs."""

import pathlib

from vpn_jax import text
from vpn_jax.analysis import classes
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import catalogue
from vpn_jax.figures.runs import NotAvailableError, Runs


def open_runs(
  config, workdirs: tuple[str, ...], names: tuple[str, ...] | None = None
) -> Runs:
  """Reads the predictions of one run or two; records and networks follow on demand.

  Args:
    config: its blocks `figures` and `data`, `on_mismatch` and `output`.
    workdirs: a finished run, or the baseline and another.
    names: what figures call them; the ends of their paths by default.
  Raises: FileNotFoundError for a run without predictions; ValueError when the two are
    not of the same clips and classes.
  """
  predictions = tuple(predictions_lib.read(_tested(w, config.output)) for w in workdirs)
  if len(workdirs) == 2:
    classes.check_comparable(*predictions)
  return Runs(
    workdirs=workdirs,
    names=names or catalogue.run_names(workdirs),
    predictions=predictions,
    settings=config.figures,
    data=config.data.copy_and_resolve_references(),
    on_mismatch=config.on_mismatch,
  )


def _tested(workdir: str, output: str) -> pathlib.Path:
  """Where the test of a run is: in its workdir or, if not there, in `config.output`."""
  own, other = pathlib.Path(workdir) / "test", pathlib.Path(output) / "test"
  return other if output and not own.exists() and other.exists() else own


def run(config, workdir: str) -> None:
  """Writes <last workdir>/figures and prints the paths.

  With `config.output`, it writes <output>/figures instead.

  Leaves out figures that the runs do not allow, and prints the reason.

  Args:
    workdir: a finished run, or two separated by a comma, the baseline first.
  """
  workdirs = text.split_paths(workdir)
  if len(workdirs) not in (1, 2):
    raise ValueError(
      f"--workdir is {workdir!r}, expected a finished run, or two separated by a "
      "comma: the baseline and the run to compare."
    )
  figures = catalogue.chosen(config.figures.only)
  runs = open_runs(config, workdirs)
  folder = pathlib.Path(config.output or workdirs[-1]) / "figures"
  for name, draw in figures.items():
    try:
      figure, rows = draw(runs)
    except NotAvailableError as e:
      print(f"{name}: left out, {e}")
      continue
    picture, numbers = catalogue.save(folder, name, figure, rows)
    print(f"wrote {picture} and {numbers.name}")
