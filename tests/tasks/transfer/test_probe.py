"""Linear probes, against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from medjax import heads
from medjax.tasks.transfer import probe


def draw_set(rng, count=60, features=5, classes=3):
    label = np.arange(count) % classes
    x = rng.normal(size=(count, features)) * [1, 10, 0.1, 3, 1][:features] + 4.0
    x[:, 0] += label
    x[:, 1] -= 10 * (label == 1)
    return x.astype(np.float32), label, jax.nn.one_hot(label, classes)


@pytest.mark.parametrize("decay", [0.001, 0.1])
def test_it_is_that_of_scikit_learn(decay, rng):
    x, label, target = draw_set(rng)
    mine = probe.fit_probe(x, target, jnp.ones(len(x)), decay=jnp.float32(decay))
    scaler = StandardScaler().fit(x)
    other = LogisticRegression(C=1 / (decay * len(x)), tol=1e-8, max_iter=5000)
    other.fit(scaler.transform(x), label)
    expected = other.predict_proba(scaler.transform(x))
    np.testing.assert_allclose(jax.nn.softmax(x @ mine.kernel + mine.bias), expected, atol=2e-3)


def test_what_is_held_out_has_no_part_in_it(rng):
    """Neither in the scaling nor in the fit."""
    x, _, target = draw_set(rng)
    weight = (jnp.arange(len(x)) < 40).astype(float)
    decay = jnp.float32(0.01)
    a = probe.fit_probe(x, target, weight, decay=decay)
    wild = x + 1000 * (np.arange(len(x)) >= 40)[:, None]
    b = probe.fit_probe(wild, target[::-1].at[:40].set(target[:40]), weight, decay=decay)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_noise_is_given_a_strong_decay_and_signal_a_weak_one(rng):
    x, _, target = draw_set(rng, count=90)
    fold = jnp.arange(90) // 3 % 5
    decays = jnp.array([1e-3, 1e2])
    noise = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    assert probe.choose_probe(noise, target, fold, folds=5, decays=decays)[1] == decays[1]
    clear = noise * 0.1 + jnp.pad(target, ((0, 0), (0, 2)))
    assert probe.choose_probe(clear, target, fold, folds=5, decays=decays)[1] == decays[0]


def test_a_probe_of_grades_is_ridge_regression(rng):
    x, label, target = draw_set(rng, features=3)
    head, decay = heads.HEADS[heads.REGRESSION], 0.1
    mine = probe.fit_probe(x, target, jnp.ones(len(x)), decay=jnp.float32(decay), head=head)
    scaled = StandardScaler().fit_transform(x)
    other = Ridge(alpha=decay / 2 * len(x)).fit(scaled, label - 1.0)  # from the middle grade on
    np.testing.assert_allclose(
        (x @ mine.kernel + mine.bias)[:, 0], other.predict(scaled), atol=2e-3
    )
