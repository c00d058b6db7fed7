"""The form for a CPU equals the plain one, in values and in gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vpn_jax import ops
from vpn_jax.ops import convolution, cook_toom


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def value_and_gradients(form, function, *args):
  """The result of function and the gradients of a fixed random projection of it."""

  def run(*args):
    y, vjp = jax.vjp(function, *args)
    return y, vjp(jnp.asarray(normal(*y.shape, seed=1)).astype(y.dtype))

  with ops.use_formulation(form):
    return jax.jit(run)(*args)


def assert_forms_agree(function, *args, rtol=1e-5):
  """Compares by the largest entry of each result."""
  plain, fast = (
    jax.tree.leaves(value_and_gradients(form, function, *args))
    for form in ("plain", "cpu")
  )
  for want, got in zip(plain, fast, strict=True):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=rtol * float(jnp.abs(want).max()))


def test_the_formulation_is_chosen_by_platform_and_can_be_forced():
  assert ops.formulation() == ("cpu" if jax.default_backend() == "cpu" else "plain")
  with ops.use_formulation("plain"):
    assert ops.formulation() == "plain"
  with (
    pytest.raises(ValueError, match="'cuda' is not known"),
    ops.use_formulation("cuda"),
  ):
    pass


@pytest.mark.parametrize(("outputs", "taps"), [(2, 3), (3, 3), (4, 3), (4, 4), (3, 2)])
def test_cook_toom_is_exact(outputs, taps):
  data, weight, result = (
    np.array(a, object) for a in cook_toom.matrices(outputs, taps)
  )
  d = np.arange(1, outputs + taps) ** 2
  g = np.arange(taps) * 3 - 2
  want = [sum(g[k] * d[j + k] for k in range(taps)) for j in range(outputs)]
  assert list(result @ ((weight @ g) * (data @ d))) == want  # fractions, so no rounding


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 8])
def test_conv3d_3x3x3_for_a_number_of_frames(frames):
  x, kernel = normal(2, frames, 5, 7, 3), normal(3, 3, 3, 3, 4)
  assert_forms_agree(ops.conv3d, x, kernel)


@pytest.mark.parametrize(
  ("shape", "size", "strides"),
  [
    ((1, 1, 5, 7), (7, 7, 7), (2, 2, 2)),  # the stem, on one frame
    ((2, 5, 9, 10), (7, 7, 7), (2, 2, 2)),
    ((1, 8, 16, 16), (7, 7, 7), (2, 2, 2)),
    ((2, 3, 5, 7), (1, 1, 1), (1, 1, 1)),
    ((2, 3, 5, 7), (1, 1, 1), (2, 2, 2)),
    ((2, 5, 5, 7), (3, 3, 3), (2, 2, 2)),
    ((2, 6, 5, 7), (3, 1, 1), (1, 1, 1)),
    ((2, 4, 5, 7), (2, 3, 4), (5, 2, 1)),
    ((1, 3, 16, 5), (3, 3, 3), (1, 1, 1)),  # over rows as well
  ],
)
def test_conv3d_of_other_kernels_and_strides(shape, size, strides):
  x, kernel = normal(*shape, 3), normal(*size, 3, 4)
  assert_forms_agree(lambda x, k: ops.conv3d(x, k, strides), x, kernel)


def test_conv3d_with_symmetric_padding():
  x, kernel = normal(1, 8, 8, 8, 3), normal(7, 7, 7, 3, 4)
  padding = ((3, 3),) * 3
  assert_forms_agree(lambda x, k: ops.conv3d(x, k, (1, 2, 2), padding), x, kernel)


def test_conv3d_in_bfloat16_avoids_the_transforms():
  x, kernel = normal(1, 4, 5, 5, 8), normal(3, 3, 3, 8, 4)
  plain, fast = (
    value_and_gradients(form, ops.conv3d, *map(jnp.bfloat16, (x, kernel)))[0]
    for form in ("plain", "cpu")
  )
  assert fast.dtype == jnp.bfloat16
  scale = np.abs(plain.astype(np.float32)).max()
  gap = np.abs(fast.astype(np.float32) - plain.astype(np.float32)).max()
  assert gap < 0.02 * scale  # some 2 ** -8 for each of the three sums


@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize(
  ("groups", "cin", "cout"),
  [
    (16, 4, 2),  # 2 blocks of 8 groups
    (9, 17, 2),  # a block for each group
    (2, 40, 3),  # wider than a block
    (5, 1, 2),  # one block; each channel on its own
  ],
)
def test_conv3d_in_groups(groups, cin, cout, strides):
  x, kernel = normal(2, 5, 4, 3, groups * cin), normal(3, 3, 3, cin, groups * cout)
  padding = ((1, 1),) * 3
  conv = lambda x, k: ops.conv3d(x, k, strides, padding, groups)  # noqa: E731
  assert_forms_agree(conv, x, kernel)


@pytest.mark.parametrize(
  ("size", "strides", "padding"),
  [
    ((3, 3, 3), (1, 2, 2), "SAME"),
    ((1, 1, 1), (2, 2, 2), "SAME"),
    ((2, 3, 4), (3, 1, 2), ((0, 2), (2, 0), (4, 1))),
    ((3, 1, 2), (1, 3, 1), ((2, 2), (1, 0), (0, 0))),
    ((7, 2, 1), (2, 2, 1), "SAME"),
  ],
)
def test_conv3d_in_groups_of_other_kernels(size, strides, padding):
  groups = 3
  x, kernel = normal(2, 4, 5, 6, groups * 17), normal(*size, 17, groups * 2)
  conv = lambda x, k: ops.conv3d(x, k, strides, padding, groups)  # noqa: E731
  assert_forms_agree(conv, x, kernel)


def test_large_clips_are_convolved_one_after_the_other(monkeypatch):
  """On one device; several devices have the clips divided among them."""
  x, kernel = normal(3, 7, 8, 8, 3), normal(7, 7, 7, 3, 4)
  loops = []
  for devices, places in ((1, 7 * 4 * 4), (1, 7 * 4 * 4 + 1), (2, 1)):
    monkeypatch.setattr(jax, "device_count", lambda n=devices: n)
    monkeypatch.setattr(convolution, "_LARGE", places)
    conv = lambda x, k: ops.conv3d(x, k, (1, 2, 2))  # noqa: E731 - traced anew
    with ops.use_formulation("cpu"):
      loops.append("length=3" in str(jax.make_jaxpr(conv)(x, kernel)))
  assert loops == [True, False, False]
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  assert_forms_agree(lambda x, k: ops.conv3d(x, k, (1, 2, 2)), x, kernel)


@pytest.mark.parametrize("form", ["plain", "cpu"])
def test_the_channels_of_a_group_are_adjacent(form):
  # Two groups of two inputs and one output: 1 * 1 + 2 * 2 and 3 * 10 + 4 * 20.
  x = jnp.array([1.0, 2, 3, 4]).reshape(1, 1, 1, 1, 4)
  kernel = jnp.array([[1.0, 10], [2, 20]]).reshape(1, 1, 1, 2, 2)
  with ops.use_formulation(form):
    y = ops.conv3d(x, kernel, groups=2)
    layer = ops.Conv3D(2, (1, 1, 1), groups=2)
    assert (layer.apply({"params": {"kernel": kernel}}, x) == y).all()
  assert y.ravel().tolist() == [5, 110]


def test_conv3d_names_both_shapes():
  x = jnp.zeros((1, 2, 2, 2, 4))
  with pytest.raises(ValueError, match=r"got x .*4\) and kernel .*as many input chan"):
    ops.conv3d(x, jnp.zeros((1, 1, 1, 3, 5)))
  with pytest.raises(ValueError, match=r"expected .*Cin / 2, Cout\]: give"):
    ops.conv3d(x, jnp.zeros((1, 1, 1, 4, 4)), groups=2)
  with pytest.raises(ValueError, match="got 5 output channels in 2 groups"):
    ops.conv3d(x, jnp.zeros((1, 1, 1, 2, 5)), groups=2)


@pytest.mark.parametrize(
  ("shape", "window", "strides"),
  [
    ((2, 5, 5, 7, 3), (3, 3, 3), (1, 1, 1)),
    ((2, 6, 7, 6, 3), (3, 3, 3), (2, 2, 2)),
    ((2, 1, 5, 7, 3), (1, 3, 3), (1, 2, 2)),
    ((2, 5, 5, 7, 3), (2, 2, 2), (2, 2, 2)),
    ((2, 4, 5, 7, 3), (2, 1, 5), (3, 2, 1)),
    ((2, 5, 7, 3), (2, 2), (2, 2)),
    ((2, 1, 1, 3), (2, 2), (2, 2)),
  ],
)
def test_max_pool_with_and_without_ties(shape, window, strides):
  pool = lambda x: ops.max_pool(x, window, strides)  # noqa: E731
  x = normal(*shape)
  assert_forms_agree(pool, np.concatenate([x, np.round(x)]))  # half has many ties


@pytest.mark.parametrize("shape", [(2, 6, 7, 8, 3), (1, 2, 1, 3, 2)])
@pytest.mark.parametrize("padding", [((1, 1),) * 3, ((0, 1), (2, 0), (1, 1))])
def test_max_pool_with_given_padding(shape, padding):
  pool = lambda x: ops.max_pool(x, (3, 3, 3), (2, 2, 2), padding)  # noqa: E731
  x = normal(*shape)
  assert_forms_agree(pool, np.concatenate([x, np.round(x)]))  # half has many ties


@pytest.mark.parametrize("form", ["plain", "cpu"])
@pytest.mark.parametrize("size", [(4, 6, 8), (5, 7, 1)])
def test_max_pool_padded_as_torch_does(size, form):
  """Windows of 3 begin at -1, 1, 3, ...: for even sizes "SAME" begins them at 0."""
  x = normal(1, *size, 2) - 3  # below zero, so that padding by zeros would show
  starts = [range(-1, n - 1, 2) for n in size]
  want = np.empty([1, *map(len, starts), 2], np.float32)
  for place in np.ndindex(*want.shape[1:4]):
    corner = [r[p] for r, p in zip(starts, place, strict=True)]
    window = tuple(slice(max(c, 0), c + 3) for c in corner)
    want[(0, *place)] = x[0][window].max((0, 1, 2))
  with ops.use_formulation(form):
    got = ops.max_pool(x, (3, 3, 3), (2, 2, 2), ((1, 1),) * 3)
  np.testing.assert_array_equal(got, want)


def test_the_first_maximum_of_a_tie_takes_the_gradient():
  # One window of 2 x 2 x 2 equal values: row-major, the first is [0, 0, 0].
  x = jnp.ones((1, 2, 2, 2, 1)).at[0, 0, 0, 0].set(0)  # now it is [0, 0, 1]
  with ops.use_formulation("cpu"):
    dx = jax.grad(lambda x: ops.max_pool(x, (2, 2, 2), (2, 2, 2)).sum())(x)
  assert dx[0, 0, 0, 1, 0] == 1
  assert dx.sum() == 1


def test_max_pool_names_the_axes():
  with pytest.raises(ValueError, match="expected 3 numbers each"):
    ops.max_pool(jnp.zeros((1, 2, 2, 2, 1)), (2, 2), (2, 2))


def derived_batch_norm(x, scale, bias, relu):
  """`batch_norm_train` with the gradient that JAX derives."""
  rows = x.reshape(-1, x.shape[-1])
  mean = rows.mean(0)
  var = jnp.square(rows - mean[None]).mean(0)
  return ops.batch_norm(x, mean, var, scale, bias, relu=relu)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7, 4), (3, 5, 4), (6, 4), (1, 1, 1, 1, 4)])
def test_the_gradient_of_batch_norm_is_the_derived_one(shape, relu):
  x, scale, bias = normal(*shape) + 1, normal(4, seed=2), normal(4, seed=3)
  ours = lambda x, s, b: ops.batch_norm_train(x, s, b, relu=relu)[0]  # noqa: E731
  derived = lambda x, s, b: derived_batch_norm(x, s, b, relu)  # noqa: E731
  for factor in (scale, None):
    got, want = (
      jax.tree.leaves(value_and_gradients("plain", f, x, factor, bias))
      for f in (ours, derived)
    )
    for a, b in zip(got, want, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))


def test_batch_norm_with_a_mean_far_from_zero():
  x = normal(2, 8, 16, 16, 4) + np.float32(5000)
  y, mean, var = jax.jit(ops.batch_norm_train)(x, None, jnp.zeros(4))
  exact = x.astype(np.float64).reshape(-1, 4)
  np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
  np.testing.assert_allclose(var, exact.var(0), rtol=1e-5)
  want = (x - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-3)
  np.testing.assert_allclose(y, want, atol=5e-3)  # the spacing of floats at 5000


def test_gradient_of_batch_norm_with_a_mean_far_from_zero():
  x, dy = normal(2, 8, 16, 16, 4) + np.float32(300), normal(2, 8, 16, 16, 4, seed=1)
  scale = np.ones(4, np.float32)
  function = lambda x, s: ops.batch_norm_train(x, s, jnp.zeros(4))[0]  # noqa: E731
  dx, dscale = jax.jit(lambda x, s, dy: jax.vjp(function, x, s)[1](dy))(x, scale, dy)
  exact, dy = (a.astype(np.float64).reshape(-1, 4) for a in (x, dy))
  inverse = 1 / np.sqrt(exact.var(0) + 1e-3)
  unit = (exact - exact.mean(0)) * inverse
  want = inverse * (dy - dy.mean(0) - unit * (dy * unit).mean(0))
  np.testing.assert_allclose(dx.reshape(-1, 4), want, atol=5e-6 * np.abs(want).max())
  want = (dy * unit).sum(0)
  np.testing.assert_allclose(dscale, want, atol=5e-6 * np.abs(dy).sum(0).max())


def test_running_statistics():
  x = normal(4, 3, 2, 2, 5) * 3 + 2
  norm = ops.BatchNorm(use_scale=True, momentum=0.75)
  variables = norm.init(jax.random.key(0), x, train=True)
  assert variables["batch_stats"]["mean"].sum() == 0  # init leaves them
  assert variables["params"]["scale"].shape == variables["params"]["bias"].shape
  y, new = norm.apply(variables, x, train=True, mutable=["batch_stats"])
  np.testing.assert_allclose(np.mean(y, (0, 1, 2, 3)), 0, atol=1e-5)
  rows = x.reshape(-1, 5).astype(np.float64)
  np.testing.assert_allclose(new["batch_stats"]["mean"], 0.25 * rows.mean(0), rtol=1e-5)
  want = 0.75 + 0.25 * rows.var(0)  # the biased variance
  np.testing.assert_allclose(new["batch_stats"]["var"], want, rtol=1e-5)
  y = norm.apply({**variables, **new}, x)  # not training: by the running statistics
  want = (rows - 0.25 * rows.mean(0)) / np.sqrt(want + 1e-3)
  np.testing.assert_allclose(y.reshape(-1, 5), want, atol=1e-5)


class Layers(nn.Module):
  """One of each."""

  @nn.compact
  def __call__(self, x, train):
    x = ops.Conv3D(8, (3, 3, 3), use_bias=True, name="conv")(x)
    x = ops.BatchNorm(relu=True, name="bn")(x, train=train)
    return ops.max_pool(x, (3, 3, 3), (2, 2, 2))


def test_a_batch_over_several_devices_gives_the_same_step():
  devices = jax.devices()[:2]
  if len(devices) < 2:
    pytest.skip("needs two devices: XLA_FLAGS=--xla_force_host_platform_device_count=2")
  model, x = Layers(), normal(4, 4, 6, 6, 3)
  variables = model.init(jax.random.key(0), x, False)

  def step(params, x):
    def loss(params):
      y, new = model.apply(
        {**variables, "params": params}, x, True, mutable="batch_stats"
      )
      return jnp.square(y).mean(), new

    return jax.grad(loss, has_aux=True)(params)

  mesh = jax.sharding.Mesh(np.array(devices), ("data",))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  want = jax.jit(step)(variables["params"], x)
  got = jax.jit(step)(variables["params"], jax.device_put(x, sharding))
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
