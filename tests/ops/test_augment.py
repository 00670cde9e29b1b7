import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.ops import intensity
from medjax.ops.augment import (
    Augmentation,
    augment,
    mixup,
    random_affine,
    random_erase,
    random_flip,
)

ALL = Augmentation(flip=(0, 1), rotate_degrees=20, scale=0.2, stretch=0.1, shear=0.1, translate=0.1,
                   crop=0.8, contrast=0.2, brightness=0.1, gamma=0.3, noise=0.05, erase=0.3)


@pytest.mark.parametrize("shape", [(9, 8, 1), (9, 8, 3), (6, 7, 8, 1)])
def test_everything_at_once_keeps_shape_and_is_finite(shape):
    image = jax.random.uniform(jax.random.key(0), shape)
    keys = jax.random.split(jax.random.key(1), 8)
    out = jax.jit(jax.vmap(lambda k: augment(k, image, how=ALL)))(keys)
    assert out.shape == (8, *shape)
    assert np.isfinite(out).all()
    assert np.abs(out - image).max() > 0.05
    np.testing.assert_array_equal(out[0], jax.jit(lambda k: augment(k, image, how=ALL))(keys[0]))


def test_nothing_changes_nothing():
    image = jax.random.uniform(jax.random.key(0), (5, 6, 1))
    np.testing.assert_array_equal(augment(jax.random.key(1), image, how=Augmentation()), image)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Augmentation)])
def test_each_transform_does_something(name):
    how = Augmentation(**{name: {"flip": (0,), "rotate_degrees": 30.0, "crop": 0.5}.get(name, 0.4)})
    image = jax.random.uniform(jax.random.key(0), (8, 8, 1), minval=0.2, maxval=0.8)
    keys = jax.random.split(jax.random.key(2), 6)
    out = jax.vmap(lambda k: augment(k, image, how=how))(keys)
    assert (np.abs(out - image).max((1, 2, 3)) > 1e-3).any()


@given(seed=st.integers(0, 10**6))
def test_limits_of_the_random_affine(seed):
    how = Augmentation(rotate_degrees=15, scale=0.25, translate=0.1)
    matrix = np.asarray(random_affine(jax.random.key(seed), (20, 30), how=how))
    size = np.sqrt(np.linalg.det(matrix[:, :2]))
    assert 1 / 1.25 - 1e-5 <= size <= 1.25 + 1e-5
    assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= 15 + 1e-3
    assert abs(matrix[0, 2]) <= 2 + 1e-5
    assert abs(matrix[1, 2]) <= 3 + 1e-5


@given(seed=st.integers(0, 10**6))
def test_a_crop_stays_inside_the_image(seed):
    matrix = np.asarray(random_affine(jax.random.key(seed), (16, 16), how=Augmentation(crop=0.5)))
    for corner in ([-8, -8], [8, 8]):
        assert np.abs(matrix[:, :2] @ corner + matrix[:, 2]).max() <= 8 + 1e-4


def test_flip_is_a_mirror_half_of_the_time():
    image = jnp.arange(6.0).reshape(2, 3, 1)
    keys = jax.random.split(jax.random.key(0), 400)
    out = jax.vmap(lambda k: random_flip(k, image, axes=(1,)))(keys)
    flipped = (out == image[:, ::-1]).all((1, 2, 3))
    kept = (out == image).all((1, 2, 3))
    assert (flipped ^ kept).all()
    assert 150 < flipped.sum() < 250


def test_erase_sets_one_box_to_the_mean():
    image = jax.random.uniform(jax.random.key(0), (12, 12, 1))
    keys = jax.random.split(jax.random.key(3), 30)
    out = jax.vmap(lambda k: random_erase(k, image, share=0.5))(keys)
    boxes = 0
    for changed in np.asarray(out != image)[..., 0]:
        rows, columns = np.nonzero(changed)
        if len(rows):  # a thin box may fall between voxel centres
            boxes += 1
            assert changed[rows.min():rows.max() + 1, columns.min():columns.max() + 1].all()
            assert len(rows) <= 7 * 7
    assert boxes > 15
    np.testing.assert_allclose(np.asarray(out)[np.asarray(out != image)], image.mean(), rtol=1e-6)


def test_mixup_by_hand():
    a, b = (jnp.ones((2, 2, 1)), jnp.array([1.0, 0.0])), (jnp.zeros((2, 2, 1)),
                                                           jnp.array([0.0, 1.0]))
    image, target = mixup(jax.random.key(0), a, b, alpha=0.4)
    np.testing.assert_allclose(image, target[0], rtol=1e-6)
    assert target.sum() == pytest.approx(1.0)


def test_intensity_by_hand():
    image = jnp.array([[[0.25], [1.0]]])
    np.testing.assert_allclose(intensity.gamma(image, jnp.float32(0.5)), [[[0.5], [1.0]]])
    np.testing.assert_allclose(
        intensity.contrast(image, jnp.float32(2.0), jnp.float32(0.1)),
        [[[-0.025], [1.475]]], rtol=1e-5)
    np.testing.assert_allclose(
        intensity.standardise(image, mean=jnp.array([0.5]), sd=jnp.array([0.25])),
        [[[-1.0], [2.0]]])
    assert np.isfinite(jax.grad(lambda x: intensity.gamma(x, jnp.float32(0.5)).sum())(
        jnp.zeros((2, 2, 1)))).all()
