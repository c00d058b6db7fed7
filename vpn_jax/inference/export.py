"""Exports a trained network to one file, for programs without this code and Flax.

The file holds the weights, with BatchNorm folded, and the steps of the pipeline after
decoding: it takes uint8 pixels and joints as measured. `serve.py` describes the format
and runs the file.
"""

import contextlib
import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp

from vpn_jax import ops
from vpn_jax.datasets import skeletons
from vpn_jax.inference import serve, trained_network
from vpn_jax.inputs import missing_joints
from vpn_jax.training.provenance import code_commit

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_MEANING = {
  "frames": "RGB in 0 to 255, cropped as `crop` and `example` say",
  "left_hand": "RGB in 0 to 255, the square around the left hand",
  "right_hand": "RGB in 0 to 255, the square around the right hand",
  "joints": (
    "camera axes, metres, joints of one person after the other; NaN if unseen. Where "
    "`example` says missing: fill, first what other frames of the clip show, as "
    "vpn_jax.inputs.missing_joints.fill does; the rest is filled from these steps"
  ),
  "image_joints": (
    "x and y in pixels and the score (NaN for 1), joints of one person after the "
    "other; NaN if unseen"
  ),
  "frame_joints": (
    "x and y as fractions of the frame that is shown, and the score, of the joints of "
    "every frame, one person after the other; 0 where unseen"
  ),
  "box": (
    "x and y of the middle of the first person's box over the clip, and half of its "
    "larger side, pixels; NaN or missing: that of the steps in `image_joints`"
  ),
  "origin": (
    "the point that becomes 0, 0, 0: the mean of `origin_joints` in the clip's first "
    "frame that shows the first person; NaN or missing: in the first such step of "
    "`joints`"
  ),
}


_OPTIONAL = ("origin", "box")


def centered(
  joints: jax.Array, origin: jax.Array, skeleton: skeletons.Skeleton
) -> jax.Array:
  """`pose_coordinates.center_pose` on the device.

  Args:
    joints: float32 [B, S, persons*J, 3], metres; NaN where nobody was seen.
    origin: float32 [B, 3], metres; NaN for the main actor's in the first step that
      shows it (zero if none does), which is later than the clip's first frame.
  Returns: float32 [B, S, persons*J, 3]; NaN becomes zero.
  """
  body = joints[:, :, skeleton.origin_indices()].mean(axis=2)  # [B, S, 3]
  seen = jnp.isfinite(body).all(axis=-1, keepdims=True)
  first = seen & (jnp.cumsum(seen, axis=1) == 1)
  found = jnp.where(first, body, 0.0).sum(axis=1)
  known = jnp.isfinite(origin).all(axis=-1, keepdims=True)
  origin = jnp.where(known, origin, found)
  return jnp.nan_to_num(joints - origin[:, None, None], nan=0.0)


def boxed(
  joints: jax.Array, box: jax.Array, num_joints: int, filled: jax.Array | None = None
) -> jax.Array:
  """`pose_coordinates.image_pose` on the device.

  Args:
    joints: float32 [B, S, persons*J, 3], x and y in pixels and the score, NaN for 1;
      NaN where a joint was not seen.
    box: float32 [B, 3], x and y of its middle and half of its larger side; NaN for that
      of the main actor in these steps, which may be smaller than over all frames.
    num_joints: J.
    filled: [B, S, persons*J, 2], positions, also of joints that were not seen; None for
      those of `joints`.
  Returns: float32 [B, S, persons*J, 3]; zeros without a position or a box.
  """
  xy, score = joints[..., :2], joints[..., 2:]
  seen = jnp.isfinite(xy).all(axis=-1, keepdims=True)
  actor, shown = xy[:, :, :num_joints], seen[:, :, :num_joints]
  low = jnp.where(shown, actor, jnp.inf).min(axis=(1, 2))  # [B, 2]
  high = jnp.where(shown, actor, -jnp.inf).max(axis=(1, 2))
  half = jnp.maximum((high - low).max(axis=-1, keepdims=True) / 2, 1.0)
  found = jnp.concatenate([(low + high) / 2, half], axis=-1)
  given = jnp.isfinite(box).all(axis=-1, keepdims=True)
  box = jnp.where(given, box, found)[:, None, None]
  score = jnp.where(seen, jnp.where(jnp.isfinite(score), score, 1.0), 0.0)
  at = xy if filled is None else filled
  made = jnp.concatenate([(at - box[..., :2]) / box[..., 2:], score], axis=-1)
  known = jnp.isfinite(at).all(axis=-1, keepdims=True)
  known = known & jnp.isfinite(box).all(axis=-1, keepdims=True)
  return jnp.where(known, made, 0.0)


def _filled(network: trained_network.TrainedNetwork, joints: jax.Array) -> jax.Array:
  """Joints [B, S, persons*J, C] as `Settings.missing` has them, from these steps."""
  if network.settings.missing == "zero":
    return joints
  b, s, _, c = joints.shape
  people = joints.reshape(b, s, network.settings.persons, -1, c)
  return missing_joints.fill(people, network.skeleton).reshape(joints.shape)


