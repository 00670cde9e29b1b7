"""Boxes by hand, and against a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import boxes


def test_intersection_over_union_by_hand():
    """Boxes of 2 x 2 that share one of seven; of 2 x 2 x 2 that share one of fifteen."""
    a, b = (
        jnp.array([[0.0, 0.0, 2.0, 2.0]]),
        jnp.array([[1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0]]),
    )
    np.testing.assert_allclose(boxes.iou(a, b), [[1 / 7, 0.0]])
    a, b = jnp.array([[0.0] * 3 + [2.0] * 3]), jnp.array([[1.0] * 3 + [3.0] * 3])
    np.testing.assert_allclose(boxes.iou(a, b), [[1 / 15]])
    assert boxes.iou(jnp.zeros((1, 4)), jnp.zeros((1, 4))) == 0.0


def test_generalized_by_hand():
    """Of 2 x 2 that share one of seven in a box of nine; and side by side, one apart."""
    a = jnp.array([0.0, 0.0, 2.0, 2.0])
    assert boxes.generalized_iou(a, jnp.array([1.0, 1.0, 3.0, 3.0])) == pytest.approx(1 / 7 - 2 / 9)
    apart = jnp.array([0.0, 3.0, 2.0, 5.0])
    assert boxes.generalized_iou(a, apart) == pytest.approx(-2 / 10)
    slope = jax.grad(lambda b: boxes.generalized_iou(a, b))(apart)
    assert slope[1] < 0  # nearer is better, though they do not meet


@pytest.mark.parametrize("ndim", [2, 3])
def test_suppression_equals_a_plain_loop(ndim):
    rng = np.random.default_rng(ndim)
    low = rng.random((60, ndim)) * 4
    given = np.concatenate([low, low + 1 + 2 * rng.random((60, ndim))], 1).astype(np.float32)
    scores = rng.random(60).astype(np.float32)
    scores[[3, 9]] = -np.inf, np.nan
    overlap = np.asarray(boxes.iou(jnp.array(given), jnp.array(given)))
    kept = []
    for i in np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable"):
        if np.isfinite(scores[i]) and all(overlap[i, j] <= 0.3 for j in kept):
            kept.append(i)
    stays = jax.jit(lambda b, s: boxes.suppress(b, s, jnp.zeros(len(s)), threshold=0.3))(
        given, scores
    )
    assert np.flatnonzero(stays).tolist() == sorted(kept) and 5 < len(kept) < 50
