"""Maximum over windows that is not slow on a CPU; the same numbers and gradients as XLA's own.

XLA's CPU backend computes a `reduce_window` voxel by voxel, and its gradient, a
`select_and_scatter`, ten to forty times slower still. The voxels at one place of every window are a
strided slice, and the maximum of a few slices is elementwise, as is its gradient. Others have
XLA's own.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from medjax.ops.phases import interleave, slice_windows
from medjax.typing import Array

_MOST_SLICES = 9  # with more, as of 3-D windows of three, XLA's own is the faster one
Pads = tuple[tuple[int, int], ...]


def max_pool(
    x: Array, *, window: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]]
) -> Array:
    """The maximum over windows of `[batch, *space, channel]`; padding never wins.

    Args:
      window, strides: one a space axis; pads: (low, high) of each.
    """

    def native(x: Array) -> Array:
        sides, steps = (1, *window, 1), (1, *strides, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, sides, steps, [(0, 0), *pads, (0, 0)])

    if math.prod(window) > _MOST_SLICES:
        return native(x)
    of_slices = functools.partial(_max_of_slices, tuple(window), tuple(strides), tuple(pads))
    return lax.platform_dependent(x, cpu=of_slices, default=native)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _max_of_slices(
    window: tuple[int, ...], strides: tuple[int, ...], pads: Pads, x: Array
) -> Array:
    return functools.reduce(jnp.maximum, _slices(window, strides, pads, x))


def _slices(window: tuple[int, ...], strides: tuple[int, ...], pads: Pads, x: Array) -> list[Array]:
    return slice_windows(x, window=window, strides=strides, pads=pads, fill=-jnp.inf)


def _ways_back(
    window: tuple[int, ...], strides: tuple[int, ...], pads: Pads, shape: tuple[int, ...]
) -> list[list[tuple[int, int, int]]]:
    """The padding that brings the voxels at each place of all windows back to where they were."""
    out = []
    for place in itertools.product(*map(range, window)):
        back = []
        axes = zip(place, shape[1:-1], window, strides, pads, strict=True)
        for p, side, w, s, (low, high) in axes:
            last = (side + low + high - w) // s * s  # of the places, where the last window begins
            back.append((p - low, side - 1 - (p - low + last), s - 1))
        out.append([(0, 0, 0), *back, (0, 0, 0)])
    return out


def _forward(
    window: tuple[int, ...], strides: tuple[int, ...], pads: Pads, x: Array
) -> tuple[Array, tuple[Array, Array]]:
    largest = _max_of_slices(window, strides, pads, x)
    return largest, (x, largest)


def _backward(
    window: tuple[int, ...],
    strides: tuple[int, ...],
    pads: Pads,
    saved: tuple[Array, Array],
    gradient: Array,
) -> tuple[Array]:
    """To the first voxel of each window that is as large as the largest, as in XLA."""
    x, largest = saved
    free, parts = jnp.ones(largest.shape, bool), []
    zero = jnp.zeros((), gradient.dtype)
    for values in _slices(window, strides, pads, x):
        wins = free & (values == largest)
        free &= ~wins
        parts.append(jnp.where(wins, gradient, zero))
    if window == strides and not any(map(any, pads)):
        return (interleave(window, parts, x.shape[1:-1]),)
    back = _ways_back(window, strides, pads, x.shape)
    return (sum(lax.pad(part, zero, way) for part, way in zip(parts, back, strict=True)),)  # type: ignore[return-value]


_max_of_slices.defvjp(_forward, _backward)
