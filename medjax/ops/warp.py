"""A spatial transform that moves images, masks and points together: affine and elastic.

A transform maps the voxels x of the output to places of the input,

    T(x) = A (x - c) + t + c + u(x),    c the centre of the image,

with u a cubic B-spline through a few control points. An image is sampled at T; a point of the
input goes to where the output shows it, by the inverse of T.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.ops import grid
from medjax.typing import Array

_NEWTON_STEPS = 12


class Transform(NamedTuple):
    """From output to input coordinates, voxels.

    Attributes:
      matrix: `[ndim, ndim + 1]`, about the centre, as of `grid.affine_matrix`.
      control: `[ndim, *count]`, displacements at control points that are spread evenly from one
        border to the other, and one further on either side; zero is no elastic part.
    """

    matrix: Array
    control: Array


def place(transform: Transform, x: Array, *, shape: tuple[int, ...]) -> Array:
    """T(x), for one output position `[ndim]`."""
    chex.assert_shape(x, (len(shape),))
    u = transform.control
    for position, n, count in zip(x, shape, transform.control.shape[1:], strict=True):
        u = jnp.tensordot(u, _weights(position, n, count), axes=(1, 0))
    return grid.transform_about_centre(transform.matrix, x, shape=shape) + u


def places(transform: Transform, *, shape: tuple[int, ...]) -> Array:
    """T at every voxel of the output: `[ndim, *shape]`."""
    u = transform.control
    for n, count in zip(shape, transform.control.shape[1:], strict=True):
        # Each turn contracts the first space axis and puts its voxels last.
        u = jnp.tensordot(u, _weights(jnp.arange(n, dtype=jnp.float32), n, count), axes=(1, 1))
    every = grid.identity_grid(shape)
    return grid.transform_about_centre(transform.matrix, every, shape=shape) + u


def image(picture: Array, transform: Transform, *, fill: float | None = None) -> Array:
    """The image `[*space, channel]` seen through the transform, linearly interpolated.

    Args:
      fill: the value outside, or None to repeat the border.
    """
    chex.assert_rank(picture, transform.matrix.shape[0] + 1)
    return grid.sample(picture, places(transform, shape=picture.shape[:-1]), fill=fill)


def mask(labels: Array, transform: Transform, *, fill: int = 0) -> Array:
    """A mask of whole numbers `[*space]` seen through the transform: the nearest voxel's."""
    chex.assert_rank(labels, transform.matrix.shape[0])
    where = jnp.rint(places(transform, shape=labels.shape)).astype(jnp.int32)
    size = grid.column(jnp.asarray(labels.shape), ndim=labels.ndim)
    inside = ((where >= 0) & (where < size)).all(0)
    return jnp.where(inside, labels[tuple(jnp.clip(where, 0, size - 1))], fill)


def points(found: Array, transform: Transform, *, shape: tuple[int, ...]) -> Array:
    """Where points of the input, `[n, ndim]`, stand in the output, by Newton's method.

    Exact to about 1e-3 voxels as long as the elastic part does not fold (see `fold_limit`).
    A point that is NaN stays so; one may come to lie outside the image.
    """
    chex.assert_rank(found, 2)
    centre = grid.centre_of(shape)
    linear, shift = transform.matrix[:, :-1], transform.matrix[:, -1]

    def one(y: Array) -> Array:
        def step(_: int, x: Array) -> Array:
            slope = jax.jacfwd(lambda x: place(transform, x, shape=shape))(x)
            return x - jnp.linalg.solve(slope, place(transform, x, shape=shape) - y)

        start = jnp.linalg.solve(linear, y - centre - shift) + centre
        return jax.lax.fori_loop(0, _NEWTON_STEPS, step, start)

    return jax.vmap(one)(found)


def fold_limit(shape: tuple[int, ...], *, count: int) -> Array:
    """Displacements below this, `[ndim]` voxels, never fold: 0.4 of the control spacing.

    Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions (2000).
    """
    return 0.4 * (jnp.asarray(shape) - 1.0) / (count - 1.0)


def _weights(position: Array, n: int, count: int) -> Array:
    """The cubic B-spline weights of `count` control points at positions: `[*any, count]`."""
    inner = count - 2
    knot = jnp.clip(position / max(n - 1, 1), 0.0, 1.0) * (inner - 1) + 1.0
    t = jnp.abs(knot[..., None] - jnp.arange(count))
    near = (4.0 - 6.0 * t**2 + 3.0 * t**3) / 6.0
    return jnp.where(t < 1.0, near, jnp.maximum(2.0 - t, 0.0) ** 3 / 6.0)
