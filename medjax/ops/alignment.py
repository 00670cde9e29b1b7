"""Instance-wise registration of one pair: affine, then dense, by gradients, from coarse to fine.

A pair's transform is T(x) = M (x + u(x)): M an affine `[ndim, ndim + 1]`, u a displacement, both in
voxels. An image that is shrunk by f has its voxel p where the full one has f p + (f - 1) / 2.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax.ops import field, grid, interpolation, warp
from medjax.typing import Array

Similarity = Callable[[Array, Array], Array]
DISPLACEMENT, VELOCITY, BSPLINE = "displacement", "velocity", "bspline"
FORMS = (VELOCITY, DISPLACEMENT, BSPLINE)
RIGID, AFFINE = "rigid", "affine"
_CONTROL = 3  # voxels of the field between control points of a spline


class Level(NamedTuple):
    """A round of the optimisation: images are shrunk by `factor`, for so many steps."""

    factor: int
    steps: int


def see_through(moving: Array, matrix: Array, *, displacement: Array | None = None) -> Array:
    """The moving image `[*space]` on the grid of the fixed one, black beyond its border."""
    chex.assert_rank(moving, matrix.shape[0])
    place = grid.identity_grid(moving.shape)
    if displacement is not None:
        place = field.positions(displacement)
    return interpolation.sample(moving[..., None], grid.transform_points(matrix, place), fill=0.0)[
        ..., 0
    ]


def shrink(image: Array, *, factor: int) -> Array:
    """Means of blocks of `factor` voxels a side; the sides divide by it."""
    sides = [n for side in image.shape for n in (side // factor, factor)]
    return image.reshape(sides).mean(tuple(range(1, 2 * image.ndim, 2)))


def shrink_affine(matrix: Array, *, factor: int) -> Array:
    """The affine between images that are shrunk."""
    half = (factor - 1) / 2
    shift = matrix[:, -1] + half * matrix[:, :-1].sum(1) - half
    return jnp.concatenate([matrix[:, :-1], shift[:, None] / factor], 1)


def pad_to(image: Array, *, divisor: int) -> Array:
    """An image `[*space]` with zeros behind it, so that its sides divide by the divisor."""
    return jnp.pad(image, [(0, -n % divisor) for n in image.shape])


def _descend(loss: Callable[[Any], Array], start: Any, *, steps: int, learning_rate: float) -> Any:
    """Parameters after so many steps of Adam, whose rate falls to zero."""
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def step(_: int, now: Any) -> Any:
        params, state = now
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(0, steps, step, (start, optimizer.init(start)))[0]


def fit_affine(
    fixed: Array,
    moving: Array,
    initial: Array,
    *,
    similarity: Similarity,
    kind: str = AFFINE,
    spacing: Array | Sequence[float] = (),
    levels: Sequence[Level] = (Level(4, 60), Level(2, 60), Level(1, 60)),
    learning_rate: float = 0.01,
) -> Array:
    """The affine `[ndim, ndim + 1]` from voxels of the fixed image to those of the moving one.

    Args:
      fixed, moving: `[*space]`, of one shape.
      initial: where it starts.
      similarity: what is made small.
      kind: `rigid` or `affine`.
      spacing: of the voxels, one an axis, by which a turn is one; empty: all alike.
      learning_rate: in radians, and in shares of the image's half side.
    """
    chex.assert_equal_shape([fixed, moving])
    ndim, largest = fixed.ndim, max(level.factor for level in levels)
    size = jnp.asarray(spacing) if len(spacing) else jnp.ones(ndim)
    half = max(fixed.shape) / 2
    pair = [pad_to(image, divisor=largest) for image in (fixed, moving)]
    centre = grid.centre_of(fixed.shape)

    def apply(params: dict[str, Array]) -> Array:
        zero = jnp.zeros(ndim)
        scale, shear = (
            (jnp.exp(params["log_scale"]), params["shear"])
            if kind == AFFINE
            else (zero + 1.0, jnp.zeros(len(params["shear"])))
        )
        turned = grid.affine_matrix(params["rotation"], scale, shear, zero)[:, :-1]
        linear = turned * size[None] / size[:, None]
        shift = centre + half * params["shift"] - linear @ centre
        return jnp.concatenate(
            [initial[:, :-1] @ linear, (initial[:, :-1] @ shift + initial[:, -1])[:, None]], 1
        )

    pairs = ndim * (ndim - 1) // 2
    params = {
        "rotation": jnp.zeros(1 if ndim == 2 else 3),
        "log_scale": jnp.zeros(ndim),
        "shear": jnp.zeros(pairs),
        "shift": jnp.zeros(ndim),
    }
    for level in levels:
        small = [shrink(image, factor=level.factor) for image in pair]

        def loss(params: dict[str, Array], small: Any = small, factor: int = level.factor) -> Array:
            warped = see_through(small[1], shrink_affine(apply(params), factor=factor))
            return similarity(small[0], warped)

        params = _descend(loss, params, steps=level.steps, learning_rate=learning_rate)
    return apply(params)


def fit_field(
    fixed: Array,
    moving: Array,
    matrix: Array,
    start: Array,
    *,
    similarity: Similarity,
    smoothness: Callable[[Array], Array],
    form: str = VELOCITY,
    levels: Sequence[Level] = (Level(4, 40), Level(2, 40), Level(1, 40)),
    learning_rate: float = 0.2,
) -> Array:
    """The displacement that makes the pair most alike, on a grid of half the (padded) sides.

    Args:
      fixed, moving: `[*space]`, of one shape.
      matrix: the affine that follows the displacement.
      start: a displacement on the grid of the answer, in its voxels.
      similarity, smoothness: their sum is made small; the second is of a field in its own voxels.
      form: what is optimised at each level, beside what the coarser ones have found: a velocity
        that is integrated, a displacement, or the control points of a cubic B-spline.
      learning_rate: in voxels of a level's field.
    """
    chex.assert_equal_shape([fixed, moving])
    largest = 2 * max(level.factor for level in levels)
    pair = [pad_to(image, divisor=largest) for image in (fixed, moving)]
    space = pair[0].shape
    final = tuple(n // 2 for n in space)
    u = field.resize(_extend(start, final), space=[n // largest for n in space])
    for level in levels:
        small = [shrink(image, factor=level.factor) for image in pair]
        affine = shrink_affine(matrix, factor=level.factor)
        coarse = [n // 2 for n in small[0].shape]
        before = field.resize(u, space=coarse)

        def move(residual: Array, before: Array = before) -> Array:
            return _add(residual, before, form)

        def loss(
            residual: Array, small: Any = small, affine: Array = affine, move: Any = move
        ) -> Array:
            moved = move(residual)
            full = field.resize(moved, space=small[0].shape)
            warped = see_through(small[1], affine, displacement=full)
            return similarity(small[0], warped) + smoothness(moved)

        zero = jnp.zeros(_parameter_shape(coarse, form))
        u = move(_descend(loss, zero, steps=level.steps, learning_rate=learning_rate))
    return field.resize(u, space=final)


def _extend(displacement: Array, space: Sequence[int]) -> Array:
    """A field on a grid with more voxels behind it, where it repeats its border."""
    more = [(0, n - m) for n, m in zip(space, displacement.shape, strict=False)]
    return jnp.pad(displacement, [*more, (0, 0)], mode="edge")


def _parameter_shape(coarse: Sequence[int], form: str) -> tuple[int, ...]:
    counts = (
        [max(math.ceil((n - 1) / _CONTROL), 1) + 3 for n in coarse] if form == BSPLINE else coarse
    )
    return (*counts, len(coarse))


def _add(residual: Array, before: Array, form: str) -> Array:
    """The displacement that a residual makes of the one before."""
    if form == VELOCITY:
        return field.compose(field.integrate(residual, steps=5), before)
    if form == BSPLINE:
        residual = _spline(residual, before.shape[:-1])
    return before + residual


def _spline(control: Array, space: Sequence[int]) -> Array:
    """The cubic B-spline `[*space, ndim]` through control points `[*count, ndim]`."""
    for n in space:
        weights = warp.spline_weights(
            jnp.arange(n, dtype=jnp.float32), size=n, count=control.shape[0]
        )
        control = jnp.tensordot(control, weights, axes=(0, 1))  # the voxels of an axis go last
    return jnp.moveaxis(control, 0, -1)


def split_steps(*, steps: int, factors: Sequence[int]) -> tuple[Level, ...]:
    """So many steps at each of the factors."""
    return tuple(Level(int(f), steps) for f in np.asarray(factors))
