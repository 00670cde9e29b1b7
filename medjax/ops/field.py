"""Displacement and velocity fields of one image: `[*space, ndim]`, in voxels.

A displacement u stands for the transform T(x) = x + u(x), from voxels of the fixed image to those
of the moving one. Beyond the border a field repeats its last value.
"""

import itertools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from medjax.ops import grid, interpolation
from medjax.typing import Array

_ENDS = ((0, 1), (-1, None), (1, None), (0, -1))  # of differences: the first, the last, ...


def positions(displacement: Array) -> Array:
    """Where the transform takes every voxel: `[ndim, *space]`."""
    space = displacement.shape[:-1]
    chex.assert_shape(displacement, (*space, len(space)))
    return grid.identity_grid(space) + jnp.moveaxis(displacement, -1, 0)


def warp(image: Array, displacement: Array, *, fill: float | None = None) -> Array:
    """The image `[*space, channel]` seen through the transform, linearly interpolated.

    Args:
      fill: the value outside; None: the border repeats.
    """
    return interpolation.sample(image, positions(displacement), fill=fill)


def compose(first: Array, second: Array) -> Array:
    """The displacement of x -> S(F(x)), of the displacements of F (`first`) and S (`second`)."""
    return first + warp(second, first)


def integrate(velocity: Array, *, steps: int = 7) -> Array:
    """The displacement at time 1 of a stationary velocity field, by scaling and squaring.

    Arsigny et al., A log-Euclidean framework for statistics on diffeomorphisms (MICCAI 2006). The
    field of `-velocity` is the inverse.

    Args:
      steps: squarings; 0: the velocity is the displacement.
    """
    half = velocity / 2**steps
    return jax.lax.fori_loop(0, steps, lambda _, u: compose(u, u), half) if steps else velocity


def invert(displacement: Array, *, rounds: int = 20) -> Array:
    """The displacement v with x + v(x) + u(x + v(x)) = x, by fixed-point iteration.

    Chen et al., A simple fixed-point approach to invert a deformation field (Medical Physics 35,
    2008). It settles where u changes by less than a voxel from one voxel to the next.
    """
    return jax.lax.fori_loop(
        0, rounds, lambda _, v: -warp(displacement, v), jnp.zeros_like(displacement)
    )


def resize(displacement: Array, *, space: Sequence[int]) -> Array:
    """The same transform on a grid of other sides about the same centre, in its own voxels."""
    factor = jnp.array([new / old for new, old in zip(space, displacement.shape, strict=False)])
    return jax.image.resize(displacement, (*space, displacement.shape[-1]), "linear") * factor


def jacobian(displacement: Array) -> Array:
    """The Jacobian of T at every voxel, by central differences: `[*space, ndim, ndim]`.

    At the border differences are one-sided.
    """
    ndim = displacement.shape[-1]
    chex.assert_rank(displacement, ndim + 1)
    slopes = [_slope(displacement, axis) for axis in range(ndim)]  # du / dx_axis
    return jnp.stack(slopes, -1) + jnp.eye(ndim)


def jacobian_determinant(displacement: Array) -> Array:
    """How a small volume at each voxel grows under T: `[*space]`; below 0 T folds there."""
    return determinant(jacobian(displacement))


def determinant(matrices: Array) -> Array:
    """Of `[..., n, n]`, n 2 or 3, without a decomposition: a gather of small ones is slow."""
    if matrices.shape[-1] == 2:
        return matrices[..., 0, 0] * matrices[..., 1, 1] - matrices[..., 0, 1] * matrices[..., 1, 0]
    a, b, c = (matrices[..., i] for i in range(3))
    return (a * jnp.cross(b, c)).sum(-1)


def _slope(values: Array, axis: int) -> Array:
    """Central differences along an axis, one-sided at its ends; of one voxel zero."""
    if values.shape[axis] == 1:
        return jnp.zeros_like(values)
    step = jnp.diff(values, axis=axis)
    ends = [jax.lax.slice_in_dim(step, begin, end, axis=axis) for begin, end in _ENDS]
    first, last, behind, before = ends
    return jnp.concatenate([first, (behind + before) / 2, last], axis)


def gradient_energy(field: Array) -> Array:
    """The mean squared difference from one voxel to the next, over axes (VoxelMorph's `l2`)."""
    ndim = field.shape[-1]
    chex.assert_rank(field, ndim + 1)
    steps = [jnp.diff(field, axis=axis) for axis in range(ndim) if field.shape[axis] > 1]
    return sum((jnp.square(s).mean() for s in steps), jnp.zeros(())) / ndim


def bending_energy(field: Array) -> Array:
    """The mean squared second derivative, mixed ones twice (Rueckert et al., IEEE TMI 1999); zero
    for an affine displacement."""
    ndim = field.shape[-1]
    chex.assert_rank(field, ndim + 1)
    total = jnp.zeros(())
    for a, b in itertools.combinations_with_replacement(range(ndim), 2):
        if min(field.shape[a], field.shape[b]) < (3 if a == b else 2):
            continue
        bent = jnp.diff(jnp.diff(field, axis=a), axis=b)
        total += (1 if a == b else 2) * jnp.square(bent).sum(-1).mean()
    return total
