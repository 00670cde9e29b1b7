import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from medjax.ops import grid


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
    np.testing.assert_allclose(grid.sample(image, where, fill=fill), expected, atol=1e-5)


def test_sample_fades_to_the_fill_value_over_one_voxel():
    image = jnp.ones((3, 3, 1))
    where = jnp.array([[-0.5, -1.0, -1.5], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(grid.sample(image, where, fill=0.0)[:, 0], [0.5, 0, 0], atol=1e-6)


def test_identity_grid_holds_voxel_indices():
    assert grid.identity_grid((2, 3))[:, 1, 2].tolist() == [1.0, 2.0]


def test_affine_matrix_by_hand():
    """A quarter turn takes the first axis to the second, after the first was doubled."""
    turn = grid.affine_matrix(
        jnp.array([jnp.pi / 2]), jnp.array([2.0, 1.0]), jnp.zeros(1), jnp.array([10.0, 20.0])
    )
    point = jnp.array([3.0, 0.0])[:, None]
    np.testing.assert_allclose(grid.transform_points(turn, point)[:, 0], [10.0, 26.0], atol=1e-5)


@given(seed=st.integers(0, 10**6))
def test_rotations_keep_lengths_in_3d(seed):
    angles = jax.random.uniform(jax.random.key(seed), (3,), minval=-3, maxval=3)
    matrix = grid.affine_matrix(angles, jnp.ones(3), jnp.zeros(3), jnp.zeros(3))[:, :3]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(matrix) == pytest.approx(1.0, abs=1e-5)


def test_wrong_ranks_are_refused():
    with pytest.raises(AssertionError):
        grid.sample(jnp.zeros((3, 3)), jnp.zeros((2, 1)))
