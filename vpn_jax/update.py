"""One update: the state, the optimiser, and the pure step over a mesh of devices."""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh

from vpn_jax import losses, mesh, models


@flax.struct.dataclass
class TrainState:
  """Everything a step changes: frozen, a pytree.

  Attributes:
    step: number of updates made, int32 [].
    params, batch_stats: of the network.
    opt_state: of the optimiser.
  """

  step: jax.Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState

  @classmethod
  def start(cls, variables: dict, optimizer: optax.GradientTransformation):
    """The state before the first step, from {"params", "batch_stats"}."""
    opt_state = optimizer.init(variables["params"])
    return cls(step=jnp.zeros((), jnp.int32), opt_state=opt_state, **variables)

  def variables(self) -> dict:
    return {"params": self.params, "batch_stats": self.batch_stats}

  def abstract(self) -> "TrainState":
    """Its shapes, dtypes and shardings, for `Checkpoints.restore`."""
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), self
    )


def make_optimizer(settings, steps_per_epoch: float) -> optax.GradientTransformation:
  """SGD with momentum whose rate falls by a factor after given epochs (section 4.1).

  Args:
    settings: kind ("sgd" or "adam"), learning_rate, momentum (of SGD), decay_epochs,
      decay_factor, clip_norm (of all gradients together; 0 for none).
    steps_per_epoch: clips divided by the global batch, not rounded.
  Raises: ValueError for an unknown kind, or epochs that are no numbers.
  Reading: momentum 0.9; the paper does not name it.
  """
  if settings.kind not in ("sgd", "adam"):
    raise ValueError(
      f"config.optimizer.kind is {settings.kind!r}, expected 'sgd' or 'adam'."
    )
  if not all(isinstance(e, (int, float)) for e in settings.decay_epochs):
    raise ValueError(
      f"config.optimizer.decay_epochs is {settings.decay_epochs}, expected numbers, "
      "such as (10,20)."
    )
  boundaries = np.array(
    [round(epoch * steps_per_epoch) for epoch in settings.decay_epochs], np.int32
  )

  def schedule(count):
    passed = jnp.sum(count >= boundaries).astype(jnp.float32)
    return settings.learning_rate * settings.decay_factor**passed

  if settings.kind == "adam":
    optimizer = optax.adam(schedule)
  else:
    optimizer = optax.sgd(schedule, momentum=settings.momentum)
  if settings.clip_norm:
    return optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimizer)
  return optimizer


def make_train_step(
  model, optimizer, loss_settings: dict, accumulate: int = 1
) -> Callable:
  """The pure step (state, batch, key) -> (state, metrics); jit it with its shardings.

  The randomness of a step is `key` folded with the step's number. The metrics are means
  over the global batch, and `gradient_norm`.

  Args:
    accumulate: micro-batches, one after the other, whose gradients are averaged to one
      update; every k-th clip makes one, so that none of them leaves its device.
      BatchNorm normalizes each by its own statistics, and its running statistics move
      once, by the mean of theirs: the step of one large batch normalized in k groups.
  """

  def loss_fn(params, batch_stats, batch, key):
    (logits, out), updated = model.apply(
      {"params": params, "batch_stats": batch_stats},
      *models.inputs(model, batch),
      train=True,
      rngs={"dropout": key},
      mutable=["batch_stats"],
    )
    loss, terms = losses.total_loss(logits, out, batch["label"], **loss_settings)
    right = jnp.argmax(logits, axis=-1) == batch["label"]
    terms["accuracy"] = 100.0 * right.astype(jnp.float32)
    metrics = {name: jnp.mean(term) for name, term in {"loss": loss, **terms}.items()}
    return metrics["loss"], (metrics, updated.get("batch_stats", {}))

  gradient = jax.grad(loss_fn, has_aux=True)

  def accumulated(state, batch, key):
    def one(i, batch):
      grads, (metrics, stats) = gradient(
        state.params, state.batch_stats, batch, jax.random.fold_in(key, i)
      )
      # As differences, statistics that stay are kept to the bit.
      return grads, metrics, jax.tree.map(jnp.subtract, stats, state.batch_stats)

    batches = jax.tree.map(
      lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch
    )
    first = (0, jax.tree.map(lambda x: x[0], batches))
    zeros = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(one, *first)
    )
    sums, _ = lax.scan(
      lambda sums, each: (jax.tree.map(jnp.add, sums, one(*each)), None),
      zeros,
      (jnp.arange(accumulate), batches),
    )
    grads, metrics, moved = jax.tree.map(lambda x: x / accumulate, sums)
    return grads, (metrics, jax.tree.map(jnp.add, state.batch_stats, moved))

  def train_step(state: TrainState, batch: dict, key: jax.Array):
    key = jax.random.fold_in(key, state.step)
    if accumulate > 1:
      grads, (metrics, batch_stats) = accumulated(state, batch, key)
    else:
      grads, (metrics, batch_stats) = gradient(
        state.params, state.batch_stats, batch, key
      )
    metrics["gradient_norm"] = optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    state = TrainState(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      batch_stats=batch_stats,
      opt_state=opt_state,
    )
    return state, metrics

  return train_step


def compile_step(train_step: Callable, devices: Mesh) -> Callable:
  """Jits a step: state replicated and donated, batch split over the devices."""
  whole, split = mesh.whole(devices), mesh.split(devices)
  return jax.jit(
    train_step,
    in_shardings=(whole, split, whole),
    out_shardings=(whole, whole),
    donate_argnums=0,
  )
