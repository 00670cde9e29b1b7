"""Single things: their depth, how they are told apart, and how they are matched."""

import jax.numpy as jnp
import numpy as np
import pytest

from medjax import losses
from medjax.data import volumes
from medjax.data.masks.instances import DEEPEST, depth_map, numbered_things
from medjax.errors import UserError
from medjax.evaluation.metrics import evaluate
from medjax.outputs.masks import instances


def two_touching():
    things = np.zeros((9, 18), np.uint16)
    things[1:8, 1:8], things[1:8, 8:15] = 1, 2
    return things


def test_the_depth_of_a_square_by_hand():
    depth = depth_map(two_touching())
    # seven wide: 1 pixel from the border 1, in the middle 4; the neighbour is a border too
    np.testing.assert_array_equal(
        depth[4, 1:8], np.rint(DEEPEST * np.array([1, 2, 3, 4, 3, 2, 1]) / 4)
    )
    np.testing.assert_array_equal(depth[4, 8:15], depth[4, 1:8])
    assert (depth > 0).sum() == 98 and depth.max() == DEEPEST


def test_what_touches_is_told_apart_and_a_small_one_is_kept():
    things = two_touching()
    things[0, 17] = 3  # one pixel, no seed of its own
    depth = depth_map(things) / DEEPEST
    depth[0, 17] = 0.2
    found = instances.separate(things > 0, depth, seed_depth=0.6)
    assert found.max() == 3 and found.dtype == np.uint16
    np.testing.assert_array_equal(instances.score(found, things), [1, 1, 3, 3])


def test_nothing_inside_is_nothing():
    found = instances.separate(np.zeros((5, 5), bool), np.ones((5, 5)), seed_depth=0.5)
    assert not found.any()
    assert np.isnan(instances.score(found, found)[0])


def test_matches_by_hand():
    reference = two_touching()
    predicted = np.where(reference == 1, 1, 0)
    predicted[1:8, 8:12] = 2  # 28 of 49: above 0.55, not above 0.6
    predicted[8, :3] = 3  # invented
    scores = instances.score(predicted, reference)
    hits = np.array([2, 2] + [1] * 8)
    np.testing.assert_allclose(scores, [2 / 3, (hits / (3 + 2 - hits)).mean(), 3, 2])


def test_one_that_covers_two_is_neither():
    reference = two_touching()
    scores = instances.score(np.sign(reference), reference)
    assert scores[0] == 0.0  # 49 of 98 is not above one half


def test_metrics_count_images_alike():
    scores = np.array([[1.0, 0.8, 3, 5], [0.0, 0.0, 0, 0]])
    table = np.concatenate([np.full((2, 6), np.nan), scores], 1)[:, None]  # behind the structure's
    found = {n: evaluate(m, np.ones((2, 1), bool), table) for n, m in instances.METRICS.items()}
    assert found == pytest.approx({"ap_50": 0.5, "ap_50_95": 0.4, "count_error": 1.0})


def test_numbers_of_a_file_become_one_two_three():
    mask = np.array([[0, 7, 7], [900, 0, 5]])
    np.testing.assert_array_equal(numbered_things(mask, origin="x"), [[0, 2, 2], [3, 0, 1]])
    for odd in (mask - 1, mask + 0.5):
        with pytest.raises(UserError, match="whole numbers"):
            numbered_things(odd, origin="x")
    things = np.arange(600).reshape(20, 30)
    np.testing.assert_array_equal(volumes.unpack(volumes.pack(things), (20, 30)), things)


def test_the_loss_of_depth_by_hand():
    logits = jnp.array([0.0, 0.0, 0.0, 50.0])  # 0.5, 0.5, 0.5, 1
    depth, classes = jnp.array([1.0, 0.0, -1.0, 0.75]), jnp.array([1, 0, -1, 1])
    found = losses.depth_error(logits, depth, classes)
    assert float(found) == pytest.approx(((0.5 + 0.25) / 2 + 0.5) / 2)
