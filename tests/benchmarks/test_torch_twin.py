"""The PyTorch twin is our network: names, outputs, loss, gradients, one update."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from benchmarks import step
from vpn_jax.models import networks
from vpn_jax.training import losses, train_step
from vpn_jax.training import optimizer as optimizer_lib

torch = pytest.importorskip(
  "torch", reason="needs PyTorch: pip install -r requirements-benchmark.txt"
)

from benchmarks.twin import layers, training, vpn  # noqa: E402

# Odd and even sizes on every axis, so that both sides of "SAME" padding are met.
FRAMES, HEIGHT, WIDTH = 9, 34, 27
ENDPOINTS = {"i3d": "Mixed_4b", "vpn": "Mixed_3b", "vpn_rnx": "layer2"}


def small(name):
  """A narrow network of few layers without dropout, of which all can be compared."""
  c = step.configuration(name, "tiny", "float32")
  if c.network == "pose":
    c.model.pose.update(blocks=3, block_features=12)
    c.model.dropout = 0.0
    return c
  c.model.update(width=0.125, endpoint=ENDPOINTS[name], frozen_until="")
  c.model.update(embedding_dim=8, attention_hidden=8, dropout=0.0)
  c.model.pose.dropout = 0.0
  return c


def noise(shapes):
  """Variables of noise that keep activations near one: no zeros that hide a mix-up."""
  rng = np.random.default_rng(0)

  def draw(path, x):
    leaf, value = path[-1].key, rng.normal(size=x.shape)
    if leaf == "var":
      value = 0.5 + np.abs(value)
    elif leaf == "scale":
      value = 1 + 0.1 * value
    elif len(x.shape) > 1:
      value = value / np.sqrt(np.prod(x.shape[:-1]))
    return jnp.asarray(value, jnp.float32)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def example(config):
  rng = np.random.default_rng(1)
  return {
    "frames": rng.integers(0, 256, (2, FRAMES, HEIGHT, WIDTH, 3)).astype(np.uint8),
    "pose": rng.normal(size=(2, 5, step.JOINTS, 3)).astype(np.float32),
    "label": np.int32([3, 50]),
  }


def shapes_of(config, batch):
  model = networks.build(config.network, config.model.to_dict())
  init = functools.partial(model.init, train=False)
  return model, jax.eval_shape(init, jax.random.key(0), *networks.inputs(model, batch))


def in_twin(tree):
  """Our parameters, or their gradients, by the twin's names and in its order."""
  found = {}
  for path, value in traverse_util.flatten_dict(tree).items():
    value = np.asarray(value)
    if path[-1] == "kernel":
      value = value.transpose(layers.kernel_order(value.ndim))
    found[layers.twin_name(path)] = value
  return found


def close(ours, theirs):
  """Equal to 1e-4 of the largest value, at least of one."""
  ours, theirs = np.asarray(ours), np.asarray(theirs.detach())
  assert ours.shape == theirs.shape
  scale = max(1.0, float(np.abs(ours).max()))
  np.testing.assert_allclose(theirs / scale, ours / scale, rtol=0, atol=1e-4)


@pytest.fixture(scope="module", params=step.MODELS)
def pair(request):
  """(config, model, variables, batch) of a network of both."""
  config = small(request.param)
  batch = example(config)
  model, shapes = shapes_of(config, batch)
  return config, model, noise(shapes), batch


def test_inference_is_ours(pair, plain_operations):
  config, model, variables, batch = pair
  network = training.network(config, variables).eval()
  with torch.inference_mode():
    found, found_out = network(*(torch.tensor(batch[k]) for k in network.inputs))
  apply = jax.jit(functools.partial(model.apply, train=False))
  logits, out = apply(variables, *networks.inputs(model, batch))
  close(logits, found)
  assert set(found_out) == set(out)
  for name, value in out.items():
    close(value, found_out[name])


def test_step_is_ours(pair, plain_operations):
  config, model, variables, batch = pair
  settings = config.loss.to_dict()

  def ours(params):
    (logits, out), updated = model.apply(
      {**variables, "params": params},
      *networks.inputs(model, batch),
      train=True,
      mutable=["batch_stats"],
    )
    loss, terms = losses.total_loss(logits, out, batch["label"], **settings)
    terms = jax.tree.map(jnp.mean, terms)
    return jnp.mean(loss), (logits, out, terms, updated["batch_stats"])

  grad = jax.jit(jax.value_and_grad(ours, has_aux=True))
  (loss, (logits, out, terms, stats)), grads = grad(variables["params"])
  network = training.network(config, variables).train()
  found, found_out = network(*(torch.tensor(batch[k]) for k in network.inputs))
  labels = torch.tensor(batch["label"]).long()
  found_loss, found_terms = training.total_loss(found, found_out, labels, settings)
  found_loss.backward()

  close(logits, found)
  assert set(found_out) == set(out)
  for name, value in out.items():
    close(value, found_out[name])
  close(loss, found_loss)
  cosines = {"video_cosine", "pose_cosine"}  # of no weight in the loss
  assert set(found_terms) == set(terms) - cosines
  for name, value in found_terms.items():
    close(terms[name], value)
  parameters = dict(network.named_parameters())
  grads = in_twin(grads)
  assert set(parameters) == set(grads)
  # Rounding puts a sum or two on the other side of zero, before a ReLU, and all that
  # lies in front of it changes by percents; a wrong layer changes it as a whole.
  # A bias that BatchNorm takes out again has a gradient of nothing but rounding.
  sizes = {name: np.linalg.norm(value) for name, value in grads.items()}
  least = 1e-5 * max(sizes.values())
  errors = {
    name: np.linalg.norm(parameters[name].grad.numpy() - value)
    / max(sizes[name], least)
    for name, value in grads.items()
  }
  assert max(errors.values()) < 0.3, max(errors, key=errors.get)
  assert np.median(list(errors.values())) < 1e-3
  means = {k: v for k, v in in_twin(stats).items() if k.endswith("running_mean")}
  state = network.state_dict()
  for name, value in means.items():
    close(value, state[name])


