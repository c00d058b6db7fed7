"""Training: the loop over steps, what it watches, saves and leaves behind."""

import contextlib
import dataclasses
import pathlib
import time

import jax
import ml_collections
import numpy as np

from vpn_jax import device_mesh, interrupt
from vpn_jax.evaluation import predictions as predictions_lib
from vpn_jax.evaluation import scoring
from vpn_jax.inputs import multi_view, pipeline
from vpn_jax.models import networks
from vpn_jax.training import (
  cached_features,
  checkpoint,
  initialization,
  metrics_writer,
  run_summary,
  train_step,
)
from vpn_jax.training import optimizer as optimizer_lib
from vpn_jax.training.provenance import TO_RESUME, Provenance, changed_settings

AHEAD = 2  # steps given to the devices before the first of them is waited for


class _Watch:
  """Holds the metrics of recent steps and stops the run when one is not finite."""

  def __init__(self, clips: list[dict], runs: checkpoint.Checkpoints):
    self._clips, self._runs = clips, runs
    self._running, self._values = [], []

  def add(self, step: int, index: np.ndarray, metrics: dict) -> None:
    """Waits for the step before the last ones, so that few batches are held."""
    self._running.append((step, index, metrics))
    if len(self._running) > AHEAD:
      self._finish()

  def settle(self) -> None:
    """Waits for every step; FloatingPointError names the first bad one."""
    while self._running:
      self._finish()

  def _finish(self) -> None:
    step, index, metrics = self._running.pop(0)
    values = jax.device_get(metrics)
    for name in ("loss", "gradient_norm"):
      if not np.isfinite(values[name]):
        clips = ", ".join(self._clips[i]["name"] for i in index)
        latest = self._runs.latest_step()
        good = "there is no checkpoint yet"
        if latest is not None:
          folder = self._runs.workdir / checkpoint.FOLDER
          good = f"the last good checkpoint is step {latest} in {folder}"
        raise FloatingPointError(
          f"{name} is {values[name]} at step {step} on clips {clips}: lower "
          f"config.optimizer.learning_rate or look at these clips; {good}."
        )
    self._values.append(values)

  def flush(self) -> dict[str, float]:
    """Means since the last flush."""
    self.settle()
    values, self._values = self._values, []
    return {k: float(np.mean([v[k] for v in values])) for k in values[0]}


class _Clock:
  """Adds up what a run costs, from where an earlier part of it left off.

  Attributes:
    loss: the last one that was reported.
  """

  def __init__(self, before: checkpoint.Progress):
    self._before, self._began = before, time.monotonic()
    self._steady_from, self._steps = None, 0
    self.loss = before.loss

  def step(self) -> None:
    """A step was given to the devices; the first one also compiled."""
    if self._steady_from is None:
      self._steady_from = time.monotonic()
    else:
      self._steps += 1

  def progress(self) -> checkpoint.Progress:
    now = time.monotonic()
    steady = now - (self._steady_from or now)
    return checkpoint.Progress(
      seconds=self._before.seconds + now - self._began,
      steady_steps=self._before.steady_steps + self._steps,
      steady_seconds=self._before.steady_seconds + steady,
      peak_memory_gib=max(
        self._before.peak_memory_gib, metrics_writer.peak_memory_gib()
      ),
      loss=self.loss,
    )


def train(
  config: ml_collections.ConfigDict, workdir: str, command: str = ""
) -> dict[str, float]:
  """Trains, resumes when `workdir` has a checkpoint, evaluates at the end.

  The stages before (`stages.plan`) are not trained here.

  Args:
    command: that asked for it, for the summary.

  Writes checkpoints, metrics.jsonl, TensorBoard scalars, predictions and summary.json.

  Returns: the metrics of the test part, with seconds per step and peak memory.
  Raises: interrupt.Interrupted after SIGTERM or SIGINT, when the state is saved;
    FloatingPointError for a loss or gradient that is not finite; ValueError when the
    data are not those of the checkpoint; OSError when something cannot be read or
    written.
  """
  # A protocol may bring a validation part of its own, as Smarthome's do.
  may_lack = ("test",) if config.data.validation else ("validation", "test")
  index, data = pipeline.open_parts(
    config.data, ("train", "validation", "test"), may_lack=may_lack
  )
  c = config.train
  device_mesh.check_batch_size("config.train.batch_size", c.batch_size, c.accumulate)
  device_mesh.check_batch_size("config.train.eval_batch_size", c.eval_batch_size)
  with contextlib.ExitStack() as stack:
    runs = stack.enter_context(contextlib.closing(checkpoint.Checkpoints(workdir)))
    out = metrics_writer.Report(
      workdir,
      after=runs.latest_step() or 0,
      tensorboard=c.tensorboard,
      silent=not device_mesh.is_main(),
    )
    stack.enter_context(contextlib.closing(out))
    requests = stack.enter_context(interrupt.Requests(jax.process_count()))
    return _train(config, workdir, command, index, data, out, runs, requests)


