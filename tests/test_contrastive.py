"""Losses of embeddings, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import contrastive

EYE = jnp.eye(3)


def test_two_views_by_hand():
    """Both views are e1 and e2: each finds its other view at cosine 1 among two others at 0:
    log(1 + 2 exp(-1 / heat))."""
    value = contrastive.two_views(jnp.stack([EYE[:2]] * 2, 1), jnp.arange(2.0), heat=0.5)
    np.testing.assert_allclose(value, [np.log(1 + 2 * np.exp(-2.0))] * 2, rtol=1e-6)


def test_equal_images_are_not_held_against_one_another():
    """Of two equal images and another one, as of one and the other."""
    views = jnp.stack([EYE[0], EYE[0], EYE[1]])
    value = contrastive.two_views(jnp.stack([views] * 2, 1), jnp.array([1.0, 1.0, 2.0]), heat=0.5)
    np.testing.assert_allclose(value[0], np.log(1 + 2 * np.exp(-2.0)), rtol=1e-6)


def test_supervised_contrastive_by_hand():
    """Labels 0, 0, 1 at e1, e1, e2: the first finds its like at 1 beside one at 0; the last has
    none of its class and counts nothing."""
    points = jnp.stack([EYE[0], EYE[0], EYE[1]])
    value = contrastive.supervised_contrastive(points, jnp.array([0, 0, 1]), heat=1.0)
    np.testing.assert_allclose(value, [np.log(1 + np.exp(-1.0))] * 2 + [0.0], rtol=1e-6)


def test_the_length_of_an_embedding_does_not_matter(rng):
    points, label = rng.normal(size=(6, 4)), jnp.array([0, 1, 0, 1, 2, 2])
    for loss in (
        lambda x: contrastive.supervised_contrastive(x, label, heat=0.1),
        lambda x: contrastive.triplet(x, label, margin=0.2),
        lambda x: contrastive.proxy_anchor(x, label, jnp.eye(4)[:3], margin=0.1),
    ):
        np.testing.assert_allclose(loss(points), loss(7.0 * points), rtol=1e-4, atol=1e-6)


def test_triplets_by_hand():
    """e1 and e2 of class 0, e3 of class 1: all are sqrt(2) apart, so the margin is missed by all of
    it. A class that stands alone, or once, tells nothing."""
    value = contrastive.triplet(EYE, jnp.array([0, 0, 1]), margin=0.3)
    np.testing.assert_allclose(value, [0.3, 0.3, 0.0], atol=1e-6)
    np.testing.assert_allclose(contrastive.triplet(EYE, jnp.zeros(3, int), margin=0.3), 0.0)


def test_proxies_by_hand():
    """One case on its proxy, at a right angle to the other: log(1 + exp(-32 (1 - m))) of its own,
    and half of log(1 + exp(32 (0 + m))) of the other."""
    value = contrastive.proxy_anchor(EYE[:1], jnp.array([0]), EYE[:2], margin=0.1)
    expected = np.log1p(np.exp(-32 * 0.9)) + 0.5 * np.log1p(np.exp(32 * 0.1))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_gradients_are_finite_where_embeddings_meet(margin):
    points, label = jnp.ones((4, 3)), jnp.array([0, 0, 1, 1])
    slope = jax.grad(lambda x: contrastive.triplet(x, label, margin=margin).sum())(points)
    assert np.isfinite(slope).all()


def test_proxy_softmax_by_hand():
    """Cosines 1 and 0, heat 0.5: log(1 + exp(-2)); with a smoothing of 0.2 a tenth of the label is
    the other class, which costs 2 more."""
    label = jnp.array([0])
    for smoothing, more in ((0.0, 0.0), (0.2, 0.1 * 2)):
        value = contrastive.proxy_softmax(
            3 * EYE[:1], label, EYE[:2], heat=0.5, smoothing=smoothing
        )
        np.testing.assert_allclose(value, [np.log(1 + np.exp(-2.0)) + more], rtol=1e-6)
