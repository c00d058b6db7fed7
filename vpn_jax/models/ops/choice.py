"""Which form of an operation is used; nobody else knows."""

import contextlib
import contextvars

import jax

_FORCED = contextvars.ContextVar("vpn_jax_formulation", default=None)


def formulation() -> str:
  """Returns "cpu" or "plain": the forced one, else by jax.default_backend()."""
  forced = _FORCED.get()
  if forced:
    return forced
  return "cpu" if jax.default_backend() == "cpu" else "plain"


@contextlib.contextmanager
def use_formulation(name: str):
  """Forces one form inside a `with`; read when a function is traced, not when run.

  Args:
    name: "cpu" or "plain".
  Raises: ValueError for another name.
  """
  if name not in ("cpu", "plain"):
    raise ValueError(f'formulation {name!r} is not known: choose "cpu" or "plain".')
  token = _FORCED.set(name)
  try:
    yield
  finally:
    _FORCED.reset(token)
