"""Checks the settings of a run before anything is read, trained or written."""

import math

from vpn_jax import device_mesh
from vpn_jax.inputs import multi_view
from vpn_jax.training import losses
from vpn_jax.training import optimizer as optimizer_lib


def check(config) -> None:
  """Refuses what training would otherwise trip over at its end, or never notice.

  Args:
    config: of a run, or of the whole network whose stages are trained before.
  Raises: ValueError with the field, what it is and what was expected.
  """
  if multi_view.Inference(**config.inference).poses != "own":
    raise ValueError(
      "config.inference.shuffle_pose, rest_pose and damage are for --job=evaluate, got "
      "one of them in training: leave it out. The test at the end repeats itself with "
      "the first two as controls, and config.data.example.damage is that of training."
    )
  _check_numbers(config)
  c = config.train
  device_mesh.check_batch_size("config.train.batch_size", c.batch_size, c.accumulate)
  device_mesh.check_batch_size("config.train.eval_batch_size", c.eval_batch_size)
  optimizer_lib.check(config.optimizer)
  losses.check_label_smoothing(config.loss.label_smoothing)


def check_folder_of_runs(workdir: str) -> None:
  """ValueError for a folder whose runs could not be named in `config.init`."""
  if "," in workdir:
    raise ValueError(
      f"--workdir is {workdir!r}, expected a name without commas, which separate the "
      "runs that a network starts from: choose another folder."
    )


def _check_numbers(config) -> None:
  """ValueError for a length, a period, a rate or a seed that cannot be meant."""
  c, none = config.train, math.inf
  ranges = {
    "seed": (config.seed, 0, none),
    "train.steps": (c.steps, 0, none),
    "train.log_every": (c.log_every, 0, none),
    "train.save_every": (c.save_every, 0, none),
    "train.eval_every_epochs": (c.eval_every_epochs, 0, none),
    "model.dropout": (config.model.dropout, 0, 1),
  }
  for name, (value, low, high) in ranges.items():
    if not low <= value < high:
      expected = f"{low} or more" + (f", less than {high}" if high < none else "")
      raise ValueError(f"config.{name} is {value}, expected {expected}: correct it.")
  if not c.steps and not 0 < c.epochs < none:
    raise ValueError(
      f"config.train.epochs is {c.epochs}, expected a positive number, unless "
      "config.train.steps is set: correct it."
    )
  warmup = config.optimizer.warmup_epochs
  if not c.steps and warmup >= c.epochs:
    raise ValueError(
      f"config.optimizer.warmup_epochs is {warmup}, expected less than the "
      f"{c.epochs} epochs of config.train.epochs: lower it or train longer."
    )
