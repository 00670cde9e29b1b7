"""Sliding windows: a network over an image that is larger than its input."""

import functools
import itertools
import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array


def starts(size: int, *, window: int, overlap: float) -> tuple[int, ...]:
    """Where windows begin along an axis: evenly, from one border to the other.

    Args:
      overlap: neighbours share at least this part of a window.
    """
    if size <= window:
        return (0,)
    count = 1 + math.ceil((size - window) / max(1.0, window * (1.0 - overlap)))
    return tuple(round(i * (size - window) / (count - 1)) for i in range(count))


def tiled(
    image: Array, *, apply: Callable[[Array], Array], window: tuple[int, ...], overlap: float = 0.5
) -> Array:
    """`apply` on overlapping windows, blended by weights that fall towards a window's border.

    Args:
      image: `[*space, channel]`, no side shorter than the window's.
      apply: from `[*window, channel]` to `[*window, out]`.

    Returns:
      `[*space, out]`, float32.
    """
    chex.assert_rank(image, len(window) + 1)
    space = image.shape[:-1]
    corners = jnp.array(
        list(
            itertools.product(
                *(starts(n, window=w, overlap=overlap) for n, w in zip(space, window, strict=True))
            )
        )
    )
    lines = [jnp.minimum(jnp.arange(w) + 1.0, w - jnp.arange(w)) / w for w in window]
    weight = functools.reduce(lambda a, b: a[..., None] * b, lines)[..., None]
    part = jax.ShapeDtypeStruct((*window, image.shape[-1]), image.dtype)  # type: ignore[no-untyped-call]
    out = jax.eval_shape(apply, part)

    def add(sums: tuple[Array, Array], corner: Array) -> tuple[tuple[Array, Array], None]:
        at = (*corner, 0)
        part = apply(jax.lax.dynamic_slice(image, at, (*window, image.shape[-1])))

        def plus(total: Array, value: Array) -> Array:
            now = jax.lax.dynamic_slice(total, at, value.shape)
            return jax.lax.dynamic_update_slice(total, now + value, at)

        return (plus(sums[0], weight * part), plus(sums[1], weight)), None

    blank = (jnp.zeros((*space, out.shape[-1])), jnp.zeros((*space, 1)))
    total, norm = jax.lax.scan(add, blank, corners)[0]
    return total / norm
