"""A trained network in one file, for programs that have neither this code nor Flax.

The file is described in `serve.py`, which also runs it. In it are the weights, with
BatchNorm folded, and what the pipeline does after decoding: pixels are uint8, joints
are as measured.
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
from vpn_jax.training.provenance import code_commit

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_MEANING = {
  "frames": "RGB in 0 to 255, cut out as `crop` and `example` say",
  "left_hand": "RGB in 0 to 255, the square around the left hand",
  "right_hand": "RGB in 0 to 255, the square around the right hand",
  "joints": "camera axes, metres, all joints of a person in a row; NaN where unseen",
  "origin": (
    "the point that becomes 0, 0, 0: the mean of `origin_joints` in the clip's first "
    "frame that shows the first person; may be left out or NaN: of `joints`' first step"
  ),
}


def centered(
  joints: jax.Array, origin: jax.Array, skeleton: skeletons.Skeleton
) -> jax.Array:
  """`pipeline.center_pose` on the device.

  Args:
    joints: float32 [B, S, persons*J, 3], metres; NaN where nobody was seen.
    origin: float32 [B, 3], metres; NaN takes the main actor's in the first step that
      shows it, which is later than the first frame of the clip, or zero without any.
  Returns: float32 [B, S, persons*J, 3]; joints that are NaN become zero.
  """
  body = joints[:, :, skeleton.origin_indices()].mean(axis=2)  # [B, S, 3]
  seen = jnp.isfinite(body).all(axis=-1, keepdims=True)
  first = seen & (jnp.cumsum(seen, axis=1) == 1)
  found = jnp.where(first, body, 0.0).sum(axis=1)
  given = jnp.isfinite(origin).all(axis=-1, keepdims=True)
  origin = jnp.where(given, origin, found)
  return jnp.nan_to_num(joints - origin[:, None, None], nan=0.0)


def serving(network: trained_network.TrainedNetwork) -> Callable[[dict], dict]:
  """The function that is exported: raw inputs by their names -> scores and attention.

  Its form of each operation is chosen for the platform that it will run on, not for
  the one that it is exported on. All forms share one copy of the weights, and what the
  scores and the attention do not depend on, such as the embedding, is left out.
  """
  joints = network.settings.persons * network.skeleton.num_joints
  shapes = network.settings.example_shapes(joints)

  def run(given, variables):
    given = dict(given)
    clips = next(iter(given.values())).shape[0]
    if network.uses_pose:
      pose = given.pop("joints"), given.pop("origin")
      given["pose"] = centered(*pose, network.skeleton)
    unused = {
      name: jnp.zeros((clips, *x.shape), x.dtype)
      for name, x in shapes.items()
      if name not in given
    }
    scores, out = trained_network.forward(network.model, variables, {**unused, **given})
    return {"scores": scores, **out}

  def in_form(form):
    def run_in_form(*args):
      with ops.use_formulation(form):
        return run(*args)

    return run_in_form

  def by_platform(given):
    return jax.lax.platform_dependent(
      given, network.variables, cpu=in_form("cpu"), default=in_form("plain")
    )

  return by_platform


def inputs(
  network: trained_network.TrainedNetwork, batch: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and types of the exported inputs; `batch` 0 is any number, "B"."""
  b = batch or jax.export.symbolic_shape("B")[0]
  joints = network.settings.persons * network.skeleton.num_joints
  shapes = network.settings.example_shapes(joints)
  pose = shapes.pop("pose", None)
  if network.uses_pose:
    shapes["joints"] = pose
    shapes["origin"] = jax.ShapeDtypeStruct((3,), jnp.float32)
  return {
    name: jax.ShapeDtypeStruct((b, *x.shape), x.dtype) for name, x in shapes.items()
  }


@contextlib.contextmanager
def _without_source_paths():
  """Lowers without the names of source files, which tell whose machine this is."""
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
):
  """Writes a network file.

  Args:
    network: from `trained_network.load`.
    file: path; the folder is made.
    batch: clips at a time; 0 for any number.
    platforms: of `PLATFORMS`; one file serves all of them.
  Returns: what about.json says.
  Raises: ValueError for a negative batch, or no or an unknown platform.
  """
  if batch < 0:
    raise ValueError(f"config.export.batch is {batch}, expected 0 or more.")
  if not platforms or set(platforms) - set(PLATFORMS):
    raise ValueError(
      f"config.export.platforms is {','.join(platforms)!r}, expected some of "
      f"{','.join(PLATFORMS)}."
    )
  given = inputs(network, batch)
  with _without_source_paths():
    made = jax.export.export(jax.jit(serving(network)), platforms=platforms)(given)
  names = sorted(jax.eval_shape(serving(network), given))
  skeleton, provenance = network.skeleton, network.provenance
  about = {
    "format": serve.FORMAT,
    "version": serve.VERSION,
    "workdir": network.workdir,
    "step": network.step,
    "platforms": list(platforms),
    "inputs": {
      name: {**_told(x), "meaning": _MEANING[name], "optional": name == "origin"}
      for name, x in given.items()
    },
    "outputs": {name: _told(x) for name, x in zip(names, made.out_avals, strict=True)},
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


def _told(x) -> dict:
  """Type and shape; the batch may be a symbol."""
  shape = [size if isinstance(size, int) else str(size) for size in x.shape]
  return {"dtype": jnp.dtype(x.dtype).name, "shape": shape}
