"""How unlike two images `[*space]` on one grid are: losses of registration, of one pair each."""

import itertools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.typing import Array

_EPSILON = 1e-5  # of a variance, of intensities from 0 to 1
_FLAT = 1e-3  # of two variances' geometric mean: below it a box is noise, and says nothing


def squared_difference(fixed: Array, warped: Array) -> Array:
    """The mean squared difference."""
    chex.assert_equal_shape([fixed, warped])
    return jnp.square(fixed - warped).mean()


def box_sum(values: Array, *, window: int, axes: tuple[int, ...]) -> Array:
    """Sums over boxes of `window` voxels a side about each voxel; nothing lies outside.

    One pass along each axis: sliding sums, which a convolution is many times slower at.
    """
    for axis in axes:
        sides = [window if a == axis else 1 for a in range(values.ndim)]
        values = jax.lax.reduce_window(
            values, 0.0, jax.lax.add, sides, (1,) * values.ndim, padding="SAME"
        )
    return values


def local_correlation(fixed: Array, warped: Array, *, window: int = 9) -> Array:
    """1 minus the mean squared correlation of boxes about each voxel (LNCC, cross-correlation).

    Avants et al., Medical Image Analysis 12 (2008), eq. 5; boxes at the border are smaller. Where
    an image is flat its boxes have no correlation: they count 0.
    """
    chex.assert_equal_shape([fixed, warped])
    axes = tuple(range(1, fixed.ndim + 1))
    stack = jnp.stack(
        [fixed, warped, jnp.square(fixed), jnp.square(warped), fixed * warped, jnp.ones_like(fixed)]
    )
    *sums, count = box_sum(stack, window=window, axes=axes)
    f, w, ff, ww, fw = (s / count for s in sums)
    cross = fw - f * w
    spread = jnp.maximum(ff - f * f, 0.0) * jnp.maximum(ww - w * w, 0.0)
    return 1.0 - (cross * cross / (spread + _FLAT**2)).mean()


def mutual_information(fixed: Array, warped: Array, *, bins: int = 32) -> Array:
    """Minus the mutual information, in nats, of a joint histogram of intensities from 0 to 1.

    Mattes et al., IEEE TMI 22 (2003): each voxel enters the bins about its intensity by a cubic
    B-spline, of both images, so that it is smooth in the intensities.
    """
    chex.assert_equal_shape([fixed, warped])
    shares = [_spline_bins(image.reshape(-1), bins) for image in (fixed, warped)]  # [voxel, bin]
    joint = shares[0].T @ shares[1] / fixed.size
    apart = joint.sum(1)[:, None] * joint.sum(0)[None]
    ratio = jnp.log(jnp.maximum(joint, 1e-10)) - jnp.log(jnp.maximum(apart, 1e-10))
    return -(joint * ratio).sum()


def _spline_bins(intensities: Array, bins: int) -> Array:
    """The share `[voxel, bin]` that each intensity has of each bin; each voxel's sum is 1."""
    place = 1.5 + jnp.clip(intensities, 0.0, 1.0) * (bins - 4)  # the spline reaches two bins far
    t = jnp.abs(place[:, None] - jnp.arange(bins))
    near = (4.0 - 6.0 * t**2 + 3.0 * t**3) / 6.0
    return jnp.where(t < 1.0, near, jnp.maximum(2.0 - t, 0.0) ** 3 / 6.0)


def self_similarity(image: Array, *, radius: int = 2, dilation: int = 2) -> Array:
    """The self-similarity context of each voxel, `[*space, 12]` of a volume, `[*space, 4]` of a
    picture: MIND-SSC, the same in images of other modalities.

    Heinrich et al., Towards realtime multimodal fusion for image-guided interventions using
    self-similarities (MICCAI 2013). Distances between patches about neighbours of a voxel, over
    their mean there.
    """
    ndim = image.ndim
    reach = radius * dilation
    padded = jnp.pad(image, reach, mode="edge")
    shifted = {
        way: jax.lax.slice(
            padded,
            [reach + dilation * step for step in way],
            [reach + dilation * step + n for step, n in zip(way, image.shape, strict=True)],
        )
        for way in _neighbours(ndim)
    }
    apart = [
        jnp.square(shifted[a] - shifted[b])
        for a, b in itertools.combinations(shifted, 2)
        if np.abs(np.subtract(a, b)).sum() == 2 and np.abs(np.subtract(a, b)).max() == 1
    ]
    axes = tuple(range(1, ndim + 1))
    side = 2 * radius + 1
    distance = box_sum(jnp.stack(apart), window=side, axes=axes) / side**ndim
    distance -= distance.min(0)
    variance = distance.mean(0)
    middle = jax.lax.stop_gradient(variance.mean())
    variance = jnp.clip(variance, middle * 1e-3, middle * 1e3) + _EPSILON**2
    return jnp.moveaxis(jnp.exp(-distance / variance), 0, -1)


def _neighbours(ndim: int) -> list[tuple[int, ...]]:
    """The steps to the voxels that share a face with one."""
    return [
        tuple(sign if a == axis else 0 for a in range(ndim))
        for axis in range(ndim)
        for sign in (1, -1)
    ]


def self_similarity_difference(fixed: Array, warped: Array) -> Array:
    """The mean squared difference of both images' MIND-SSC."""
    chex.assert_equal_shape([fixed, warped])
    return jnp.square(self_similarity(fixed) - self_similarity(warped)).mean()


SIMILARITIES: dict[str, Callable[[Array, Array], Array]] = {
    "lncc": local_correlation,
    "mse": squared_difference,
    "mi": mutual_information,
    "mind": self_similarity_difference,
}


def soft_dice(fixed: Array, warped: Array) -> Array:
    """1 minus the mean Dice of shares of structures `[*space, structure]`; those that neither has
    do not count."""
    chex.assert_equal_shape([fixed, warped])
    axes = tuple(range(fixed.ndim - 1))
    both = (fixed * warped).sum(axes)
    total = (fixed + warped).sum(axes)
    there = total > 0
    dice = jnp.where(there, 2 * both / jnp.where(there, total, 1.0), 0.0)
    return 1.0 - dice.sum() / jnp.maximum(there.sum(), 1)
