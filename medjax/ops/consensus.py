"""One answer of many searches."""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from medjax.typing import Array


class Consensus(NamedTuple):
    """Attributes:
      points: `[ndim]`, NaN where most searches found nothing.
      confidence: the share of the searches that ended near it.
    """

    points: Array
    confidence: Array


def median(found: Array, *, near: float = 2.0) -> Consensus:
    """The median along each axis of the searches that found something, where most did.

    Args:
      found: `[search, ndim]`, voxels; NaN where nothing was found.
      near: so many voxels off still agrees with it.
    """
    chex.assert_rank(found, 2)
    gone = jnp.isnan(found).any(1)
    middle = jnp.where(gone.mean() > 0.5, jnp.nan, jnp.nanmedian(found, axis=0))
    return Consensus(middle, (jnp.linalg.norm(found - middle, axis=1) <= near).mean())
