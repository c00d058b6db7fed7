"""Time of each layer of I3D, plain form against the form for a CPU.

  python -m benchmarks.ops
  python -m benchmarks.ops --width=0.25 --batch=8 --frames=16 --size=64

One line per layer: medians of alternating runs of value and gradients together, by the
clock and of all cores' time. Read the ratios on a shared machine; other work changes
that of the cores' time least.
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp

from vpn_jax import ops
from vpn_jax.jobs import command_line
from vpn_jax.models import i3d


def layers(batch, frames, size, width):
  """Yields (name, function, shapes of its arguments) along the trunk."""
  shape = functools.partial(i3d.feature_shape, frames, size, size, width)
  wide = functools.partial(i3d.scaled_width, width=width)
  stem, maps = shape("Conv3d_1a_7x7"), (batch, *shape("MaxPool3d_3a_3x3")[:3])
  small = (batch, *shape("Mixed_4b")[:3])

  def conv(name, x, size, features, strides=(1, 1, 1)):
    f = functools.partial(ops.conv3d, strides=strides)
    return name, f, [x, (*size, x[-1], features)]

  def pool(name, x, window, strides):
    return name, lambda x: ops.max_pool(x, window, strides), [x]

  frames = (batch, frames, size, size, 3)
  yield conv("conv 7x7x7 /2 stem", frames, (7, 7, 7), stem[-1], (2, 2, 2))
  two = (batch, *shape("MaxPool3d_2a_3x3"))
  yield conv("conv 1x1x1 2b", two, (1, 1, 1), wide(64))
  yield conv("conv 3x3x3 2c", two, (3, 3, 3), wide(192))
  yield conv("conv 3x3x3 3b", (*maps, wide(96)), (3, 3, 3), wide(128))
  yield conv("conv 3x3x3 4b", (*small, wide(96)), (3, 3, 3), wide(208))
  yield pool("pool 1x3x3 /1,2,2", (batch, *stem), (1, 3, 3), (1, 2, 2))
  yield pool("pool 3x3x3", (*small, wide(512)), (3, 3, 3), (1, 1, 1))
  yield pool("pool 3x3x3 /2", (*maps, wide(480)), (3, 3, 3), (2, 2, 2))


def compiled(form, function, args, wrt, options=None):
  """The gradients of function, traced in one form.

  Args:
    form: of `ops.use_formulation`.
    function, args: what to call, and with what.
    wrt: how many of the last arguments have a gradient.
    options: of the compiler.
  """

  def run(*args):
    y, vjp = jax.vjp(lambda *w: function(*args[: len(args) - wrt], *w), *args[-wrt:])
    return y, vjp(y)

  with ops.use_formulation(form):
    run = jax.jit(run).lower(*args).compile(compiler_options=options)
  jax.block_until_ready(run(*args))
  return run


def main():
  """Prints the table: plain / cpu = ratio."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--frames", type=int, default=32)
  parser.add_argument("--size", type=int, default=112)
  parser.add_argument("--width", type=float, default=1.0)
  parser.add_argument("--repeats", type=int, default=5)
  flags = parser.parse_args()
  for name, function, shapes in layers(
    flags.batch, flags.frames, flags.size, flags.width
  ):
    args = [
      jax.random.normal(jax.random.key(i), shape, jnp.float32)
      for i, shape in enumerate(shapes)
    ]
    wrt = len(args) - name.endswith("stem")  # no gradient of the frames
    runs = {form: compiled(form, function, args, wrt) for form in ("plain", "cpu")}
    walls, cores = ({form: [] for form in runs} for _ in range(2))
    for _ in range(flags.repeats):
      for form, run in runs.items():
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(*args))
        walls[form].append(1000 * (time.perf_counter() - wall))
        cores[form].append(1000 * (time.process_time() - cpu))
    columns = []
    for what, times in (("clock", walls), ("cores", cores)):
      plain, fast = (statistics.median(times[form]) for form in ("plain", "cpu"))
      columns.append(f"{what}: {plain:8.1f} / {fast:7.1f} ms = {plain / fast:5.2f}")
    print(f"{name:20s} {'   '.join(columns)}", flush=True)


if __name__ == "__main__":
  command_line.keep_buffers()
  main()
