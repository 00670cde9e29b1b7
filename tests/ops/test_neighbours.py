"""Distances against scipy, exact search against sorting everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import distance as scipy_distance

from medjax.errors import UserError
from medjax.ops import neighbours


@pytest.mark.parametrize(
    "name, scipy_name",
    [("cosine", "cosine"), ("euclidean", "euclidean"), ("manhattan", "cityblock")],
)
def test_distances_are_those_of_scipy(rng, name, scipy_name):
    a, b = rng.normal(size=(5, 7)), rng.normal(size=(9, 7))
    expected = scipy_distance.cdist(a, b, scipy_name)
    np.testing.assert_allclose(
        neighbours.measure_distances(a, b, distance=name), expected, rtol=1e-5, atol=1e-6
    )


def test_chi_squared_by_hand():
    """(1 - 3)^2 / 4 = 1 and (2 - 0)^2 / 2 = 2; a bin that both lack adds nothing."""
    value = neighbours.chi_squared(jnp.array([1.0, 2.0, 0.0]), jnp.array([[3.0, 0.0, 0.0]]))
    np.testing.assert_allclose(value, [1.5])


def test_zeros_are_as_far_as_what_has_nothing_in_common():
    found = neighbours.measure_distances(jnp.zeros((1, 3)), jnp.ones((1, 3)), distance="cosine")
    np.testing.assert_allclose(found, [[1.0]])


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_packed_bits_differ_in_as_many_places(count, seed):
    bits = np.random.default_rng(seed).integers(0, 2, (4, count))
    words = jax.vmap(neighbours.pack_bits)(jnp.asarray(bits))
    assert words.shape == (4, -(-count // 32)) and words.dtype == jnp.uint32
    expected = (bits[:, None] != bits[None]).sum(-1)
    found = neighbours.measure_distances(words, words, distance="hamming")
    np.testing.assert_array_equal(found, expected)


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_search_in_blocks_finds_what_sorting_finds(k, seed):
    """Few values, so that most distances are equal: ties stand in the order of the gallery."""
    draw = np.random.default_rng(seed)
    gallery = draw.integers(0, 3, (int(draw.integers(k, 90)), 2)).astype(np.float32)
    queries = draw.integers(0, 3, (3, 2)).astype(np.float32)
    found = neighbours.search_neighbours(queries, gallery, k=k, distance="manhattan", block=4)
    all_ = np.abs(queries[:, None] - gallery).sum(-1)
    nearest = np.sort(all_, 1)[:, :k]
    np.testing.assert_array_equal(found.distance, nearest)
    np.testing.assert_array_equal(np.take_along_axis(all_, np.asarray(found.row), 1), nearest)
    assert all(len(set(row.tolist())) == k for row in np.asarray(found.row))


def test_an_unknown_distance_is_named():
    with pytest.raises(UserError, match=r"unknown distance 'cosin': did you mean cosine"):
        neighbours.search_neighbours(jnp.ones((1, 2)), jnp.ones((3, 2)), k=1, distance="cosin")
