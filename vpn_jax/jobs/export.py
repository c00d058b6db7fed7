"""The job "export": a trained network in one file."""

import pathlib

from vpn_jax import text
from vpn_jax.inference import export as export_lib
from vpn_jax.inference import serve, trained_network


def run(config, workdir: str) -> None:
  """Exports the network of a run to `config.export.file`; prints its inputs."""
  settings = config.export
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of a trained run.")
  if not settings.file:
    raise ValueError(
      "config.export.file is not set: add --config.export.file=<file to write>, such "
      "as vpn.zip."
    )
  platforms = text.split_words(settings.platforms)
  network = trained_network.load(workdir, temperature=config.inference.temperature)
  about = export_lib.export(network, settings.file, settings.batch, platforms)
  size = pathlib.Path(settings.file).stat().st_size / 2**20
  print(
    f"wrote {settings.file}: {workdir}, step {about['step']}, {size:.1f} MiB, for "
    f"{', '.join(platforms)}\ninputs:\n{serve.expected(about)}\n"
    f"try: python -m vpn_jax.inference.serve {settings.file}"
  )
