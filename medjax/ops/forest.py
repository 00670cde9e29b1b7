"""Trees of balanced splits over patches of an image: an image as a histogram of their leaves.

After Shah et al. 2016, deeply learnt hashing forests: features of overlapping patches, trees whose
splits are balanced, and one descriptor of all patches of a volume.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.typing import Array, Key

PATCH, STRIDE = 8, 4  # pixels or voxels a side, and from one patch to the next


class Forest(NamedTuple):
    """Trees of `depth` levels; children of node i are 2 i + 1 and 2 i + 2.

    Attributes:
      direction: `[tree, node, feature]`.
      threshold: `[tree, node]`: a patch whose features along the direction are more goes to the
        second child.
    """

    direction: Array
    threshold: Array


def patch_shape(space: Sequence[int]) -> tuple[int, ...]:
    """How many patches there are along each axis."""
    return tuple((n - min(PATCH, n)) // STRIDE + 1 for n in space)


def cut_patches(image: Array) -> Array:
    """All overlapping patches of `image` `[*space, channel]`, each as a row: `[patch, feature]`."""
    chex.assert_rank(image, {3, 4})
    rows = image
    for axis, n in enumerate(image.shape[:-1]):
        side = min(PATCH, n)
        first = np.arange(0, n - side + 1, STRIDE)
        # Patches of this axis go in front, so that the next one stays where it was.
        rows = jnp.take(rows, first[:, None] + np.arange(side), axis=2 * axis)
        rows = jnp.moveaxis(rows, 2 * axis, axis)
    count = int(np.prod(rows.shape[: image.ndim - 1]))
    return rows.reshape(count, -1)


def fit_forest(key: Key, rows: Array, *, trees: int, depth: int) -> Forest:
    """Trees whose splits halve the rows `[n, feature]` that come to them.

    A direction is one of chance among the differences of two rows; its threshold is the median, so
    that all leaves have as many rows. No label is looked at.
    """
    chex.assert_rank(rows, 2)
    rng, table = np.random.default_rng(np.asarray(jax.random.key_data(key))), np.asarray(rows)
    nodes = 2**depth - 1
    direction = np.zeros((trees, nodes, rows.shape[1]), np.float32)
    threshold = np.zeros((trees, nodes), np.float32)
    for tree in range(trees):
        place = np.zeros(len(rows), int)
        for node in range(nodes):
            mine = np.flatnonzero(place == node)
            if not len(mine):
                continue
            a, b = table[rng.choice(mine, 2)]
            direction[tree, node] = (a - b) / max(float(np.linalg.norm(a - b)), 1e-9)
            value = table[mine] @ direction[tree, node]
            threshold[tree, node] = np.median(value)
            place[mine] = 2 * node + 1 + (value > threshold[tree, node])
    return Forest(jnp.asarray(direction), jnp.asarray(threshold))


def find_leaves(forest: Forest, row: Array) -> Array:
    """The leaf of each tree that `row` `[feature]` comes to, from 0: `[tree]`."""
    chex.assert_rank(row, 1)
    above = (forest.direction @ row > forest.threshold).astype(jnp.int32)  # [tree, node]
    nodes = forest.threshold.shape[1]
    place = jnp.zeros(len(forest.threshold), jnp.int32)
    for _ in range(int(np.log2(nodes + 1))):
        place = 2 * place + 1 + jnp.take_along_axis(above, place[:, None], 1)[:, 0]
    return place - nodes


def count_leaves(forest: Forest, rows: Array) -> Array:
    """The share of rows `[n, feature]` in each leaf of each tree: `[tree * leaf]`; a tree adds to 1
    over the number of trees."""
    chex.assert_rank(rows, 2)
    leaves = jax.vmap(lambda row: find_leaves(forest, row))(rows)  # [n, tree]
    trees, nodes = forest.threshold.shape
    counts = jax.nn.one_hot(leaves, nodes + 1).sum(0)  # [tree, leaf]
    return counts.reshape(-1) / (trees * len(rows))
