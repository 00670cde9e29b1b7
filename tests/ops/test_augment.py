import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.ops import grid, intensity
from medjax.ops.augment import (
    Augmentation,
    Sample,
    augment,
    augment_together,
    mixup,
    random_affine,
    random_erase,
    random_flip,
)

ALL = Augmentation(
    flip=(0, 1),
    rotate_degrees=20,
    scale=0.2,
    stretch=0.1,
    shear=0.1,
    translate=0.1,
    crop=0.8,
    contrast=0.2,
    brightness=0.1,
    gamma=0.3,
    noise=0.05,
    erase=0.3,
)


@pytest.mark.parametrize("shape", [(9, 8, 3), (6, 7, 8, 1)])
def test_everything_at_once_keeps_shape_and_is_finite(shape):
    image = jax.random.uniform(jax.random.key(0), shape)
    keys = jax.random.split(jax.random.key(1), 8)
    out = jax.jit(jax.vmap(lambda k: augment(k, image, augmentation=ALL)))(keys)
    assert out.shape == (8, *shape)
    assert np.isfinite(out).all()
    assert np.abs(out - image).max() > 0.05
    np.testing.assert_array_equal(
        out[0], jax.jit(lambda k: augment(k, image, augmentation=ALL))(keys[0])
    )


def test_nothing_changes_nothing():
    image = jax.random.uniform(jax.random.key(0), (5, 6, 1))
    np.testing.assert_array_equal(
        augment(jax.random.key(1), image, augmentation=Augmentation()), image
    )


@pytest.mark.parametrize(
    "name", [f.name for f in dataclasses.fields(Augmentation) if f.name != "elastic_points"]
)
def test_each_transform_does_something(name):
    how = Augmentation(**{name: {"flip": (0,), "rotate_degrees": 30.0, "crop": 0.5}.get(name, 0.4)})
    image = jax.random.uniform(jax.random.key(0), (8, 8, 1), minval=0.2, maxval=0.8)
    keys = jax.random.split(jax.random.key(2), 6)
    out = jax.vmap(lambda k: augment(k, image, augmentation=how))(keys)
    assert (np.abs(out - image).max((1, 2, 3)) > 1e-3).any()


@given(seed=st.integers(0, 10**6))
def test_limits_of_the_random_affine(seed):
    how = Augmentation(rotate_degrees=15, scale=0.25, translate=0.1)
    matrix = np.asarray(random_affine(jax.random.key(seed), (20, 30), augmentation=how))
    size = np.sqrt(np.linalg.det(matrix[:, :2]))
    assert 1 / 1.25 - 1e-5 <= size <= 1.25 + 1e-5
    assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= 15 + 1e-3
    assert abs(matrix[0, 2]) <= 2 + 1e-5
    assert abs(matrix[1, 2]) <= 3 + 1e-5


@given(seed=st.integers(0, 10**6))
def test_a_crop_stays_inside_the_image(seed):
    matrix = np.asarray(
        random_affine(jax.random.key(seed), (16, 16), augmentation=Augmentation(crop=0.5))
    )
    for corner in ([-8, -8], [8, 8]):
        assert np.abs(matrix[:, :2] @ corner + matrix[:, 2]).max() <= 8 + 1e-4


def test_rotation_of_oblong_voxels_is_one_in_millimetres():
    """Voxels of 1 x 3 mm: what was round in the world is round after any turn."""
    voxel, how = (1.0, 3.0), Augmentation(rotate_degrees=90)
    size = np.diag(voxel)
    for seed in range(20):
        matrix = np.asarray(
            random_affine(jax.random.key(seed), (30, 10), augmentation=how, voxel=voxel)
        )
        world = size @ matrix[:, :2] @ np.linalg.inv(size)
        np.testing.assert_allclose(world @ world.T, np.eye(2), atol=1e-5)
        assert np.linalg.det(world) == pytest.approx(1.0, abs=1e-5)
    alike = random_affine(jax.random.key(0), (30, 10), augmentation=how, voxel=(2.0, 2.0))
    np.testing.assert_allclose(
        alike, random_affine(jax.random.key(0), (30, 10), augmentation=how), atol=1e-6
    )


def test_flip_is_a_mirror_half_of_the_time():
    image = jnp.arange(6.0).reshape(2, 3, 1)
    keys = jax.random.split(jax.random.key(0), 400)
    sample = Sample(image, jnp.zeros((0, 2)))
    out = jax.vmap(lambda k: random_flip(k, sample, axes=(1,)))(keys).image
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
            assert changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
            assert len(rows) <= 7 * 7
    assert boxes > 15
    np.testing.assert_allclose(np.asarray(out)[np.asarray(out != image)], image.mean(), rtol=1e-6)


