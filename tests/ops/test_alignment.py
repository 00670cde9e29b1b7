"""One pair registered by gradients: what was done to an image is found again."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.ops import alignment, field, grid, similarity
from medjax.ops.alignment import Level

SPACE = (32, 32)


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(4)
    blobs = ndimage.gaussian_filter(rng.random(SPACE), 2.5)
    inside = np.hypot(*(np.indices(SPACE) - 15.5)) < 13
    return jnp.asarray(inside * (0.2 + (blobs - blobs.min()) / np.ptp(blobs)), jnp.float32) / 1.2


def about_centre(linear, shift):
    middle = np.array(grid.centre_of(SPACE))
    return jnp.asarray(np.c_[linear, middle - linear @ middle + shift], jnp.float32)


def test_shrunk_affines_lead_to_the_same_places():
    matrix = about_centre(np.array([[1.1, 0.2], [-0.1, 0.9]]), [2.0, -1.0])
    small = alignment.shrink_affine(matrix, factor=4)
    place = np.array([[3.0], [5.0]])
    full = 4 * place + 1.5
    there = (np.asarray(grid.transform_points(matrix, jnp.asarray(full))) - 1.5) / 4
    found = grid.transform_points(small, jnp.asarray(place))
    np.testing.assert_allclose(found, there, atol=1e-4)


def test_shrinking_takes_means():
    image = jnp.arange(16.0).reshape(4, 4)
    np.testing.assert_allclose(alignment.shrink(image, factor=2), [[2.5, 4.5], [10.5, 12.5]])
    assert alignment.pad_to(jnp.ones((5, 8)), divisor=4).shape == (8, 8)


def test_seen_through_the_identity_nothing_moves(image):
    unit = jnp.eye(2, 3)
    np.testing.assert_allclose(alignment.see_through(image, unit), image, atol=1e-6)
    zero = jnp.zeros((*SPACE, 2))
    np.testing.assert_allclose(
        alignment.see_through(image, unit, displacement=zero), image, atol=1e-6
    )
    shifted = alignment.see_through(image, jnp.array([[1.0, 0, 40], [0, 1.0, 0]]))
    assert float(jnp.abs(shifted).max()) == 0  # black outside


@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_a_known_pose_is_found(image, kind):
    turn = np.deg2rad(8.0)
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = linear if kind == "rigid" else linear @ np.diag([1.08, 0.95])
    truth = about_centre(linear, [1.5, -2.0])
    back = np.linalg.inv(np.vstack([truth, [0, 0, 1]]))[:2]
    moving = alignment.see_through(image, jnp.asarray(back, jnp.float32))
    fit = functools.partial(
        alignment.fit_affine,
        similarity=similarity.squared_difference,
        kind=kind,
        levels=(Level(2, 60), Level(1, 60)),
    )
    found = jax.jit(fit)(image, moving, jnp.eye(2, 3))
    corners = jnp.array([[6.0, 6, 26, 26], [6, 26, 6, 26]])
    apart = grid.transform_points(found, corners) - grid.transform_points(truth, corners)
    assert float(jnp.abs(apart).max()) < 0.15
    if kind == "rigid":
        np.testing.assert_allclose(found[:, :2] @ found[:, :2].T, np.eye(2), atol=1e-4)


def test_a_turn_of_flat_voxels_is_one_in_mm(image):
    """Voxels of 2 x 1 mm: the matrix in mm is orthogonal, that in voxels is not."""
    size = np.array([2.0, 1.0])
    found = alignment.fit_affine(
        image,
        jnp.roll(image, 2, 0).T,
        jnp.eye(2, 3),
        similarity=similarity.squared_difference,
        kind="rigid",
        spacing=tuple(size),
        levels=(Level(2, 5),),
    )
    in_mm = np.diag(size) @ np.asarray(found[:, :2]) @ np.diag(1 / size)
    np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(2), atol=1e-4)
    assert np.abs(np.asarray(found[:, :2]) - np.eye(2)).max() > 0.01


@pytest.mark.parametrize("form", alignment.FORMS)
def test_a_known_deformation_is_found(image, form):
    """The error of the field itself, where the image tells it: less than half of what it was."""
    rows = np.linspace(0, np.pi, 32)
    bump = 2.0 * np.sin(rows)[:, None] * np.sin(rows)[None]
    u = jnp.asarray(np.stack([bump, -bump], -1), jnp.float32)
    fixed = field.warp(image[..., None], u)[..., 0]
    fit = functools.partial(
        alignment.fit_field,
        similarity=similarity.squared_difference,
        smoothness=lambda v: 0.002 * field.gradient_energy(v),
        form=form,
        levels=alignment.split_steps(steps=60, factors=(2, 1)),
    )
    found = jax.jit(fit)(fixed, image, jnp.eye(2, 3), jnp.zeros((16, 16, 2)))
    assert found.shape == (16, 16, 2)
    full = field.resize(found, space=SPACE)
    inside = np.asarray(image) > 0.05
    apart = np.linalg.norm(np.asarray(full - u), axis=-1)[inside].mean()
    assert apart < 0.5 * np.linalg.norm(np.asarray(u), axis=-1)[inside].mean()
    if form == alignment.VELOCITY:
        assert float(field.jacobian_determinant(full).min()) > 0


def test_without_a_gain_nothing_moves(image):
    fit = functools.partial(
        alignment.fit_field,
        similarity=similarity.squared_difference,
        smoothness=field.gradient_energy,
        levels=(Level(1, 3),),
    )
    start = jnp.zeros((16, 16, 2))
    np.testing.assert_array_equal(fit(image, image, jnp.eye(2, 3), start), 0.0)
