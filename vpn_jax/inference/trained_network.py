"""A trained network, restored from its checkpoint to score new clips."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
from flax import linen as nn

from vpn_jax.datasets import skeletons
from vpn_jax.inputs import example, multi_view
from vpn_jax.models import networks
from vpn_jax.training import checkpoint
from vpn_jax.training.provenance import Provenance
from vpn_jax.weights import folding

ATTENTION = ("spatial_attention", "temporal_attention", "attention", "joint_weights")


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
  """A network from its checkpoint, and what it expects of its input.

  Call it on arrays, as `scores, out = network(frames, pose)`.

  Attributes:
    workdir, step: where it is from.
    config: its configuration.
    model: the network.
    variables: {"params", "batch_stats"} on the device, BatchNorm folded.
    settings: how a record becomes an example.
    skeleton: of its poses.
    provenance: class names, crop recipe and the rest.
    uses_pose: False for the visual backbone alone.
    has_attention: whether it has an A_ST.
    forward: `forward` of this network, jitted: (variables, batch) -> its results.
    temperature: that its logits are divided by.
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
  temperature: float = 1.0

  @property
  def class_names(self) -> tuple[str, ...]:
    """Names of the K classes, in the order of the scores."""
    return self.provenance.class_names

  @property
  def input_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of each input of one clip, without the batch, by its name."""
    joints = self.settings.persons * self.skeleton.num_joints
    shapes = self.settings.example_shapes(joints)
    return {name: shapes[name] for name in self.model.inputs}

  def __call__(
    self,
    frames: np.ndarray | None = None,
    pose: np.ndarray | None = None,
    **others: np.ndarray,
  ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scores a batch of clips that are cropped and sampled already.

    Args:
      frames: uint8 RGB [B, F, H, W, 3]; a network of poses alone ignores them.
      pose: float32 [B, S, J, 3], as `settings.coordinates` says: metres, centred
        (`pose_coordinates.center_pose`), or x, y and score in the image
        (`pose_coordinates.image_pose`); J joints of one person, or of
        `settings.persons` in a row. Networks of frames alone ignore it.
      others: left_hand and right_hand, as frames, and frame_joints float32 [B, F, J, 3]
        (`frame_joints.frame_joints`), for a network that has them.
    Returns: softmax scores float32 [B, K], and the attention by its name, where the
      network has it: spatial_attention A_S [B, M, N], temporal_attention A_T [B, T],
      attention A_ST [B, T, M, N] and joint_weights [B, J] of attention=aligned.
    Raises: ValueError for an input that is missing or of another shape or type.
    """
    given, batch = {"frames": frames, "pose": pose, **others}, {}
    clips = None
    shapes = self.input_shapes
    for name, expected in shapes.items():
      array = given.get(name)
      if array is not None:
        array = np.asarray(array)
        clips = len(array) if clips is None and array.ndim else clips
        if array.shape == (clips, *expected.shape) and array.dtype == expected.dtype:
          batch[name] = array
          continue
      got = "missing" if array is None else f"{array.dtype} {list(array.shape)}"
      raise ValueError(
        f"{name} is {got}, expected {expected.dtype} of shape "
        f"{['B' if clips is None else clips, *expected.shape]}: give "
        f"{', '.join(shapes)} as `input_shapes` says, with an axis of clips in front."
      )
    return jax.device_get(self.forward(self.variables, batch))


def forward(
  model: nn.Module,
  variables: dict,
  batch: dict,
  kept: tuple[str, ...] = ATTENTION,
  temperature: float = 1.0,
) -> tuple[jax.Array, dict]:
  """Applies a network to a batch of its inputs, and divides its logits.

  Returns: softmax float32 [B, K], and those of the steps `kept` that the network has,
    by their names in `out`; by default A_S, A_T, A_ST and the weights of the joints.
  """
  logits, out = model.apply(variables, *networks.inputs(model, batch), train=False)
  scores = jax.nn.softmax(logits.astype("float32") / temperature, axis=-1)
  return scores, {name: out[name] for name in kept if name in out}


def load(workdir: str, *, temperature: float = 1.0) -> TrainedNetwork:
  """Restores the best checkpoint of a run.

  Args:
    workdir: of the run.
    temperature: divides the logits: above 1 scores are less confident. Training with a
      validation part reports the one that fits it.

  >>> net = vpn_jax.load("runs/vpn")
  >>> net.class_names
  ('nod', 'wave')

  Raises: FileNotFoundError when there is none; ValueError when it is damaged, or when
    the skeleton changed since, or for a temperature of 0 or less.
  """
  multi_view.check_temperature(temperature)
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
  return TrainedNetwork(
    workdir=str(workdir),
    step=step,
    config=config,
    model=model,
    variables=jax.device_put(variables),
    settings=settings,
    skeleton=skeleton,
    provenance=provenance,
    uses_pose="pose" in model.inputs,
    has_attention=config["model"].get("attention", "none") != "none",
    forward=jax.jit(functools.partial(forward, model, temperature=temperature)),
    temperature=temperature,
  )
