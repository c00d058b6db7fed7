"""The job "report": a finished run as one HTML file."""

import pathlib

from vpn_jax.jobs import figures as figures_job
from vpn_jax.results import report


def run(config, workdir: str) -> None:
  """Writes workdir/report.html, after the job "figures" if it has not run yet."""
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of a finished run.")
  if not (pathlib.Path(workdir) / "figures").is_dir():
    figures_job.run(config, workdir)
  path = pathlib.Path(workdir) / report.FILE
  path.write_text(report.page(workdir))
  print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
