"""Eq. 1 against a slow loop; invariances and sizes of the pose backbone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax.datasets import skeletons
from vpn_jax.models import graph as graph_lib
from vpn_jax.models import pose_backbone


def graph(name="kinect_v2", **options):
  return graph_lib.normalized_adjacency(
    graph_lib.adjacency(skeletons.get(name), **options)
  )


def test_graph_convolution_is_eq_1():
  rng = np.random.default_rng(0)
  pose = rng.normal(size=(2, 3, 13, 3))
  kernel = rng.normal(size=(3, 3, 4))
  e = graph_lib.adjacency(skeletons.get("lcrnet_13")).astype(np.float64)
  got = graph_lib.graph_convolution(
    jnp.asarray(pose, jnp.float32),
    jnp.asarray(graph("lcrnet_13")),
    jnp.asarray(kernel, jnp.float32),
  )
  e_plus = e + np.eye(13)
  degree = [sum(e_plus[i]) for i in range(13)]
  for b in range(2):
    for t in range(3):
      for i in range(13):
        mixed = np.zeros(3)
        for j in range(13):
          mixed += e_plus[i, j] / np.sqrt(degree[i] * degree[j]) * pose[b, t, j]
        expected = [sum(mixed[x] * kernel[t, x, y] for x in range(3)) for y in range(4)]
        np.testing.assert_allclose(got[b, t, i], expected, rtol=1e-4, atol=1e-5)


def test_two_joints_by_hand():
  # E = [[0, 5], [5, 0]]; E + I has row sums 6, so the normalised graph is
  # [[1, 5], [5, 1]] / 6. Joints at x = 0 and x = 6 become 5 and 1.
  e = np.array([[0.0, 5.0], [5.0, 0.0]])
  a = graph_lib.normalized_adjacency(e)
  pose = jnp.array([[[[0.0], [6.0]]]])
  got = graph_lib.graph_convolution(pose, jnp.asarray(a), jnp.ones((1, 1, 1)))
  np.testing.assert_allclose(got[0, 0, :, 0], [5.0, 1.0], rtol=1e-6)


def test_relabelled_joints_permute_the_graph_output():
  rng = np.random.default_rng(0)
  order = rng.permutation(25)
  pose = jnp.asarray(rng.normal(size=(2, 4, 25, 3)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(4, 3, 8)), jnp.float32)
  a = graph()
  plain = graph_lib.graph_convolution(pose, jnp.asarray(a), kernel)
  moved = graph_lib.graph_convolution(
    pose[:, :, order], jnp.asarray(a[order][:, order]), kernel
  )
  np.testing.assert_allclose(moved, plain[:, :, order], rtol=1e-4, atol=1e-5)


def test_each_step_has_its_own_weights():
  module = pose_backbone.GraphPoseBackbone(graph())
  pose = jax.random.normal(jax.random.key(0), (2, 8, 25, 3))
  variables = module.init(jax.random.key(1), pose)
  kernel = variables["params"]["graph_kernel"]
  assert kernel.shape == (8, 3, 64)
  changed = jax.tree.map(lambda x: x, variables)
  changed["params"]["graph_kernel"] = kernel.at[3].set(0.0)
  before = module.apply(variables, pose)[1]["joint_features"]
  after = module.apply(changed, pose)[1]["joint_features"]
  differs = np.abs(before - after).max(axis=(0, 2, 3))
  assert differs[3] > 0
  assert np.delete(differs, 3).max() == 0


@pytest.mark.parametrize(
  ("skeleton", "steps", "size"),
  [
    ("kinect_v2", 20, 3840),  # NTU: 20x25 -> 10x12 -> 5x6, 128 channels
    ("lcrnet_13", 30, 2688),  # Smarthome: 30x13 -> 15x6 -> 7x3
    ("kinect_v1", 5, 640),  # N-UCLA: 5x20 -> 2x10 -> 1x5
    ("mediapipe_33", 20, 5120),  # 20x33 -> 10x16 -> 5x8
  ],
)
def test_size_of_h(skeleton, steps, size):
  module = pose_backbone.GraphPoseBackbone(graph(skeleton))
  joints = skeletons.get(skeleton).num_joints
  pose = jax.ShapeDtypeStruct((2, steps, joints, 3), jnp.float32)
  (h, out), _ = jax.eval_shape(module.init_with_output, jax.random.key(0), pose)
  assert h.shape == (2, size)
  assert out["joint_features"].shape == (2, steps, joints, 64)


def test_two_people_do_not_mix_in_the_graph():
  a = graph(persons=2)
  pose = np.random.default_rng(0).normal(size=(1, 4, 50, 3)).astype(np.float32)
  kernel = jnp.ones((4, 3, 2))
  before = graph_lib.graph_convolution(jnp.asarray(pose), jnp.asarray(a), kernel)
  pose[:, :, 25:] += 1.0
  after = graph_lib.graph_convolution(jnp.asarray(pose), jnp.asarray(a), kernel)
  np.testing.assert_allclose(before[:, :, :25], after[:, :, :25])
  assert np.abs(before[:, :, 25:] - after[:, :, 25:]).min() > 0


def test_identity_filter_keeps_differences_between_joints():
  """The dense graph alone shrinks what differs between joints (spec of eq. 1)."""
  rng = np.random.default_rng(0)
  pose = rng.normal(size=(1, 1, 25, 3))
  mixed = np.einsum("ij,bsjx->bsix", graph(), pose)
  assert np.std(mixed, axis=2).mean() < np.std(pose, axis=2).mean() / 7
  plain = pose_backbone.GraphPoseBackbone(graph())
  own = pose_backbone.GraphPoseBackbone(graph(), identity_filter=True)
  shape = jnp.zeros((1, 8, 25, 3))
  extra = (
    own.init(jax.random.key(0), shape)["params"].keys()
    - plain.init(jax.random.key(0), shape)["params"].keys()
  )
  assert extra == {"identity_kernel"}


def test_too_few_steps():
  module = pose_backbone.GraphPoseBackbone(graph())
  with pytest.raises(ValueError, match="got 3 poses of 25 joints, expected at least 4"):
    module.init(jax.random.key(0), jnp.zeros((1, 3, 25, 3)))


def test_lstm_is_a_loop_over_the_steps():
  """Two layers of four against the textbook's gates, step by step."""
  module = pose_backbone.RecurrentPoseBackbone(layers=2, features=4)
  pose = jax.random.normal(jax.random.key(0), (2, 5, 3, 3))
  variables = module.init(jax.random.key(1), pose)
  h, out = module.apply(variables, pose)
  assert h.shape == (2, 5 * 4)
  np.testing.assert_array_equal(h, out["step_features"].reshape(2, -1))
  x = np.asarray(pose, np.float64).reshape(2, 5, 9)
  for layer in ("lstm1", "lstm2"):
    w = jax.tree.map(np.float64, variables["params"][layer])
    hidden, cell, steps = np.zeros((2, 4)), np.zeros((2, 4)), []
    for t in range(5):
      gate = {
        k: x[:, t] @ w[f"i{k}"]["kernel"] + hidden @ w[f"h{k}"]["kernel"]
        + w[f"h{k}"]["bias"]
        for k in "ifgo"
      }  # fmt: skip
      keep, write, show = (1 / (1 + np.exp(-gate[k])) for k in "fio")
      cell = keep * cell + write * np.tanh(gate["g"])
      hidden = show * np.tanh(cell)
      steps.append(hidden)
    x = np.stack(steps, axis=1)
  np.testing.assert_allclose(out["step_features"], x, rtol=1e-4, atol=1e-6)
