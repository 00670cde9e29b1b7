"""One answer of many searches, or of many networks."""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array


class Consensus(NamedTuple):
    """Attributes:
    points: `[ndim]`, NaN where most searches found nothing.
    confidence: the share of the searches that ended near it.
    """

    points: Array
    confidence: Array


def median(places: Array, *, near: float = 2.0) -> Consensus:
    """The median along each axis of the searches that found something, where most did.

    Args:
      places: `[search, ndim]`, voxels; NaN where nothing was found.
      near: so many voxels off still agrees with it.
    """
    chex.assert_rank(places, 2)
    gone = jnp.isnan(places).any(1)
    middle = jnp.where(gone.mean() > 0.5, jnp.nan, jnp.nanmedian(places, axis=0))
    return Consensus(middle, (jnp.linalg.norm(places - middle, axis=1) <= near).mean())


def in_one_order(
    points: Array, confidence: Array, *, pairs: Sequence[tuple[int, int]]
) -> tuple[Array, Array]:
    """Points and confidence of several answers to the same images, their pairs named as the first
    answer names them.

    Args:
      points: `[answer, image, n, ndim]`; confidence: `[answer, image, n]`.
      pairs: as of `align_pairs`.
    """
    chex.assert_rank([points, confidence], [4, 3])
    order = jax.vmap(lambda p: align_pairs(p, pairs=pairs), 1, 1)(points)
    return (
        jnp.take_along_axis(points, order[..., None], 2),
        jnp.take_along_axis(confidence, order, 2),
    )


def align_pairs(points: Array, *, pairs: Sequence[tuple[int, int]]) -> Array:
    """The order in which each seed's points agree best with those of the first seed: `[seed, n]`.

    The two points of a pair have no order of their own, as the ends of an axis; seeds that name
    them differently would cancel in the mean. A pair that a seed has not found whole stays.

    Args:
      points: `[seed, n, ndim]`.
      pairs: numbers of points.
    """
    chex.assert_rank(points, 3)
    order = jnp.tile(jnp.arange(points.shape[1]), (len(points), 1))

    def away(i: int, j: int) -> Array:
        return jnp.linalg.norm(points[:, i] - points[:1, j], axis=-1)

    for a, b in pairs:
        crossed = away(a, b) + away(b, a) < away(a, a) + away(b, b)  # False where one is NaN
        order = order.at[:, a].set(jnp.where(crossed, b, a)).at[:, b].set(jnp.where(crossed, a, b))
    return order
