"""Radon barcodes: an image as the bits of its projections (Tizhoosh 2015, Liu et al. 2016)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.ops import interpolation
from medjax.typing import Array

SIDE, PROJECTIONS = 32, 8


def project(image: Array, *, angle_degrees: Array) -> Array:
    """The Radon transform at one angle: sums along parallel lines, `[bin]`, a bin a pixel of the
    diagonal.

    Args:
      image: `[side, side]`; what lies outside is 0.
    """
    chex.assert_rank(image, 2)
    side = image.shape[0]
    length = int(np.ceil(np.sqrt(2) * side))
    before = (length // 2) - (side // 2)  # the centre stays a pixel
    padded = jnp.pad(image, [(before, length - side - before)] * 2)
    theta, centre = jnp.deg2rad(angle_degrees), length // 2
    row, column = jnp.meshgrid(*[jnp.arange(length) - centre] * 2, indexing="ij")
    turned = jnp.stack(
        [
            row * jnp.cos(theta) - column * jnp.sin(theta),
            row * jnp.sin(theta) + column * jnp.cos(theta),
        ]
    )
    return interpolation.sample(padded[..., None], turned + centre)[..., 0].sum(0)


def barcode(image: Array, *, between_extrema: bool = False) -> Array:
    """The bits of `image` `[h, w]` at 32 x 32 pixels, of 8 projections: `[8 * 46]`.

    A projection is divided by its largest value. A bit is set where it is its median or more, of
    what is not 0 (Tizhoosh 2015); an empty projection has none.

    Args:
      between_extrema: set where the projection rises from a minimum to a maximum instead (the
        MinMax barcode of Tizhoosh et al. 2016, arXiv 1610.00318).
    """
    chex.assert_rank(image, 2)
    small = jax.image.resize(image.astype(jnp.float32), (SIDE, SIDE), "linear")
    angles = jnp.arange(PROJECTIONS) * 180.0 / PROJECTIONS
    lines = jax.vmap(lambda a: project(small, angle_degrees=a))(angles)
    threshold = _rising if between_extrema else _above_median
    return jax.vmap(threshold)(lines).reshape(-1)


def _above_median(line: Array) -> Array:
    scaled = line / jnp.maximum(line.max(), 1e-12)
    median = jnp.nanmedian(jnp.where(scaled > 0, scaled, jnp.nan))
    return scaled >= median  # of nothing the median is NaN, and no bit is set


def _rising(line: Array) -> Array:
    """Whether the line, smoothed over three bins, is higher at the next bin than at the last."""
    smooth = jnp.convolve(line, jnp.full(3, 1 / 3), mode="same")
    return jnp.roll(smooth, -1) > jnp.roll(smooth, 1)
