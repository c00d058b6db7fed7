"""Which form of an operation is used; nobody else knows."""

import contextlib
import contextvars

import jax

from vpn_jax.models.ops import onednn

_FORMS = ("plain", "cpu", "onednn")
_FORCED = contextvars.ContextVar("vpn_jax_formulation", default=None)


def formulation() -> str:
  """Returns the forced form, else the fastest one here.

  "plain" is what a GPU or TPU wants. "cpu" is made of operations that XLA is fast at on
  a CPU. "onednn" is the same but for grouped convolutions, see `onednn`; it is chosen
  for a single CPU device whose jaxlib has the call.
  """
  forced = _FORCED.get()
  if forced:
    return forced
  if jax.default_backend() != "cpu":
    return "plain"
  return "onednn" if jax.device_count() == 1 and onednn.available() else "cpu"


@contextlib.contextmanager
def use_formulation(name: str):
  """Forces one form inside a `with`; read when a function is traced, not when run.

  Args:
    name: "plain", "cpu" or "onednn".
  Raises: ValueError for another name.
  """
  if name not in _FORMS:
    raise ValueError(f"formulation {name!r} is not known: choose one of {_FORMS}.")
  token = _FORCED.set(name)
  try:
    yield
  finally:
    _FORCED.reset(token)
