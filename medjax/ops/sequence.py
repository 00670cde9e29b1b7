"""Sequences: which frames are real, how a cycle goes round, and the curve of a heart's volume.

Time is the first axis of all. A sequence of `length` frames stands at the beginning of an array of
T; what follows is padding.
"""

import chex
import jax.numpy as jnp

from medjax.typing import Array

SYSTOLE_POWER, DIASTOLE_POWER = 3.0, 1.0 / 3.0


def valid(length: Array, *, size: int) -> Array:
    """Which of `size` frames are real: `[size]`."""
    return jnp.arange(size) < length


def rolled(start: Array, length: Array, *, size: int) -> Array:
    """The frames of a cycle from `start` on, round and round: `[size]` numbers."""
    return jnp.mod(start + jnp.arange(size), length)


def window(start: Array, length: Array, *, size: int) -> Array:
    """The frames from `start` on, the last one repeated: `[size]` numbers."""
    return jnp.minimum(start + jnp.arange(size), length - 1)


def unrolled(x: Array, length: Array, reach: Array, *, size: int) -> Array:
    """A cycle with `reach` frames more before and behind it: `[T, ...]` to `[size, ...]`.

    They go round and round, however short the cycle is; what is found about its own frames then
    does not depend on where it was cut. Padding stands behind its `length + 2 reach` frames.
    """
    return x[rolled(jnp.mod(-reach, length), length, size=size)]


def inner(x: Array, reach: Array, *, size: int) -> Array:
    """Of what was found for `unrolled` a cycle, the part of the cycle itself: `[size, ...]`."""
    return x[jnp.minimum(reach + jnp.arange(size), x.shape[0] - 1)]


def volume_curve(
    ed: Array, es: Array, length: Array, *, size: int, cyclic: bool
) -> tuple[Array, Array]:
    """Falls from 1 at ED to 0 at ES and rises again; and where it is known: two of `[size]`.

    Kong et al. 2016, equation 1: cubic in systole, a cube root in diastole. Of a cycle it is known
    everywhere, and goes round; else between the two frames.

    Args:
      ed, es: numbers of the two frames; NaN where missing, and then nothing is known.
    """
    chex.assert_rank([ed, es, length], 0)
    known = ~jnp.isnan(ed + es) & (ed != es)
    ed, es = (jnp.where(known, x, i) for i, x in enumerate((ed, es)))
    frame = jnp.arange(size, dtype=jnp.float32)
    real = valid(length, size=size) & known
    if cyclic:
        fall = jnp.mod(es - ed, length)
        since_ed, since_es = jnp.mod(frame - ed, length), jnp.mod(frame - es, length)
        falling, rise = since_ed <= fall, length - fall
    else:
        fall = rise = jnp.abs(es - ed)
        since_ed, since_es = frame - ed, frame - es
        falling = jnp.full(size, ed < es)
        real &= (frame >= jnp.minimum(ed, es)) & (frame <= jnp.maximum(ed, es))
    down = jnp.clip((fall - since_ed) / fall, 0.0, 1.0) ** SYSTOLE_POWER
    up = jnp.clip(since_es / rise, 0.0, 1.0) ** DIASTOLE_POWER
    return jnp.where(real, jnp.where(falling, down, up), 0.0), real


def moving_average(x: Array, length: Array, *, width: int, cyclic: bool = False) -> Array:
    """The mean over `width` frames about each, of those that there are: `[T, ...]`.

    Of a cycle the first frame follows the last.
    """
    half, size = width // 2, x.shape[0]
    index = jnp.arange(size)[:, None] + jnp.arange(-half, half + 1)
    there = jnp.ones_like(index, bool) if cyclic else (index >= 0) & (index < length)
    picked = x[jnp.mod(index, length) if cyclic else jnp.clip(index, 0, size - 1)]
    weight = there.reshape(*there.shape, *[1] * (x.ndim - 1))
    return (picked * weight).sum(1) / jnp.maximum(weight.sum(1), 1)
