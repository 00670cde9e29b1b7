"""Heatmaps of landmarks, and landmarks of heatmaps: one landmark at a time, 2-D and 3-D.

Points are voxel indices in array order, voxel centres at whole numbers; a point that is NaN is
missing.
"""

import functools

import chex
import jax
import jax.numpy as jnp

from medjax.ops import grid
from medjax.typing import Array


def gaussian(point: Array, sigma: Array, *, shape: tuple[int, ...]) -> Array:
    """`exp(-|x - point|^2 / (2 sigma^2))` at every voxel x: `[*shape]`; zero for a missing point.

    Payer et al. 2016, equation 1, with a peak of 1.

    Args:
      point: `[ndim]`.
      sigma: scalar, voxels.
      shape: of the heatmap.
    """
    chex.assert_shape(point, (len(shape),))
    chex.assert_rank(sigma, 0)
    safe = jnp.nan_to_num(point)
    lines = [jnp.exp(-((jnp.arange(n) - p) ** 2) / (2.0 * sigma**2))
             for n, p in zip(shape, safe, strict=True)]
    whole = functools.reduce(lambda a, b: a[..., None] * b, lines)
    return jnp.where(jnp.isnan(point).any(), 0.0, whole)


def peak(heatmap: Array) -> tuple[Array, Array]:
    """The highest voxel, moved to the top of the parabola through it and its two neighbours.

    One parabola an axis, through the logarithms where all three are positive (exact for a
    Gaussian), else through the values; none at a border. The move is at most half a voxel.

    Args:
      heatmap: `[*space]`.

    Returns:
      The point `[ndim]`, and the height of the highest voxel: a confidence.
    """
    chex.assert_rank(heatmap, {2, 3})
    top = _highest(heatmap)
    height = heatmap[tuple(top)]

    def move(axis: int) -> Array:
        n = heatmap.shape[axis]
        at = [heatmap[tuple(top.at[axis].set(jnp.clip(top[axis] + s, 0, n - 1)))] for s in (-1, 1)]
        three = jnp.stack([at[0], height, at[1]])
        three = jnp.where((three > 0).all(), jnp.log(jnp.maximum(three, 1e-30)), three)
        low, middle, high = three
        curve = low - 2.0 * middle + high
        offset = 0.5 * (low - high) / jnp.where(curve < 0, curve, -1.0)
        inside = (top[axis] > 0) & (top[axis] < n - 1) & (curve < 0)
        return jnp.where(inside, jnp.clip(offset, -0.5, 0.5), 0.0)

    return top + jnp.stack([move(axis) for axis in range(heatmap.ndim)]), height


def soft_argmax(logits: Array) -> tuple[Array, Array]:
    """The mean position under `softmax(logits)` over all voxels; differentiable.

    Args:
      logits: `[*space]`.

    Returns:
      The point `[ndim]`, and the probability within three voxels of it: a confidence.
    """
    chex.assert_rank(logits, {2, 3})
    chance = jax.nn.softmax(logits.reshape(-1)).reshape(logits.shape)
    point = _first_moment(chance)
    return point, jnp.where(_away(point, logits.shape) <= 3.0, chance, 0.0).sum()


def centre_of_mass(heatmap: Array, *, radius: int) -> tuple[Array, Array]:
    """The centre of mass of the positive values in a box about the highest voxel.

    Args:
      heatmap: `[*space]`.
      radius: the box is `2 radius + 1` voxels a side.

    Returns:
      The point `[ndim]`, and the height of the highest voxel: a confidence.
    """
    chex.assert_rank(heatmap, {2, 3})
    top = _highest(heatmap)
    near = _away(top, heatmap.shape) <= radius
    mass = jnp.where(near, jnp.maximum(heatmap, 0.0), 0.0)
    total = mass.sum()
    centre = _first_moment(mass) / jnp.where(total > 0, total, 1.0)
    return jnp.where(total > 0, centre, top), heatmap[tuple(top)]


def _highest(heatmap: Array) -> Array:
    """The index of the highest voxel: `[ndim]`."""
    return jnp.stack(jnp.unravel_index(jnp.argmax(heatmap), heatmap.shape))


def _first_moment(mass: Array) -> Array:
    """The sum over voxels of mass times position: `[ndim]`."""
    return (grid.identity_grid(mass.shape) * mass).reshape(mass.ndim, -1).sum(1)


def _away(point: Array, shape: tuple[int, ...]) -> Array:
    """How far each voxel is from `point` along the axis where it is farthest: `[*shape]`."""
    return jnp.abs(grid.identity_grid(shape) - grid.column(point, ndim=len(shape))).max(0)
