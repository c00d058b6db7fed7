"""`benchmarks.step`: operations counted by hand, times by a clock that a test sets."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import apart, flops, step, timing
from vpn_jax import ops


def test_product_and_loop_counted_by_hand():
  x, y = jnp.ones((3, 4, 5)), jnp.ones((3, 5, 6))
  dot = lambda x, y: jnp.einsum("bij,bjk->bik", x, y)  # noqa: E731
  assert flops.count(dot, x, y) == 2 * 3 * 4 * 5 * 6

  def loop(x):
    return jax.lax.scan(lambda c, _: (c @ c, None), x, length=7)[0]

  assert flops.count(loop, jnp.ones((4, 4))) == 7 * 2 * 4**3

  def endless(x):
    return jax.lax.while_loop(lambda c: jnp.sum(c) > 0, lambda c: c @ c, x)

  with pytest.raises(ValueError, match="'while', which may run any number of times"):
    flops.count(endless, jnp.ones((4, 4)))


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_a_convolution_cost_what_it_does(groups):
  x, kernel = jnp.ones((2, 6, 8, 8, 4)), jnp.ones((3, 3, 3, 4 // groups, 6))

  def conv(x, kernel):
    return ops.conv3d(x, kernel, (2, 2, 2), groups=groups)

  # 3 x 4 x 4 places in 2 clips, 6 channels, each of 27 taps on a group's channels.
  once = 2 * (2 * 3 * 4 * 4 * 6) * 27 * (4 // groups)
  assert flops.count(conv, x, kernel) == once
  total = lambda x, kernel: jnp.sum(conv(x, kernel) ** 2)  # noqa: E731
  assert flops.count(jax.grad(total, (0, 1)), x, kernel) == 3 * once
  assert flops.count(jax.grad(total, 1), x, kernel) == 2 * once


def test_jitted_before_it_is_the_plain_form_that_is_counted():
  x, kernel = jnp.ones((1, 8, 4, 4, 3)), jnp.ones((3, 3, 3, 3, 5))
  conv = jax.jit(lambda x, k: ops.conv3d(x, k))
  with ops.use_formulation("cpu"):
    conv.lower(x, kernel)
  assert flops.count(conv, x, kernel) == 2 * x[..., 0].size * kernel.size


def test_unpadded_convolution_is_counted_as_by_the_compiler():
  x, kernel = jnp.ones((1, 4, 6, 6, 3)), jnp.ones((2, 3, 3, 3, 5))
  conv = lambda x, k: ops.conv3d(x, k, padding=((0, 0),) * 3)  # noqa: E731
  with ops.use_formulation("plain"):
    reported = jax.jit(conv).lower(x, kernel).cost_analysis()["flops"]
  assert flops.count(conv, x, kernel) == reported


def test_frozen_layers_cost_no_gradient(shrunk):
  """Train = forward + 2 x what is trained, but for the input of the first layer."""
  config = shrunk(step.configuration("i3d", "tiny", "float32"))
  config.model.update(endpoint="Mixed_3b", frozen_until="Conv3d_2c_3x3")
  found = counted(config)
  config.model.update(endpoint="Conv3d_2c_3x3", frozen_until="")
  frozen = counted(config)["forward"]
  rest = found["forward"] - frozen
  # The blocks that read the frozen layers need no gradient of their input.
  assert found["forward"] + rest < found["train"] < found["forward"] + 2 * rest


def counted(config):
  """Operations of forward and loss with gradients, without running anything."""
  from vpn_jax.models import networks

  model = networks.build(config.network, config.model.to_dict())
  args = networks.inputs(model, step.noise_batch(config, 1))
  variables = jax.eval_shape(model.init, jax.random.key(0), *args)

  def loss(params, train):
    rest = {"batch_stats": variables["batch_stats"]}
    made = model.apply({"params": params, **rest}, *args, train=train, mutable=True)
    return jnp.sum(made[0][0])

  stats = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), variables["batch_stats"])
  variables["batch_stats"] = stats
  params = variables["params"]
  return {
    "forward": flops.count(lambda p: loss(p, False), params),
    "train": flops.count(jax.grad(lambda p: loss(p, True)), params),
  }


@pytest.fixture
def clock(monkeypatch):
  """Turns the clock of the timer: a program that takes t calls clock(t)."""
  now = [0.0]
  monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

  def turn(seconds):
    now[0] += seconds

  return turn


def test_rows_hold_programs_against_the_peak_and_the_best_twin(clock):
  order = []

  def program(name, times, work):
    times = iter(times)

    def run():
      order.append(name)
      clock(next(times))

    return timing.Program(name, run, work, ready=1.5)

  peak = program("peak", [7.0, 1.0, 9.0, 1.0], 10_000_000_000)
  ours = program("ours", [1.0, 4.0, 2.0, 2.0], 8_000_000_000)
  eager = program("torch eager", [5.0] * 4, 8_000_000_000)
  fast = program("torch.compile", [4.0] * 4, 8_000_000_000)
  broken = timing.Program("torch other", None, 1, failed="no compiler")
  found = timing.rows([ours, eager, fast, broken], [peak], 3, batch_size=4)
  assert order == ["peak", "ours", "torch eager", "torch.compile"] * 4
  by_name = {row["program"]: row for row in found}
  assert by_name["peak"] == {"program": "peak", "failed": "", "s": 1.0, "GFLOP/s": 10.0}
  row = by_name["ours"]
  assert row["s"] == 2.0  # the median of what followed the first round
  assert row["clips/s"] == 2.0
  assert row["GFLOP/clip"] == 2.0
  assert row["of the peak"] == pytest.approx(0.4)  # 4 of 10 GFLOP/s
  assert row["ours / best torch"] == 0.5
  assert "ours / best torch" not in by_name["torch.compile"]
  line = timing.line({"network": "vpn", "what": "train", **row})
  assert line == "| vpn | train | ours | 2 | 2 | 2 | 4 | 40% | 1.5 |  |  | 0.5 |"
  line = timing.line({"network": "vpn", "what": "train", **by_name["torch other"]})
  assert line.startswith("| vpn | train | torch other | no compiler |")
  assert line.count("|") == len(timing.COLUMNS) + 1


def test_a_tiny_network_is_measured(shrunk, monkeypatch):
  config = shrunk(step.configuration("vpn", "tiny", "float32"))
  config.model.endpoint = "Conv3d_1a_7x7"
  monkeypatch.setattr(timing, "_SIDE_CPU", 64)
  found = step.measure(config, 2, repeats=1)
  programs = [(row["what"], row["program"]) for row in found]
  peak = "jnp.dot float32 64"
  assert programs == [(w, p) for w in ("forward", "train") for p in (peak, "ours")]
  forward, train = found[1], found[3]
  assert 0 < forward["GFLOP/clip"] < train["GFLOP/clip"] < 3 * forward["GFLOP/clip"]
  for row in (forward, train):
    assert min(row["s"], row["ready, s"], row["peak, GiB"]) > 0
    assert row["clips/s"] == pytest.approx(2 / row["s"])
    assert "ours / best torch" not in row
    assert timing.line({"network": "vpn", **row}).count("|") == len(timing.COLUMNS) + 1
  assert train["temporaries, GiB"] > forward["temporaries, GiB"] > 0
  for word in ("cores", "jax ", "commit", "allocator"):
    assert word in timing.about()


def test_a_twin_that_does_not_run_says_why(shrunk):
  """For want of PyTorch, or else of this loss in the twin."""
  config = shrunk(step.configuration("vpn", "tiny", "float32"))
  config.loss.embedding = "kl_bi"
  batch = step.noise_batch(config, 1)
  program = apart.torch_program("train", config, {}, batch, 1, compiled=False)
  assert program.name == "torch eager"
  assert program.run is None
  assert "Error: " in program.failed


def test_unknown_model_lists_the_known(monkeypatch, capsys):
  monkeypatch.setattr("sys.argv", ["step.py", "--model=vpn,c3d"])
  with pytest.raises(SystemExit):
    step.main()
  assert "unknown --model ['c3d'], expected some of ['i3d'" in capsys.readouterr().err
