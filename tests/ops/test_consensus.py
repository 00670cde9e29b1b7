"""Answers of many, as one."""

import jax.numpy as jnp
import numpy as np

from medjax.ops import consensus

PAIRS = [(0, 1)]


def test_seeds_that_name_the_ends_otherwise_are_turned():
    first = np.array([[0.0, 0], [10, 0], [5, 5]])
    other = first[[1, 0, 2]] + 0.5
    order = consensus.align_pairs(jnp.asarray(np.stack([first, other, first])), pairs=PAIRS)
    assert order.tolist() == [[0, 1, 2], [1, 0, 2], [0, 1, 2]]


def test_the_first_seed_and_what_was_not_found_whole_stay():
    first = np.array([[0.0, 0], [10, 0]])
    half = np.array([[np.nan, 0], [0, 0]])
    order = consensus.align_pairs(jnp.asarray(np.stack([first, half, first[::-1]])), pairs=PAIRS)
    assert order.tolist() == [[0, 1], [0, 1], [1, 0]]
    order = consensus.align_pairs(jnp.asarray(np.stack([half, first, first[::-1]])), pairs=PAIRS)
    assert order.tolist() == [[0, 1]] * 3


def test_the_median_of_searches():
    found = consensus.median(jnp.array([[1.0, 1], [2, 2], [3, 9], [jnp.nan, jnp.nan]]))
    assert found.points.tolist() == [2.0, 2.0]
    assert float(found.confidence) == 0.5
    lost = consensus.median(jnp.array([[1.0, 1], [jnp.nan] * 2, [jnp.nan] * 2]))
    assert np.isnan(lost.points).all()


def test_answers_that_name_a_pair_otherwise_are_put_in_one_order():
    first = jnp.array([[[0.0, 0.0], [9.0, 9.0], [4.0, 4.0]]])  # one image
    points = jnp.stack([first, first[:, jnp.array([1, 0, 2])] + 0.5])
    confidence = jnp.array([[[0.1, 0.2, 0.3]], [[0.5, 0.6, 0.7]]])
    places, certain = consensus.in_one_order(points, confidence, pairs=((0, 1),))
    np.testing.assert_allclose(places[1], first + 0.5)
    np.testing.assert_allclose(certain[1, 0], [0.6, 0.5, 0.7])
