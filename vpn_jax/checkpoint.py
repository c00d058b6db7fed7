"""Checkpoints (Orbax): the state, the place in the data, and what they belong to."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vpn_jax import records, skeletons

FOLDER = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Provenance:
  """What a network was trained on; evaluation on anything else is refused.

  Attributes:
    class_names: in logit order.
    skeleton, skeleton_digest: see `skeletons`.
    crop: the crop recipe of the records.
    index_digest: of the records; another one alone is no reason to refuse.
  """

  class_names: tuple[str, ...]
  skeleton: str
  skeleton_digest: str
  crop: dict
  index_digest: str

  @classmethod
  def of(cls, index: records.Index, class_names: tuple[str, ...]) -> "Provenance":
    return cls(
      class_names=tuple(class_names),
      skeleton=index.skeleton,
      skeleton_digest=skeletons.get(index.skeleton).digest(),
      crop=dict(index.crop),
      index_digest=index.digest(),
    )

  def check(self, data: "Provenance") -> None:
    """ValueError that names both sides when `data` does not fit this network."""
    remedy = "prepare the records the same way or use the run that belongs to them."
    for name in ("class_names", "skeleton", "skeleton_digest", "crop"):
      ours, theirs = getattr(self, name), getattr(data, name)
      if ours != theirs:
        raise ValueError(
          f"{name}: the checkpoint has {ours!r}, the data {theirs!r}: {remedy}"
        )


def _manager(workdir: str | pathlib.Path) -> ocp.CheckpointManager:
  """Keeps the last checkpoint and, where there is an accuracy, the best one."""
  keep = checkpoint_managers.AnyPreservationPolicy(
    [
      checkpoint_managers.LatestN(1),
      checkpoint_managers.BestN(
        n=1,
        get_metric_fn=lambda metrics: metrics["validation_accuracy"],
        keep_checkpoints_without_metrics=False,
      ),
    ]
  )
  return ocp.CheckpointManager(
    pathlib.Path(workdir).absolute() / FOLDER,
    item_handlers={
      "state": ocp.PyTreeCheckpointHandler(),
      "about": ocp.JsonCheckpointHandler(),
    },
    options=ocp.CheckpointManagerOptions(
      preservation_policy=keep, enable_async_checkpointing=False
    ),
  )


class Checkpoints:
  """The checkpoints of one workdir.

  A checkpoint holds `state` (parameters, statistics, optimiser, step) and `about`: the
  configuration, the provenance and the number of batches drawn, which is the place in
  the data.
  """

  def __init__(self, workdir: str | pathlib.Path):
    self.workdir = pathlib.Path(workdir)
    self._manager = _manager(workdir)

  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """Step of the best validation accuracy; the latest when nothing was validated."""
    return self._manager.best_step() or self.latest_step()

  def save(
    self,
    step: int,
    state,
    *,
    config: dict,
    provenance: Provenance,
    batches_drawn: int,
    validation_accuracy: float | None = None,
  ) -> None:
    """Writes a checkpoint at once or not at all; a step that is there is left alone."""
    if step in self._manager.all_steps():
      return
    about = {
      "config": config,
      "provenance": dataclasses.asdict(provenance),
      "batches_drawn": batches_drawn,
    }
    metrics = None
    if validation_accuracy is not None:
      metrics = {"validation_accuracy": validation_accuracy}
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeSave(state), about=ocp.args.JsonSave(about)
      ),
      metrics=metrics,
    )
    self._manager.wait_until_finished()

  def _step(self, step: int | None) -> int:
    step = self.latest_step() if step is None else step
    if step is None:
      raise FileNotFoundError(
        f"no checkpoint in {self.workdir / FOLDER}: train first with "
        f"--workdir={self.workdir}, or name the folder of a finished run."
      )
    return step

  def about(self, step: int | None = None) -> tuple[dict, Provenance, int]:
    """Returns (config, provenance, batches drawn) of a checkpoint, the latest if None.

    Raises: FileNotFoundError when there is none.
    """
    step = self._step(step)
    restored = self._manager.restore(
      step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
    )
    about = json.loads(json.dumps(restored["about"]))
    about["provenance"]["class_names"] = tuple(about["provenance"]["class_names"])
    return (
      about["config"],
      Provenance(**about["provenance"]),
      about["batches_drawn"],
    )

  def restore(self, abstract_state, step: int | None = None):
    """The state, placed on the devices that `abstract_state` names.

    Args:
      abstract_state: tree of `jax.ShapeDtypeStruct` with shardings; the devices may be
        others, and more or fewer, than those that wrote the checkpoint.
    Raises: FileNotFoundError when there is none, ValueError when shapes differ.
    """
    step = self._step(step)
    restored = self._restore_state(
      step, abstract_state, ocp.checkpoint_utils.construct_restore_args(abstract_state)
    )
    for (path, got), want in zip(
      jax.tree_util.tree_leaves_with_path(restored), jax.tree.leaves(abstract_state)
    ):
      if got.shape != want.shape:
        raise ValueError(
          f"{self.workdir}, step {step}: {jax.tree_util.keystr(path)} has shape "
          f"{got.shape}, the configuration asks for {want.shape}: use the "
          "configuration that trained it."
        )
    return restored

  def restore_variables(self, step: int | None = None) -> dict:
    """{"params", "batch_stats"} as numpy arrays, whatever network they belong to."""
    step = self._step(step)
    tree = self._manager.item_metadata(step)["state"].tree
    wanted = {k: tree[k] for k in ("params", "batch_stats")}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    return self._restore_state(step, wanted, as_numpy)

  def _restore_state(self, step: int, tree, restore_args):
    """The part of the saved state that `tree` names."""
    args = ocp.args.PyTreeRestore(
      item=tree, restore_args=restore_args, partial_restore=True
    )
    return self._manager.restore(step, args=ocp.args.Composite(state=args))["state"]

  def close(self) -> None:
    self._manager.close()


@contextlib.contextmanager
def reading(workdir: str | pathlib.Path) -> Iterator[Checkpoints]:
  """The checkpoints of a trained run, for a `with` statement; makes no folder.

  Raises: FileNotFoundError when there is no such folder.
  """
  if not pathlib.Path(workdir).is_dir():  # Orbax would make it
    raise FileNotFoundError(
      f"no checkpoint in {workdir}, which is no folder: train first with "
      f"--workdir={workdir}, or name the folder of a finished run."
    )
  runs = Checkpoints(workdir)
  try:
    yield runs
  finally:
    runs.close()
