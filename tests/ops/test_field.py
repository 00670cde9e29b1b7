"""Displacement fields, held against values worked out by hand and against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medjax.ops import field

SPACE = (12, 10, 8)


THERE_AND_BACK = jax.jit(lambda u: field.compose(field.invert(u), u))
INTEGRATE = jax.jit(field.integrate)


def smooth(seed, *, space=SPACE, size=1.0):
    """A random field without folds."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(*space, len(space)))
    blurred = ndimage.gaussian_filter(noise, [2.5] * len(space) + [0])
    return jnp.asarray(size * blurred / np.abs(blurred).max(), jnp.float32)


def constant(*shift, space=SPACE):
    return jnp.broadcast_to(jnp.array(shift), (*space, len(space)))


def test_warp_is_scipys(rng):
    image = rng.random(SPACE).astype(np.float32)
    u = smooth(0, size=2.0)
    expected = ndimage.map_coordinates(
        image, np.indices(SPACE) + np.moveaxis(np.asarray(u), -1, 0), order=1, mode="nearest"
    )
    found = field.warp(jnp.asarray(image)[..., None], u)[..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shifts_add_up_and_turn_round():
    a, b = constant(1.0, -0.5, 2.0), constant(0.5, 0.25, -1.0)
    np.testing.assert_allclose(field.compose(a, b), constant(1.5, -0.25, 1.0), atol=1e-6)
    np.testing.assert_allclose(field.invert(a), -a, atol=1e-6)
    np.testing.assert_allclose(field.integrate(a), a, atol=1e-5)
    assert (field.integrate(a, steps=0) == a).all()


@given(st.integers(0, 50))
def test_the_inverse_leads_back(seed):
    u = smooth(seed)
    there_and_back = THERE_AND_BACK(u)
    np.testing.assert_allclose(there_and_back, 0.0, atol=2e-3)


def test_minus_the_velocity_is_the_inverse():
    """Inside, where no border is repeated, up to the interpolation between voxels."""
    v = smooth(3, space=(32, 32), size=0.5)
    apart = field.compose(INTEGRATE(v), INTEGRATE(-v))
    assert float(jnp.abs(apart[4:-4, 4:-4]).max()) < 0.01
    assert float(field.jacobian_determinant(INTEGRATE(8 * v)).min()) > 0


def test_resized_it_is_the_same_transform():
    """Twice the voxels are twice as many of them away; a linear field stays linear inside."""
    line = jnp.arange(8.0)
    u = jnp.stack(jnp.meshgrid(0.5 * line, -0.25 * line, indexing="ij"), -1)
    large = field.resize(u, space=(16, 16))
    # The large voxel k has its centre at (k - 0.5) / 2 of the small ones.
    inside = slice(1, -1)
    expected = 2 * 0.5 * (np.arange(16) - 0.5) / 2
    np.testing.assert_allclose(large[inside, 5, 0], expected[inside], atol=1e-5)


def test_the_jacobian_of_a_linear_field_is_its_matrix_and_one():
    matrix = np.array([[0.1, 0.2, 0.0], [0.0, -0.3, 0.1], [0.05, 0.0, 0.2]])
    u = jnp.asarray(np.moveaxis(np.tensordot(matrix, np.indices(SPACE), 1), 0, -1), jnp.float32)
    np.testing.assert_allclose(
        field.jacobian(u), np.broadcast_to(np.eye(3) + matrix, (*SPACE, 3, 3)), atol=1e-5
    )
    expected = np.linalg.det(np.eye(3) + matrix)
    np.testing.assert_allclose(field.jacobian_determinant(u), expected, rtol=1e-4)


@pytest.mark.parametrize("n", [2, 3])
def test_determinants_are_numpys(rng, n):
    matrices = rng.normal(size=(20, n, n)).astype(np.float32)
    np.testing.assert_allclose(
        field.determinant(jnp.asarray(matrices)), np.linalg.det(matrices), rtol=1e-3, atol=1e-5
    )


def test_a_mirrored_line_folds():
    u = jnp.zeros((6, 6, 2)).at[3, :, 0].set(-2.4)  # beyond its neighbours
    folds = np.asarray(field.jacobian_determinant(u)) <= 0  # at row 2: 1 - 2.4 / 2
    assert folds[2].all() and folds.sum() == 6
    assert not np.asarray(field.jacobian_determinant(jnp.zeros((6, 6, 2))) <= 0).any()


def test_energies_by_hand():
    """u = (x^2, 0) on three by two voxels: differences 1 and 3, second differences 2."""
    u = jnp.array([[[0.0, 0.0]] * 2, [[1.0, 0.0]] * 2, [[4.0, 0.0]] * 2])
    # Along x four differences of each component, squares 1, 1, 9, 9; along y none.
    assert float(field.gradient_energy(u)) == pytest.approx((20 / 8 + 0) / 2)
    assert float(field.bending_energy(u)) == pytest.approx(4.0)
    line = jnp.arange(5.0)
    affine = jnp.stack(jnp.meshgrid(0.5 * line, 0.2 * line, indexing="ij"), -1)
    assert float(field.bending_energy(affine)) == pytest.approx(0.0, abs=1e-10)


def test_axes_of_one_voxel_have_no_slope():
    u = jnp.ones((5, 1, 2))
    assert float(field.gradient_energy(u)) == 0 == float(field.bending_energy(u))
    np.testing.assert_allclose(field.jacobian_determinant(u), 1.0)


def test_bad_shapes_are_told():
    with pytest.raises(AssertionError):
        field.positions(jnp.zeros((4, 4, 3)))
    with pytest.raises(AssertionError):
        field.jacobian(jnp.zeros((4, 4, 3)))


def test_all_is_differentiable():
    def total(u):
        moved = field.compose(field.integrate(u, steps=3), u)
        return jnp.square(moved).sum() + field.jacobian_determinant(moved).sum()

    gradient = jax.jit(jax.grad(total))(smooth(1))
    assert np.isfinite(np.asarray(gradient)).all() and np.abs(np.asarray(gradient)).max() > 0
