"""Checkpoints (Orbax): the state, the position in the data, and what they belong to."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from vpn_jax import files
from vpn_jax.models import networks
from vpn_jax.training import checksums, disk
from vpn_jax.training.progress import Progress
from vpn_jax.training.provenance import Provenance, code

FOLDER = "checkpoints"
# The parameter of an attention=aligned that no version computes any more.
_LEARNED_SHARE = "joint_share"
EVALUATED_FILE = "evaluated.json"


def _read_evaluated(path: pathlib.Path) -> dict[str, dict[str, float]]:
  """part -> step -> accuracy, {} without the file; ValueError when it is damaged."""
  if not path.exists():
    return {}
  try:
    return {
      part: {str(int(step)): float(value) for step, value in found.items()}
      for part, found in json.loads(path.read_text()).items()
    }
  except (ValueError, TypeError, AttributeError, RecursionError) as e:
    raise ValueError(
      f"{path} is damaged ({e}): copy it again from where it came, or delete it, and "
      "the latest checkpoint counts as the best."
    ) from e


def _one_line(error: Exception) -> str:
  return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _paths(tree) -> set[str]:
  """The paths of the leaves, the same for a state and for Orbax's metadata of it."""
  return {
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, _ in jax.tree_util.tree_leaves_with_path(tree)
  }


class _Keep:
  """Orbax's preservation policy: the latest checkpoint and the best one stay."""

  def __init__(self, best: Callable[[list[int]], int | None]):
    self._best = best

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    steps = [found.step for found in checkpoints]
    keep = {max(steps, default=None), self._best(steps)}
    return [step in keep for step in steps]


@dataclasses.dataclass(frozen=True)
class About:
  """What a checkpoint says about itself.

  Attributes:
    config: the configuration that trained it.
    provenance: what it belongs to.
    progress: of the run, its cost.
    code: commit of this repository ("" outside git) and versions of what it runs on.
  """

  config: dict
  provenance: Provenance
  progress: Progress
  code: dict[str, str]


