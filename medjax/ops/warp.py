"""A spatial transform that moves images, masks and points together: affine and elastic.

A transform maps the voxels x of the output to places of the input,

    T(x) = A (x + u(x) - c) + t + c',    c, c' the centres of output and input,

with u a cubic B-spline through a few control points. An image is sampled at T; a point of the
input goes to where the output shows it, by the inverse of T. The output may be smaller than the
input (`into`): a crop, which t places.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.ops import grid, interpolation
from medjax.typing import Array

_NEWTON_STEPS = 12
Shape = tuple[int, ...]


class Transform(NamedTuple):
    """From output to input coordinates, voxels.

    Attributes:
      matrix: `[ndim, ndim + 1]`, about the centres, as of `grid.affine_matrix`.
      control: `[ndim, *count]`, displacements at control points that are spread evenly over the
        output from one border to the other, and one further on either side; None: no elastic part.
    """

    matrix: Array
    control: Array | None = None


def place(transform: Transform, x: Array, *, shape: Shape, into: Shape | None = None) -> Array:
    """T(x), for one output position `[ndim]`; `shape` is the input's, `into` the output's."""
    chex.assert_shape(x, (len(shape),))
    u = transform.control
    if u is not None:
        for position, n in zip(x, into or shape, strict=True):
            u = jnp.tensordot(u, spline_weights(position, size=n, count=u.shape[1]), axes=(1, 0))
    return _affine(transform, x, u, shape, into)


def places(transform: Transform, *, shape: Shape, into: Shape | None = None) -> Array:
    """T at every voxel of the output: `[ndim, *into]`."""
    u = transform.control
    if u is not None:
        for n in into or shape:
            # Each turn contracts the first space axis and puts its voxels last.
            weights = spline_weights(jnp.arange(n, dtype=jnp.float32), size=n, count=u.shape[1])
            u = jnp.tensordot(u, weights, axes=(1, 1))
    return _affine(transform, grid.identity_grid(into or shape), u, shape, into)


def _affine(
    transform: Transform, x: Array, u: Array | None, shape: Shape, into: Shape | None
) -> Array:
    """T at positions `[ndim, *any]`, given the elastic displacement there."""
    away = x - grid.column(grid.centre_of(into or shape), ndim=x.ndim - 1)
    moved = grid.transform_points(transform.matrix, away if u is None else away + u)
    return moved + grid.column(grid.centre_of(shape), ndim=x.ndim - 1)


def image(
    picture: Array, transform: Transform, *, fill: float | None = None, into: Shape | None = None
) -> Array:
    """The image `[*space, channel]` seen through the transform, linearly interpolated.

    Args:
      fill: the value outside, or None to repeat the border.
      into: space of the output; None: as the input.
    """
    chex.assert_rank(picture, transform.matrix.shape[0] + 1)
    return interpolation.sample(
        picture, places(transform, shape=picture.shape[:-1], into=into), fill=fill
    )


def mask(labels: Array, transform: Transform, *, fill: int = 0, into: Shape | None = None) -> Array:
    """A mask of whole numbers `[*space]` seen through the transform: the nearest voxel's."""
    chex.assert_rank(labels, transform.matrix.shape[0])
    where = jnp.rint(places(transform, shape=labels.shape, into=into)).astype(jnp.int32)
    size = grid.column(jnp.asarray(labels.shape), ndim=labels.ndim)
    inside = ((where >= 0) & (where < size)).all(0)
    return jnp.where(inside, labels[tuple(jnp.clip(where, 0, size - 1))], fill)


def points(
    targets: Array, transform: Transform, *, shape: Shape, into: Shape | None = None
) -> Array:
    """Where points of the input, `[n, ndim]`, stand in the output, by Newton's method.

    Exact to about 1e-3 voxels as long as the elastic part does not fold (see `fold_limit`).
    A point that is NaN stays so; one may come to lie outside the image.
    """
    chex.assert_rank(targets, 2)
    centre, there = grid.centre_of(shape), grid.centre_of(into or shape)
    linear, shift = transform.matrix[:, :-1], transform.matrix[:, -1]

    def invert_point(y: Array) -> Array:
        def step(_: int, x: Array) -> Array:
            slope = jax.jacfwd(lambda x: place(transform, x, shape=shape, into=into))(x)
            miss = place(transform, x, shape=shape, into=into) - y
            return x - jnp.linalg.solve(slope, miss)

        start = jnp.linalg.solve(linear, y - centre - shift) + there
        return jax.lax.fori_loop(0, _NEWTON_STEPS, step, start)

    return jax.vmap(invert_point)(targets)


def fold_limit(shape: Shape, *, count: int) -> Array:
    """Displacements below this, `[ndim]` voxels, never fold: 0.4 of the control spacing.

    Choi and Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions (2000).
    """
    return 0.4 * (jnp.asarray(shape) - 1.0) / (count - 1.0)


def spline_weights(position: Array, *, size: int, count: int) -> Array:
    """The cubic B-spline weights of `count` control points at positions along `size` voxels:
    `[*any, count]`."""
    inner = count - 2
    knot = jnp.clip(position / max(size - 1, 1), 0.0, 1.0) * (inner - 1) + 1.0
    t = jnp.abs(knot[..., None] - jnp.arange(count))
    near = (4.0 - 6.0 * t**2 + 3.0 * t**3) / 6.0
    return jnp.where(t < 1.0, near, jnp.maximum(2.0 - t, 0.0) ** 3 / 6.0)
