"""Rates over time and by part, decay, clipping, and which parameters train."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import custom, ntu60, ntu120
from vpn_jax import ops
from vpn_jax.inputs import example
from vpn_jax.models import networks
from vpn_jax.training import optimizer as optimizer_lib

# One kernel and one bias of each part; two visual backbones, as of P-I3D.
PARAMS = {
  "backbone_body": {"conv": {"kernel": 2.0, "bias": 3.0}},
  "backbone_left_hand": {"conv": {"kernel": 2.0, "bias": 3.0}},
  "pose_backbone": {"graph": {"kernel": 2.0, "bias": 3.0}},
  "non_local_Mixed_4e": {"theta": {"kernel": 2.0, "bias": 3.0}},
  "classifier": {"kernel": 2.0, "bias": 3.0},
}


def full(kernel, bias):
  """A tree like PARAMS: kernels of [2, 3], biases of [3]."""
  value = {"kernel": jnp.full((2, 3), kernel), "bias": jnp.full(3, bias)}
  return jax.tree_util.tree_map_with_path(lambda path, _: value[path[-1].key], PARAMS)


def settings_with(**changed):
  settings = custom.get_config().optimizer
  settings.update(changed)
  return settings


def updates_of(settings, grads, steps=1, steps_per_epoch=10.0, total_steps=300):
  """The last updates of PARAMS, by module and leaf, for the same gradients."""
  optimizer = optimizer_lib.make_optimizer(settings, steps_per_epoch, total_steps)
  params = full(2.0, 3.0)
  state = optimizer.init(params)
  for _ in range(steps):
    updates, state = optimizer.update(grads, state, params)
  flat = jax.tree_util.tree_leaves_with_path(updates)
  return {(p[0].key, p[-1].key): float(x.ravel()[0]) for p, x in flat}


def rates_at(settings, counts, steps_per_epoch, total_steps):
  schedule = optimizer_lib.make_schedule(settings, steps_per_epoch, total_steps)
  return np.array([schedule(jnp.int32(count)) for count in counts])


def test_rate_falls_after_the_epochs_of_the_paper():
  settings = ntu60.get_config("cs").optimizer
  counts = np.arange(75)
  passed = (counts >= 25).astype(int) + (counts >= 50)  # 10, 20 epochs of 2.5 steps
  np.testing.assert_allclose(
    rates_at(settings, counts, 2.5, 75), 0.01 * 0.1**passed, rtol=1e-6
  )


def test_updates_of_the_paper_are_momentum_of_that_rate():
  settings = ntu60.get_config("cs").optimizer
  optimizer = optimizer_lib.make_optimizer(settings, 2.5, 75)
  params, moved = {"w": jnp.zeros(())}, []
  state = optimizer.init(params)
  for _ in range(75):
    updates, state = optimizer.update({"w": jnp.ones(())}, state, params)
    moved.append(-float(updates["w"]))
  counts = np.arange(75)
  passed = (counts >= 25).astype(int) + (counts >= 50)
  # The trace of a constant gradient of 1 is 1 + 0.9 + ... + 0.9^count.
  trace = (1 - 0.9 ** (counts + 1)) / (1 - 0.9)
  np.testing.assert_allclose(moved, 0.01 * 0.1**passed * trace, rtol=1e-5)


def test_epochs_of_one_step_fall_together():
  """As fractions of an epoch, both are after step 2."""
  settings = settings_with(decay_epochs=(0.1, 0.15))
  np.testing.assert_allclose(
    rates_at(settings, (1, 2), 16, 100), (0.01, 0.0001), rtol=1e-6
  )


def test_warm_up_before_the_steps_of_the_paper():
  settings = settings_with(warmup_epochs=0.5)
  found = rates_at(settings, (0, 1, 4, 5, 99, 100, 199, 200), 10.0, 300)
  expected = (0, 0.002, 0.008, 0.01, 0.01, 0.001, 0.001, 0.0001)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("warmup", [0, 10])
def test_cosine_ends_at_zero(warmup):
  settings = settings_with(schedule="cosine", warmup_epochs=warmup / 10)
  counts = np.arange(warmup, 51)
  expected = 0.005 * (1 + np.cos(np.pi * (counts - warmup) / (50 - warmup)))
  found = rates_at(settings, counts, 10.0, 50)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
  rise = 0.01 * np.arange(warmup) / max(warmup, 1)
  np.testing.assert_allclose(rates_at(settings, range(warmup), 10.0, 50), rise, 1e-6)


def test_each_part_has_its_rate():
  rates = {"visual_backbone": 0.1, "pose_backbone": 0.5, "new": 2.0}
  found = updates_of(settings_with(rates=rates), full(1.0, 1.0))
  expected = {
    "backbone_body": -0.001,
    "backbone_left_hand": -0.001,
    "pose_backbone": -0.005,
    "non_local_Mixed_4e": -0.02,
    "classifier": -0.02,
  }
  assert len(found) == 10
  for (module, _), update in found.items():
    np.testing.assert_allclose(update, expected[module], rtol=1e-6)


@pytest.mark.parametrize("visual", [1.0, 0.1])
def test_decay_is_of_kernels_before_momentum(visual):
  """Two steps of gradient 1 on a kernel of 2: (1 + 0.1 * 2) * (1 + 0.9)."""
  rates = {"visual_backbone": visual, "pose_backbone": 1.0, "new": 1.0}
  settings = settings_with(weight_decay=0.1, rates=rates)
  for (module, leaf), update in updates_of(settings, full(1.0, 1.0), 2).items():
    rate = 0.01 * (visual if module.startswith("backbone") else 1.0)
    gradient = 1.2 if leaf == "kernel" else 1.0
    np.testing.assert_allclose(update, -rate * gradient * 1.9, rtol=1e-6)


@pytest.mark.parametrize(("kind", "sign"), [("adam", -1), ("adamw", 1)])
def test_decay_of_adam_is_in_the_gradient_and_of_adamw_beside_it(kind, sign):
  """The first update of Adam is minus the rate times the sign of the gradient.

  For a kernel of 2 and its gradient -3, sign(-3 + 2) of Adam, sign(-3) + 2 of AdamW.
  """
  with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int
    found = updates_of(settings_with(kind=kind, weight_decay=1.0), full(-3.0, -3.0))
  for (_, leaf), update in found.items():
    expected = -0.01 * sign if leaf == "kernel" else 0.01
    np.testing.assert_allclose(update, expected, rtol=1e-4)


@pytest.mark.parametrize("visual", [1.0, 0.5])
def test_clipping_is_of_all_gradients_together(visual):
  """45 numbers of 2 have the norm 2 sqrt(45)."""
  rates = {"visual_backbone": visual, "pose_backbone": 1.0, "new": 1.0}
  settings = settings_with(clip_norm=3.0, rates=rates)
  for (module, _), update in updates_of(settings, full(2.0, 2.0)).items():
    rate = 0.01 * (visual if module.startswith("backbone") else 1.0)
    np.testing.assert_allclose(update, -rate * 3.0 / np.sqrt(45), rtol=1e-5)


@pytest.mark.parametrize(
  "rates",
  [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.0, 0.5, 0.5)],
)
def test_equal_rates_keep_the_layout_of_one_optimizer(rates):
  """So that a run of before this file, without decay, goes on."""
  rates = dict(zip(optimizer_lib.PARTS, rates))
  params = full(2.0, 3.0)
  plain = optax.sgd(lambda count: 0.01, momentum=0.9).init(params)
  for clip_norm in (0.0, 1.0):
    settings = settings_with(rates=rates, clip_norm=clip_norm)
    optimizer = optimizer_lib.make_optimizer(settings, 10.0, 300)
    if clip_norm:
      plain = (optax.EmptyState(), plain)
    assert jax.tree.structure(optimizer.init(params)) == jax.tree.structure(plain)
  update = updates_of(settings_with(rates=rates), full(1.0, 1.0))
  np.testing.assert_allclose(update["classifier", "bias"], -0.01 * rates["new"], 1e-6)


def abstract(arg, **fields):
  """A network of the full size, and the shapes of its parameters."""
  c = ntu120.get_config(f"cs1,size=tiny,{arg}")
  c.model.num_classes = 4
  c.model.update(fields)
  model = networks.build(c.network, c.model.to_dict())
  shapes = example.Settings(**c.data.example).example_shapes(25)
  batch = {k: jnp.zeros((1, *x.shape), x.dtype) for k, x in shapes.items()}
  with ops.use_formulation("plain"):  # the same parameters, traced faster
    shapes = jax.eval_shape(
      lambda key: model.init(key, *networks.inputs(model, batch)), jax.random.key(0)
    )
  return model, shapes["params"]


def trained(model, params, **rates):
  """Paths of the parameters that train, joined by "/"."""
  rates = {part: rates.get(part, 1.0) for part in optimizer_lib.PARTS}
  mask = optimizer_lib.trainable(model, params, rates)
  assert jax.tree.structure(mask) == jax.tree.structure(params)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, trains in jax.tree_util.tree_leaves_with_path(mask)
    if trains
  }


def layers_of(paths, module="backbone"):
  return {path.split("/")[1] for path in paths if path.startswith(f"{module}/")}


def test_layers_up_to_frozen_until_do_not_train():
  model, params = abstract("coupler=True")
  assert model.frozen_until == "Mixed_3c"
  paths = trained(model, params)
  later = {"Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"}
  assert layers_of(paths) == later
  assert {path.split("/")[0] for path in paths} == set(params)


def test_frozen_stages_of_resnext():
  model, params = abstract("backbone=resnext3d", frozen_until="conv1")
  assert "bn1" not in layers_of(trained(model, params))
  assert "layer1_0" in layers_of(trained(model, params))
  model = model.clone(frozen_until="layer2")
  blocks = {f"layer3_{i}" for i in range(23)}
  assert layers_of(trained(model, params)) == blocks


@pytest.mark.parametrize("arg", ["model=i3d", "backbone=resnext3d"])
def test_every_module_of_a_backbone_belongs_to_a_layer(arg):
  model, params = abstract(arg)
  assert not layers_of(trained(model.clone(frozen_until=model.endpoint), params))
  assert layers_of(trained(model.clone(frozen_until=""), params)) == set(
    params["backbone"]
  )


def test_frozen_backbones_and_lstm_of_p_i3d():
  model, params = abstract("model=p_i3d")
  assert model.pose["frozen"]
  modules = {path.split("/")[0] for path in trained(model, params)}
  assert modules == {"part_hidden", "part_logits", "classifier"}


def test_non_local_block_trains_unless_a_frozen_layer_follows():
  model, params = abstract("model=i3d_nl")
  for layer, trains in (("Mixed_4d", True), ("Mixed_4e", True), ("Mixed_4f", False)):
    paths = trained(model.clone(frozen_until=layer), params)
    assert any(path.startswith("non_local_Mixed_4e/") for path in paths) == trains


def test_part_of_rate_zero_does_not_train():
  model, params = abstract("coupler=True")
  modules = {path.split("/")[0] for path in trained(model, params, visual_backbone=0)}
  assert modules == set(params) - {"backbone"}
  modules = {path.split("/")[0] for path in trained(model, params, new=0)}
  assert modules == {"backbone", "pose_backbone"}


def test_something_must_train():
  model, params = abstract("model=i3d", frozen_until="Mixed_4f")
  with pytest.raises(ValueError, match="no parameter trains"):
    trained(model, params, new=0.0)


NEGATIVE = {"visual_backbone": -0.1, "pose_backbone": 1.0, "new": 1.0}
ZERO = {"visual_backbone": 0.0, "pose_backbone": 0.0, "new": 0.0}


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"kind": "rmsprop"}, r"optimizer.kind is 'rmsprop', expected one of \('sgd', 'ad"),
    ({"schedule": "linear"}, "schedule is 'linear', expected one of .*'cosine'.: choo"),
    ({"decay_epochs": ("a",)}, r"decay_epochs is \('a',\), expected numbers .* such"),
    ({"decay_epochs": (-1,)}, r"decay_epochs is \(-1,\), expected numbers of 0 or mor"),
    ({"learning_rate": -0.01}, r"learning_rate is -0.01, expected a number of 0 or"),
    ({"weight_decay": float("nan")}, r"weight_decay is nan, expected a number of 0"),
    ({"warmup_epochs": -1.0}, r"warmup_epochs is -1.0, expected a number of 0 or mor"),
    ({"warmup_epochs": 9.0}, r"warmup_epochs is 9.0, 90 of 90 steps, .* lower it or"),
    ({"rates": NEGATIVE}, r"rates.visual_backbone is -0.1, expected a number of 0 or"),
    ({"rates": ZERO}, "rates are all 0, expected a positive one of .*: raise the rate"),
  ],
)
def test_wrong_settings(changed, message):
  settings = settings_with(**changed)
  with pytest.raises(ValueError, match=message):
    optimizer_lib.make_optimizer(settings, 10.0, 90)


def test_unknown_part():
  settings = settings_with()
  with settings.unlocked():
    del settings.rates.pose_backbone
    settings.rates.backbone = 1.0
  message = (
    r"rates names \['backbone', 'new', 'visual_backbone'\], expected .*: give each"
  )
  with pytest.raises(ValueError, match=message):
    optimizer_lib.make_optimizer(settings, 10.0, 90)
