"""The pixels of an array at every place of a block, and back."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from medjax.typing import Array


def interleave(blocks: Sequence[int], phases: Sequence[Array], sides: Sequence[int]) -> Array:
    """Lays the phases of an array side by side again.

    Args:
      blocks: how many phases a space axis has.
      phases: `[batch, *count, channel]` each: the pixels at one place of every block, the last
        axis fastest.
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
