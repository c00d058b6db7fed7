"""The optimizer: rates over time and by part of the network, and what trains at all."""

import math

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from vpn_jax.models import networks

KINDS = ("sgd", "adam", "adamw")
SCHEDULES = ("steps", "cosine")
PARTS = ("visual_backbone", "pose_backbone", "new")


def part_of(module: str) -> str:
  """The part of the network, one of PARTS, that a top-level module belongs to."""
  if module.startswith("backbone"):
    return "visual_backbone"
  return "pose_backbone" if module == "pose_backbone" else "new"


def trainable(model, params: dict, rates: dict[str, float]) -> dict:
  """Marks the parameters that train, for `train_step.make_train_step`.

  Args:
    model: the network, whose settings freeze layers (`networks.trainable`).
    params: its parameters, or their shapes.
    rates: multiplier of the learning rate by part. A part of rate 0 keeps its weights;
      the running statistics of its BatchNorm still follow the data, other than those
      of layers that the network's settings freeze.
  Returns: a tree of bool like `params`.
  Raises: ValueError when nothing trains.
  """
  mask = traverse_util.path_aware_map(
    lambda path, trains: trains and rates[part_of(path[0])] > 0,
    networks.trainable(model, params),
  )
  if not any(jax.tree.leaves(mask)):
    raise ValueError(
      f"no parameter trains, config.optimizer.rates are {dict(rates)}, expected a "
      "positive rate for a part that is not frozen: raise one of them."
    )
  return mask


def make_schedule(settings, steps_per_epoch: float, total_steps: int) -> optax.Schedule:
  """Learning rate by the number of updates made, before the multiplier of a part.

  Args:
    settings: see `make_optimizer`.
    steps_per_epoch: clips divided by the global batch, not rounded.
    total_steps: updates of the whole training.
  Returns: a function of the count, an int or int32 [], to float32 [].
  Raises: ValueError when the warm-up takes the whole training.
  """
  warmup = round(settings.warmup_epochs * steps_per_epoch)
  if warmup and warmup >= total_steps:
    raise ValueError(
      f"config.optimizer.warmup_epochs is {settings.warmup_epochs}, {warmup} of "
      f"{total_steps} steps, expected less than the training: lower it or train longer."
    )
  if settings.schedule == "cosine":
    schedule = optax.cosine_decay_schedule(settings.learning_rate, total_steps - warmup)
  else:
    scales = {}
    for epoch in settings.decay_epochs:  # counted from the start, warm-up included
      step = round(epoch * steps_per_epoch) - warmup
      scales[step] = scales.get(step, 1.0) * settings.decay_factor
    schedule = optax.piecewise_constant_schedule(settings.learning_rate, scales)
  if warmup:
    rise = optax.linear_schedule(0.0, settings.learning_rate, warmup)
    schedule = optax.join_schedules([rise, schedule], [warmup])
  # As a float32, since optax mixes the types of the count and of the rate.
  return lambda count: schedule(jnp.asarray(count, jnp.float32))


def make_optimizer(
  settings, steps_per_epoch: float, total_steps: int
) -> optax.GradientTransformation:
  """By default SGD with momentum whose rate falls after given epochs (section 4.1).

  Args:
    settings: the block `config.optimizer`:
      kind: "sgd", "adam" or "adamw".
      learning_rate: the highest one.
      momentum: of SGD.
      schedule: "steps" multiplies the rate by decay_factor after each of decay_epochs;
        "cosine" lets it fall to 0 at the end of training.
      decay_epochs, decay_factor: of "steps"; fractions of an epoch are allowed.
      warmup_epochs: over which the rate rises linearly from 0; 0 for none.
      weight_decay: of kernels (more than one axis), not of biases and normalization.
        "sgd" and "adam" add it times the kernel to the gradient, before momentum and
        after clipping; "adamw" adds it to the update. Both are scaled by the rate.
      clip_norm: of all gradients together; 0 for none.
      rates: multiplier of the learning rate by part of the network (PARTS).
    steps_per_epoch, total_steps: see `make_schedule`.
  Returns: a transformation of the trainable parameters alone, so parts of rate 0
    (`trainable`) are not among what it gets. With equal rates its state has the layout
    of one optimizer, else that of `optax.multi_transform`.
  Raises: ValueError for an unknown name, or a value that is not a number of 0 or more.
  Reading: momentum 0.9; the paper does not name it.
  """
  check(settings)
  schedule = make_schedule(settings, steps_per_epoch, total_steps)
  rates = {part: rate for part, rate in settings.rates.items() if rate}
  if len(set(rates.values())) == 1:
    optimizer = _of_one_part(settings, schedule, next(iter(rates.values())))
  else:
    optimizer = optax.multi_transform(
      {part: _of_one_part(settings, schedule, rate) for part, rate in rates.items()},
      lambda params: traverse_util.path_aware_map(lambda p, _: part_of(p[0]), params),
    )
  if settings.clip_norm:
    return optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimizer)
  return optimizer


def _of_one_part(
  settings, schedule: optax.Schedule, rate: float
) -> optax.GradientTransformation:
  """The optimizer without clipping, at a multiple of the schedule."""

  def learning_rate(count):
    return rate * schedule(count)

  def kernels(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)

  decay = settings.weight_decay
  if settings.kind == "adamw":
    return optax.adamw(learning_rate, weight_decay=decay, mask=kernels)
  if settings.kind == "adam":
    optimizer = optax.adam(learning_rate)
  else:
    optimizer = optax.sgd(learning_rate, momentum=settings.momentum)
  if decay:
    return optax.chain(optax.add_decayed_weights(decay, mask=kernels), optimizer)
  return optimizer


def _is_number(value) -> bool:
  return isinstance(value, (int, float)) and 0 <= value < math.inf


def check(settings) -> None:
  """ValueError for a value of `config.optimizer` that cannot be meant."""
  for name, known in (("kind", KINDS), ("schedule", SCHEDULES)):
    if settings[name] not in known:
      raise ValueError(
        f"config.optimizer.{name} is {settings[name]!r}, expected one of {known}: "
        "choose one of them."
      )
  if set(settings.rates) != set(PARTS):
    raise ValueError(
      f"config.optimizer.rates names {sorted(settings.rates)}, expected {PARTS}: give "
      "each of these parts a rate, 1.0 for the learning rate itself."
    )
  if not isinstance(settings.decay_epochs, (list, tuple)) or not all(
    _is_number(epoch) for epoch in settings.decay_epochs
  ):
    raise ValueError(
      f"config.optimizer.decay_epochs is {settings.decay_epochs!r}, expected numbers "
      "of 0 or more, such as (10,20): correct them, or give () for no decay."
    )
  values = {name: settings[name] for name in _NUMBERS}
  values.update({f"rates.{part}": rate for part, rate in settings.rates.items()})
  for name, value in values.items():
    if not _is_number(value):
      raise ValueError(
        f"config.optimizer.{name} is {value!r}, expected a number of 0 or more: "
        "correct it."
      )
  if not any(settings.rates.values()):
    raise ValueError(
      f"config.optimizer.rates are all 0, expected a positive one of {PARTS}: raise "
      "the rate of the part that is to train."
    )


_NUMBERS = (
  "learning_rate",
  "momentum",
  "decay_factor",
  "warmup_epochs",
  "weight_decay",
  "clip_norm",
)
