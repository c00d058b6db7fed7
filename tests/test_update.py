"""One update: accumulated over micro-batches it is that of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import custom
from vpn_jax import initial, losses, mesh, models, pipeline, update

RATE = 0.1


@pytest.fixture
def made(shrunk, plain_operations):
  """(model, loss settings, variables, batch of 12 clips) of an argument."""

  def make(arg, **fields):
    c = custom.get_config(f"split,size=tiny{arg}")
    if "model=pose" not in arg:
      c = shrunk(c)
    c.data.example.update(pose_steps=4)
    c.model.dropout = c.model.pose.dropout = 0.0
    c.model.num_classes = 4
    c.model.pose.update(skeleton="kinect_v2", frozen=False, **fields)
    model = models.build(c.network, c.model.to_dict())
    settings = pipeline.Settings(**c.data.example)
    variables = initial.fresh(model, settings, jax.random.key(0), 25)
    rng = np.random.default_rng(0)
    batch = {"label": jnp.asarray(np.arange(12, dtype=np.int32) % 4)}
    for name, x in settings.example_shapes(25).items():
      noise = 64 * rng.normal(size=(12, *x.shape)) if name == "pose" else None
      noise = rng.integers(0, 256, (12, *x.shape)) if noise is None else noise / 64
      batch[name] = jnp.asarray(noise.astype(x.dtype))
    return model, c.loss.to_dict(), variables, batch

  return make


def stepped(model, loss, variables, batch, accumulate, devices=1):
  """State and metrics after one step of plain gradient descent."""
  optimizer = optax.sgd(RATE)
  grid = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))
  # A copy: the step takes the memory of its state.
  state = update.TrainState.start(jax.tree.map(jnp.copy, variables), optimizer)
  state = jax.device_put(state, mesh.whole(grid))
  step = update.make_train_step(model, optimizer, loss, accumulate)
  batch = mesh.make_placer(grid)(jax.device_get(batch))
  return update.compile_step(step, grid)(state, batch, jax.random.key(1))


def close(a, b):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), a, b
  )


def test_accumulated_is_one_batch_normalized_in_groups(made):
  """The groups side by side, one program, no loop: every third clip is one."""
  model, loss, variables, batch = made("")

  def of_group(params, group):
    (logits, out), changed = model.apply(
      {**variables, "params": params},
      *models.inputs(model, group),
      train=True,
      rngs={"dropout": jax.random.key(0)},  # whose rates are 0 here
      mutable=["batch_stats"],
    )
    values, _ = losses.total_loss(logits, out, group["label"], **loss)
    return jnp.mean(values), changed["batch_stats"]

  def of_batch(params):
    groups = {k: jnp.stack([x[i::3] for i in range(3)]) for k, x in batch.items()}
    values, stats = jax.vmap(of_group, (None, 0))(params, groups)
    return jnp.mean(values), jax.tree.map(lambda x: jnp.mean(x, axis=0), stats)

  (value, stats), grads = jax.jit(jax.value_and_grad(of_batch, has_aux=True))(
    variables["params"]
  )
  state, metrics = stepped(model, loss, variables, batch, 3)
  np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
  np.testing.assert_allclose(
    metrics["gradient_norm"], optax.tree.norm(grads), rtol=1e-4
  )
  close(state.batch_stats, stats)
  expected = jax.tree.map(lambda p, g: p - RATE * g, variables["params"], grads)
  close(state.params, expected)


def test_without_batch_norm_it_is_the_plain_step(made):
  few = {"recurrent_layers": 1, "recurrent_features": 8, "input_norm": "none"}
  case = made(",model=pose,pose_backbone=lstm", **few)
  assert not case[2]["batch_stats"]
  (once, one), (parts, several) = (stepped(*case, k) for k in (1, 4))
  close(once.params, parts.params)
  close(one, several)


def test_accumulation_does_not_know_the_devices(made):
  case = made(",model=pose")
  (alone, one), (shared, four) = (stepped(*case, 3, devices) for devices in (1, 4))
  close(alone.params, shared.params)
  close(alone.batch_stats, shared.batch_stats)
  close(one, four)


def test_frozen_statistics_stay_to_the_bit(made):
  model, loss, variables, batch = made("")
  model = model.clone(frozen_until="Conv3d_2b_1x1")
  state, _ = stepped(model, loss, variables, batch, 3)
  for before, after in zip(
    jax.tree.leaves(variables["batch_stats"]["backbone"]),
    jax.tree.leaves(state.batch_stats["backbone"]),
  ):
    np.testing.assert_array_equal(before, after)


def test_micro_batches_must_share_the_devices():
  assert jax.device_count() == 4
  mesh.check_batch_size("b", 16, 4)
  with pytest.raises(ValueError, match=r"b is 8, .* multiple of 4 micro-batches times"):
    mesh.check_batch_size("b", 8, 4)
  with pytest.raises(ValueError, match="of 0 micro-batches"):
    mesh.check_batch_size("b", 8, 0)


@pytest.mark.parametrize(
  ("changed", "told"),
  [
    ({"kind": "rmsprop"}, "optimizer.kind is 'rmsprop', expected 'sgd' or 'adam'"),
    ({"decay_epochs": ("a",)}, r"decay_epochs is \('a',\), expected numbers, such"),
  ],
)
def test_wrong_settings_of_the_optimizer(changed, told):
  settings = custom.get_config().optimizer
  settings.update(changed)
  with pytest.raises(ValueError, match=told):
    update.make_optimizer(settings, 1.0)
