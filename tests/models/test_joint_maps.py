"""Joints on the grid of f: where their maps are, and what is read there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from vpn_jax.inference import trained_network
from vpn_jax.models import joint_maps, networks


def at(x, y, score=1.0, frames=4, joints=2):
  """Joints that rest at (0.5, 0.5) without a score, but the first one."""
  made = np.zeros((1, frames, joints, 3), np.float32)
  made[..., :2] = 0.5
  made[:, :, 0] = x, y, score
  return jnp.asarray(made)


def test_a_joint_lights_its_cell():
  # 224 pixels, 7 cells of 32: pixel (176, 48) is the centre of column 5, row 1.
  joints = at(176 / 224, 48 / 224)
  maps, seen = joint_maps.gaussian_maps(joints, (2, 7, 7), 0.75)
  assert maps.shape == (1, 2, 2, 7, 7)
  first = np.asarray(maps[0, 0, 0])
  assert np.unravel_index(first.argmax(), first.shape) == (1, 5)
  np.testing.assert_allclose(first[1, 5], 1.0, atol=1e-6)
  np.testing.assert_allclose(first[1, 6], np.exp(-1 / (2 * 0.75**2)), atol=1e-6)
  np.testing.assert_allclose(first[3, 4], np.exp(-5 / (2 * 0.75**2)), atol=1e-6)
  assert (np.asarray(maps[:, :, 1]) == 0).all()  # not seen
  assert seen.tolist() == [[[1.0, 0.0], [1.0, 0.0]]]


def test_frames_belong_to_their_step():
  joints = np.zeros((1, 4, 1, 3), np.float32)
  joints[0, :, 0] = [[0.25, 0.25, 1], [0.75, 0.25, 1], [0.75, 0.75, 0.5], [0, 0, 0]]
  maps, seen = joint_maps.bilinear_maps(jnp.asarray(joints), (2, 2, 2))
  np.testing.assert_allclose(maps[0, 0, 0], [[0.5, 0.5], [0, 0]], atol=1e-6)
  np.testing.assert_allclose(maps[0, 1, 0], [[0, 0], [0, 1]], atol=1e-6)
  np.testing.assert_allclose(seen[0, :, 0], [1.0, 0.25])
  with pytest.raises(ValueError, match="got joints of 4 frames for 8 steps of f"):
    joint_maps.bilinear_maps(jnp.asarray(joints), (8, 2, 2))


def test_bilinear_reads():
  features = np.random.default_rng(0).normal(size=(1, 1, 3, 4, 5)).astype(np.float32)
  # u = 0.55 * 4 - 0.5 = 1.7 columns, v = 0.4 * 3 - 0.5 = 0.7 rows.
  maps, seen = joint_maps.bilinear_maps(at(0.55, 0.4), (1, 3, 4))
  read = joint_maps.read_parts(features, maps, seen, ((0,), (1,), (0, 1)))
  f = features[0, 0]
  top, bottom = (0.3 * f[row, 1] + 0.7 * f[row, 2] for row in (0, 1))
  np.testing.assert_allclose(read[0, 0], 0.3 * top + 0.7 * bottom, atol=1e-5)
  np.testing.assert_allclose(read[0, 1], f.mean(axis=(0, 1)), atol=1e-5)  # not seen
  np.testing.assert_allclose(read[0, 2], read[0, 0], atol=1e-6)  # of the one seen
  maps, _ = joint_maps.bilinear_maps(at(1.4, -3.0), (1, 3, 4))
  assert maps[0, 0, 0, 0, 3] == 1.0  # outside: the nearest cell


def test_attention_lies_around_joints_and_stays_where_none_is_seen():
  a_s = jnp.asarray(np.random.default_rng(0).random((1, 3, 3)), jnp.float32)
  weights = jnp.asarray([[0.8, 0.5]])
  grid = (2, 3, 3)

  def around(joints):
    maps, seen = joint_maps.gaussian_maps(joints, grid, 0.5)
    return joint_maps.around_joints(a_s, weights, maps, seen), maps

  stays, _ = around(at(0.5, 0.5, 0.0))
  np.testing.assert_array_equal(stays, jnp.stack([a_s, a_s], axis=1))
  moved, maps = around(at(5 / 6, 1 / 6))
  np.testing.assert_allclose(moved[0, 0], 0.8 * maps[0, 0, 0], atol=1e-6)
  assert np.unravel_index(moved[0, 0].argmax(), (3, 3)) == (0, 2)
  both = np.array(at(0.5, 0.5))
  both[..., 2] = 1.0  # two joints in one place: 1 - (1 - 0.8) (1 - 0.5)
  moved, _ = around(jnp.asarray(both))
  np.testing.assert_allclose(moved[0, :, 1, 1], 0.9, atol=1e-6)
  half = at(0.5, 0.5, 0.5)  # seen with a score of a half
  moved, maps = around(half)
  expected = 0.5 * 0.8 * maps[0, 0, 0] + 0.5 * a_s[0]
  np.testing.assert_allclose(moved[0, 0], expected, atol=1e-6)


@pytest.fixture(scope="module")
def small():
  """A narrow network of attention=aligned,head=joints on 8 frames of 64 pixels."""
  arg = common.parse_arg("cs,attention=aligned,head=joints", protocols=("cs",))
  c = common.recipe(arg)
  fields = {
    "num_classes": 3,
    "width": 0.125,
    "endpoint": "Mixed_3b",
    "embedding": False,
  }
  c.model.update(fields)
  model = networks.build(c.network, c.model.to_dict())
  rng = np.random.default_rng(0)
  batch = {
    "frames": rng.integers(0, 255, (2, 8, 64, 64, 3), np.uint8),
    "pose": rng.normal(size=(2, 20, 25, 3)).astype(np.float32),
    "frame_joints": rng.random((2, 8, 25, 3)).astype(np.float32),
  }
  variables = jax.jit(model.init)(jax.random.key(0), *networks.inputs(model, batch))
  return model, variables, batch


def test_the_network_takes_joints_and_learns_their_weights(small):
  model, variables, batch = small
  assert model.inputs == ("frames", "pose", "frame_joints")

  @jax.jit
  def loss(params, joints):
    given = networks.inputs(model, {**batch, "frame_joints": joints})
    logits, out = model.apply({**variables, "params": params}, *given)
    return jnp.square(logits).sum(), out

  (_, out), gradients = jax.value_and_grad(loss, has_aux=True)(
    variables["params"], batch["frame_joints"]
  )
  np.testing.assert_allclose(out["joint_weights"], 0.5, atol=1e-6)  # z3 starts at 0
  assert out["attention"].shape == out["features"].shape[:4]
  channels = out["features"].shape[-1]
  assert out["pooled"].shape == (2, channels * 8)  # the mean, 2 hands, 4 limbs, others
  assert np.abs(gradients["attention"]["joints_logits"]["kernel"]).max() > 0
  _, moved = loss(variables["params"], 1.0 - batch["frame_joints"])
  assert np.abs(moved["attention"] - out["attention"]).max() > 1e-3
  assert np.abs(moved["pooled"] - out["pooled"]).max() > 1e-3


def test_the_weights_of_the_joints_come_out(small):
  model, variables, batch = small
  scores, out = trained_network.forward(model, variables, batch)
  assert scores.shape == (2, 3)
  assert out["joint_weights"].shape == (2, 25)
  assert set(out) == set(trained_network.ATTENTION)


def test_the_second_person_does_not_attract_attention(small):
  model, variables, batch = small
  two = np.concatenate([batch["frame_joints"], batch["frame_joints"][::-1]], axis=2)
  given = (
    networks.inputs(model, batch),
    networks.inputs(model, {**batch, "frame_joints": two}),
  )
  apply = jax.jit(lambda *x: model.apply(variables, *x)[0])
  np.testing.assert_array_equal(apply(*given[0]), apply(*given[1]))


def test_refusals():
  arg = common.parse_arg("cs,attention=aligned,coupler=False", protocols=("cs",))
  c = common.recipe(arg)
  c.model.num_classes = 3
  model = networks.build(c.network, c.model.to_dict())
  with pytest.raises(ValueError, match="'aligned' and coupler False, expected the cou"):
    jax.eval_shape(model.init, jax.random.key(0), None, None, None)
  with pytest.raises(ValueError, match="model=pose has no head=joints, expected"):
    common.parse_arg("cs,model=pose,head=joints", protocols=("cs",))
