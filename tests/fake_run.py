"""Writes a run without training."""

import jax
import numpy as np

from vpn_jax.inputs import example
from vpn_jax.models import networks
from vpn_jax.training import checkpoint, initialization

# The entries of a summary that a table reads.
RESULT = {
  "top1": 50.0,
  "mean_class": 40.0,
  "train_clips_per_second": 10.0,
  "eval_clips_per_second": 30.0,
  "seconds": 120.0,
  "parameters": 2_500_000,
}


def save_network(config, folder, provenance):
  """Writes a checkpoint of random weights to `folder`."""
  model = networks.build(config.network, config.model.to_dict())
  settings = example.Settings(**config.data.example)
  variables = initialization.fresh(
    model, settings, jax.random.key(0), 25 * settings.persons
  )
  rng = np.random.default_rng(0)  # initial attention is zero
  noise = jax.tree.map(
    lambda x: np.float32(0.3) * rng.normal(size=x.shape).astype(np.float32),
    variables["params"],
  )
  params = jax.tree.map(np.add, jax.device_get(variables["params"]), noise)
  runs = checkpoint.Checkpoints(folder)
  runs.save(
    3,
    {"params": params, "batch_stats": variables["batch_stats"]},
    config=config.to_dict(),
    provenance=provenance,
  )
  runs.close()
