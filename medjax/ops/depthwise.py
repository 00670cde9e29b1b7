"""Depthwise convolution that is not slow on a CPU, where XLA computes it number by number."""

import functools
import operator
from collections.abc import Sequence

import chex

from medjax.ops.conv_gradient import Pads
from medjax.ops.phases import slice_windows
from medjax.typing import Array


def convolve_depthwise(
    images: Array, kernel: Array, *, strides: Sequence[int], pads: Pads
) -> Array:
    """Each channel convolved with a kernel of its own: the sum of the images' shifted slices.

    XLA fuses the slices into one loop over channels that lie side by side; twenty to forty times
    faster than its own form, and its derivatives are as simple.

    Args:
      images: `[batch, *space, channel]`.
      kernel: `[*taps, 1, channel]`.
      strides: one a space axis; pads: (low, high) of each.

    Returns:
      `[batch, *space', channel]`.
    """
    chex.assert_equal_rank([images, kernel])
    taps = kernel.shape[:-2]
    slices = slice_windows(images, window=taps, strides=strides, pads=pads, fill=0.0)
    weights = kernel.reshape(-1, kernel.shape[-1])
    products = (values * weights[tap] for tap, values in enumerate(slices))
    return functools.reduce(operator.add, products)