class Checkpoints:
  """The checkpoints of one workdir: the latest one and the best one.

  A checkpoint holds `state` (parameters, statistics, optimiser, step) and `about`. The
  step is also the position in the data: batches are drawn in an order of their own.
  evaluated.json beside them has what was evaluated on the way.

  Args:
    workdir: of the run.
    read_only: True leaves alone what is there, also what another process is writing.
  Raises: ValueError when what is there cannot be listed.
  """

  def __init__(self, workdir: str | pathlib.Path, read_only: bool = False):
    self.workdir = pathlib.Path(workdir)
    self._sound: set[int] = set()  # steps whose files were compared
    self._warned = False  # of an earlier version
    self._evaluated = _read_evaluated(self.workdir / EVALUATED_FILE)
    with self._in_one_line(None):
      self._manager = self._open(read_only)
    if not self._manager.all_steps():  # of an earlier run in this folder
      self._evaluated = {}

  def _open(self, read_only: bool) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
      self.workdir.absolute() / FOLDER,
      item_handlers={
        "state": ocp.PyTreeCheckpointHandler(),
        "about": ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(
        preservation_policy=_Keep(self._best),
        enable_async_checkpointing=False,
        # Left by a save that was killed; while reading, it may be a save under way.
        cleanup_tmp_directories=not read_only,
        create=not read_only,
      ),
    )

  def _best(self, steps: list[int]) -> int | None:
    """The step of the highest accuracy among these, the later of equals."""
    known = [step for step in steps if self.evaluated(step, "validation")]
    found = self._evaluated.get("validation", {})
    return max(known, key=lambda step: (found[str(step)], step), default=None)

  def latest_step(self) -> int | None:
    return self._manager.latest_step()

  def best_step(self) -> int | None:
    """Step of the best validation accuracy; the latest when nothing was validated."""
    return self._best(self._manager.all_steps()) or self.latest_step()

  def evaluated(self, step: int, part: str) -> bool:
    """Whether `set_evaluated` was called for a step and a part."""
    return str(step) in self._evaluated.get(part, {})

  def set_evaluated(self, step: int, part: str, accuracy: float) -> None:
    """Notes the accuracy of a step, whose checkpoint is there already.

    Args:
      part: "validation" decides which checkpoint is the best; "test" never does.
    """
    self._evaluated.setdefault(part, {})[str(step)] = accuracy
    if jax.process_index() == 0:
      text = json.dumps(self._evaluated, indent=1) + "\n"
      files.write_text(self.workdir / EVALUATED_FILE, text)

  def save(
    self,
    step: int,
    state,
    *,
    config: dict,
    provenance: Provenance,
    progress: Progress | None = None,
  ) -> None:
    """Writes a checkpoint at once or not at all; a step that is there is left alone.

    Raises: OSError when it cannot be written, such as on a full disk; the checkpoint
      before it is still there.
    """
    if step in self._manager.all_steps():
      return
    before = self.latest_step()
    about = {
      "config": config,
      "provenance": provenance.to_dict(),
      "progress": dataclasses.asdict(progress or Progress()),
      "code": code(),
    }
    try:
      if jax.process_index() == 0:  # those of an earlier run, if any
        disk.check_room(self.workdir, sum(x.nbytes for x in jax.tree.leaves(state)))
        checksums.remove(self.workdir, step)
      with disk.quiet():
        self._manager.save(
          step,
          args=ocp.args.Composite(
            state=ocp.args.PyTreeSave(state), about=ocp.args.JsonSave(about)
          ),
        )
        self._manager.wait_until_finished()
      if jax.process_index() == 0:
        checksums.write(self.workdir, self._folder(step), self._manager.all_steps())
    except Exception as e:  # Orbax and tensorstore raise various kinds
      kept = f"step {before} is" if before is not None else "no earlier step is"
      raise OSError(
        f"could not save step {step} in {self.workdir / FOLDER} ({_one_line(e)}), "
        f"{kept} there: look at the space and the rights of that disk, then give the "
        "same command again."
      ) from e

  def _folder(self, step: int) -> pathlib.Path:
    return self.workdir / FOLDER / str(step)

  @contextlib.contextmanager
  def _in_one_line(self, step: int | None) -> Iterator[None]:
    """Makes one line of whatever Orbax raises while it reads a step, or lists them."""
    try:
      if step is not None and step not in self._sound:
        if checksums.compare(self.workdir, self._folder(step)):
          self._sound.add(step)
      yield
    except Exception as e:  # Orbax and TensorStore raise many kinds on damaged files
      reason, folder = _one_line(e), self.workdir / FOLDER
      if step is None:
        raise ValueError(
          f"the checkpoints in {folder} cannot be listed ({reason}): move that folder "
          "away and train again, or copy it again from where it came."
        ) from e
      others = sorted(set(self._manager.all_steps()) - {step})
      remedy = (
        "no other step is there: copy it again from where it came, or train again"
      )
      if step in self._sound:
        remedy = "its files are sound: use the configuration and code that trained it"
      elif others:
        remedy = f"delete {self._folder(step)} to go on from step {others[-1]}"
      raise ValueError(
        f"the checkpoint of step {step} in {folder} cannot be read ({reason}); "
        f"{remedy}."
      ) from e

  def _step(self, step: int | None) -> int:
    step = self.latest_step() if step is None else step
    if step is None:
      raise FileNotFoundError(
        f"no checkpoint in {self.workdir / FOLDER}: train first with "
        f"--workdir={self.workdir}, or name the folder of a finished run."
      )
    return step

  def about(self, step: int | None = None) -> About:
    """What a checkpoint says about itself, the latest if None.

    Raises: FileNotFoundError when there is none, ValueError when it is damaged.
    """
    step = self._step(step)
    with self._in_one_line(step):
      restored = self._manager.restore(
        step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
      )
      about = json.loads(json.dumps(restored["about"]))
      return About(
        config=self._with_missing_settings(about["config"]),
        provenance=Provenance.from_dict(about["provenance"]),
        progress=Progress(**about["progress"]),
        code=about["code"],
      )

  def _with_missing_settings(self, config: dict) -> dict:
    """A saved configuration as this version reads it; says in one line what it adds."""
    if "network" not in config or "model" not in config:
      return config
    fields, added = networks.with_missing_settings(config["network"], config["model"])
    if added and not self._warned:
      self._warned = True
      settings = ", ".join(f"config.model.{k}={v}" for k, v in added.items())
      logging.warning(
        "%s is of an earlier version: read as %s.", self.workdir, settings
      )
    config = {**config, "model": fields}
    if example := config.get("data", {}).get("example"):
      # Earlier versions had poses in metres alone.
      example = {**example, "coordinates": example.get("coordinates") or "world"}
      config["data"] = {**config["data"], "example": example}
    return config

  def restore(self, abstract_state, step: int | None = None):
    """The state, placed on the devices that `abstract_state` names.

    Args:
      abstract_state: tree of `jax.ShapeDtypeStruct` with shardings; the devices may be
        others, and more or fewer, than those that wrote the checkpoint.
    Raises: FileNotFoundError when there is none, ValueError when it is damaged, lacks
      something, or has other shapes.
    """
    step = self._step(step)
    self._check_layout(step, abstract_state)
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

  def _check_layout(self, step: int, abstract_state) -> None:
    """ValueError when the saved state lacks a leaf that is asked for."""
    with self._in_one_line(step):
      saved = _paths(self._manager.item_metadata(step)["state"].tree)
    missing = sorted(_paths(abstract_state) - saved)
    if not missing:
      return
    others = [path for path in missing if not path.startswith("opt_state/")]
    path = (others or missing)[0]
    if others:
      raise ValueError(
        f"{self.workdir}, step {step}: the checkpoint has no {path}, the configuration "
        "asks for it: use the configuration that trained it."
      )
    raise ValueError(
      f"{self.workdir}, step {step}: the state of the optimizer is of another version "
      f"or configuration, it has no {path}: go on with the config.optimizer, the "
      "frozen layers and the commit that trained it, or start in a new workdir from "
      "its weights with --config.init.network."
    )

  def restore_variables(self, step: int | None = None) -> dict:
    """{"params", "batch_stats"} as numpy arrays, whatever network they belong to.

    Raises: as `about`; ValueError for a network that this version cannot apply.
    """
    step = self._step(step)
    with self._in_one_line(step):
      tree = self._manager.item_metadata(step)["state"].tree
      wanted = {k: tree[k] for k in ("params", "batch_stats")}
    if _LEARNED_SHARE in wanted["params"]:
      raise ValueError(
        f"{self.workdir} holds a network of attention=aligned of an earlier version, "
        "which learned what share of A_ST lies at the joints: train it again, or use "
        "the version of the code that trained it."
      )
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    return self._restore_state(step, wanted, as_numpy)

  def _restore_state(self, step: int, tree, restore_args):
    """The part of the saved state that `tree` names."""
    args = ocp.args.PyTreeRestore(
      item=tree, restore_args=restore_args, partial_restore=True
    )
    with self._in_one_line(step):
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
      f"no checkpoint in {workdir}, which is not a folder: train first with "
      f"--workdir={workdir}, or name the folder of a finished run."
    )
  runs = Checkpoints(workdir, read_only=True)
  try:
    yield runs
  finally:
    runs.close()
