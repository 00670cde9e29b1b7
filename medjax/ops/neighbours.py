"""Distances between descriptors, and exact search of the nearest ones, in blocks.

A descriptor is one row: `[feature]` of numbers, or `[word]` of packed bits (`pack_bits`).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import unknown
from medjax.typing import Array

_WORD = 32  # bits of a word
_TINY = 1e-12
_TOGETHER = 16  # queries that are compared at a time


class Distance(NamedTuple):
    """A distance between descriptors.

    Attributes:
      between: from one, `[feature]`, to each of `[n, feature]`: `[n]`.
      prepare: what is done to each descriptor first.
    """

    between: Callable[[Array, Array], Array]
    prepare: Callable[[Array], Array] = lambda descriptor: descriptor


def normalise(descriptor: Array) -> Array:
    """The descriptor `[feature]` brought to length 1; zeros stay zeros."""
    chex.assert_rank(descriptor, 1)
    return descriptor / jnp.maximum(jnp.linalg.norm(descriptor), _TINY)


def euclidean(query: Array, gallery: Array) -> Array:
    """The length of the difference."""
    chex.assert_rank([query, gallery], [1, 2])
    return jnp.sqrt(jnp.sum((gallery - query) ** 2, 1))


def cosine(query: Array, gallery: Array) -> Array:
    """1 - cosine of the angle, from 0 to 2, of descriptors of length 1; of zeros 1."""
    chex.assert_rank([query, gallery], [1, 2])
    return 1.0 - jnp.matmul(gallery, query, precision="highest")


def manhattan(query: Array, gallery: Array) -> Array:
    """The sum of absolute differences."""
    chex.assert_rank([query, gallery], [1, 2])
    return jnp.sum(jnp.abs(gallery - query), 1)


def chi_squared(query: Array, gallery: Array) -> Array:
    """Half the sum of `(a - b)^2 / (a + b)`, of histograms; bins that both lack count nothing."""
    chex.assert_rank([query, gallery], [1, 2])
    total = gallery + query
    return 0.5 * jnp.sum((gallery - query) ** 2 / jnp.where(total > 0, total, 1.0), 1)


def hamming(query: Array, gallery: Array) -> Array:
    """How many bits differ, of packed ones: uint32."""
    chex.assert_rank([query, gallery], [1, 2])
    chex.assert_type([query, gallery], jnp.uint32)
    return jnp.sum(jax.lax.population_count(gallery ^ query), 1).astype(jnp.int32)


DISTANCES = {
    "cosine": Distance(cosine, normalise),
    "euclidean": Distance(euclidean),
    "manhattan": Distance(manhattan),
    "chi_squared": Distance(chi_squared),
    "hamming": Distance(hamming),
}


def find_distance(name: str) -> Distance:
    """The distance of this name; raises UserError if there is none."""
    if name not in DISTANCES:
        raise unknown("distance", name, DISTANCES)
    return DISTANCES[name]


def pack_bits(bits: Array) -> Array:
    """Bits `[bit]` as words `[word]` of 32, uint32, the last one filled up with zeros."""
    chex.assert_rank(bits, 1)
    filled = jnp.pad(bits.astype(jnp.uint32), (0, -bits.shape[0] % _WORD)).reshape(-1, _WORD)
    return jnp.sum(filled << jnp.arange(_WORD, dtype=jnp.uint32), 1, dtype=jnp.uint32)


class Neighbours(NamedTuple):
    """The nearest descriptors of a query, in order.

    Attributes:
      row: `[k]`, of the gallery; distance: `[k]`.
    """

    row: Array
    distance: Array


def _smallest(distance: Array, k: int) -> tuple[Array, Array]:
    """The `k` smallest of `[n]` and their places, ties in the order in which they stand."""
    # XLA sorts whole numbers several times as slowly on a CPU; float32 holds those below 2^24.
    smallest, index = jax.lax.top_k(-distance.astype(jnp.float32), k)
    return (-smallest).astype(distance.dtype), index


def find_nearest(
    query: Array,
    gallery: Array,
    *,
    k: int,
    between: Callable[[Array, Array], Array],
    block: int = 1024,
) -> Neighbours:
    """The `k` nearest of `gallery` `[n, feature]` to `query` `[feature]`, exactly.

    The `k` smallest of all lie in the `k` blocks whose own smallest are smallest, so that only
    these are sorted.

    Args:
      between: as of `Distance`, of descriptors that are prepared.
      block: descriptors whose smallest distance is taken together.
    """
    chex.assert_rank([query, gallery], [1, 2])
    n = gallery.shape[0]
    chex.assert_scalar_in(k, 1, n)
    values = between(query, gallery)
    if n <= k * block:
        smallest, index = _smallest(values, k)
        return Neighbours(index, smallest)
    high = np.iinfo(np.int32).max if values.dtype == jnp.int32 else np.inf
    blocks = jnp.pad(values, (0, -n % block), constant_values=high).reshape(-1, block)
    _, chosen = _smallest(blocks.min(1), k)
    chosen = jnp.sort(chosen)  # so that ties stand in the order of the gallery
    smallest, place = _smallest(blocks[chosen].reshape(-1), k)
    return Neighbours(chosen[place // block] * block + place % block, smallest)


@functools.partial(jax.jit, static_argnames=("k", "distance", "block"))
def search_neighbours(
    queries: Array, gallery: Array, *, k: int, distance: str = "cosine", block: int = 1024
) -> Neighbours:
    """As `find_nearest` for each of `queries` `[q, feature]`: `[q, k]`.

    Args:
      distance: one of `DISTANCES`.

    Raises:
      UserError: for a distance that there is not.
    """
    between, prepare = find_distance(distance)
    known = jax.vmap(prepare)(gallery)

    def find(query: Array) -> Neighbours:
        return find_nearest(prepare(query), known, k=k, between=between, block=block)

    return jax.lax.map(find, queries)


@functools.partial(jax.jit, static_argnames="distance")
def measure_distances(queries: Array, gallery: Array, *, distance: str) -> Array:
    """From each of `queries` `[q, feature]` to each of `gallery` `[n, feature]`: `[q, n]`; errors
    as of `search_neighbours`."""
    between, prepare = find_distance(distance)
    known = jax.vmap(prepare)(gallery)
    return jax.lax.map(lambda q: between(prepare(q), known), queries, batch_size=_TOGETHER)
