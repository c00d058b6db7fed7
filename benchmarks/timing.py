"""Programs timed in turn, held against the machine's own peak, as rows of a table."""

import dataclasses
import functools
import importlib.metadata
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vpn_jax import cores
from vpn_jax.jobs import command_line

# Side of the matrices of the peak: large enough to reach it, quick beside a step.
_SIDE_CPU, _SIDE = 2048, 8192
COLUMNS = (
  "network",
  "what",
  "program",
  "s",
  "clips/s",
  "GFLOP/clip",
  "GFLOP/s",
  "of the peak",
  "ready, s",
  "temporaries, GiB",
  "peak, GiB",
  "ours / best torch",
)


@dataclasses.dataclass
class Program:
  """Something to be timed.

  Attributes:
    name: of its row.
    run: does it once and waits until it is done; None where it does not run.
    flops: of one run.
    ready: seconds of tracing and compiling, or of the first run.
    temporaries: what the compiler plans beside arguments and results, GiB.
    peak: the largest memory that was seen, GiB. Both None where nobody counts.
    failed: why it does not run, "" where it does.
    close: ends what it holds.
    compiled: the `jax.stages.Compiled` behind it, None for other programs.
    start: begins a run of ours, with another batch if one is given, and returns the
      arrays that are ready when it is done.
  """

  name: str
  run: Callable[[], object] | None
  flops: int
  ready: float | None = None
  temporaries: float | None = None
  peak: float | None = None
  failed: str = ""
  close: Callable[[], object] = lambda: None
  compiled: jax.stages.Compiled | None = None
  start: Callable[..., object] | None = None


def peak_programs(dtype: str) -> list[Program]:
  """Products of two square matrices; the one to be held against comes last.

  Args:
    dtype: of the programs to be timed. On a GPU both float32, whose products XLA makes
      in TF32 there, and bfloat16 are measured.
  """
  backend = jax.default_backend()
  dtypes = {dtype} | ({"float32", "bfloat16"} if backend == "gpu" else set())
  side = _SIDE_CPU if backend == "cpu" else _SIDE
  programs = []
  for name in sorted(dtypes, key=lambda name: name == dtype):
    x = jax.random.normal(jax.random.key(0), (side, side)).astype(name)
    product = jax.jit(jnp.dot).lower(x, x).compile()
    run = functools.partial(_wait_for, product, x, x)
    run()
    programs.append(Program(f"jnp.dot {name} {side}", run, 2 * side**3))
  return programs


def _wait_for(function, *args):
  return jax.block_until_ready(function(*args))


def timed(programs: list[Program], repeats: int) -> dict[str, list[float]]:
  """Seconds of the runs of each program that runs, by name.

  They run in turn, once more than `repeats`: the first round warms up.
  """
  times = {p.name: [] for p in programs if p.run}
  for _ in range(1 + repeats):
    for program in programs:
      if program.run:
        began = time.perf_counter()
        program.run()
        times[program.name].append(time.perf_counter() - began)
  return {name: t[1:] for name, t in times.items()}


def _ratio(ours: list[float], other: list[float]) -> float:
  """Median of the ratios of runs next to each other: a machine that changes its speed
  from round to round changes both."""
  return statistics.median(a / b for a, b in zip(ours, other, strict=True))


def rows(
  programs: list[Program], peaks: list[Program], repeats: int, batch_size: int
) -> list[dict]:
  """Times programs of the same work, and says what they make of the peak.

  Args:
    programs: ours first, then what it is compared with.
    peaks: see `peak_programs`.
    repeats: timed runs of every program.
    batch_size: clips in one run.
  Returns: a dict per program, the peaks first, with the COLUMNS for which there is a
    number, and "failed". Times are medians; the ratio is that of neighbouring runs to
    the program that we compare worst with.
  """
  times = timed([*peaks, *programs], repeats)
  seconds = {name: statistics.median(t) for name, t in times.items()}
  ours = times.get(programs[0].name)
  ratios = [_ratio(ours, times[p.name]) for p in programs[1:] if p.run and ours]
  made = []
  for p in [*peaks, *programs]:
    row = {"program": p.name, "failed": p.failed}
    made.append(row)
    if not p.run:
      continue
    rate = p.flops / seconds[p.name]
    row.update({"s": seconds[p.name], "GFLOP/s": rate / 1e9})
    if p in peaks:
      continue
    row.update(
      {
        "clips/s": batch_size / seconds[p.name],
        "GFLOP/clip": p.flops / batch_size / 1e9,
        "of the peak": rate * seconds[peaks[-1].name] / peaks[-1].flops,
        "ready, s": p.ready,
        "temporaries, GiB": p.temporaries,
        "peak, GiB": p.peak,
      }
    )
  if ratios:
    made[len(peaks)]["ours / best torch"] = max(ratios)
  return made


def head() -> str:
  """The head of the table, two lines."""
  return f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"


def line(row: dict) -> str:
  """A row of the table, of what it has of COLUMNS; one that failed says why."""
  cells = [row[column] for column in COLUMNS[:3]]
  for column in COLUMNS[3:]:
    value = row.get(column)
    form = ".0%" if column == "of the peak" else ".4g"
    cells.append("" if value is None else format(value, form))
  if row["failed"]:
    cells[3] = row["failed"].replace("|", "/")
  return f"| {' | '.join(cells)} |"


def about(versus: str = "", torch_threads: int = 0) -> str:
  """Hardware, versions, commit and threads, one line.

  Args:
    versus: "" unless compared with PyTorch.
    torch_threads: that it is set to use; 0 for its own choice.
  """
  from vpn_jax.training import provenance

  device = jax.devices()[0]
  name = _processor() if device.platform == "cpu" else device.device_kind
  packages = ["jax", "jaxlib", "flax"]
  threads = f"{len(cores.usable())} cores"
  if versus:
    packages.append("torch")
    threads += f", {torch_threads or 'as many'} threads of PyTorch"
  versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
  kept = all(os.environ.get(k) == v for k, v in command_line.ALLOCATOR.items())
  return (
    f"{name}, {threads}, load {os.getloadavg()[0]:.1f}, Python "
    f"{platform.python_version()}, {versions}, commit "
    f"{provenance.code_commit() or 'unknown'}, allocator {'' if kept else 'not '}tuned"
  )


def _processor() -> str:
  path = pathlib.Path("/proc/cpuinfo")
  lines = path.read_text().splitlines() if path.exists() else []
  names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
  return names[0] if names else platform.machine()
