"""A run under way: what it writes to its workdir, how it resumes and how it stops."""

import contextlib
import pathlib
from collections.abc import Callable, Iterable, Iterator

import jax
import ml_collections

from vpn_jax import device_mesh, file_locks, interrupt
from vpn_jax.training import checkpoint, metrics_writer, run_summary, train_step
from vpn_jax.training.progress import Progress, Stopwatch
from vpn_jax.training.provenance import TO_RESUME, Provenance, changed_settings


class Session:
  """The checkpoints, the report and the cost of a run, for a `with` statement.

  Attributes:
    done: the step that it goes on from, 0 for a new run.
    checkpoints: of its workdir.
    out: its report.
    requests: to stop it.
    stopwatch: its cost.
  """

  def __init__(
    self,
    workdir: str,
    config: ml_collections.ConfigDict,
    provenance: Provenance,
    total_steps: int,
    say: Callable[[str], None],
  ):
    """Opens nothing yet.

    Args:
      workdir: of the run.
      config, provenance: go into each checkpoint.
      total_steps: of the run.
      say: receives the lines of `say`.
    """
    self._callback = say
    self.workdir, self.total_steps = workdir, total_steps
    self._config, self._provenance = config, provenance
    self.stopwatch = Stopwatch(Progress())

  def __enter__(self) -> "Session":
    with contextlib.ExitStack() as stack:
      pathlib.Path(self.workdir).mkdir(parents=True, exist_ok=True)
      if device_mesh.is_main():
        busy = (
          f"another run is training in {self.workdir}: wait for it, stop it, or set "
          "--workdir to another folder."
        )
        stack.enter_context(file_locks.FileLock(self.workdir, busy)).hold(range(1))
      runs = checkpoint.Checkpoints(self.workdir)
      self.checkpoints = stack.enter_context(contextlib.closing(runs))
      self.done = runs.latest_step() or 0
      out = metrics_writer.MetricsWriter(
        self.workdir,
        after=self.done,
        tensorboard=self._config.train.tensorboard,
        silent=not device_mesh.is_main(),
        say=self._callback,
      )
      self.out = stack.enter_context(contextlib.closing(out))
      self.requests = stack.enter_context(interrupt.Requests(jax.process_count()))
      self._stack = stack.pop_all()
    return self

  def __exit__(self, *error) -> None:
    self._stack.__exit__(*error)

  def restore(self, state: train_step.TrainState) -> train_step.TrainState:
    """The state of the latest checkpoint; `state` itself in a new run.

    Raises: ValueError when the data or the settings do not fit the checkpoint.
    """
    if not self.done:
      return state
    about = self.checkpoints.about()
    about.provenance.check(self._provenance, TO_RESUME, self._config.on_mismatch)
    changed = changed_settings(about.config, self._config.to_dict())
    state = self.checkpoints.restore(state.abstract())
    self.stopwatch = Stopwatch(about.progress)
    self.say(f"resumed from step {int(state.step)} in {self.workdir}")
    if changed:
      self.say(f"with settings changed since: {'; '.join(changed)}")
    return state

  def say(self, line: str) -> None:
    """Hands on a line; see `MetricsWriter.say`."""
    self.out.say(line)

  def report(self, step: int, values: dict[str, float]) -> None:
    """Writes the means of the last steps."""
    self.stopwatch.loss = values["loss"]
    self.out.scalars(step, {f"train/{name}": v for name, v in values.items()})

  def progress(self, step: int) -> None:
    """Moves the bar to a step."""
    batch_size = self._config.train.batch_size
    self.out.progress(step, self.total_steps, batch_size, self.stopwatch.loss)

  def save(self, step: int, state: train_step.TrainState) -> None:
    """Writes a checkpoint; see `Checkpoints.save`."""
    self.checkpoints.save(
      step,
      state,
      config=self._config.to_dict(),
      provenance=self._provenance,
      progress=self.stopwatch.progress(),
    )

  def stop(self) -> None:
    """Raises interrupt.Interrupted, with the step that is saved."""
    step = self.checkpoints.latest_step()
    where = "before the first step"
    if step is not None:
      where = f"step {step} of {self.total_steps} is saved"
    raise interrupt.Interrupted(
      f"{self.workdir} was asked to stop: {where}, the same command goes on from there."
    )

  def watched(self, items: Iterable) -> Iterator:
    """The items, one after the other, until a request to stop.

    Several processes, which would all have to ask equally often, do not ask here.
    """
    if jax.process_count() > 1:
      return iter(items)
    return self.requests.watch(items, self.stop)

  @property
  def last_step(self) -> int:
    """The step at which the training ends, or ended, if it was longer before."""
    return max(self.total_steps, self.done)

  def cost(self, params: dict) -> dict[str, float]:
    """What a summary says of the training: loss, steps, seconds, parameters."""
    progress = self.stopwatch.progress()
    cost = progress.summary(self.last_step, self._config.train.batch_size)
    return {**cost, "parameters": count(params)}

  def finish(self, result: dict, command: str) -> dict:
    """Leaves the summary of a tested run; returns it with the peak of the memory.

    A summary that is there already says how these steps were trained: it stays, unless
    it is of fewer steps, from before the run was made longer.
    """
    peak = self.stopwatch.progress().peak_memory_gib
    result = {**result, "peak_memory_gib": peak}
    path = pathlib.Path(self.workdir) / run_summary.SUMMARY_FILE
    trained = self.done < self.total_steps or not path.exists()
    trained = trained or result["steps"] != run_summary.read_summary(path)[
      "result"
    ].get("steps")
    if "top1" in result and trained and device_mesh.is_main():
      config = self._config.to_dict()
      run_summary.write_summary(self.workdir, config, result, command)
    return result


def count(params: dict) -> int:
  """How many numbers a tree of parameters holds."""
  return sum(p.size for p in jax.tree.leaves(params))
