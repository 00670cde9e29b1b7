"""What agents have lived through: a ring of the last steps of many agents, on the device.

A row is what one agent did at one time: whatever the caller stores, and `ended`, whether its
episode ends with this step. Rows of an agent follow each other in time, so that the states before
and the rewards after a step need not be stored with it.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array, Key


class Ring(NamedTuple):
    """The memory.

    Attributes:
      rows: a tree of `[length, agent, ...]`.
      written: how many times all agents have been written, ever; int32.
    """

    rows: Any
    written: Array

    @property
    def length(self) -> int:
        return jax.tree.leaves(self.rows)[0].shape[0]


def create(row: Any, *, length: int) -> Ring:
    """An empty ring for rows like `row`, a tree of `[agent, ...]`."""
    return Ring(jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), row), jnp.int32(0))


def bytes_of(row: Any) -> float:
    """What one step of one agent takes."""
    leaves = jax.tree.leaves(row)
    return sum(x.nbytes for x in leaves) / leaves[0].shape[0]


def add(ring: Ring, row: Any) -> Ring:
    """The ring with one more row of every agent, in place of the oldest."""
    at = ring.written % ring.length
    return Ring(
        jax.tree.map(lambda old, new: old.at[at].set(new), ring.rows, row), ring.written + 1
    )


def draw(
    key: Key, ring: Ring, priority: Array, *, count: int, before: int, after: int
) -> tuple[Array, Array, Array]:
    """Steps at random, each with a probability in proportion to its priority.

    Args:
      priority: `[length, agent]`, of the ring's rows; all alike draws uniformly.

    Returns:
      Their times (counted as `written`), their agents, and the factors by which their losses make
      up for the uneven draw, the largest 1 (Schaul et al. 2016, section 3.4, with beta = 1).
    """
    chex.assert_rank(priority, 2)
    length, agents = priority.shape
    newest = ring.written - 1
    age = (newest - jnp.arange(length)) % length  # 0 is the newest row
    usable = (age >= after) & (age < jnp.minimum(ring.written, length) - before)
    edges = jnp.cumsum(jnp.where(usable[:, None], priority, 0.0).reshape(-1))
    at = jax.random.uniform(key, (count,)) * edges[-1]
    index = jnp.minimum(jnp.searchsorted(edges, at, side="right"), length * agents - 1)
    row, agent = index // agents, index % agents
    # Sums are rounded, so that a draw in millions falls beside what may be drawn.
    row = jnp.where(usable[row], row, (newest - after) % length)
    chosen = priority[row, agent]
    return newest - age[row], agent, chosen.min() / chosen


def window(ring: Ring, time: Array, agent: Array, *, before: int, after: int) -> Any:
    """The rows of one agent from `before` older than `time` to `after` newer: `[n, ...]`."""
    chex.assert_rank([time, agent], 0)
    index = (time + jnp.arange(-before, after + 1)) % ring.length
    return jax.tree.map(lambda x: x[index, agent], ring.rows)


def same_episode(ended: Array) -> Array:
    """For the rows up to now (`ended` `[n]` of each, oldest first, the last is now), the index of
    the row to use in place of each: itself, or the first of the present episode.

    So the history of a state never reaches into the episode before.
    """
    chex.assert_rank(ended, 1)
    index = jnp.arange(len(ended))
    first = jnp.max(jnp.where(ended[:-1], index[1:], 0), initial=0)
    return jnp.maximum(index, first)
