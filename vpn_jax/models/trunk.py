"""What visual backbones have in common: named layers in a row, some of them frozen."""

from collections.abc import Callable
from typing import ClassVar

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
  """Calls a part of a backbone; with `remat` the gradient keeps its input alone.

  The gradient then computes the inside of the part again: about a third more time, and
  the memory of the largest part alone.
  """
  if not remat:
    return module(x, train=train)
  return nn.remat(lambda module, x: module(x, train=train))(module, x)


class Trunk(nn.Module):
  """A visual backbone without a head; a subclass has ENDPOINTS and `layer`.

  Attributes:
    ENDPOINTS: names of the layers, in order.
    width: multiplies every published number of channels.
    final_endpoint: the last layer, whose output is the feature map; "" for the last of
      ENDPOINTS.
    frozen_until: layers up to this one keep their weights and statistics in training,
      and cost no backward pass; "" trains all, as the paper does.
    bn_momentum: momentum of the running statistics of BatchNorm.
    bn_frozen: whether BatchNorm keeps its running statistics in training and normalizes
      by them, as in a test. Small batches of one domain have other statistics than
      those that trained weights belong to.
    remat: whether the gradient computes the inside of a block again (`call`).
    dtype: type of the computation; parameters and statistics are float32.
  """

  ENDPOINTS: ClassVar[tuple[str, ...]] = ()

  width: float = 1.0
  final_endpoint: str = ""
  frozen_until: str = ""
  bn_momentum: float = 0.9
  bn_frozen: bool = False
  remat: bool = False
  dtype: jax.typing.DTypeLike = jnp.float32

  @classmethod
  def endpoint_of(cls, module: str) -> str:
    """The layer that a module of the parameters belongs to, by its name; "" if none."""
    named = [name for name in cls.ENDPOINTS if f"{module}_".startswith(f"{name}_")]
    return max(named, key=len, default="")

  def layer(self, name: str, x: jax.Array, train: bool) -> jax.Array:
    """Applies one layer, [B, T, M, N, Cin] to [B, T', M', N', C].

    Its modules are called `name`, or `name` and more behind an underscore; for others
    `endpoint_of` says which layer they belong to. `remat` holds for what goes through
    `call`.
    """
    raise NotImplementedError(f"{type(self).__name__} has no layers.")

  @nn.compact
  def __call__(
    self,
    frames: jax.Array,
    *,
    train: bool = False,
    after: dict[str, Callable] | None = None,
    start_after: str = "",
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Maps frames to features, and to every endpoint on the way.

    Args:
      frames: float [B, F, H, W, 3], RGB, normalized as this backbone wants it.
      train: whether BatchNorm uses and records the statistics of this batch.
      after: name -> function of that layer's output, of the same shape, put between it
        and the next layer.
      start_after: the layer whose output is given instead of frames; "" for frames.
    Returns: features [B, T, M, N, C], and out, the endpoints by their names.
    Raises: ValueError for names that are not among the layers, or frames of another
      rank.
    """
    names = until(self.ENDPOINTS, self.final_endpoint or self.ENDPOINTS[-1])
    given = until(names, start_after) if start_after else ()
    after = after or {}
    if frames.ndim != 5 or not jnp.issubdtype(frames.dtype, jnp.floating):
      raise ValueError(
        f"a backbone got {frames.dtype} {list(frames.shape)}, expected float "
        "[B, F, H, W, 3]: use its normalize_frames, and add a batch axis."
      )
    if self.frozen_until and self.frozen_until not in names:
      raise ValueError(
        f"frozen_until is {self.frozen_until!r}, expected one of {names} or nothing."
      )
    if set(after) - set(names):
      raise ValueError(f"after names {tuple(after)}, expected some of {names}.")
    x, out, frozen = frames, {}, self.frozen_until not in ("", *given)
    for name in names[len(given) :]:
      x = self.layer(name, x, train and not (frozen or self.bn_frozen))
      if name == self.frozen_until:
        x, frozen = jax.lax.stop_gradient(x), False
      if name in after:
        x = after[name](x)
      out[name] = x
    return x, out
