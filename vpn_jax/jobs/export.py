"""The job "export": a trained network in one file."""

import pathlib

from vpn_jax.inference import export as export_lib
from vpn_jax.inference import serve, trained_network


def run(config, workdir: str) -> None:
  """The job "export": prints what the file takes."""
  settings = config.export
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of a trained run.")
  if not settings.file:
    raise ValueError(
      "config.export.file is not set: add --config.export.file=<what to write>, such "
      "as vpn.zip."
    )
  platforms = tuple(filter(None, settings.platforms.split(",")))
  about = export_lib.export(
    trained_network.load(workdir), settings.file, settings.batch, platforms
  )
  size = pathlib.Path(settings.file).stat().st_size / 2**20
  print(
    f"wrote {settings.file}: {workdir}, step {about['step']}, {size:.1f} MiB, for "
    f"{', '.join(platforms)}\ninputs:\n{serve.expected(about)}\n"
    f"try: python -m vpn_jax.inference.serve {settings.file}"
  )
