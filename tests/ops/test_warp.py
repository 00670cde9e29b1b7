import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medjax.ops import grid, warp

SHAPES = {2: (40, 33), 3: (24, 20, 22)}
COUNT = 7


def transform(seed: int, shape, *, share: float = 0.8) -> warp.Transform:
    """A rotation, scaling, shear and shift, and an elastic part at `share` of the fold limit."""
    ndim = len(shape)
    keys = jax.random.split(jax.random.key(seed), 5)
    matrix = grid.affine_matrix(
        jax.random.uniform(keys[0], (1 if ndim == 2 else 3,), minval=-0.5, maxval=0.5),
        jnp.exp(jax.random.uniform(keys[1], (ndim,), minval=-0.2, maxval=0.2)),
        jax.random.uniform(keys[2], (ndim * (ndim - 1) // 2,), minval=-0.2, maxval=0.2),
        jax.random.uniform(keys[3], (ndim,), minval=-2.0, maxval=2.0),
    )
    limit = warp.fold_limit(shape, count=COUNT - 2).reshape((-1,) + (1,) * ndim)
    control = (
        share
        * limit
        * jax.random.uniform(keys[4], (ndim, *(COUNT,) * ndim), minval=-1.0, maxval=1.0)
    )
    return warp.Transform(matrix, control)


def identity(ndim):
    return warp.Transform(jnp.eye(ndim, ndim + 1), jnp.zeros((ndim, *(COUNT,) * ndim)))


@functools.cache
def compiled(ndim):
    shape = SHAPES[ndim]
    return (
        jax.jit(lambda t, p: warp.points(p, t, shape=shape)),
        jax.jit(lambda t: warp.places(t, shape=shape)),
        jax.jit(jax.vmap(lambda t, x: warp.place(t, x, shape=shape), (None, 0))),
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_identity_moves_nothing(ndim):
    shape = SHAPES[ndim]
    picture = jax.random.normal(jax.random.key(0), (*shape, 2))
    still = identity(ndim)
    np.testing.assert_allclose(jax.jit(warp.image)(picture, still), picture, atol=1e-4)
    points = jax.random.uniform(jax.random.key(1), (5, ndim), maxval=20.0)
    np.testing.assert_allclose(compiled(ndim)[0](still, points), points, atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_spline_is_scipys(ndim):
    """scipy interpolates through its own coefficients; unfiltered ones are control points."""
    from scipy import ndimage

    shape = SHAPES[ndim]
    t = transform(3, shape)
    still = t._replace(matrix=jnp.eye(ndim, ndim + 1))
    found = compiled(ndim)[1](still) - grid.identity_grid(shape)
    knots = [np.linspace(1, COUNT - 2, n) for n in shape]
    where = np.stack(np.meshgrid(*knots, indexing="ij"))
    for axis in range(ndim):
        expected = ndimage.map_coordinates(
            np.asarray(t.control[axis], float), where, order=3, prefilter=False
        )
        np.testing.assert_allclose(found[axis], expected, atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_points_are_carried_by_the_inverse(ndim, seed):
    shape = SHAPES[ndim]
    points_of, places_of, place_of = compiled(ndim)
    t = transform(seed, shape)
    keys = jax.random.split(jax.random.key(seed))
    inside = jax.random.uniform(keys[0], (20, ndim)) * (jnp.array(shape) - 1.0)
    back = points_of(t, place_of(t, inside))
    np.testing.assert_allclose(back, inside, atol=5e-3)
    index = tuple(np.asarray(jnp.rint(inside[0]).astype(int)))
    np.testing.assert_allclose(
        places_of(t)[(slice(None), *index)], place_of(t, jnp.rint(inside[:1]))[0], atol=1e-3
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_painted_dot_and_its_point_stay_together(ndim, seed):
    """A soft dot is painted, the image warped, and the dot's centre found again."""
    shape = (64,) * ndim
    t = transform(seed, shape, share=0.5)
    point = jnp.full((1, ndim), 31.5) + jax.random.uniform(
        jax.random.key(seed), (1, ndim), minval=-8.0, maxval=8.0
    )
    squared = ((grid.identity_grid(shape) - point[0].reshape((-1,) + (1,) * ndim)) ** 2).sum(0)
    dot = jnp.exp(-squared / (2 * 1.25**2))
    seen = jax.jit(lambda p: warp.image(p, t, fill=0.0))(dot[..., None])[..., 0]
    where = warp.points(point, t, shape=shape)[0]
    # So small a dot that the transform is its tangent there: its centre of mass stays its centre.
    core = jnp.maximum(seen - 0.2 * seen.max(), 0.0)
    centre = (grid.identity_grid(shape) * core).reshape(ndim, -1).sum(1) / core.sum()
    assert float(jnp.linalg.norm(centre - where)) < 0.1


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_crop_is_a_window_of_the_image(ndim):
    picture = jax.random.normal(jax.random.key(0), (*SHAPES[ndim], 1))
    into = (9,) * ndim
    # Without a shift the window is about the middle; this one puts its corner at (3, 4[, 5]).
    corner = jnp.arange(3.0, 3.0 + ndim)
    shift = corner + grid.centre_of(into) - grid.centre_of(SHAPES[ndim])
    t = warp.Transform(jnp.concatenate([jnp.eye(ndim), shift[:, None]], 1))
    window = tuple(slice(3 + a, 12 + a) for a in range(ndim))
    np.testing.assert_allclose(warp.image(picture, t, into=into), picture[window], atol=1e-4)
    moved = warp.points(corner[None] + 2.0, t, shape=SHAPES[ndim], into=into)
    np.testing.assert_allclose(moved, [[2.0] * ndim], atol=1e-4)


def test_masks_keep_their_labels_and_missing_points_stay_missing():
    t = transform(1, (40, 33))
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 5, (40, 33)))
    found = warp.mask(labels, t, fill=9)
    assert set(np.unique(found)) <= {0, 1, 2, 3, 4, 9}
    np.testing.assert_array_equal(warp.mask(labels, identity(2)), labels)
    moved = warp.points(jnp.array([[jnp.nan, 3.0], [10.0, 10.0]]), t, shape=(40, 33))
    assert np.isnan(moved[0]).any()
    assert np.isfinite(moved[1]).all()
