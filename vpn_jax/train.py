"""Training: the state, one pure step over a mesh of all devices, and the loop."""

import contextlib
import dataclasses
import pathlib
import resource
import sys
import time
from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh

from vpn_jax import (
  checkpoint,
  evaluate,
  inference,
  initial,
  losses,
  mesh,
  models,
  pipeline,
  report,
  tables,
)


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

  def variables(self) -> dict:
    return {"params": self.params, "batch_stats": self.batch_stats}


def make_optimizer(settings, steps_per_epoch: float) -> optax.GradientTransformation:
  """SGD with momentum whose rate falls by a factor after given epochs (section 4.1).

  Args:
    settings: kind ("sgd" or "adam"), learning_rate, momentum (of SGD), decay_epochs,
      decay_factor, clip_norm (of all gradients together; 0 for none).
    steps_per_epoch: clips divided by the global batch, not rounded.
  Raises: ValueError for an unknown kind.
  Reading: momentum 0.9; the paper does not name it.
  """
  if settings.kind not in ("sgd", "adam"):
    raise ValueError(
      f"config.optimizer.kind is {settings.kind!r}, expected 'sgd' or 'adam'."
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


def make_train_step(model, optimizer, loss_settings: dict) -> Callable:
  """The pure step (state, batch, key) -> (state, metrics); jit it with its shardings.

  The randomness of a step is `key` folded with the step's number. The metrics are means
  over the global batch; so are the statistics of BatchNorm.
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

  def train_step(state: TrainState, batch: dict, key: jax.Array):
    key = jax.random.fold_in(key, state.step)
    grads, (metrics, batch_stats) = jax.grad(loss_fn, has_aux=True)(
      state.params, state.batch_stats, batch, key
    )
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


class _Watch:
  """Holds the losses of recent steps and stops the run when one is not finite."""

  def __init__(self, clips: list[dict], workdir):
    self._clips, self._workdir, self._recent = clips, workdir, []

  def add(self, step: int, index: np.ndarray, metrics: dict) -> None:
    self._recent.append((step, index, metrics))

  def flush(self) -> dict[str, float]:
    """Means since the last flush; FloatingPointError names step and clips."""
    recent, self._recent = self._recent, []
    values = jax.device_get([metrics for _, _, metrics in recent])
    for (step, index, _), value in zip(recent, values):
      if not np.isfinite(value["loss"]):
        names = ", ".join(self._clips[i]["name"] for i in index)
        raise FloatingPointError(
          f"loss is {value['loss']} at step {step} on clips {names}: lower "
          "config.optimizer.learning_rate or look at these clips; the last good "
          f"checkpoint is in {pathlib.Path(self._workdir) / checkpoint.FOLDER}."
        )
    return {k: float(np.mean([v[k] for v in values])) for k in values[0]}


def peak_memory_gib() -> float:
  """Largest resident size of this process so far, GiB."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / (2**30 if sys.platform == "darwin" else 2**20)


def train(config: ml_collections.ConfigDict, workdir: str) -> dict[str, float]:
  """Trains, resumes when `workdir` has a checkpoint, evaluates at the end.

  Writes checkpoints, metrics.jsonl, TensorBoard scalars, predictions and summary.json.
  Returns: the metrics of the test part, with seconds per step and peak memory.
  """
  # Data
  # A protocol may bring a validation part of its own, as Smarthome's do.
  may_lack = ("test",) if config.data.validation else ("validation", "test")
  index, data = pipeline.open_parts(
    config.data, ("train", "validation", "test"), may_lack=may_lack
  )
  mesh.check_batch_size("config.train.batch_size", config.train.batch_size)
  mesh.check_batch_size("config.train.eval_batch_size", config.train.eval_batch_size)
  with (
    contextlib.closing(
      report.Report(workdir, config.train.tensorboard, not mesh.is_main())
    ) as out,
    contextlib.closing(checkpoint.Checkpoints(workdir)) as runs,
  ):
    return _train(config, workdir, index, data, out, runs)


def _train(config, workdir, index, data, out, runs) -> dict[str, float]:
  """`train` behind the opening of its data, report and checkpoints."""
  train_part = data["train"]
  inferred = inference.Inference(**config.inference)  # of the final test
  batch_size = config.train.batch_size
  steps_per_epoch = len(train_part) / batch_size
  total_steps = config.train.steps or max(
    1, round(config.train.epochs * steps_per_epoch)
  )
  shard = (jax.process_index(), jax.process_count())

  # Model
  config = ml_collections.ConfigDict(config)
  config.model.num_classes = len(train_part.class_names)
  config.data.skeleton = config.model.pose.skeleton = index.skeleton
  model = models.build(config.network, config.model.to_dict())
  joints = train_part.skeleton.num_joints * config.data.example.persons

  # Optimizer
  optimizer = make_optimizer(config.optimizer, steps_per_epoch)

  # State
  devices = mesh.make_mesh()
  place = mesh.make_placer(devices)
  key = jax.random.key(config.seed)
  variables = initial.fresh(model, train_part.settings, key, joints)
  provenance = checkpoint.Provenance.of(index, train_part.class_names)
  resumed = runs.latest_step() is not None
  if not resumed:
    variables, line = initial.pretrain(model, variables, config.init, index.skeleton)
    out.say(line)
  state = TrainState(
    step=jnp.zeros((), jnp.int32),
    opt_state=optimizer.init(variables["params"]),
    **variables,
  )
  state = jax.device_put(state, mesh.whole(devices))

  # Restore
  first_batch = 0
  if resumed:
    _, trained_on, first_batch = runs.about()
    trained_on.check(provenance)
    state = runs.restore(abstract(state))
    out.say(f"resumed from step {int(state.step)} in {workdir}")

  # Jit
  step_fn = compile_step(
    make_train_step(model, optimizer, config.loss.to_dict()), devices
  )
  score_step = evaluate.make_score_step(model)

  def eval_batches(part: str, inferred: inference.Inference):
    return data[part].eval_batches(
      config.train.eval_batch_size, inferred, shard=shard, threads=config.data.threads
    )

  def scores(part: str, step=score_step, inferred=inference.ONE_VIEW):
    return evaluate.predict(
      step,
      state.variables(),
      data[part],
      eval_batches(part, inferred),
      place,
      inferred,
    )

  def save(step: int, validation_accuracy=None) -> None:
    runs.save(
      step,
      state,
      config=config.to_dict(),
      provenance=provenance,
      batches_drawn=step,
      validation_accuracy=validation_accuracy,
    )

  batches = train_part.train_batches(
    batch_size,
    config.seed,
    start=first_batch,
    shard=shard,
    threads=config.data.threads,
    workers=config.data.workers,
  )
  parameters = sum(p.size for p in jax.tree.leaves(state.params))
  out.say(
    f"{config.network} on {index.dataset} {config.data.protocol}: "
    f"{len(train_part)} training clips, {len(data.get('test', ()))} test clips, "
    f"{parameters / 1e6:.2f} M parameters, {total_steps} steps of {batch_size} clips "
    f"on {jax.device_count()} {jax.devices()[0].platform} device(s)"
  )
  watch = _Watch(train_part.clips, workdir)
  loss, steady_from = float("nan"), None
  eval_steps = config.train.eval_every_epochs * steps_per_epoch
  began = time.monotonic()
  first_step = int(state.step) + 1
  for step in range(first_step, total_steps + 1):
    batch = next(batches)
    places = batch.pop("index")
    state, metrics = step_fn(state, place(batch), key)
    watch.add(step, places, metrics)
    if step % config.train.log_every == 0 or step in (first_step, total_steps):
      values = watch.flush()
      loss = values["loss"]
      out.scalars(step, {f"train/{name}": v for name, v in values.items()})
    steady_from = steady_from or time.monotonic()  # the first step also compiles
    out.progress(step, total_steps, batch_size, loss)
    ends_period = eval_steps and step // eval_steps > (step - 1) // eval_steps
    which = "validation" if "validation" in data else "test"
    if ends_period and step < total_steps and which in data:
      values = evaluate.metrics(scores(which))
      out.scalars(step, {f"{which}/{name}": v for name, v in values.items()})
      out.say(f"step {step}: {which} top-1 {values['top1']:.1f}")
      if which == "validation":  # the best is never chosen on the test part
        save(step, values["top1"])
    if step % config.train.save_every == 0 and step < total_steps:
      save(step)
  jax.block_until_ready(state)
  ended = time.monotonic()
  steady_steps = max(total_steps - first_step, 1)
  seconds_per_step = (ended - (steady_from or ended)) / steady_steps

  final = None
  if "validation" in data:
    values = evaluate.metrics(scores("validation"))
    out.scalars(total_steps, {f"validation/{name}": v for name, v in values.items()})
    final = values["top1"]
  save(total_steps, final)
  result = {
    "loss": loss,
    "steps": total_steps,
    "seconds": ended - began,
    "seconds_per_step": seconds_per_step,
    "train_clips_per_second": batch_size / max(seconds_per_step, 1e-9),
    "parameters": parameters,
  }
  if "test" in data:
    fields = inferred.network_fields(config.model.to_dict(), config.data.example)
    test_model = models.build(config.network, fields)
    test_step = score_step
    if test_model != model:
      test_step = evaluate.make_score_step(test_model)
    first = _first(eval_batches("test", inferred))
    test_step(state.variables(), place(first))  # compiles
    test_began = time.monotonic()
    predictions = scores("test", test_step, inferred)
    test_seconds = time.monotonic() - test_began
    values = evaluate.metrics(predictions)
    if mesh.is_main():
      evaluate.write(pathlib.Path(workdir) / "test", predictions, inferred)
    out.scalars(total_steps, {f"test/{name}": v for name, v in values.items()})
    speed = len(predictions.names) / max(test_seconds, 1e-9)
    result.update(values, eval_clips_per_second=speed)
    result["inference"] = dataclasses.asdict(inferred)
  result["peak_memory_gib"] = peak_memory_gib()
  trained_now = first_step <= total_steps  # else it was finished before
  if "test" in data and trained_now and mesh.is_main():
    tables.write_summary(workdir, config.to_dict(), result)
  return result


def _first(batches) -> dict:
  """The first batch without what only the host needs."""
  return {k: v for k, v in next(batches).items() if k not in ("index", "valid")}


def abstract(state: TrainState) -> TrainState:
  """Shapes, dtypes and shardings of a state, for `Checkpoints.restore`."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
  )


def run(config: ml_collections.ConfigDict, workdir: str) -> None:
  """The job "train": trains and prints one summary line."""
  if not workdir:
    raise ValueError("--workdir is empty, expected the folder of the run.")
  result = train(config, workdir)
  if not mesh.is_main():
    return
  tested = "no test clips among the records"
  if "top1" in result:
    tested = (
      f"top-1 {result['top1']:.1f}, top-5 {result['top5']:.1f}, mean class "
      f"{result['mean_class']:.1f} on {result['clips']} test clips"
      f"{evaluate.told(inference.Inference(**config.inference))}"
    )
  print(
    f"{workdir}: {tested}; loss {result['loss']:.4f} after {result['steps']} steps, "
    f"{result['seconds_per_step']:.3f} s/step, "
    f"{result['train_clips_per_second']:.1f} clips/s, "
    f"{result['peak_memory_gib']:.2f} GiB peak, {result['seconds']:.0f} s in all"
  )
