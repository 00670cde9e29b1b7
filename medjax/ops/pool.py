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

from medjax.ops.phases import interleave
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
    slices = (values for values, _ in _slices(window, strides, pads, x))
    return functools.reduce(jnp.maximum, slices)


def _slices(
    window: tuple[int, ...], strides: tuple[int, ...], pads: Pads, x: Array
) -> list[tuple[Array, list[tuple[int, int, int]]]]:
    """The voxels at each place of all windows, and the padding that brings them back there."""
    padded = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=-jnp.inf)
    sides = padded.shape[1:-1]
    counts = [(n - w) // s + 1 for n, w, s in zip(sides, window, strides, strict=True)]
    out = []
    for place in itertools.product(*map(range, window)):
        ends = [p + (n - 1) * s + 1 for p, n, s in zip(place, counts, strides, strict=True)]
        starts, stops = (0, *place, 0), (x.shape[0], *ends, x.shape[-1])
        back = [
            (p - low, side - end - high, s - 1)
            for p, (low, high), side, end, s in zip(place, pads, sides, ends, strides, strict=True)
        ]
        values = lax.slice(padded, starts, stops, (1, *strides, 1))
        out.append((values, [(0, 0, 0), *back, (0, 0, 0)]))
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
    for values, back in _slices(window, strides, pads, x):
        wins = free & (values == largest)
        free &= ~wins
        parts.append((jnp.where(wins, gradient, zero), back))
    if window == strides and not any(map(any, pads)):
        return (interleave(window, [part for part, _ in parts], x.shape[1:-1]),)
    return (sum(lax.pad(part, zero, back) for part, back in parts),)  # type: ignore[return-value]


_max_of_slices.defvjp(_forward, _backward)
