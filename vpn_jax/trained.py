"""A trained network, restored to look at clips that it was not trained on."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax

from vpn_jax import checkpoint, crop, models, pipeline, prepare, records, skeletons
from vpn_jax.raw import BadClip, Clip, single


@dataclasses.dataclass(frozen=True)
class Trained:
  """A network from its checkpoint, and what it expects of its input.

  Attributes:
    workdir, step: where it is from.
    variables: {"params", "batch_stats"} on the device.
    settings: how a record becomes an example.
    skeleton: of its poses.
    provenance: class names, crop recipe and the rest.
    uses_pose: False for the visual backbone alone.
    has_attention: whether there is an A_ST to look at.
    forward: (variables, batch) -> (softmax [B, K], those of A_S, A_T and A_ST that
      the network has, by their names in `out`).
  """

  workdir: str
  step: int
  variables: dict
  settings: pipeline.Settings
  skeleton: skeletons.Skeleton
  provenance: checkpoint.Provenance
  uses_pose: bool
  has_attention: bool
  forward: Callable


def load(workdir: str) -> Trained:
  """Restores the best checkpoint of a run.

  Raises: FileNotFoundError when there is none; ValueError when the skeleton changed
    since.
  """
  if not pathlib.Path(workdir).is_dir():  # Orbax would make the folder
    raise FileNotFoundError(
      f"no folder {workdir}: --workdir is the folder of a trained run."
    )
  runs = checkpoint.Checkpoints(workdir)
  try:
    step = runs.best_step()
    config, provenance, _ = runs.about(step)
    variables = jax.device_put(runs.restore_variables(step))
  finally:
    runs.close()
  skeleton = skeletons.get(provenance.skeleton)
  if skeleton.digest() != provenance.skeleton_digest:
    raise ValueError(
      f"skeleton {skeleton.name} has digest {skeleton.digest()} here, the checkpoint "
      f"in {workdir} was trained with {provenance.skeleton_digest}: use the version "
      "of the code that trained it."
    )
  model = models.build(config["network"], config["model"])

  @jax.jit
  def forward(variables, batch):
    logits, out = model.apply(variables, batch["frames"], batch["pose"], train=False)
    kept = ("spatial_attention", "temporal_attention", "attention")
    scores = jax.nn.softmax(logits.astype("float32"), axis=-1)
    return scores, {name: out[name] for name in kept if name in out}

  return Trained(
    workdir=workdir,
    step=step,
    variables=variables,
    settings=pipeline.Settings(**config["data"]["example"]),
    skeleton=skeleton,
    provenance=provenance,
    uses_pose=config["model"].get("attention") != "none",
    has_attention=config["model"].get("attention", "none") != "none",
    forward=forward,
  )


def make_record(
  trained: Trained, film: str, pose: str, image_units: str
) -> records.Record:
  """The video as a record of the network's own recipe.

  Args:
    film: path of the video.
    pose: path of its poses; "" when the network does without.
    image_units: see `single.Single`.
  Raises: ValueError or FileNotFoundError that says what is wrong with which file.
  """
  recipe = trained.provenance.crop
  lacking = {*crop.recipe(), "jpeg_quality"} - recipe.keys()
  if lacking or recipe.get("version") != crop.VERSION:
    raise ValueError(
      f"the crop recipe of {trained.workdir} is {recipe}, expected version "
      f"{crop.VERSION}"
      + (f" with {sorted(lacking)}" if lacking else "")
      + ": use the version of the code that trained it, or train again."
    )
  crops = recipe["kind"] == "joints"
  if not pose and (trained.uses_pose or crops):
    why = "takes poses" if trained.uses_pose else "sees a crop around the person"
    raise FileNotFoundError(
      f"the network in {trained.workdir} {why}, and config.predict.pose is not set: "
      "give an NTU .skeleton file, or an npz with `world` [T, J, 3] and `image` "
      f"[T, J, 2] of the {trained.skeleton.num_joints} joints of "
      f"{trained.skeleton.name}."
    )
  if pose and not pathlib.Path(pose).is_file():
    raise FileNotFoundError(
      f"no file {pose}: config.predict.pose is a .skeleton or npz file."
    )
  dataset = single.Single(trained.skeleton, image_units, needs_image=crops)
  clip = Clip(pathlib.Path(film).stem, 0, {}, film, pose or None)
  try:
    return prepare.make_record(dataset, clip, recipe)
  except BadClip as e:
    files = " and ".join(filter(None, (film, pose)))
    raise ValueError(
      f"{files}: {e}. Give a video and poses that belong together, one pose a frame."
    ) from e