def test_mixup_by_hand():
    a, b = (
        (jnp.ones((2, 2, 1)), jnp.array([1.0, 0.0])),
        (jnp.zeros((2, 2, 1)), jnp.array([0.0, 1.0])),
    )
    image, target = mixup(jax.random.key(0), a, b, alpha=0.4)
    np.testing.assert_allclose(image, target[0], rtol=1e-6)
    assert target.sum() == pytest.approx(1.0)


def test_intensity_by_hand():
    image = jnp.array([[[0.25], [1.0]]])
    np.testing.assert_allclose(intensity.gamma(image, jnp.float32(0.5)), [[[0.5], [1.0]]])
    np.testing.assert_allclose(
        intensity.contrast(image, jnp.float32(2.0), jnp.float32(0.1)),
        [[[-0.025], [1.475]]],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        intensity.standardise(image, mean=jnp.array([0.5]), sd=jnp.array([0.25])), [[[-1.0], [2.0]]]
    )
    assert np.isfinite(
        jax.grad(lambda x: intensity.gamma(x, jnp.float32(0.5)).sum())(jnp.zeros((2, 2, 1)))
    ).all()


@pytest.mark.parametrize(
    ("shape", "into"),
    [((64, 56), None), ((40, 48, 44), None), ((64, 56), (40, 48)), ((40, 48, 44), (32, 32, 32))],
)
def test_painted_dots_their_points_and_the_mask_stay_together(shape, into):
    """Everything at once; the dots are found again where the points say, within 0.1 voxel."""
    ndim = len(shape)
    how = Augmentation(
        flip=tuple(range(ndim)),
        rotate_degrees=25,
        scale=0.15,
        stretch=0.05,
        shear=0.05,
        translate=0.05,
        elastic=0.3,
    )
    keys = jax.random.split(jax.random.key(5), 8)
    points = jnp.asarray(shape) / 2.0 + jnp.array([[3.3, -2.6, 1.2], [-6.1, 5.4, -3.7]])[:, :ndim]
    away = grid.identity_grid(shape)[None] - points.reshape((2, ndim) + (1,) * ndim)
    dots = jnp.moveaxis(jnp.exp(-(away**2).sum(1) / (2 * 1.25**2)), 0, -1)
    mask = dots.argmax(-1) + 1

    def both(key):
        return augment_together(key, Sample(dots, points, mask), augmentation=how, into=into)

    out = jax.jit(jax.vmap(both))(keys)
    for image, found, labels in zip(out.image, out.points, out.mask, strict=True):
        for c in range(2):
            if np.isnan(found[c]).any():
                continue
            edge = np.minimum(found[c], np.array(image.shape[:-1]) - 1 - found[c]).min()
            if edge > 4:
                core = np.maximum(image[..., c] - 0.2 * image[..., c].max(), 0.0)
                at = np.asarray(grid.identity_grid(core.shape))
                centre = (at * core).reshape(ndim, -1).sum(1) / core.sum()
                assert np.linalg.norm(centre - found[c]) < 0.1
                assert labels[tuple(np.rint(found[c]).astype(int))] == c + 1
    assert np.isfinite(out.points).all((1, 2)).sum() >= 4


def test_left_and_right_change_places_in_a_mirror_image_only():
    sample = Sample(jnp.zeros((8, 8, 1)), jnp.array([[1.0, 2.0], [1.0, 5.0], [4.0, 3.0]]))
    keys = jax.random.split(jax.random.key(0), 60)
    flip = jax.vmap(lambda k: random_flip(k, sample, axes=(0, 1), mirrored=((0, 1),)).points)
    seen = {tuple(map(tuple, np.asarray(p).tolist())) for p in flip(keys)}
    assert seen == {
        ((1, 2), (1, 5), (4, 3)),  # as it was
        ((6, 5), (6, 2), (3, 3)),  # rows reversed: a mirror image
        ((1, 2), (1, 5), (4, 4)),  # columns reversed: a mirror image
        ((6, 5), (6, 2), (3, 4)),  # both: a half turn
    }


def test_a_point_that_leaves_the_image_is_missing():
    sample = Sample(jnp.zeros((8, 8, 1)), jnp.array([[0.0, 4.0]]))
    how = Augmentation(translate=0.5)
    keys = jax.random.split(jax.random.key(0), 50)
    out = jax.jit(jax.vmap(lambda k: augment_together(k, sample, augmentation=how).points))(keys)[
        :, 0
    ]
    gone = np.isnan(out).any(1)
    assert 10 < gone.sum() < 40
    assert ((out[~gone] >= -0.5) & (out[~gone] <= 7.5)).all()
