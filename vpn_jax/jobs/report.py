"""The job "report": a finished run as one HTML file."""

import pathlib

from vpn_jax.jobs import figures as figures_job
from vpn_jax.results import report


def run(config, workdir: str) -> None:
  """Writes workdir/report.html, after the job "figures" if it has not run yet.

  With `config.output`, the report and its figures are there instead.
  """
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of a finished run.")
  folder = pathlib.Path(config.output or workdir)
  figures = next(
    (p for p in (folder / "figures", pathlib.Path(workdir) / "figures") if p.is_dir()),
    None,
  )
  if figures is None:
    figures_job.run(config, workdir)
    figures = folder / "figures"
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / report.FILE
  path.write_text(report.page(workdir, figures))
  print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
