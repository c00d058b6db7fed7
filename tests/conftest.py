"""Strict JAX for every test, a compilation cache, and made-up records to read."""

import os
import pathlib

# Four devices on the CPU, for the tests of sharding; before jax starts.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

ROOT = pathlib.Path(__file__).parents[1]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def shared():
  """Folder of real inputs that may lie beside the checkout; skips without it."""
  path = ROOT.parent / "shared" / "data"
  if not path.exists():
    pytest.skip("needs the real inputs of ../shared/data, which are not here")
  return path
