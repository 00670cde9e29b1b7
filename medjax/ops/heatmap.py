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
    lines = [
        jnp.exp(-((jnp.arange(n) - p) ** 2) / (2.0 * sigma**2))
        for n, p in zip(shape, safe, strict=True)
    ]
    product = functools.reduce(lambda a, b: a[..., None] * b, lines)
    return jnp.where(jnp.isnan(point).any(), 0.0, product)


def peak(heatmap: Array) -> tuple[Array, Array]:
    """The highest voxel, moved to the top of the quadratic through it and its neighbours.

    The quadratic has the central differences as its derivatives, of the logarithms where all
    neighbours are positive (exact for any Gaussian, also an oblique one), else of the values. It
    moves along no axis at whose border the voxel lies, not at all where it has no top, and by at
    most one voxel.

    Args:
      heatmap: `[*space]`.

    Returns:
      The point `[ndim]`, and the height of the highest voxel: a confidence.
    """
    chex.assert_rank(heatmap, {2, 3})
    ndim, size = heatmap.ndim, jnp.array(heatmap.shape)
    top = _highest(heatmap)
    near = jnp.stack(jnp.meshgrid(*[jnp.arange(-1, 2)] * ndim, indexing="ij"))
    index = jnp.clip(
        top.reshape((-1,) + (1,) * ndim) + near, 0, size.reshape((-1,) + (1,) * ndim) - 1
    )
    cube = heatmap[tuple(index)]  # 3 voxels a side
    cube = jnp.where((cube > 0).all(), jnp.log(jnp.maximum(cube, 1e-30)), cube)
    steps = jnp.eye(ndim, dtype=int)

    def at(offset: Array) -> Array:
        return cube[tuple(offset + 1)]

    slope = jnp.stack([at(e) - at(-e) for e in steps]) / 2.0
    bend = jnp.stack(
        [
            jnp.stack(
                [
                    at(e) - 2.0 * at(0 * e) + at(-e)
                    if i == j
                    else (at(e + f) - at(e - f) - at(f - e) + at(-e - f)) / 4.0
                    for j, f in enumerate(steps)
                ]
            )
            for i, e in enumerate(steps)
        ]
    )
    free = (top > 0) & (top < size - 1)
    slope = jnp.where(free, slope, 0.0)
    bend = jnp.where(free[:, None] & free[None], bend, -jnp.eye(ndim))
    has_top = (jnp.linalg.eigvalsh(bend) < 0).all()
    offset = -jnp.linalg.solve(jnp.where(has_top, bend, -jnp.eye(ndim)), slope)
    return top + jnp.where(has_top, jnp.clip(offset, -1.0, 1.0), 0.0), heatmap[tuple(top)]


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
    return point, mass_near(chance, point, radius=3)


def mass_near(chance: Array, point: Array, *, radius: int) -> Array:
    """The sum of the map `[*space]` in a box about `point` that reaches `radius` voxels far."""
    chex.assert_rank([chance, point], [{2, 3}, 1])
    return jnp.where(_away(point, chance.shape) <= radius, chance, 0.0).sum()


def centre_of_mass(
    heatmap: Array, *, radius: int, sigma: Array | float | None = None
) -> tuple[Array, Array]:
    """The centre of mass of the positive values in a box about the highest voxel.

    The box is not centred on the point, and ends with the image: both pull the centre away from it.
    Of a Gaussian with known width that can be undone.

    Args:
      heatmap: `[*space]`.
      radius: the box is `2 radius + 1` voxels a side.
      sigma: of the Gaussian that the map is meant to be, voxels; None: the plain centre of mass.

    Returns:
      The point `[ndim]`, and the height of the highest voxel: a confidence.
    """
    chex.assert_rank(heatmap, {2, 3})
    top = _highest(heatmap)
    near = _away(top, heatmap.shape) <= radius
    mass = jnp.where(near, jnp.maximum(heatmap, 0.0), 0.0)
    total = mass.sum()
    centre = _first_moment(mass) / jnp.where(total > 0, total, 1.0)
    if sigma is not None:
        centre = jnp.stack(
            [
                uncut_mean(c, t, radius=radius, size=n, sigma=sigma)
                for c, t, n in zip(centre, top, heatmap.shape, strict=True)
            ]
        )
    return jnp.where(total > 0, centre, top), heatmap[tuple(top)]


def uncut_mean(mean: Array, top: Array, *, radius: int, size: int, sigma: Array | float) -> Array:
    """The centre of a Gaussian along one axis, from its mean over a window that cuts it.

    The centre of which a Gaussian has this mean over the voxels at most `radius` from `top` that
    lie in the image: it is the likeliest one, as the mean is all that a cut Gaussian of known width
    tells of its centre. It lies in the image.

    Args:
      mean, top: scalars, voxels.
      size: of the image along this axis.
    """
    chex.assert_rank([mean, top], 0)
    x = top + jnp.arange(-radius, radius + 1)
    inside = (x >= 0) & (x <= size - 1)

    def cut_mean(centre: Array) -> Array:
        weight = jnp.where(inside, jnp.exp(-((x - centre) ** 2) / (2 * sigma**2)), 0.0)
        return (weight * x).sum() / jnp.maximum(weight.sum(), 1e-30)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        above = cut_mean(middle) > mean
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    first = jnp.maximum(top - radius, -0.5).astype(mean.dtype)
    last = jnp.minimum(top + radius, size - 0.5).astype(mean.dtype)
    low, high = jax.lax.fori_loop(0, 24, halve, (first, last))
    return (low + high) / 2


def _highest(heatmap: Array) -> Array:
    """The index of the highest voxel: `[ndim]`."""
    return jnp.stack(jnp.unravel_index(jnp.argmax(heatmap), heatmap.shape))


def _first_moment(mass: Array) -> Array:
    """The sum over voxels of mass times position: `[ndim]`."""
    return (grid.identity_grid(mass.shape) * mass).reshape(mass.ndim, -1).sum(1)


def _away(point: Array, shape: tuple[int, ...]) -> Array:
    """How far each voxel is from `point` along the axis where it is farthest: `[*shape]`."""
    return jnp.abs(grid.identity_grid(shape) - grid.column(point, ndim=len(shape))).max(0)
