"""The job "report": a finished run as one HTML file."""

import pathlib

from vpn_jax.jobs import figures as figures_job
from vpn_jax.results import report_page


def run(config, workdir: str) -> None:
  """The job "report": draws what is not drawn yet and writes workdir/report.html."""
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of a finished run.")
  if not (pathlib.Path(workdir) / "figures").is_dir():
    figures_job.run(config, workdir)
  path = pathlib.Path(workdir) / report_page.FILE
  path.write_text(report_page.page(workdir))
  print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
