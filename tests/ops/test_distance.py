"""Distances from a mask: against scipy, and by hand."""

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import ndimage

from medjax.ops.distance import distance_to, signed_distance


@pytest.mark.parametrize("shape", [(9, 14), (5, 7, 11)])
@hypothesis.given(seed=st.integers(0, 10**6), share=st.floats(0.01, 0.6))
@hypothesis.settings(max_examples=20, deadline=None)
def test_distances_are_those_of_scipy(shape, seed, share):
    mask = np.random.default_rng(seed).random(shape) < share
    mask.flat[0] = True
    expected = ndimage.distance_transform_edt(~mask)
    np.testing.assert_allclose(distance_to(jnp.array(mask)), expected, rtol=1e-6)


def test_an_empty_mask_is_infinitely_far():
    assert np.isinf(distance_to(jnp.zeros((3, 4)))).all()


def test_signed_distances_by_hand():
    """A structure of two pixels in a row of five: its edges lie half a pixel from the centres."""
    row = jnp.array([[0, 1, 1, 0, 0]])
    np.testing.assert_allclose(signed_distance(row), [[0.5, -0.5, -0.5, 0.5, 1.5]])


@pytest.mark.parametrize("value", [0, 1])
def test_without_an_edge_there_is_no_distance(value):
    np.testing.assert_array_equal(signed_distance(jnp.full((4, 4), value)), 0.0)
