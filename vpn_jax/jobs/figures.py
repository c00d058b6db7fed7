"""The job "figures": the pictures of finished runs."""

import pathlib

from vpn_jax.analysis import classes
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.figures import catalogue
from vpn_jax.figures.runs import Inputs, NotAvailableError


def run(config, workdir: str) -> None:
  """The job "figures": writes <last workdir>/figures and prints the paths.

  A figure that the runs do not allow is left out, and its reason printed.

  Args:
    workdir: a finished run, or two separated by a comma, the baseline first.
  """
  workdirs = tuple(word.strip() for word in workdir.split(",") if word.strip())
  if len(workdirs) not in (1, 2):
    raise ValueError(
      f"--workdir is {workdir!r}, expected a finished run, or two separated by a "
      "comma: the baseline and the run to compare."
    )
  asked = catalogue.chosen(config.figures.only)
  inputs = Inputs(
    config=config,
    workdirs=workdirs,
    names=catalogue.run_names(workdirs),
    predictions=tuple(predictions_lib.read(pathlib.Path(w) / "test") for w in workdirs),
  )
  if len(workdirs) == 2:
    classes.check_comparable(*inputs.predictions)
  folder = pathlib.Path(workdirs[-1]) / "figures"
  for name, draw in asked.items():
    try:
      figure, rows = draw(inputs)
    except NotAvailableError as e:
      print(f"{name}: left out, {e}")
      continue
    picture, numbers = catalogue.save(folder, name, figure, rows)
    print(f"wrote {picture} and {numbers.name}")
