"""Losses of image pairs, held against loops, scikit-learn and values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import mutual_info_score

from medjax.ops import similarity


@pytest.fixture
def pair(rng):
    a = ndimage.gaussian_filter(rng.random((14, 12, 10)), 1.0)
    b = ndimage.gaussian_filter(rng.random((14, 12, 10)), 1.0)
    return tuple(jnp.asarray((x - x.min()) / np.ptp(x), jnp.float32) for x in (a, b))


def test_box_sums_are_scipys(rng):
    values = rng.random((3, 9, 8, 7)).astype(np.float32)
    expected = ndimage.uniform_filter(values, (1, 5, 5, 5), mode="constant") * 125
    found = similarity.box_sum(jnp.asarray(values), window=5, axes=(1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_local_correlation_by_a_loop(pair):
    a, b = (np.asarray(x, np.float64) for x in pair)
    squared = []
    for centre in np.ndindex(a.shape):
        box = tuple(slice(max(c - 2, 0), c + 3) for c in centre)
        x, y = a[box].ravel(), b[box].ravel()
        cross, spread = np.cov(x, y, bias=True)[0, 1], x.var() * y.var()
        squared.append(cross**2 / (spread + 1e-6))
    found = similarity.local_correlation(*pair, window=5)
    assert float(found) == pytest.approx(1 - np.mean(squared), abs=1e-4)


def test_local_correlation_knows_no_contrast(pair):
    a, _ = pair
    mine = float(similarity.local_correlation(a, a))
    turned = float(similarity.local_correlation(a, 1 - a))
    assert turned == pytest.approx(mine, abs=1e-4) and mine < 0.02
    assert float(similarity.local_correlation(a, jnp.zeros_like(a))) == pytest.approx(1.0)
    assert np.isfinite(jax.grad(similarity.local_correlation)(jnp.zeros_like(a), a)).all()


def test_squared_difference_by_hand():
    a, b = jnp.array([[0.0, 1.0]]), jnp.array([[0.5, 0.0]])
    assert float(similarity.squared_difference(a, b)) == pytest.approx(0.625)


def test_mutual_information_of_two_levels_is_that_of_their_table(rng):
    """At the ends of the range, seven bins apart, the splines of two levels do not meet."""
    a = rng.integers(0, 2, (20, 20))
    b = np.where(rng.random((20, 20)) < 0.2, 1 - a, a)
    found = -float(similarity.mutual_information(jnp.asarray(a, jnp.float32), jnp.asarray(b)))
    assert found == pytest.approx(mutual_info_score(a.ravel(), b.ravel()), abs=1e-4)


def test_mutual_information_needs_no_equal_contrast(pair):
    a, b = pair
    same = float(similarity.mutual_information(a, a))
    turned = float(similarity.mutual_information(a, 1 - a))
    assert turned == pytest.approx(same, abs=1e-3)
    assert turned < float(similarity.mutual_information(a, b)) < 0.01


def test_self_similarity_is_that_of_any_contrast(pair):
    a, b = pair
    mine = similarity.self_similarity(a)
    assert mine.shape == (*a.shape, 12)
    assert similarity.self_similarity(a[0]).shape == (*a.shape[1:], 4)
    np.testing.assert_allclose(similarity.self_similarity(0.9 - 0.5 * a), mine, atol=1e-3)
    away = float(similarity.self_similarity_difference(a, b))
    assert float(similarity.self_similarity_difference(a, 0.9 - 0.5 * a)) < 0.01 * away
    np.testing.assert_allclose(np.asarray(mine).max(-1), 1.0, atol=1e-6)


def test_soft_dice_by_hand():
    fixed = jnp.zeros((2, 2, 3)).at[0, :, 0].set(1.0).at[0, 0, 1].set(1.0)
    warped = jnp.zeros((2, 2, 3)).at[:, 0, 0].set(1.0).at[1, 1, 1].set(0.5)
    # Of the first 2 * 1 / 4, of the second none; the third is in neither.
    assert float(similarity.soft_dice(fixed, warped)) == pytest.approx(1 - 0.25)
    assert float(similarity.soft_dice(jnp.zeros((2, 2, 1)), jnp.zeros((2, 2, 1)))) == 1.0


@pytest.mark.parametrize("name", similarity.SIMILARITIES)
def test_each_falls_when_a_shifted_image_comes_back(name, rng):
    image = ndimage.gaussian_filter(rng.random((40, 40)), 2.0)
    image = jnp.asarray((image - image.min()) / np.ptp(image), jnp.float32)
    loss = similarity.SIMILARITIES[name]
    values = [float(loss(image, jnp.roll(image, k, 0))) for k in (0, 1, 2, 3)]
    assert values == sorted(values)


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        similarity.local_correlation(jnp.zeros((3, 3)), jnp.zeros((3, 4)))
