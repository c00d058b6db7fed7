r"""One command for every job.

python launch.py --config=configs/synthetic.py:cs --job=prepare
python launch.py --config=configs/synthetic.py:cs --workdir=runs/vpn
python launch.py --config=configs/synthetic.py:cs --workdir=runs/vpn --job=evaluate
"""

import importlib
import os
import sys

# job -> where its function is; each takes (config, workdir) and prints its own summary
JOBS = {
  "prepare": "vpn_jax.prepare:run",
  "train": "vpn_jax.train:run",
  "evaluate": "vpn_jax.evaluate:run",
  "fuse": "vpn_jax.fuse:run",
  "predict": "vpn_jax.predict:run",
  "export": "vpn_jax.export:run",
  "figures": "vpn_jax.figures:run",
  "explain": "vpn_jax.explain:run",
  "report": "vpn_jax.page:run",
  "tables": "vpn_jax.tables:run",
  "sweep": "vpn_jax.sweep:run",
}

# glibc returns the large buffers of a step to the system and faults them in again at
# the next one; these keep them. They are read when a process starts, hence `exec`.
# Arenas are as many as glibc likes: of a single one, in pieces after compiling, the
# threads of a step wait for each other.
ALLOCATOR = {
  "MALLOC_MMAP_MAX_": "0",
  "MALLOC_TRIM_THRESHOLD_": "68719476736",
  "MALLOC_TOP_PAD_": "67108864",
}

# A compiled step is kept here for the next start.
CACHE = os.path.join(os.path.expanduser("~"), ".cache", "vpn_jax", "xla")


def keep_buffers():
  """Starts this process again with `ALLOCATOR`, where it is not set.

  And has computations of a CPU begin in the thread that asks for them: of what other
  threads allocate glibc returns the largest to the system whatever its settings.
  """
  if sys.platform == "linux" and not set(ALLOCATOR) & set(os.environ):
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **ALLOCATOR})
  import jax

  jax.config.update("jax_cpu_enable_async_dispatch", False)


def parse(argv):
  """The flags; one that is wrong ends the program with one line.

  A config file tells its own errors as a traceback inside the message, and a field that
  it does not have by its name alone.
  """
  try:
    left = flags.FLAGS(argv)
    if flags.FLAGS.config is not None:
      _ = flags.FLAGS.config.data  # raises here when there is no such file
    return left
  except Exception as e:
    if "--traceback" in argv:
      raise
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    told = " ".join(lines if len(lines) < 3 else [lines[0], lines[-1]])
    name = told.strip("\"'")
    if isinstance(e, (AttributeError, KeyError)):
      given = [word for word in argv if name in word.partition("=")[0]]
      told = f"{' '.join(given) or 'the command line'}: the config has no field {name}"
    remedy = "configs/common.py has the arguments and fields, --help the other flags."
    told = "".join(c if c.isprintable() else "?" for c in told[:500])
    raise SystemExit(f"error: {told}; {remedy}") from None


def main(argv):
  values = flags.FLAGS
  if len(argv) > 1:
    raise app.UsageError(f"unexpected {argv[1:]}: every setting is --flag=value.")
  if values.config is None and values.job not in ("tables", "fuse"):
    raise app.UsageError("--config is missing, such as configs/synthetic.py:cs.")
  module, function = JOBS[values.job].split(":")
  logging.set_verbosity(logging.WARNING)  # Orbax tells every step of a save
  try:
    if values.job in ("train", "evaluate"):  # those that several processes share
      importlib.import_module("vpn_jax.mesh").connect()
    getattr(importlib.import_module(module), function)(values.config, values.workdir)
  except (ValueError, OSError, FloatingPointError) as e:
    if values.traceback:
      raise
    raise SystemExit(f"error: {e}") from None


if __name__ == "__main__":
  os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE)
  keep_buffers()
  from absl import app, flags, logging
  from ml_collections import config_flags

  config_flags.DEFINE_config_file("config", help_string="file:argument of a dataset.")
  flags.DEFINE_enum("job", "train", list(JOBS), "What to do.")
  flags.DEFINE_string("workdir", "", "Folder of the run.")
  flags.DEFINE_bool("traceback", False, "Show where an error came from.")
  app.run(main, flags_parser=parse)
