"""The program of a step: for CUDA, in bfloat16, its memory, compiled once."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from benchmarks import step as step_benchmark
from vpn_jax import device_mesh, ops
from vpn_jax.models import networks
from vpn_jax.training import train_step

ENDPOINTS = {"i3d": "Mixed_3b", "vpn": "Mixed_3b", "vpn_rnx": "layer1"}
# Pools: 2a, 3a and that of Mixed_3b, or the one of ResNeXt; two of the pose backbone.
POOLS = {"i3d": 3, "vpn": 5, "vpn_rnx": 3}


def narrow(name, dtype="float32"):
  """The configuration of a network of few and narrow layers."""
  c = step_benchmark.configuration(name, "tiny", dtype)
  c.data.example.update(num_frames=8, frame_size=32, pose_steps=4)
  c.model.update(width=0.125, embedding_dim=8, attention_hidden=8)
  c.model.update(endpoint=ENDPOINTS[name], frozen_until="")
  return c


def arguments(config, accumulate=1, batch_size=4):
  """The step of a configuration, and the shapes of what it takes."""
  model = networks.build(config.network, config.model.to_dict())
  batch = step_benchmark.noise_batch(config, batch_size)
  init = functools.partial(model.init, train=False)
  variables = jax.eval_shape(init, jax.random.key(0), *networks.inputs(model, batch))
  step, first = step_benchmark.train_functions(config, variables["params"], accumulate)
  state = jax.eval_shape(first, dict(variables))
  return step, state, batch, jax.eval_shape(lambda: jax.random.key(0))


def exported(name, form, dtype="float32"):
  """The program for CUDA, as text, and the state that it takes."""
  step, *args = arguments(narrow(name, dtype))
  with ops.use_formulation(form):
    jitted = jax.jit(step, donate_argnums=0)
    return jax.export.export(jitted, platforms=["cuda"])(*args).mlir_module(), args[0]


@pytest.mark.parametrize("name", list(ENDPOINTS))
def test_for_cuda_every_operation_has_its_plain_form(name):
  text, state = exported(name, ops.formulation_for("cuda"), "bfloat16")
  kernels = sum(x.ndim in (4, 5) for x in jax.tree.leaves(state.params))
  # Itself, and the gradients of the kernel and of what it is applied to; the frames
  # have none.
  assert len(re.findall(r"stablehlo\.convolution\(", text)) == 3 * kernels - 1
  groups = re.findall(r"feature_group_count = (\d+)", text)
  assert set(groups) <= ({"1", "32"} if name == "vpn_rnx" else {"1"})
  for operation in ("reduce_window", "select_and_scatter"):
    assert len(re.findall(rf'"stablehlo\.{operation}"\(', text)) == POOLS[name]
  # Nothing that a library behind a call would have to know, nothing that runs on the
  # host, no loop, no float64.
  for word in ("custom_call", "infeed", "outfeed", "stablehlo.send", "while", "f64"):
    assert word not in text, word
  assert text.count("tf.aliasing_output") == len(jax.tree.leaves(state))


def test_the_form_for_a_cpu_would_be_seen_in_a_program_for_cuda():
  text, state = exported("i3d", "cpu")
  kernels = sum(x.ndim == 5 for x in jax.tree.leaves(state.params))
  assert len(re.findall(r"stablehlo\.convolution\(", text)) != 3 * kernels - 1
  assert "stablehlo.reduce_window" not in text


# bfloat16

# Sums, and what small differences of large numbers or a large range make of them.
IN_FLOAT32 = (
  *("reduce_sum", "cumsum", "dot_general", "exp", "exp2", "expm1", "log", "log1p"),
  *("logistic", "tanh", "erf", "rsqrt", "sqrt", "div", "integer_pow", "pow", "square"),
)


def equations(jaxpr):
  """All of them, those of inner programs as well."""
  for eqn in jaxpr.eqns:
    yield eqn
    for inner in core.jaxprs_in_params(eqn.params):
      yield from equations(inner)


def dtypes(variables):
  return {str(v.aval.dtype) for v in variables if hasattr(v.aval, "dtype")}


@pytest.mark.parametrize("name", ["vpn", "vpn_rnx"])
def test_in_bfloat16_everything_but_the_backbone_is_float32(name, plain_operations):
  """The convolutions of the trunk are bfloat16; no statistic, loss or sum is."""
  config = narrow(name, "bfloat16")
  step, state, *args = arguments(config)
  traced = jax.make_jaxpr(step)(state, *args)
  found = collections.defaultdict(collections.Counter)
  for eqn in equations(traced.jaxpr):
    for dtype in dtypes(eqn.invars):
      found[eqn.primitive.name][dtype] += 1
  for operation in IN_FLOAT32:
    assert "bfloat16" not in found[operation], operation
  for operation in ("reduce_sum", "dot_general", "rsqrt", "exp", "log"):
    assert found[operation]["float32"], operation
  flat = jax.tree_util.tree_leaves_with_path(state.params)
  trunk = [x for path, x in flat if path[0].key == "backbone" and x.ndim == 5]
  pose = [x for path, x in flat if path[0].key == "pose_backbone" and x.ndim == 4]
  convolutions = found["conv_general_dilated"]
  assert convolutions["bfloat16"] == 3 * len(trunk) - 1
  assert convolutions["float32"] == 3 * len(pose)
  # What a step keeps: parameters, statistics, momentum, metrics.
  kept = {str(aval.dtype) for aval in traced.out_avals}
  assert kept == {"float32", "int32"}


def test_gradients_of_micro_batches_are_added_in_float32(plain_operations):
  step, state, *args = arguments(narrow("i3d", "bfloat16"), accumulate=2)
  found = equations(jax.make_jaxpr(step)(state, *args).jaxpr)
  (scan,) = (eqn for eqn in found if eqn.primitive.name == "scan")
  sums = scan.outvars[: scan.params["num_carry"]]
  assert len(sums) > len(jax.tree.leaves(state.params))
  assert dtypes(sums) == {"float32"}


# Memory, and compiling


def test_a_step_compiles_once_and_takes_the_memory_of_its_state(
  shrunk, plain_operations
):
  config = shrunk(step_benchmark.configuration("vpn", "tiny", "float32"))
  step, shapes, batch, _ = arguments(config)
  devices = device_mesh.make_mesh()
  compiled = train_step.compile_step(step, devices)
  state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  state = jax.device_put(state, device_mesh.whole(devices))
  place, key = device_mesh.make_placer(devices), jax.random.key(0)
  memory = compiled.lower(state, place(batch), key).compile().memory_analysis()
  held = sum(x.nbytes for x in jax.tree.leaves(state))
  assert memory.alias_size_in_bytes == held
  for _ in range(3):
    before = state
    state, metrics = compiled(state, place(batch), key)
    assert all(x.is_deleted() for x in jax.tree.leaves(before))
  assert compiled._cache_size() == 1
  assert int(state.step) == 3
  assert np.isfinite(metrics["loss"])
