"""Where searches begin."""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array, Key


def anywhere(key: Key, shape: Array, *, margin: float = 0.0) -> Array:
    """A voxel `[ndim]` of a volume of this shape, not nearer to a side than `margin` of it.

    Args:
      margin: share of each side that is left free at both ends, below a half.
    """
    chex.assert_rank(shape, 1)
    low = jnp.floor(margin * shape).astype(jnp.int32)
    return jax.random.randint(key, shape.shape, low, jnp.maximum(shape - low, low + 1))


def at_share(share: Array, shape: Array, *, margin: float = 0.0) -> Array:
    """As `anywhere`, by numbers drawn before: `share` `[ndim]`, uniform in [0, 1)."""
    chex.assert_rank([share, shape], 1)
    low = jnp.floor(margin * shape).astype(jnp.int32)
    room = jnp.maximum(shape - 2 * low, 1)
    return low + jnp.minimum(jnp.floor(share * room).astype(jnp.int32), room - 1)


def near(key: Key, shape: Array, target: Array, *, radius: float) -> Array:
    """A voxel `[ndim]` of the volume in the box of half side `radius` about `target`."""
    chex.assert_rank([shape, target], 1)
    away = jax.random.uniform(key, shape.shape, minval=-radius, maxval=radius)
    return jnp.clip(jnp.rint(target + away), 0, shape - 1).astype(jnp.int32)
