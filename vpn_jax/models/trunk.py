"""What visual backbones have in common: named layers in a row, some of them frozen."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


def until(endpoints: tuple[str, ...], final_endpoint: str) -> tuple[str, ...]:
  """The endpoints in order, up to and with the given one; ValueError if unknown."""
  if final_endpoint not in endpoints:
    raise ValueError(
      f"final_endpoint {final_endpoint!r} is not known: choose one of "
      f"{', '.join(endpoints)}."
    )
  return endpoints[: endpoints.index(final_endpoint) + 1]


def call(module: nn.Module, x: jax.Array, *, train: bool, remat: bool) -> jax.Array:
  """Calls a part of a backbone; with `remat` only its input is kept for the gradient.

  What it computes on the way is computed again then: about a third more time for the
  memory of the largest part alone.
  """
  if not (train and remat):
    return module(x, train=train)
  return nn.remat(lambda module, x: module(x, train=train))(module, x)


def run(
  frames: jax.Array,
  names: tuple[str, ...],
  layer: Callable[[str, jax.Array, bool], jax.Array],
  *,
  frozen_until: str,
  train: bool,
  after: dict[str, Callable] | None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Puts frames through layers; to be called inside the module that has them.

  Args:
    frames: float [B, F, H, W, 3].
    names: of the layers, in order.
    layer: (name, x, train) -> its output, [B, T, M, N, C].
    frozen_until: layers up to this one keep weights and statistics and cost no
      backward pass; "" freezes none.
    train: whether the others are being trained.
    after: name -> function of that layer's output, of the same shape, put between it
      and the next layer.
  Returns: the last output, and all by their names.
  Raises: ValueError for names that are not among the layers, or frames of another rank.
  """
  after = after or {}
  if frames.ndim != 5 or not jnp.issubdtype(frames.dtype, jnp.floating):
    raise ValueError(
      f"a backbone got {frames.dtype} {list(frames.shape)}, expected float "
      "[B, F, H, W, 3]: use its normalize_frames, and add a batch axis."
    )
  if frozen_until and frozen_until not in names:
    raise ValueError(
      f"frozen_until is {frozen_until!r}, expected one of {names} or nothing."
    )
  if set(after) - set(names):
    raise ValueError(f"after names {tuple(after)}, expected some of {names}.")
  x, out, frozen = frames, {}, bool(frozen_until)
  for name in names:
    x = layer(name, x, train and not frozen)
    if name == frozen_until:
      x, frozen = jax.lax.stop_gradient(x), False
    if name in after:
      x = after[name](x)
    out[name] = x
  return x, out
