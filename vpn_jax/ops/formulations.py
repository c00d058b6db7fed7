"""Which form of the operations is used, by platform or by force."""

import contextlib
import contextvars

import jax

_FORMS = ("plain", "cpu")
_FORCED = contextvars.ContextVar("vpn_jax_formulation", default=None)


def formulation() -> str:
  """Returns the forced form, else the one for `jax.default_backend()`.

  "plain" is what a GPU or TPU wants. "cpu" is made of operations that XLA compiles well
  for a CPU. What is lowered for another platform than that of this process is traced
  with `use_formulation(formulation_for(platform))`.
  """
  return _FORCED.get() or formulation_for(jax.default_backend())


def formulation_for(platform: str) -> str:
  """The form for a platform of JAX, such as "cpu", "gpu" or "cuda"."""
  return "cpu" if platform == "cpu" else "plain"


@contextlib.contextmanager
def use_formulation(name: str):
  """Forces one form inside a `with`; read when a function is traced, not when run.

  Args:
    name: "plain" or "cpu".
  Raises: ValueError for another name.
  """
  if name not in _FORMS:
    raise ValueError(f"formulation {name!r} is not known: choose one of {_FORMS}.")
  token = _FORCED.set(name)
  try:
    yield
  finally:
    _FORCED.reset(token)