def _train(
  config, workdir, command, index, data, out, runs, requests
) -> dict[str, float]:
  """`train` behind the opening of its data, report and checkpoints."""
  train_part = data["train"]
  inferred = multi_view.Inference(**config.inference)  # of the final test
  if inferred.poses != "own":
    raise ValueError(
      "config.inference.shuffle_pose and rest_pose are for --job=evaluate, got one of "
      "them in training: leave it out, the test at the end does both as controls."
    )
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
  if config.network == "vpn":
    config.model.pose_classifier = config.loss.pose_weight > 0
  model = networks.build(config.network, config.model.to_dict())
  joints = train_part.skeleton.num_joints * config.data.example.persons

  # Optimizer
  optimizer = optimizer_lib.make_optimizer(
    config.optimizer, steps_per_epoch, total_steps
  )

  # State
  devices = device_mesh.make_mesh()
  place = device_mesh.make_placer(devices)
  key = jax.random.key(config.seed)
  variables = initialization.fresh(model, train_part.settings, key, joints)
  provenance = Provenance.of(index, train_part.protocol)
  first_step = 1 + (runs.latest_step() or 0)
  if first_step == 1:
    variables, line = initialization.pretrain(
      model, variables, config.init, provenance, config.on_mismatch
    )
    out.say(line)
  trainable = optimizer_lib.trainable(
    model, variables["params"], config.optimizer.rates.to_dict()
  )
  state = train_step.TrainState.start(variables, optimizer, trainable)
  state = jax.device_put(state, device_mesh.whole(devices))

  # Restore
  clock = _Clock(checkpoint.Progress())
  if first_step > 1:
    about = runs.about()
    about.provenance.check(provenance, TO_RESUME, config.on_mismatch)
    changed = changed_settings(about.config, config.to_dict())
    state = runs.restore(state.abstract())
    clock = _Clock(about.progress)
    out.say(f"resumed from step {int(state.step)} in {workdir}")
    if changed:
      out.say(f"with settings changed since: {'; '.join(changed)}")

  # Features of a frozen backbone
  if config.features.cached:
    model = _with_features(config, model, data, index, state, inferred, out)

  # Jit
  step_fn = train_step.compile_step(
    train_step.make_train_step(
      model, optimizer, config.loss.to_dict(), config.train.accumulate, trainable
    ),
    devices,
  )
  score_step = scoring.ScoreStep(model)
  watch = _Watch(train_part.clips, runs)

  def save(step: int) -> None:
    watch.settle()  # a bad state is never saved
    runs.save(
      step,
      state,
      config=config.to_dict(),
      provenance=provenance,
      progress=clock.progress(),
    )

  def stop():
    raise interrupt.Interrupted(
      f"{workdir} was asked to stop: step {runs.latest_step()} of {total_steps} is "
      "saved, the same command goes on from there."
    )

  def eval_batches(part: str, inferred: multi_view.Inference, with_controls: bool):
    return data[part].eval_batches(
      config.train.eval_batch_size,
      inferred,
      with_controls=with_controls,
      shard=shard,
      threads=config.data.threads,
    )

  def scores(
    part: str, step=score_step, inferred=multi_view.ONE_VIEW, with_controls=False
  ):
    batches = requests.watch(eval_batches(part, inferred, with_controls), stop)
    return scoring.predict(
      step, state.variables(), data[part], batches, place, inferred
    )

  def validate(step: int) -> None:
    """Of a step that is saved; the best is never chosen on the test part."""
    values = predictions_lib.metrics(scores(held_out)["own"])
    out.scalars(step, {f"{held_out}/{name}": v for name, v in values.items()})
    out.say(f"step {step}: {held_out} top-1 {values['top1']:.1f}")
    runs.set_evaluated(step, held_out, values["top1"])

  held_out = "validation" if "validation" in data else "test"
  period = config.train.eval_every_epochs * steps_per_epoch

  def to_validate(step: int) -> bool:
    """Whether a period ends with this step; the test part has its turn at the end."""
    if step in (0, total_steps):
      return step > 0 and "validation" in data
    return bool(period and held_out in data and step // period > (step - 1) // period)

  batches = train_part.train_batches(
    batch_size,
    config.seed,
    start=first_step - 1,
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
  if to_validate(first_step - 1) and not runs.evaluated(first_step - 1, held_out):
    validate(first_step - 1)  # the run was stopped in the midst of it
  for step in range(first_step, total_steps + 1):
    batch = next(batches)
    places = batch.pop("index")
    state, metrics = step_fn(state, place(batch), key)
    watch.add(step, places, metrics)
    clock.step()
    if step % config.train.log_every == 0 or step in (first_step, total_steps):
      values = watch.flush()
      clock.loss = values["loss"]
      out.scalars(step, {f"train/{name}": v for name, v in values.items()})
    out.progress(step, total_steps, batch_size, clock.loss)
    asked = requests.arrived()
    due = to_validate(step)
    if asked or due or step == total_steps or step % config.train.save_every == 0:
      save(step)
    if asked:
      stop()
    if due:
      validate(step)
  watch.settle()

  progress = clock.progress()
  seconds_per_step = progress.steady_seconds / max(progress.steady_steps, 1)
  result = {
    "loss": progress.loss,
    "steps": total_steps,
    "seconds": progress.seconds,
    "seconds_per_step": seconds_per_step,
    "train_clips_per_second": batch_size / max(seconds_per_step, 1e-9),
    "parameters": parameters,
  }
  if "test" in data:
    fields = networks.inference_fields(
      config.model.to_dict(), config.data.example, inferred.views
    )
    test_model = networks.build(config.network, fields)
    if config.features.cached:
      test_model = test_model.clone(from_features=True)
    test_step = score_step
    if test_model != model:
      test_step = scoring.ScoreStep(test_model)
    with_controls = scoring.has_controls(test_model, data["test"], inferred)
    first = _first(eval_batches("test", inferred, with_controls))
    test_step(state.variables(), place(first))  # compiles
    test_began = time.monotonic()
    found = scores("test", test_step, inferred, with_controls)
    test_seconds = time.monotonic() - test_began
    predictions, extra = found["own"], predictions_lib.control_metrics(found)
    values = {**predictions_lib.metrics(predictions), **extra}
    if device_mesh.is_main():
      about = {**extra, **dataclasses.asdict(inferred)}
      predictions_lib.write(pathlib.Path(workdir) / "test", predictions, about)
    out.scalars(total_steps, {f"test/{name}": v for name, v in values.items()})
    speed = len(predictions.names) / max(test_seconds, 1e-9)
    result.update(values, eval_clips_per_second=speed)
    result["inference"] = dataclasses.asdict(inferred)
  result["peak_memory_gib"] = clock.progress().peak_memory_gib
  summary = pathlib.Path(workdir) / run_summary.SUMMARY_FILE
  # One that is there already says how these steps were trained: it stays.
  trained = first_step <= total_steps or not summary.exists()
  if "test" in data and trained and device_mesh.is_main():
    run_summary.write_summary(workdir, config.to_dict(), result, command)
  return result


def _with_features(config, model, data, index, state, inferred, out):
  """Gives the parts of the data their features; the network that takes them."""
  cached_features.check(
    config.model.to_dict(), config.network, config.data.example.views
  )
  folder = config.features.folder or pathlib.Path(config.data.records) / "features"
  variables = {
    name: tree["backbone"] for name, tree in jax.device_get(state.variables()).items()
  }
  for name, part in data.items():
    wanted = {None} if name == "train" else {multi_view.ONE_VIEW}
    if name == "test":
      wanted |= {inferred}
    for views in wanted:
      part.features[views] = cached_features.load_or_compute(
        part,
        views,
        folder=folder,
        index_digest=index.digest(),
        fields=config.model.to_dict(),
        variables=variables,
        batch_size=config.train.eval_batch_size,
        threads=config.data.threads,
        say=out.say,
      )
  return model.clone(from_features=True)


def _first(batches) -> dict:
  """The first batch without what only the host needs."""
  return {k: v for k, v in next(batches).items() if k not in ("index", "valid")}
