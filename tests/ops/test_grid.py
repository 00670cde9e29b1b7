import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.ops import grid


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
