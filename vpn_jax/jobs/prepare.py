"""The job "prepare": raw dataset -> records."""

import ml_collections

from vpn_jax.records import prepare


def run(config: ml_collections.ConfigDict, workdir: str = "") -> None:
  """The job "prepare"; `workdir` is not used."""
  if not config.prepare.verify:
    prepare.prepare(config.data, config.prepare, print)
    return
  from vpn_jax.records import verify  # slow to import

  report = verify.verify(config.data)
  print("\n".join(report.lines()))
  report.check()
