"""The job "prepare": raw dataset -> records."""

import ml_collections

from vpn_jax.records import prepare


def run(config: ml_collections.ConfigDict, workdir: str = "") -> None:
  """The job "prepare"; `workdir` is not used."""
  if config.prepare.verify:
    from vpn_jax.records import verify  # which draws: later in the list of modules

    verify.verify(config)
  else:
    prepare.prepare(config)