def test_two_updates_are_those_of_our_optimizer():
  config = small("i3d")
  config.model.endpoint = "Conv3d_1a_7x7"
  batch = example(config)
  model, shapes = shapes_of(config, batch)
  variables = noise(shapes)
  optimizer = optimizer_lib.make_optimizer(config.optimizer, 1000.0, 30_000)
  state = train_step.TrainState.start(variables, optimizer)
  our_step = jax.jit(
    train_step.make_train_step(model, optimizer, config.loss.to_dict())
  )
  their_step = training.train_step(config, variables, batch, compiled=False)
  for _ in range(2):
    state, metrics = our_step(state, batch, jax.random.key(0))
    close(metrics["loss"], their_step())


def test_frozen_layers_have_no_gradient_and_keep_their_statistics():
  config = small("vpn")
  config.model.frozen_until = "Conv3d_2b_1x1"
  batch = example(config)
  _, shapes = shapes_of(config, batch)
  network = training.network(config, noise(shapes)).train()
  before = {name: x.clone() for name, x in network.state_dict().items()}
  logits, _ = network(*(torch.tensor(batch[k]) for k in ("frames", "pose")))
  logits.sum().backward()
  for name, x in network.backbone.named_parameters():
    assert (x.grad is None) == name.startswith(("Conv3d_1a", "Conv3d_2b"))
  for name, x in network.state_dict().items():
    if name.startswith("backbone") and name.endswith("running_mean"):
      kept = "Conv3d_1a" in name or "Conv3d_2b" in name
      assert torch.equal(x, before[name]) == kept


def test_frozen_stages_of_resnext_are_those_of_ours():
  config = small("vpn_rnx")
  config.model.frozen_until = "layer1"
  _, shapes = shapes_of(config, example(config))
  network = training.network(config, noise(shapes)).train()
  kept = {name for name, x in network.backbone.named_children() if not x.training}
  assert kept == {"conv1", "bn1", "layer1_0", "layer1_1", "layer1_2"}


@pytest.mark.parametrize("name", step.MODELS)
def test_full_size_has_the_names_and_shapes_of_ours(name):
  config = step.configuration(name, "full", "float32")
  batch = step.noise_batch(step.configuration(name, "tiny", "float32"), 1)
  batch["frames"] = np.zeros((1, 64, 224, 224, 3), np.uint8)
  _, shapes = shapes_of(config, batch)
  with torch.device("meta"):
    network = vpn.NETWORKS[config.network](config.model.to_dict(), shapes["params"])
  found = {name: tuple(x.shape) for name, x in network.state_dict().items()}
  expected = {}
  for collection in shapes.values():
    for path, x in traverse_util.flatten_dict(collection).items():
      order = range(x.ndim) if path[-1] != "kernel" else layers.kernel_order(x.ndim)
      expected[layers.twin_name(path)] = tuple(x.shape[i] for i in order)
  assert found == expected


def test_lower_type_stays_near_and_outputs_are_float32():
  config = small("vpn")
  batch = example(config)
  _, shapes = shapes_of(config, batch)
  variables = noise(shapes)
  exact = training.forward(config, variables, batch, compiled=False)()
  config.model.dtype = "bfloat16"
  found = training.forward(config, variables, batch, compiled=False)()
  assert found.dtype == torch.float32
  assert not torch.equal(found, exact)
  torch.testing.assert_close(found, exact, rtol=0, atol=0.1)


def test_settings_without_a_twin_are_named():
  config = small("vpn")
  _, shapes = shapes_of(config, example(config))
  fields = config.model.to_dict()
  with pytest.raises(ValueError, match=r"model\.coupler is False.*another row"):
    vpn.VPN({**fields, "coupler": False}, shapes["params"])
  pose = {**fields["pose"], "kind": "lstm"}
  with pytest.raises(ValueError, match=r"model\.pose\.kind is 'lstm'"):
    vpn.VPN({**fields, "pose": pose}, shapes["params"])
  one = torch.ones(1, 4)
  out = {"video_embedding": one, "pose_embedding": one}
  with pytest.raises(ValueError, match=r"loss\.embedding is 'kl_bi'.*'euclidean'"):
    training.total_loss(one, out, torch.tensor([0]), {"embedding": "kl_bi"})


def test_variables_must_fit_by_name():
  config = small("i3d")
  _, shapes = shapes_of(config, example(config))
  variables = noise(shapes)
  network = vpn.VPN(config.model.to_dict(), variables["params"])
  del variables["params"]["classifier"]
  with pytest.raises(RuntimeError, match=r"Missing key.*classifier\.weight"):
    vpn.load(network, variables)
