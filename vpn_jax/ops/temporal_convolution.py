"""Convolution over the steps of joints, with steps between its taps."""

import jax.numpy as jnp
from jax import lax

from vpn_jax.ops import formulations, shifted_slices
from vpn_jax.ops.linear import linear

# Input channels up to which one product of the joined taps is faster on a CPU.
_NARROW = 64


def temporal_conv(x, kernel, stride=1, dilation=1):
  """Convolves the steps of every joint by itself.

  Args:
    x: float [B, S, J, Cin].
    kernel: float [k, Cin, Cout], of the type of x; k is odd.
    stride: steps between outputs.
    dilation: steps between taps.
  Returns: float [B, ceil(S / stride), J, Cout]; the middle tap of output i lies on step
    i * stride, and steps outside of x count as zeros.
  Raises: ValueError for an even number of taps or other channels (at trace time).
  """
  taps = len(kernel)
  if taps % 2 == 0 or x.ndim != 4 or x.shape[-1] != kernel.shape[1]:
    raise ValueError(
      f"temporal_conv got x {x.shape} and kernel {kernel.shape}, expected [B, S, J, "
      "Cin] and [k, Cin, Cout] with an odd k: give the kernel a middle tap and as many "
      "input channels as x has."
    )
  if taps == 1:
    return linear(x[:, ::stride], kernel[0])
  edge = (taps - 1) // 2 * dilation
  if formulations.formulation() == "plain" or x.shape[-1] > _NARROW:
    return lax.conv_general_dilated(
      x,
      kernel[:, None],
      (stride, 1),
      ((edge, edge), (0, 0)),
      rhs_dilation=(dilation, 1),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
  padded = jnp.pad(x, ((0, 0), (edge, edge), (0, 0), (0, 0)))
  slices = shifted_slices.shifts(padded, 2 * edge + 1, stride, 1)[::dilation]
  joined = jnp.concatenate(slices, axis=-1)
  return linear(joined, kernel.reshape(-1, kernel.shape[-1]))
