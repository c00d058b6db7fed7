"""One update: the state, and the pure step over a mesh of devices."""

from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jax import lax
from jax.sharding import Mesh

from vpn_jax import device_mesh
from vpn_jax.models import networks
from vpn_jax.training import distillation, losses


@flax.struct.dataclass
class TrainState:
  """Everything a step changes: frozen, a pytree.

  Attributes:
    step: number of updates made, int32 [].
    params, batch_stats: of the network.
    opt_state: of the optimizer, for the trainable parameters alone.
  """

  step: jax.Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState

  @classmethod
  def start(
    cls,
    variables: dict,
    optimizer: optax.GradientTransformation,
    trainable: dict | None = None,
  ):
    """The state before the first step, from {"params", "batch_stats"}.

    Args:
      trainable: that of `make_train_step`.
    """
    trained, _ = split(variables["params"], trainable)
    opt_state = optimizer.init(trained)
    return cls(step=jnp.zeros((), jnp.int32), opt_state=opt_state, **variables)

  def variables(self) -> dict:
    return {"params": self.params, "batch_stats": self.batch_stats}

  def abstract(self) -> "TrainState":
    """Its shapes, dtypes and shardings, for `Checkpoints.restore`."""
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), self
    )


def split(params: dict, trainable: dict | None) -> tuple[dict, dict]:
  """Separates nested parameters into those that train and those that are frozen.

  Args:
    trainable: a tree of bool like `params` (`optimizer.trainable`); None if all train.
  Returns: two trees; each lacks the leaves of the other.
  """
  if trainable is None:
    return params, {}
  marks = traverse_util.flatten_dict(trainable)
  parts = {True: {}, False: {}}
  for path, leaf in traverse_util.flatten_dict(params).items():
    parts[bool(marks[path])][path] = leaf
  return tuple(traverse_util.unflatten_dict(parts[k]) for k in (True, False))


def join(trained: dict, frozen: dict) -> dict:
  """The inverse of `split`."""
  flat = traverse_util.flatten_dict(trained) | traverse_util.flatten_dict(frozen)
  return traverse_util.unflatten_dict(flat)


def make_train_step(
  model,
  optimizer: optax.GradientTransformation,
  loss_settings: dict,
  accumulate: int = 1,
  trainable: dict | None = None,
  distilled: dict | None = None,
) -> Callable:
  """The pure step (state, batch, key) -> (state, metrics); jit it with its shardings.

  The randomness of a step is `key` folded with the step's number. The metrics are means
  over the global batch, and `gradient_norm`.

  Args:
    accumulate: micro-batches, one after the other, whose gradients are averaged to one
      update; every k-th clip makes one, so that none of them leaves its device.
      BatchNorm normalizes each by its own statistics, and its running statistics move
      once, by the mean of theirs: the step of one large batch normalized in k groups.
    trainable: a tree of bool like the parameters (`optimizer.trainable`), also given to
      `TrainState.start`; None if all train. The others have no gradient, no place in
      the optimizer's state, and leave the step as they entered it.
    distilled: `config.distillation`, where batches hold what a `teacher` says.
  """

  def loss_fn(trained, frozen, batch_stats, batch, key):
    (logits, out), updated = model.apply(
      {"params": join(trained, frozen), "batch_stats": batch_stats},
      *networks.inputs(model, batch),
      train=True,
      rngs={"dropout": key},
      mutable=["batch_stats"],
    )
    loss, terms = losses.total_loss(logits, out, batch["label"], **loss_settings)
    if "teacher" in batch:
      apart, more = distillation.distillation_loss(
        logits, out, batch["teacher"], **(distilled or {})
      )
      loss, terms = loss + apart, terms | more
    right = jnp.argmax(logits, axis=-1) == batch["label"]
    terms["accuracy"] = 100.0 * right.astype(jnp.float32)
    metrics = {name: jnp.mean(term) for name, term in {"loss": loss, **terms}.items()}
    return metrics["loss"], (metrics, updated.get("batch_stats", {}))

  gradient = jax.grad(loss_fn, has_aux=True)

  def accumulated(params, batch_stats, batch, key):
    def one(i, batch):
      grads, (metrics, stats) = gradient(
        *params, batch_stats, batch, jax.random.fold_in(key, i)
      )
      # As differences, statistics that stay are kept to the bit.
      return grads, metrics, jax.tree.map(jnp.subtract, stats, batch_stats)

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
    return grads, (metrics, jax.tree.map(jnp.add, batch_stats, moved))

  def train_step(state: TrainState, batch: dict, key: jax.Array):
    key = jax.random.fold_in(key, state.step)
    trained, frozen = split(state.params, trainable)
    if accumulate > 1:
      grads, (metrics, batch_stats) = accumulated(
        (trained, frozen), state.batch_stats, batch, key
      )
    else:
      grads, (metrics, batch_stats) = gradient(
        trained, frozen, state.batch_stats, batch, key
      )
    metrics["gradient_norm"] = optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, trained)
    state = TrainState(
      step=state.step + 1,
      params=join(optax.apply_updates(trained, updates), frozen),
      batch_stats=batch_stats,
      opt_state=opt_state,
    )
    return state, metrics

  return train_step


def compile_step(train_step: Callable, devices: Mesh) -> Callable:
  """Jits a step: state replicated and donated, batch split over the devices."""
  whole, split = device_mesh.whole(devices), device_mesh.split(devices)
  return jax.jit(
    train_step,
    in_shardings=(whole, split, whole),
    out_shardings=(whole, whole),
    donate_argnums=0,
  )
