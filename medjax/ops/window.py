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


def add_windows(total: Array, parts: Array, weight: Array, corners: Array, count: Array) -> Array:
    """Adds weighted windows to their places in an image.

    Args:
      total: `[seed, *space, out]`; parts: `[seed, n, *window, out]`.
      weight: `[*window, 1]`, of each voxel of a window.
      corners: `[n, ndim]`, where windows begin; count: so many of them are added.
    """
    chex.assert_rank([parts, corners], [total.ndim + 1, 2])

    def add(k: Array, total: Array) -> Array:
        at = (0, *corners[k], 0)
        part = jax.lax.dynamic_index_in_dim(parts, k, 1, keepdims=False) * weight
        now = jax.lax.dynamic_slice(total, at, part.shape)
        return jax.lax.dynamic_update_slice(total, now + part, at)

    return jax.lax.fori_loop(0, count, add, total)


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
