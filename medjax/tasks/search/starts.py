"""Where searches begin, and in which volume: two choices that do not know each other."""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array, Key


def any_case(key: Key, *, cases: int) -> Array:
    """One of the volumes, each as probable as any."""
    return jax.random.randint(key, (), 0, cases)


def anywhere(key: Key, shape: Array, *, margin: float = 0.0) -> Array:
    """A voxel `[ndim]` of a volume of this shape, not nearer to a side than `margin` of it.

    Args:
      margin: share of each side that is left free at both ends, below a half.
    """
    chex.assert_rank(shape, 1)
    low = jnp.floor(margin * shape).astype(jnp.int32)
    return jax.random.randint(key, shape.shape, low, jnp.maximum(shape - low, low + 1))


def near(key: Key, shape: Array, target: Array, *, radius: float) -> Array:
    """A voxel `[ndim]` of the volume in the box of half side `radius` about `target`."""
    chex.assert_rank([shape, target], 1)
    away = jax.random.uniform(key, shape.shape, minval=-radius, maxval=radius)
    return jnp.clip(jnp.rint(target + away), 0, shape - 1).astype(jnp.int32)
