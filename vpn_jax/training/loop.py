"""Training: the loop over steps, from the records to the summary of the run."""

from collections.abc import Callable, Iterator

import jax
import ml_collections

from vpn_jax import device_mesh
from vpn_jax.inputs import pipeline, protocol_data
from vpn_jax.models import networks
from vpn_jax.records import store
from vpn_jax.training import (
  cached_features,
  distillation,
  initialization,
  settings_check,
  train_step,
)
from vpn_jax.training import optimizer as optimizer_lib
from vpn_jax.training.held_out import HeldOut
from vpn_jax.training.monitor import Monitor
from vpn_jax.training.provenance import Provenance
from vpn_jax.training.session import Session, count


def train(
  config: ml_collections.ConfigDict,
  workdir: str,
  command: str = "",
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
  """Trains, resumes when `workdir` has a checkpoint, evaluates at the end.

  The stages before (`stages.plan`) are not trained here. Writes checkpoints,
  metrics.jsonl, TensorBoard scalars, predictions and summary.json.

  Args:
    config: of the session.
    workdir: its folder.
    command: that asked for it, for the summary.
    say: receives lines on how it goes.
  Returns: the metrics of the test part, with seconds per step and peak memory.
  Raises: interrupt.Interrupted after SIGTERM or SIGINT, when the state is saved;
    FloatingPointError for a loss or gradient that is not finite; ValueError when the
    data are not those of the checkpoint; OSError when something cannot be read or
    written.
  """
  settings_check.check(config)

  # Data
  index, data = _open_data(config)
  config, part = _for_records(config, index, data["train"]), data["train"]
  c = config.train
  steps_per_epoch = len(part) / c.batch_size
  total_steps = c.steps or max(1, round(c.epochs * steps_per_epoch))
  devices, key = device_mesh.make_mesh(), jax.random.key(config.seed)
  place = device_mesh.make_placer(devices)
  provenance = Provenance.of(index, part.protocol, _corrected(data))

  with Session(workdir, config, provenance, total_steps, say) as session:
    # Model
    model = networks.build(config.network, config.model.to_dict())
    joints = part.skeleton.num_joints * config.data.example.persons
    variables = initialization.fresh(model, part.settings, key, joints)
    if not session.done:
      variables = initialization.pretrain(
        model, variables, config.init, provenance, config.on_mismatch, session.say,
        coordinates=part.settings.coordinates,
      )  # fmt: skip

    # Optimizer
    settings, params = config.optimizer, variables["params"]
    optimizer = optimizer_lib.make_optimizer(settings, steps_per_epoch, total_steps)
    trainable = optimizer_lib.trainable(model, params, settings.rates.to_dict())

    # State, restored where the run goes on
    state = train_step.TrainState.start(variables, optimizer, trainable)
    state = session.restore(jax.device_put(state, device_mesh.whole(devices)))

    # Features of a frozen backbone
    if config.features.cached:
      model = cached_features.provide(
        model, config, data, index, state, session.say, session.watched
      )

    # Teacher of a student, which a finished one no longer needs
    teacher = None
    if session.done < total_steps:
      teacher = _teacher(config, model, provenance, state, devices)

    # Jit
    step_fn = train_step.make_train_step(
      model, optimizer, config.loss.to_dict(), c.accumulate, trainable,
      dict(config.get("distillation", {})),
    )  # fmt: skip
    step_fn = train_step.compile_step(step_fn, devices)
    held_out = HeldOut(model, config, data, place, session)
    monitor = Monitor(part.clips, session.checkpoints)

    # Loop
    session.say(_describe(config, data, state.params, total_steps))
    if held_out.missed(session.done):
      held_out.validate(session.done, state.variables())
    batches = _batches(part, config, session.done)
    for step in range(session.done + 1, total_steps + 1):
      batch = next(batches)
      clips = batch.pop("index")
      batch = place(batch)
      if teacher:
        batch["teacher"] = teacher(batch)
      state, metrics = step_fn(state, batch, key)  # folds the step into the key
      monitor.add(step, clips, metrics)
      session.stopwatch.step()
      if _every(c.log_every, step) or step in (session.done + 1, total_steps):
        session.report(step, monitor.flush())
      session.progress(step)
      asked, due = session.requests.arrived(), held_out.due(step)
      with session.stopwatch.pause():  # what is no part of a step
        if asked or due or step == total_steps or _every(c.save_every, step):
          monitor.settle()  # a bad state is never saved
          session.save(step, state)
        if asked:
          session.stop()
        if due:
          held_out.validate(step, state.variables())
    monitor.settle()

    # Test
    cost = session.cost(state.params)
    if corrected := _corrected(data):
      cost["corrected_labels"] = len(corrected)
    test = held_out.test(state.variables()) if "test" in data else {}
    return session.finish({**cost, **test}, command)


def _every(period: int, step: int) -> bool:
  """Whether a period ends with a step; a period of 0 never does."""
  return period > 0 and step % period == 0


def _open_data(config) -> tuple[store.Index, dict[str, pipeline.Part]]:
  """The index and the parts of the data; ValueError for settings that do not fit."""
  # A protocol may bring a validation part of its own, as Smarthome's do.
  may_lack = ("test",) if config.data.validation else ("validation", "test")
  return protocol_data.open_parts(
    config.data, ("train", "validation", "test"), may_lack=may_lack
  )


def _corrected(data: dict[str, pipeline.Part]) -> dict[str, str]:
  """Clip -> class, of the clips that train or validate with a corrected label."""
  parts = [part.corrected for name, part in data.items() if name != "test"]
  return {clip: name for part in parts for clip, name in part.items()}


def _for_records(config, index: store.Index, part: pipeline.Part):
  """A copy of a configuration with what is read from the records."""
  config = config.copy_and_resolve_references()
  config.model.num_classes = len(part.class_names)
  config.data.skeleton = config.model.pose.skeleton = index.skeleton
  config.data.example.coordinates = part.settings.coordinates
  config.model.pose.coordinates = part.settings.coordinates
  if config.network == "vpn":
    guided = config.model.attention != "none" and config.model.guide == "pose"
    config.model.pose_classifier = guided and config.loss.pose_weight > 0
  return config


def _teacher(config, model, provenance, state, devices):
  """The function batch -> what a student learns from its teacher; None for others."""
  if getattr(model, "guide", "pose") == "pose":
    if config.init.teacher:
      raise ValueError(
        f"config.init.teacher is {config.init.teacher!r}, and this row has a pose of "
        "its own: leave it out, or train model=student."
      )
    return None
  found = distillation.load_teacher(
    config.init.teacher, provenance, config.data.example.to_dict(), config.on_mismatch
  )
  variables = jax.device_get(state.variables())
  return distillation.make_teacher(*found, model, variables, devices)


def _batches(part: pipeline.Part, config, start: int) -> Iterator[pipeline.Batch]:
  """The training batches of this process, from the one after `start` steps."""
  return part.train_batches(
    config.train.batch_size,
    config.seed,
    balanced=config.data.balanced,
    start=start,
    shard=(jax.process_index(), jax.process_count()),
    threads=config.data.threads,
    workers=config.data.workers,
  )


def _describe(config, data, params: dict, total_steps: int) -> str:
  """A line of what trains on what."""
  return (
    f"{config.network} on {config.data.dataset} {config.data.protocol}: "
    f"{_clips(data['train'], 'training')}, {_clips(data.get('test'), 'test')}, "
    f"{count(params) / 1e6:.2f} M parameters, {total_steps} steps of "
    f"{config.train.batch_size} clips on {jax.device_count()} "
    f"{jax.devices()[0].platform} device(s)"
  )


def _clips(part: pipeline.Part | None, name: str) -> str:
  """How many clips a part has, and how many of their labels were corrected."""
  if part is None:
    return f"0 {name} clips"
  corrected = f" ({len(part.corrected)} labels corrected)" if part.corrected else ""
  return f"{len(part)} {name} clips{corrected}"
