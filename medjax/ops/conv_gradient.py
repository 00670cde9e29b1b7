"""The gradient of a convolution's images, in any number of dimensions, by plain convolutions."""

import itertools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax

from medjax.ops.phases import interleave
from medjax.typing import Array

Pads = tuple[tuple[int, int], ...]
Convolve = Callable[[Array, Array, Pads], Array]  # of images and a kernel, without strides


def images_gradient(
    w: Array,
    g: Array,
    *,
    sides: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    convolve: Convolve,
) -> Array:
    """The output gradient convolved with the mirrored kernel.

    With a stride s, every s-th pixel of the images is reached by every s-th tap of the kernel: one
    small convolution for each phase, laid side by side (no product with a zero that a stride
    puts between).

    Args:
      w: the kernel, `[*taps, in, out]`; g: the output's gradient, `[batch, *space', out]`.
      sides: of the images.
      convolve: computes a convolution with padding and no stride.

    Returns:
      `[batch, *sides, in]`.
    """
    count = [-(-n // s) for n, s in zip(sides, strides, strict=True)]
    phases = [
        _phase(w, g, phase, strides, pads, count, convolve)
        for phase in itertools.product(*map(range, strides))
    ]
    return phases[0] if len(phases) == 1 else interleave(strides, phases, sides)


def _phase(
    w: Array,
    g: Array,
    phase: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    count: Sequence[int],
    convolve: Convolve,
) -> Array:
    """The images' gradient at the pixels `phase`, `phase + stride`, ...: `[batch, *count, in]`."""
    taps = w
    around: list[tuple[int, int]] = []
    for axis, stride in enumerate(strides):
        # Pixel i meets tap k of output (i + pad - k) / stride, where that is whole: so pixel
        # number t of this phase meets every stride-th tap from `first` on, the first of them in
        # output t + `ahead`, and each further tap in the output before.
        ahead, first = divmod(phase[axis] + pads[axis][0], stride)
        taps = lax.slice_in_dim(taps, min(first, w.shape[axis]), None, stride, axis)
        low = taps.shape[axis] - 1 - ahead
        around.append((low, count[axis] + ahead - g.shape[1 + axis]))
    if 0 in taps.shape:  # a stride larger than the kernel leaves pixels that no output has seen
        return jnp.zeros((g.shape[0], *count, w.shape[-2]), g.dtype)
    mirrored = jnp.flip(taps, tuple(range(len(strides)))).swapaxes(-2, -1)
    return convolve(g, mirrored, tuple(around))
