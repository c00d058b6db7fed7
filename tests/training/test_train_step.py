"""One update: accumulated over micro-batches it is that of the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import custom
from vpn_jax import device_mesh
from vpn_jax.inputs import example
from vpn_jax.models import networks
from vpn_jax.training import initialization, losses, train_step

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
    model = networks.build(c.network, c.model.to_dict())
    settings = example.Settings(**c.data.example)
    variables = initialization.fresh(model, settings, jax.random.key(0), 25)
    rng = np.random.default_rng(0)
    batch = {"label": jnp.asarray(np.arange(12, dtype=np.int32) % 4)}
    for name, x in settings.example_shapes(25).items():
      noise = 64 * rng.normal(size=(12, *x.shape)) if name == "pose" else None
      noise = rng.integers(0, 256, (12, *x.shape)) if noise is None else noise / 64
      batch[name] = jnp.asarray(noise.astype(x.dtype))
    return model, c.loss.to_dict(), variables, batch

  return make


def stepped(
  model, loss, variables, batch, accumulate, devices=1, trainable=None, steps=1
):
  """State and metrics after steps of gradient descent with momentum."""
  optimizer = optax.sgd(RATE, momentum=0.9)
  grid = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("data",))
  # A copy: the step takes the memory of its state.
  copied = jax.tree.map(jnp.copy, variables)
  state = train_step.TrainState.start(copied, optimizer, trainable)
  state = jax.device_put(state, device_mesh.whole(grid))
  step = train_step.make_train_step(model, optimizer, loss, accumulate, trainable)
  step = train_step.compile_step(step, grid)
  batch = device_mesh.make_placer(grid)(jax.device_get(batch))
  for _ in range(steps):
    state, metrics = step(state, batch, jax.random.key(1))
  return state, metrics


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
      *networks.inputs(model, group),
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
  device_mesh.check_batch_size("b", 16, 4)
  with pytest.raises(ValueError, match=r"b is 8, .* multiple of 4 micro-batches times"):
    device_mesh.check_batch_size("b", 8, 4)
  with pytest.raises(ValueError, match="of 0 micro-batches"):
    device_mesh.check_batch_size("b", 8, 0)


@pytest.fixture
def frozen(made):
  """`made` with a frozen first layer and pose backbone, and what trains of it."""
  model, loss, variables, batch = made("")
  model = model.clone(
    frozen_until="MaxPool3d_2a_3x3", pose={**model.pose, "frozen": True}
  )
  return (model, loss, variables, batch), networks.trainable(model, variables["params"])


def split(params):
  """What trains and what does not, as written down by hand."""
  params = dict(params)
  backbone = dict(params["backbone"])
  kept = {"pose": params.pop("pose_backbone"), "1a": backbone.pop("Conv3d_1a_7x7")}
  return {**params, "backbone": backbone}, kept


def test_frozen_parameters_have_no_place_in_the_optimizer(frozen):
  (model, loss, variables, batch), trainable = frozen
  case = (model, loss, variables, batch)
  state, _ = stepped(*case, 1, trainable=trainable)
  trained, _ = split(variables["params"])
  assert jax.tree.map(jnp.shape, state.opt_state[0].trace) == jax.tree.map(
    jnp.shape, trained
  )
  assert jax.tree.structure(state.params) == jax.tree.structure(variables["params"])


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_frozen_steps_are_those_with_gradients_of_everything(
  frozen, accumulate, devices
):
  """The former way: `jax.grad` over all parameters, zeros for the frozen ones."""
  (model, loss, variables, batch), trainable = frozen
  case = (model, loss, variables, batch)
  state, metrics = stepped(*case, accumulate, devices, trainable, steps=3)

  def of_group(params, stats, group):
    (logits, out), changed = model.apply(
      {"params": params, "batch_stats": stats},
      *networks.inputs(model, group),
      train=True,
      rngs={"dropout": jax.random.key(0)},  # whose rates are 0 here
      mutable=["batch_stats"],
    )
    values, _ = losses.total_loss(logits, out, group["label"], **loss)
    return jnp.mean(values), changed["batch_stats"]

  def of_batch(params, stats):
    found = [
      of_group(params, stats, {k: x[i::accumulate] for k, x in batch.items()})
      for i in range(accumulate)
    ]
    values, stats = zip(*found)
    mean = jax.tree.map(lambda *x: sum(x) / accumulate, *stats)
    return sum(values) / accumulate, mean

  optimizer = optax.sgd(RATE, momentum=0.9)
  params, stats = variables["params"], variables["batch_stats"]
  opt_state = optimizer.init(params)
  gradient = jax.jit(jax.value_and_grad(of_batch, has_aux=True))
  for _ in range(3):
    (value, stats), grads = gradient(params, stats)
    for zero in jax.tree.leaves(split(grads)[1]):
      assert not np.any(zero)
    updates, opt_state = optimizer.update(grads, opt_state)
    params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(metrics["loss"], value, rtol=1e-4)
  np.testing.assert_allclose(
    metrics["gradient_norm"], optax.tree.norm(grads), rtol=1e-3
  )
  close(state.params, params)
  close(state.batch_stats, stats)
  close(state.opt_state[0].trace, split(opt_state[0].trace)[0])
  trained, kept = split(state.params)
  start, kept_start = split(variables["params"])
  jax.tree.map(np.testing.assert_array_equal, kept, kept_start)
  moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), trained, start)
  assert moved["classifier"]["kernel"]
  assert moved["backbone"]["Conv3d_2b_1x1"]["conv"]["kernel"]


def test_frozen_parameters_stay_where_they_are_in_memory(frozen):
  """Donated and given back: the step does not copy them."""
  (model, loss, variables, batch), trainable = frozen
  optimizer = optax.sgd(RATE)
  copied = jax.tree.map(jnp.copy, variables)
  state = train_step.TrainState.start(copied, optimizer, trainable)
  grid = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
  state = jax.device_put(state, device_mesh.whole(grid))
  step = train_step.make_train_step(model, optimizer, loss, 1, trainable)

  def places(state):
    return jax.tree.map(lambda x: x.unsafe_buffer_pointer(), split(state.params)[1])

  before = places(state)
  batch = device_mesh.make_placer(grid)(jax.device_get(batch))
  state, _ = train_step.compile_step(step, grid)(state, batch, jax.random.key(1))
  assert places(state) == before
