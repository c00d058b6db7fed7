"""Networks of blocks over joints: sizes, people, who learns, published counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import slow_units
from flax import traverse_util

from vpn_jax.models import joint_blocks, networks, pose_backbone
from vpn_jax.weights import folding

KINDS = tuple(pose_backbone.BLOCKS)
FEATURES = 12


def network(kind, blocks=3, **fields):
  pose = {"kind": kind, "blocks": blocks, "block_features": FEATURES, **fields}
  pose = {"skeleton": "lcrnet_13", "input_norm": "none", **pose}
  return networks.build("pose", {"num_classes": 3, "dropout": 0.0, "pose": pose})


def test_plan_is_the_published_one():
  assert joint_blocks.plan(10, 64) == (
    [(64, 1)] * 4 + [(128, 2)] + [(128, 1)] * 2 + [(256, 2)] + [(256, 1)] * 2
  )
  assert joint_blocks.plan(4, 8) == [(8, 1), (8, 1), (16, 2), (32, 2)]
  assert joint_blocks.plan(2, 8) == [(8, 1), (16, 2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 4, 5, 20])
def test_any_number_of_steps(kind, steps):
  model = network(kind, persons=2)
  pose = jax.ShapeDtypeStruct((2, steps, 26, 3), jnp.float32)
  (logits, out), _ = jax.eval_shape(model.init_with_output, jax.random.key(0), pose)
  assert logits.shape == (2, 3)
  assert out["pooled"].shape == (2, 4 * FEATURES)
  assert out["joint_features"].shape == (2, -(-steps // 4), 26, 4 * FEATURES)


@pytest.fixture(scope="module", params=KINDS)
def applied(request):
  """A small network of each kind with two people, and how it is applied."""
  model = network(request.param, persons=2)
  variables = slow_units.variables_of(model, jnp.zeros((1, 8, 26, 3)))
  return model, variables, jax.jit(model.apply)


def test_h_is_the_mean_over_those_who_are_there(applied):
  _, variables, apply = applied
  pose = slow_units.noise((4, 8, 26, 3))
  pose[1, :, 13:] = 0.0  # the second person is absent
  pose[2] = pose[1]
  pose[2, :, :13], pose[2, :, 13:] = (
    0.0,
    pose[1, :, :13],
  )  # the same one in second place
  pose[3] = 0.0  # nobody
  _, out = apply(variables, pose)
  people = np.stack(np.split(np.asarray(out["joint_features"]), 2, axis=2), axis=1)
  means = people.mean(axis=(2, 3))  # [B, persons, C]
  h = np.asarray(out["pooled"])
  np.testing.assert_allclose(h[0], means[0].mean(axis=0), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(h[1], means[1, 0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(h[2], h[1], rtol=1e-5, atol=1e-6)
  assert not people[1, 1].any()
  assert not h[3].any()
  assert np.std(h[:2]) > 1e-3


def test_h_of_all_steps(applied):
  model, variables, apply = applied
  steps = model.clone(pose={**model.pose, "block_output": "steps"})
  pose = slow_units.noise((2, 8, 26, 3))  # two steps are left
  features = apply(variables, pose)[1]["joint_features"]
  (_, out), _ = jax.eval_shape(steps.init_with_output, jax.random.key(0), pose)
  assert out["pooled"].shape == (2, 2 * 4 * FEATURES)
  branch = pose_backbone.PoseBranch(**steps.pose)
  own = {name: tree["pose_backbone"] for name, tree in variables.items()}
  h, _ = jax.jit(branch.apply)(own, pose)
  np.testing.assert_allclose(h, features.mean(axis=2).reshape(2, -1), rtol=1e-5)
  with pytest.raises(ValueError, match=r"block_output is 'last', expected one of \('m"):
    network("stgcn", block_output="last", persons=2).init(jax.random.key(0), pose)


def test_every_parameter_learns(applied):
  model, variables, _ = applied
  pose = jnp.asarray(slow_units.noise((4, 8, 26, 3)))

  def loss(params):
    given = {**variables, "params": params}
    (logits, _), new = model.apply(given, pose, train=True, mutable=["batch_stats"])
    return jnp.sum(jax.nn.log_softmax(logits)[:, 0]), new

  gradients, _ = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
  flat = traverse_util.flatten_dict(gradients, sep="/")
  adjacencies = [x for name, x in flat.items() if name.endswith("/adjacency")]
  assert len(adjacencies) == 3
  for x in adjacencies:  # each edge of each graph
    assert (np.abs(x) > 0).mean() > 0.99
  silent = [name for name, x in flat.items() if np.abs(x).max() < 1e-9]
  assert not silent


def test_bfloat16_is_near_float32_and_results_are_float32(applied):
  model, variables, apply = applied
  pose = slow_units.noise((2, 8, 26, 3))
  lower = model.clone(pose={**model.pose, "dtype": "bfloat16"})
  want, want_out = apply(variables, pose)
  got, out = jax.jit(lower.apply)(variables, pose)
  assert {x.dtype for x in (got, *out.values())} == {jnp.dtype("float32")}
  assert 0 < np.abs(got - want).max() < 0.1 * np.abs(want).max()
  assert out.keys() == want_out.keys()


def test_folded_is_unfolded(applied):
  model, variables, apply = applied
  pose = slow_units.noise((2, 8, 26, 3))
  folded = folding.fold(model, variables, pose)
  left = {path[-2] for path in traverse_util.flatten_dict(folded["batch_stats"])}
  assert left <= {"branches_bn"}  # what follows maxima
  (want, want_out), (got, got_out) = (apply(v, pose) for v in (variables, folded))
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
  for name, x in want_out.items():
    np.testing.assert_allclose(got_out[name], x, atol=1e-5 * np.abs(x).max())


def test_no_blocks():
  with pytest.raises(ValueError, match=r"pose\.blocks is 0, expected 1 or more: the"):
    network("stgcn", blocks=0).init(jax.random.key(0), jnp.zeros((1, 4, 13, 3)))


# Kind -> parameters here, those that the release has besides, and what it publishes, in
# millions, with so many classes; 0: without a classifier. Besides are biases in front
# of BatchNorm: of the first layers of branches and the last of a unit (1,408 channels
# in all, each), of dilated convolutions, and of residuals (448 and 384). CTR-GCN's phi
# has 456, AGCN's theta 1,056, and the input of both is normalized for two people.
COUNTS = {
  "stgcn": (1_382_976, 2 * 1_408 + 950 + 448 + 384, 1.39, 0),
  "ctrgcn": (1_427_552, 1_408 + 704 + 448 + 384 + 456 + 300, 1.46, 120),
  "agcn": (3_446_270, 4 * 1_408 + 448 + 384 + 1_056 + 300, 3.47, 60),
}


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_published(kind):
  expected, besides, published, classes = COUNTS[kind]
  assert f"{(expected + besides + 257 * classes) / 1e6:.2f}" == f"{published}"
  model = networks.build(
    "pose", {"num_classes": 60, "pose": {"kind": kind, "input_norm": "none"}}
  )
  pose = jax.ShapeDtypeStruct((1, 64, 25, 3), jnp.float32)
  made = jax.eval_shape(model.init, jax.random.key(0), pose)["params"]
  count = sum(x.size for x in jax.tree.leaves(made["pose_backbone"]))
  assert count == expected
