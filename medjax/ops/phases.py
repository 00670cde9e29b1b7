"""The pixels of an array at every place of a window or block, and back."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from medjax.typing import Array


def interleave(
    blocks: Sequence[int], phases: Sequence[Array] | Array, sides: Sequence[int]
) -> Array:
    """Lays the phases of an array side by side again.

    Args:
      blocks: how many phases a space axis has.
      phases: `[batch, *count, channel]` each: the pixels at one place of every block, the last
        axis fastest; or all in one array.
      sides: of the result; it is cut, or zero behind the last block.

    Returns:
      `[batch, *sides, channel]`.
    """
    batch, *counts, channels = phases[0].shape
    ndim = len(blocks)
    stacked = jnp.stack(phases).reshape(*blocks, batch, *counts, channels)
    of_axes = itertools.chain(*((ndim + 1 + axis, axis) for axis in range(ndim)))
    joined = stacked.transpose(ndim, *of_axes, 2 * ndim + 1).reshape(
        batch, *(n * block for n, block in zip(counts, blocks, strict=True)), channels
    )
    behind = [(0, side - n, 0) for side, n in zip(sides, joined.shape[1:-1], strict=True)]
    return lax.pad(joined, jnp.zeros((), joined.dtype), [(0, 0, 0), *behind, (0, 0, 0)])


def slice_windows(
    x: Array,
    *,
    window: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    fill: float,
) -> list[Array]:
    """The pixels at each place of all windows, the last axis fastest: `[batch, *space', channel]`.

    Args:
      window, strides: one a space axis; pads: (low, high) of each, where pixels are `fill`.
    """
    padded = jnp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    sides = padded.shape[1:-1]
    reach = [(n - w) // s * s + 1 for n, w, s in zip(sides, window, strides, strict=True)]
    return [
        lax.slice(
            padded,
            (0, *place, 0),
            (x.shape[0], *(p + n for p, n in zip(place, reach, strict=True)), x.shape[-1]),
            (1, *strides, 1),
        )
        for place in itertools.product(*map(range, window))
    ]
