"""A trained network, restored to look at clips that it was not trained on."""

import dataclasses
import functools
from collections.abc import Callable

import jax
from flax import linen as nn

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import example
from vpn_jax.models import networks
from vpn_jax.training import checkpoint
from vpn_jax.training.provenance import Provenance
from vpn_jax.weights import folding


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
  settings: example.Settings
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
  logits, out = model.apply(variables, *networks.inputs(model, batch), train=False)
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
  model = networks.build(config["network"], config["model"])
  settings = example.Settings(**config["data"]["example"])
  shapes = settings.example_shapes(settings.persons * skeleton.num_joints)
  batch = {
    name: jax.ShapeDtypeStruct((1, *x.shape), x.dtype) for name, x in shapes.items()
  }
  variables = folding.fold(model, variables, *networks.inputs(model, batch))
  return Trained(
    workdir=workdir,
    step=step,
    config=config,
    model=model,
    variables=jax.device_put(variables),
    settings=settings,
    skeleton=skeleton,
    provenance=provenance,
    uses_pose="pose" in model.inputs,
    has_attention=config["model"].get("attention", "none") != "none",
    forward=jax.jit(functools.partial(look, model)),
  )
