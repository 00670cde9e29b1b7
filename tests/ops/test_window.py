import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.ops import window


@given(size=st.integers(1, 60), width=st.integers(1, 20), overlap=st.floats(0.0, 0.9))
def test_windows_cover_every_voxel_and_overlap_as_asked(size, width, overlap):
    first = window.starts(size, window=width, overlap=overlap)
    assert first[0] == 0
    assert first[-1] == max(size - width, 0)
    steps = np.diff(first)
    assert (steps <= max(1.0, width * (1 - overlap)) + 1).all()  # rounded to whole voxels
    assert (steps <= width).all()


@pytest.mark.parametrize("shape", [(13, 20), (9, 8, 11)])
def test_a_function_of_each_voxel_gives_the_same_in_windows(shape, rng):
    image = jnp.asarray(rng.normal(size=(*shape, 2)), jnp.float32)

    def twice(x):
        return jnp.concatenate([2 * x, x**2], -1)

    found = window.tiled(image, apply=twice, window=(6, 7, 5)[: len(shape)])
    np.testing.assert_allclose(found, twice(image), rtol=1e-5)


def test_the_middle_of_a_window_counts_more_than_its_border():
    """Two windows of 4 over 6 voxels; weights 1 2 2 1; each answers with its own number."""
    image = jnp.arange(6.0)[:, None, None]
    found = window.tiled(
        image, apply=lambda x: jnp.full_like(x, 1.0) * x[0, 0, 0], window=(4, 1), overlap=0.5
    )[:, 0, 0]
    np.testing.assert_allclose(found, [0, 0, 2 * 1 / 3, 2 * 2 / 3, 2, 2], rtol=1e-6)


def test_one_window_is_the_image(rng):
    image = jnp.asarray(rng.normal(size=(4, 5, 1)), jnp.float32)
    np.testing.assert_allclose(
        window.tiled(image, apply=lambda x: x, window=(4, 5)), image, rtol=1e-6
    )
