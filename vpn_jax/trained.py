"""A trained network, restored to look at clips that it was not trained on."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
from flax import linen as nn

from vpn_jax import checkpoint, crop, models, pipeline, prepare, records, skeletons
from vpn_jax.models import fold
from vpn_jax.provenance import Provenance
from vpn_jax.raw import BadClip, Clip, detections, estimate, single


@dataclasses.dataclass(frozen=True)
class Trained:
  """A network from its checkpoint, and what it expects of its input.

  Attributes:
    workdir, step: where it is from.
    config: its configuration.
    model: the network.
    variables: {"params", "batch_stats"} on the device, BatchNorm folded.
    settings: how a record becomes an example.
    skeleton: of its poses.
    provenance: class names, crop recipe and the rest.
    uses_pose: False for the visual backbone alone.
    has_attention: whether there is an A_ST to look at.
    forward: `look` of this network, jitted: (variables, batch) -> its results.
  """

  workdir: str
  step: int
  config: dict
  model: nn.Module
  variables: dict
  settings: pipeline.Settings
  skeleton: skeletons.Skeleton
  provenance: Provenance
  uses_pose: bool
  has_attention: bool
  forward: Callable


ATTENTION = ("spatial_attention", "temporal_attention", "attention")


def look(
  model: nn.Module, variables: dict, batch: dict, kept: tuple[str, ...] = ATTENTION
) -> tuple[jax.Array, dict]:
  """Applies a network to a batch of its inputs.

  Returns: softmax float32 [B, K], and those of the steps `kept` that the network has,
    by their names in `out`: A_S, A_T and A_ST unless told otherwise.
  """
  logits, out = model.apply(variables, *models.inputs(model, batch), train=False)
  scores = jax.nn.softmax(logits.astype("float32"), axis=-1)
  return scores, {name: out[name] for name in kept if name in out}


def load(workdir: str) -> Trained:
  """Restores the best checkpoint of a run.

  Raises: FileNotFoundError when there is none; ValueError when the skeleton changed
    since.
  """
  with checkpoint.reading(workdir) as runs:
    step = runs.best_step()
    about = runs.about(step)
    config, provenance = about.config, about.provenance
    variables = runs.restore_variables(step)
  skeleton = skeletons.get(provenance.skeleton)
  if skeleton.digest() != provenance.skeleton_digest:
    raise ValueError(
      f"skeleton {skeleton.name} has digest {skeleton.digest()} here, the checkpoint "
      f"in {workdir} was trained with {provenance.skeleton_digest}: use the version "
      "of the code that trained it."
    )
  model = models.build(config["network"], config["model"])
  settings = pipeline.Settings(**config["data"]["example"])
  shapes = settings.example_shapes(settings.persons * skeleton.num_joints)
  batch = {
    name: jax.ShapeDtypeStruct((1, *x.shape), x.dtype) for name, x in shapes.items()
  }
  variables = fold.fold(model, variables, *models.inputs(model, batch))
  return Trained(
    workdir=workdir,
    step=step,
    config=config,
    model=model,
    variables=jax.device_put(variables),
    settings=settings,
    skeleton=skeleton,
    provenance=provenance,
    uses_pose=config["model"].get("attention") != "none",
    has_attention=config["model"].get("attention", "none") != "none",
    forward=jax.jit(functools.partial(look, model)),
  )


def make_record(
  trained: Trained,
  film: str,
  pose: str,
  image_units: str,
  *,
  pose_model: str = "",
  boxes: str = "",
) -> records.Record:
  """The video as a record of the network's own recipe.

  Args:
    film: path of the video.
    pose: path of its poses; "mediapipe" to estimate them; "" when the network does
      without.
    image_units: see `single.Single`.
    pose_model: MediaPipe's bundle, where it is asked for.
    boxes: path of detections, or "mediapipe", for a network whose records were cut out
      by detections; the name of the clip is that of the film without its ending.
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
  crops, boxed = recipe["kind"] == "joints", recipe["kind"] == "boxes"
  if boxed and not boxes:
    raise FileNotFoundError(
      f"the network in {trained.workdir} sees a crop around detections, and "
      "config.predict.boxes is not set: give a file as vpn_jax/raw/detections.py "
      "describes, or mediapipe."
    )
  if not pose and (trained.uses_pose or crops):
    why = "takes poses" if trained.uses_pose else "sees a crop around the person"
    raise FileNotFoundError(
      f"the network in {trained.workdir} {why}, and config.predict.pose is not set: "
      "give the dataset's own skeleton file, or an npz with `world` [T, J, 3] and "
      f"`image` [T, J, 2] of the {trained.skeleton.num_joints} joints of "
      f"{trained.skeleton.name}."
    )
  estimated = pose == "mediapipe"
  if estimated and trained.skeleton.name != estimate.SKELETON:
    raise ValueError(
      f"config.predict.pose is mediapipe, whose joints are {estimate.SKELETON}; the "
      f"network in {trained.workdir} was trained on {trained.skeleton.name}: give "
      "poses of these joints."
    )
  if pose and not estimated and not pathlib.Path(pose).is_file():
    raise FileNotFoundError(
      f"no file {pose}: config.predict.pose is a skeleton or npz file, or mediapipe."
    )
  dataset = single.Single(trained.skeleton, image_units, needs_image=crops)
  clip = Clip(pathlib.Path(film).stem, 0, {}, film, None if estimated else pose or None)
  if estimated:
    dataset = estimate.Estimated(dataset, pose_model)
  if boxed and boxes == "mediapipe":
    dataset = estimate.EstimatedBoxes(dataset, pose_model)
  elif boxed:
    dataset = detections.Detected(dataset, boxes)
  try:
    return prepare.make_record(dataset, clip, recipe)
  except BadClip as e:
    files = " and ".join(filter(None, (film, pose)))
    raise ValueError(
      f"{files}: {e}. Give a video and poses that belong together, one pose a frame."
    ) from e
