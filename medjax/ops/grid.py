"""Voxel grids and affine maps.

Coordinates are voxel indices in array order (`[row, column]` or `[i, j, k]`), voxel centres at
whole numbers, so the corners of an image of n voxels lie at -0.5 and n - 0.5.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array


def identity_grid(shape: Sequence[int]) -> Array:
    """The coordinates of every voxel: `[ndim, *shape]`, float32."""
    axes = [jnp.arange(n, dtype=jnp.float32) for n in shape]
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"))


def column(vector: Array, *, ndim: int) -> Array:
    """`[n]` as `[n, 1, ..., 1]`, with `ndim` ones: to meet coordinates `[n, *space]`."""
    chex.assert_rank(vector, 1)
    return vector.reshape((-1,) + (1,) * ndim)


def affine_matrix(rotation: Array, scale: Array, shear: Array, translation: Array) -> Array:
    """An affine map that rotates, scales and shears, then translates.

    Args:
      rotation: radians: `[1]` in 2-D, `[3]` in 3-D (about axes 0, 1 and 2, applied in that order).
      scale: `[ndim]`, factors along the axes, applied first.
      shear: `[ndim * (ndim - 1) / 2]`, the upper triangle, row by row.
      translation: `[ndim]`, voxels.

    Returns:
      `[ndim, ndim + 1]`; apply it with `transform_points`.
    """
    ndim = scale.shape[0]
    chex.assert_shape(rotation, (1 if ndim == 2 else 3,))
    turn = jnp.eye(ndim)
    planes = [(0, 1)] if ndim == 2 else [(1, 2), (2, 0), (0, 1)]
    for angle, (a, b) in zip(rotation, planes, strict=True):
        c, s = jnp.cos(angle), jnp.sin(angle)
        step = jnp.eye(ndim).at[a, a].set(c).at[b, b].set(c).at[a, b].set(-s).at[b, a].set(s)
        turn = step @ turn
    upper = jnp.eye(ndim).at[jnp.triu_indices(ndim, 1)].set(shear)
    return jnp.concatenate([turn @ upper @ jnp.diag(scale), translation[:, None]], axis=1)


def transform_points(matrix: Array, points: Array) -> Array:
    """Applies `matrix` `[ndim, ndim + 1]` to `points` `[ndim, *any]`."""
    chex.assert_rank(matrix, 2)
    ndim = points.shape[0]
    shift = column(matrix[:, ndim], ndim=points.ndim - 1)
    return jnp.tensordot(matrix[:, :ndim], points, axes=1) + shift


def centre_of(shape: Sequence[int]) -> Array:
    """The middle of an image of this shape: `[ndim]`."""
    return (jnp.asarray(shape, jnp.float32) - 1.0) / 2.0


def small_shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    """`[*space, channel]` of a small version of an image, no more than 32 pixels or 16 voxels a
    side."""
    *space, channels = image_shape
    side = 32 if len(space) == 2 else 16
    return (*(min(n, side) for n in space), channels)


def flatten_small(images: Array) -> Array:
    """Images `[batch, *space, channel]` as rows of pixels `[batch, pixel]`, in that size."""
    small = small_shape(images.shape[1:])
    resized = jax.vmap(lambda image: jax.image.resize(image, small, "linear"))(images)
    return resized.reshape(images.shape[0], -1)  # a batch may be of any size, without a length
