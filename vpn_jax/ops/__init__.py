"""Convolution, max pooling and batch normalization, each in the form fast here.

Convolution and pooling have a plain form, which is what a GPU or TPU wants, and a form
for XLA on a CPU, whose three-dimensional convolution, select-and-scatter and gradients
are slow. Both give the same values and gradients to float32 rounding; `formulation`
chooses. Shapes: channels last; padding is TF's "SAME" or given.
"""

from vpn_jax.ops.convolution import conv3d
from vpn_jax.ops.formulations import formulation, formulation_for, use_formulation
from vpn_jax.ops.layers import FOLDED_BIAS, BatchNorm, Conv3D, TemporalConv
from vpn_jax.ops.linear import linear
from vpn_jax.ops.normalization import batch_norm, batch_norm_train
from vpn_jax.ops.pooling import max_pool
from vpn_jax.ops.shifted_slices import same_padding
from vpn_jax.ops.temporal_convolution import temporal_conv

__all__ = [
  "FOLDED_BIAS",
  "BatchNorm",
  "Conv3D",
  "TemporalConv",
  "batch_norm",
  "batch_norm_train",
  "conv3d",
  "formulation",
  "formulation_for",
  "linear",
  "max_pool",
  "same_padding",
  "temporal_conv",
  "use_formulation",
]
