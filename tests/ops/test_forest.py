"""Trees over patches, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import forest


@pytest.mark.parametrize("shape", [(16, 12, 1), (8, 9, 3), (12, 8, 16, 2), (5, 20, 1)])
def test_patches_are_those_that_slices_give(shape, rng):
    image = rng.random(shape)
    found = np.asarray(forest.cut_patches(jnp.asarray(image)))
    sides = [min(forest.PATCH, n) for n in shape[:-1]]
    counts = forest.patch_shape(shape[:-1])
    expected = [
        image[
            tuple(
                slice(i * forest.STRIDE, i * forest.STRIDE + side)
                for i, side in zip(at, sides, strict=True)
            )
        ].reshape(-1)
        for at in np.ndindex(*counts)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_row_goes_down_by_hand():
    """Depth 2 over one feature: at 0 first, then at -1 and 1."""
    trees = forest.Forest(jnp.ones((1, 3, 1)), jnp.array([[0.0, -1.0, 1.0]]))
    leaves = [int(forest.find_leaves(trees, jnp.array([x]))[0]) for x in (-2.0, -0.5, 0.5, 3.0)]
    assert leaves == [0, 1, 2, 3]
    rows = jnp.array([[-2.0], [-3.0], [0.5], [3.0]])
    np.testing.assert_allclose(forest.count_leaves(trees, rows), [0.5, 0, 0.25, 0.25])


def test_splits_are_balanced_and_no_leaf_is_empty(rng):
    rows = rng.normal(size=(256, 5)).astype(np.float32)
    trees = forest.fit_forest(jax.random.key(0), rows, trees=3, depth=3)
    counts = np.asarray(forest.count_leaves(trees, jnp.asarray(rows))).reshape(3, 8)
    np.testing.assert_allclose(counts.sum(1), 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(counts * 3 * 256, 32, atol=2)  # a row at a median may be rounded


def test_equal_rows_are_no_error():
    trees = forest.fit_forest(jax.random.key(0), np.ones((9, 4), np.float32), trees=1, depth=2)
    counts = forest.count_leaves(trees, jnp.ones((9, 4)))
    assert float(counts.sum()) == pytest.approx(1)
