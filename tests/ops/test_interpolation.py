"""Linear interpolation: values against scipy, gradients against those that JAX derives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medjax.ops import interpolation


@pytest.mark.parametrize("shape", [(5, 7), (4, 5, 6)])
@pytest.mark.parametrize(("fill", "mode"), [(None, "nearest"), (0.0, "constant")])
@given(seed=st.integers(0, 10**6))
def test_sample_equals_scipy(shape, fill, mode, seed):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((*shape, 2)).astype(np.float32)
    # Inside the image both agree; beyond it scipy fades a constant border differently.
    low, high = (0.0, np.array(shape) - 1.0) if fill is not None else (-2.0, np.array(shape) + 1.0)
    where = rng.uniform(low, high, (20, len(shape))).T.astype(np.float32)
    expected = np.stack(
        [ndimage.map_coordinates(image[..., c], where, order=1, mode=mode) for c in range(2)], -1
    )
    np.testing.assert_allclose(interpolation.sample(image, where, fill=fill), expected, atol=1e-5)


def test_sample_fades_to_the_fill_value_over_one_voxel():
    image = jnp.ones((3, 3, 1))
    where = jnp.array([[-0.5, -1.0, -1.5], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(
        interpolation.sample(image, where, fill=0.0)[:, 0], [0.5, 0, 0], atol=1e-6
    )


def derivable(image, where, *, fill):
    """The same values by plain indexing, whose gradients JAX derives."""
    low = jnp.floor(where)
    total = 0.0
    for ups in itertools.product((0, 1), repeat=len(where)):
        up = jnp.array(ups)[:, None]
        index = (low + up).astype(int)
        size = jnp.array(image.shape[:-1])[:, None]
        value = image[tuple(jnp.clip(index, 0, size - 1))]
        if fill is not None:
            value = jnp.where(((index >= 0) & (index < size)).all(0)[:, None], value, fill)
        total += jnp.where(up == 1, where - low, low + 1 - where).prod(0)[:, None] * value
    return total


def example(shape, channels, *, seed=0):
    """An image, places in it and around it, and a gradient of their values."""
    keys = jax.random.split(jax.random.key(seed), 3)
    image = jax.random.normal(keys[0], (*shape, channels))
    where = jax.random.uniform(keys[1], (len(shape), 150), minval=-3.0, maxval=9.0)
    return image, where, jax.random.normal(keys[2], (150, channels))


@pytest.mark.parametrize("fill", [None, 0.0, 2.5])
@pytest.mark.parametrize(("shape", "channels"), [((7,), 1), ((5, 7), 3), ((4, 5, 6), 2)])
def test_gradients_equal_those_that_jax_derives(shape, channels, fill):
    image, where, g = example(shape, channels)
    _, back = jax.vjp(lambda i, w: interpolation.sample(i, w, fill=fill), image, where)
    _, derived = jax.vjp(lambda i, w: derivable(i, w, fill=fill), image, where)
    for ours, expected in zip(back(g), derived(g), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_slopes_by_hand():
    image = jnp.array([[0.0, 10.0], [4.0, 20.0]])[..., None]

    def value(where):
        return interpolation.sample(image, where, fill=None)[0, 0]

    # (1-r)(1-c) 0 + (1-r) c 10 + r (1-c) 4 + r c 20, at r 0.5, c 0.25
    slope = jax.grad(value)(jnp.array([[0.5], [0.25]]))
    np.testing.assert_allclose(slope[:, 0], [0.75 * 4 + 0.25 * 10, 0.5 * 10 + 0.5 * 16])


def test_images_of_whole_numbers_and_half_floats_keep_their_type():
    for dtype in (jnp.uint8, jnp.bfloat16):
        image = jnp.array([[10], [30]], dtype)
        value = interpolation.sample(image, jnp.array([[0.25]]))
        assert (value.dtype, float(value[0, 0])) == (dtype, 15.0)


def test_wrong_ranks_are_refused():
    with pytest.raises(AssertionError):
        interpolation.sample(jnp.zeros((3, 3)), jnp.zeros((2, 1)))


def test_whole_numbers_are_rounded_not_cut():
    image = jnp.array([[[250], [250], [251]]], jnp.uint8)
    places = jnp.array([[0.0, 0.0, 0.0], [0.3, 1.4, 1.6]])
    found = interpolation.sample(image, places)
    np.testing.assert_array_equal(found[:, 0], [250, 250, 251])