def serving(network: trained_network.TrainedNetwork) -> Callable[[dict], dict]:
  """The function to export: dict of raw inputs -> dict of scores and attention.

  Each operation has the form for the platform that runs the function, not for the one
  that exports it. All forms share one copy of the weights. Layers that neither scores
  nor attention depend on, such as the embedding, are left out.
  """
  joints = network.settings.persons * network.skeleton.num_joints
  shapes = network.settings.example_shapes(joints)

  def run(raw, variables):
    batch = dict(raw)
    clips = next(iter(batch.values())).shape[0]
    if network.uses_pose and network.settings.coordinates == "image":
      given = batch.pop("image_joints")
      at = _filled(network, given[..., :2])
      batch["pose"] = boxed(given, batch.pop("box"), network.skeleton.num_joints, at)
    elif network.uses_pose:
      joints = _filled(network, batch.pop("joints"))
      batch["pose"] = centered(joints, batch.pop("origin"), network.skeleton)
    unused = {
      name: jnp.zeros((clips, *x.shape), x.dtype)
      for name, x in shapes.items()
      if name not in batch
    }
    scores, out = trained_network.forward(
      network.model, variables, {**unused, **batch}, temperature=network.temperature
    )
    return {"scores": scores, **out}

  def run_as(formulation):
    def run_in_formulation(*args):
      with ops.use_formulation(formulation):
        return run(*args)

    return run_in_formulation

  def by_platform(raw):
    return jax.lax.platform_dependent(
      raw, network.variables, cpu=run_as("cpu"), default=run_as("plain")
    )

  return by_platform


def inputs(
  network: trained_network.TrainedNetwork, batch: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and types of the exported inputs; a `batch` of 0 is any number, "B"."""
  b = batch or jax.export.symbolic_shape("B")[0]
  joints = network.settings.persons * network.skeleton.num_joints
  shapes = network.settings.example_shapes(joints)
  pose = shapes.pop("pose", None)
  if network.uses_pose:
    in_image = network.settings.coordinates == "image"
    names = ("image_joints", "box") if in_image else ("joints", "origin")
    shapes |= dict(zip(names, (pose, jax.ShapeDtypeStruct((3,), jnp.float32))))
  return {
    name: jax.ShapeDtypeStruct((b, *x.shape), x.dtype) for name, x in shapes.items()
  }


@contextlib.contextmanager
def _without_source_paths():
  """Lowers without the paths of source files, which reveal the user's folders."""
  name = "jax_traceback_in_locations_limit"
  before = getattr(jax.config, name)
  jax.config.update(name, 0)
  try:
    yield
  finally:
    jax.config.update(name, before)


def export(
  network: trained_network.TrainedNetwork,
  file: str,
  batch: int,
  platforms: tuple[str, ...],
) -> dict:
  """Writes a network file.

  Args:
    network: from `trained_network.load`.
    file: path; creates the folder.
    batch: clips at a time; 0 for any number.
    platforms: some of `PLATFORMS`; one file serves all of them.
  Returns: the content of about.json.
  Raises: ValueError for a negative batch, no platform, or an unknown one.
  """
  if batch < 0:
    raise ValueError(f"config.export.batch is {batch}, expected 0 or more.")
  if not platforms or set(platforms) - set(PLATFORMS):
    raise ValueError(
      f"config.export.platforms is {','.join(platforms)!r}, expected some of "
      f"{','.join(PLATFORMS)}."
    )
  specs = inputs(network, batch)
  with _without_source_paths():
    made = jax.export.export(jax.jit(serving(network)), platforms=platforms)(specs)
  names = sorted(jax.eval_shape(serving(network), specs))
  skeleton, provenance = network.skeleton, network.provenance
  about = {
    "format": serve.FORMAT,
    "version": serve.VERSION,
    "workdir": network.workdir,
    "step": network.step,
    "temperature": network.temperature,
    "platforms": list(platforms),
    "inputs": {
      name: {**_array_spec(x), "meaning": _MEANING[name], "optional": name in _OPTIONAL}
      for name, x in specs.items()
    },
    "outputs": {
      name: _array_spec(x) for name, x in zip(names, made.out_avals, strict=True)
    },
    "classes": list(provenance.class_names),
    "skeleton": skeleton.name,
    "joints": list(skeleton.joints),
    "origin_joints": list(skeleton.origin),
    "persons": network.settings.persons,
    "example": dataclasses.asdict(network.settings),
    "crop": provenance.crop,
    "config": network.config,
    "jax": jax.__version__,
    "commit": code_commit(),
  }
  path = pathlib.Path(file)
  path.parent.mkdir(parents=True, exist_ok=True)
  with zipfile.ZipFile(path, "w") as members:
    members.writestr(serve.ABOUT, json.dumps(about, indent=1) + "\n")
    members.writestr(serve.NETWORK, bytes(made.serialize()))
  return about


def _array_spec(x) -> dict:
  """Type and shape for about.json; the batch may be a symbol."""
  shape = [size if isinstance(size, int) else str(size) for size in x.shape]
  return {"dtype": jnp.dtype(x.dtype).name, "shape": shape}
