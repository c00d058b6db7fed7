"""The command line: flags -> one job.

python launch.py --config=configs/synthetic.py:cs --workdir=runs/vpn
python -m vpn_jax --config=configs/synthetic.py:cs --workdir=runs/vpn --job=evaluate
vpn-jax --config=configs/synthetic.py:cs --workdir=runs/vpn --job=figures
"""

import importlib
import os
import sys

from absl import app, flags, logging
from ml_collections import config_flags

# Each is a module of this package.
JOBS = (
  "prepare", "train", "evaluate", "fuse", "predict", "export", "figures", "explain",
  "robustness", "report", "tables", "sweep",
)  # fmt: skip
WITHOUT_CONFIG = ("tables", "fuse")
ON_SEVERAL_PROCESSES = ("train", "evaluate")

# By default glibc returns the large buffers of a step to the system and faults them in
# again at the next one; these settings keep them. They are read when a process starts,
# hence `exec`. The number of arenas is left to glibc: with a single one, fragmented by
# compilation, the threads of a step wait for each other.
ALLOCATOR = {
  "MALLOC_MMAP_MAX_": "0",
  "MALLOC_TRIM_THRESHOLD_": "68719476736",
  "MALLOC_TOP_PAD_": "67108864",
}

# Compiled programs are kept here for the next start.
CACHE = os.path.join(os.path.expanduser("~"), ".cache", "vpn_jax", "xla")


def keep_buffers() -> None:
  """Restarts this process with `ALLOCATOR` unless one of its variables is set.

  Also makes CPU computations start in the calling thread: whatever its settings, glibc
  returns the largest buffers that other threads allocate to the system.
  """
  if sys.platform == "linux" and not set(ALLOCATOR) & set(os.environ):
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **ALLOCATOR})
  import jax

  jax.config.update("jax_cpu_enable_async_dispatch", False)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines --config, --job, --workdir and --traceback."""
  config_flags.DEFINE_config_file(
    "config",
    help_string="<file>:<arguments>, such as configs/ntu60.py:cs,embedding=none; "
    "configs/common.py has the arguments. --config.<field>=<value> sets a field.",
    flag_values=values,
  )
  flags.DEFINE_enum(
    "job", "train", JOBS, "What to do; docs/README.md has the jobs.", flag_values=values
  )
  flags.DEFINE_string(
    "workdir", "", "Folder of the run, or several with commas.", flag_values=values
  )
  flags.DEFINE_bool(
    "traceback", False, "Show where an error came from.", flag_values=values
  )


def parse(argv: list[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
  """Parses the flags and returns what is left; SystemExit with one line if it cannot.

  --help lists the flags. A config file reports its errors as a traceback inside the
  message, and a missing field by its name and what it may have been meant to be.
  """
  for name in ("config", "job", "workdir", "traceback"):
    values.register_key_flag_for_module(argv[0], values[name])
  try:
    left = values(argv)
    if values.config is not None:
      _ = values.config.data  # raises here when there is no such file
    return left
  except Exception as e:
    if "--traceback" in argv:
      raise
    # ml_collections hands on the representation of a message, with its line break.
    text = str(e).replace(r"\n", "\n").replace(r"\'", "'")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(e, (AttributeError, KeyError)) and lines:
      name, *hints = (line.strip("\"'") for line in lines)
      given = [word for word in argv if name in word.partition("=")[0]]
      reason = " ".join(
        [f"{' '.join(given) or 'the command line'}: the config has no field {name}."]
        + hints
      )
    elif isinstance(e, OSError):  # after words on how it was looked for
      reason = f"--config: {lines[-1]}"
    else:
      reason = " ".join(lines if len(lines) < 3 else [lines[0], lines[-1]])
    remedy = "configs/common.py has the arguments and fields, --help the other flags."
    reason = "".join(c if c.isprintable() else "?" for c in reason[:500]).rstrip(".")
    raise SystemExit(f"error: {reason}; {remedy}") from None


def run(left: list[str], values: flags.FlagValues = flags.FLAGS) -> None:
  """Runs the job of the parsed flags; an expected error ends it with one line."""
  if len(left) > 1:
    raise app.UsageError(f"unexpected {left[1:]}: every setting is --flag=value.")
  if values.config is None and values.job not in WITHOUT_CONFIG:
    raise app.UsageError("--config is missing, such as configs/synthetic.py:cs.")
  logging.set_verbosity(logging.WARNING)  # Orbax logs every step of a save
  try:
    if values.job in ON_SEVERAL_PROCESSES:
      importlib.import_module("vpn_jax.device_mesh").connect()
    job = importlib.import_module(f"vpn_jax.jobs.{values.job}")
    job.run(values.config, values.workdir)
  except (ValueError, OSError, FloatingPointError) as e:
    if values.traceback:
      raise
    raise SystemExit(f"error: {e}") from None


def main() -> None:
  """The program: launch.py, `python -m vpn_jax` and the script `vpn-jax`."""
  if os.getcwd() not in sys.path and "" not in sys.path:
    sys.path.insert(
      0, os.getcwd()
    )  # where configs/ lies, whose files import each other
  os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE)
  keep_buffers()
  define_flags()
  app.run(run, flags_parser=parse)
