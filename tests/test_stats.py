import time

import numpy as np
import pytest
from scipy import stats as reference

from medjax import metrics, stats

ACCURACY = metrics.accuracy


def answers(rng, n: int, share: float):
    """`n` cases of which about `share` are answered right."""
    label = rng.integers(0, 2, n)
    right = rng.random(n) < share
    p = np.where(right, label, 1 - label)
    return label, np.stack([1 - p, p], 1) * 0.8 + 0.1


def test_bootstrap_of_the_mean_agrees_with_the_normal_interval(rng):
    y, p = answers(rng, 400, 0.8)
    value = (p.argmax(1) == y).mean()
    half = 1.96 * np.sqrt(value * (1 - value) / 400)
    found = stats.bootstrap(ACCURACY, y, p, [str(i) for i in range(400)])
    assert found.value == value
    assert found.low == pytest.approx(value - half, abs=0.01)
    assert found.high == pytest.approx(value + half, abs=0.01)


def test_it_is_subjects_that_are_resampled(rng):
    """Ten equal images a subject: the interval is that of 40 subjects, not of 400 images."""
    y, p = answers(rng, 40, 0.8)
    names = [str(i) for i in range(40)]
    few = stats.bootstrap(ACCURACY, y, p, names)
    many = stats.bootstrap(ACCURACY, np.repeat(y, 10), np.repeat(p, 10, 0), np.repeat(names, 10))
    assert (few.low, few.high) == (many.low, many.high)


def test_undefined_resamples_are_counted():
    y = np.array([0, 0, 0, 1])
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    found = stats.bootstrap(metrics.CLASSIFICATION["auc"], y, p, list("abcd"))
    assert 0.2 < found.undefined / 2000 < 0.45  # (3/4)^4 = 0.32 lack the positive
    assert found.value == 1.0


def test_coverage_of_the_interval():
    """Of 200 intervals, about 95 % hold the true accuracy."""
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y, p = answers(rng, 150, 0.75)
        found = stats.bootstrap(ACCURACY, y, p, list(map(str, range(150))), samples=400)
        held += found.low <= 0.75 <= found.high
    assert 180 <= held <= 199


def test_mean_interval_is_student():
    x = [0.9, 0.92, 0.95]
    found = stats.mean_interval(x)
    low, high = reference.t.interval(0.95, 2, np.mean(x), reference.sem(x))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert np.isnan(stats.mean_interval([0.5]).low)


def test_comparison_finds_a_difference_and_none(rng):
    y, a = answers(rng, 300, 0.7)
    b = a.copy()
    b[:60] = np.eye(2)[y[:60]] * 0.8 + 0.1  # better on 60 cases
    names = list(map(str, range(300)))
    better = stats.compare(ACCURACY, y, a, b, names, samples=500)
    assert better.difference.value == pytest.approx(better.b - better.a)
    assert better.difference.low > 0
    assert better.p_value < 0.01
    same = stats.compare(ACCURACY, y, a, a, names, samples=500)
    assert same.difference.value == 0
    assert same.p_value == 1.0


def test_an_undefined_difference_has_no_p_value():
    p = np.full((4, 2), 0.5)
    found = stats.compare(metrics.CLASSIFICATION["auc"], np.zeros(4, int), p, p, list("abcd"),
                          samples=20)
    assert np.isnan(found.p_value)


def test_permutation_agrees_with_mcnemar(rng):
    """On accuracy the permutation test is the exact McNemar test, up to sampling."""
    y, a = answers(rng, 200, 0.7)
    b = a[:, ::-1].copy()
    same = rng.random(200) < 0.85
    b[same] = a[same]
    right_a, right_b = a.argmax(1) == y, b.argmax(1) == y
    only_a, only_b = (right_a & ~right_b).sum(), (right_b & ~right_a).sum()
    exact = reference.binomtest(only_a, only_a + only_b, 0.5).pvalue
    found = stats.compare(ACCURACY, y, a, b, list(map(str, range(200))), samples=3000)
    assert found.p_value == pytest.approx(exact, abs=0.04)


def test_two_thousand_samples_take_seconds(rng):
    y, p = answers(rng, 2000, 0.8)
    start = time.perf_counter()
    for metric in metrics.CLASSIFICATION.values():
        stats.bootstrap(metric, y, p, list(map(str, range(2000))))
    assert time.perf_counter() - start < 60


def test_the_permutation_test_is_scipys(rng):
    """Accuracy is a mean over cases, and exchanging two answers flips a difference's sign."""
    y, a = answers(rng, 12, 0.4)
    b = a.copy()
    b[:5] = np.eye(2)[y[:5]] * 0.8 + 0.1
    found = stats.compare(ACCURACY, y, a, b, list(map(str, range(12))), samples=20_000)
    gain = (b.argmax(1) == y) * 1.0 - (a.argmax(1) == y)
    exact = reference.permutation_test(
        (gain,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True)
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.02)


def test_one_subject_has_no_interval():
    label, a, b = np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], np.eye(2)[[0, 1, 1]]
    found = stats.bootstrap(metrics.accuracy, label, a, ["s"] * 3)
    assert found.value == pytest.approx(2 / 3)
    assert np.isnan([found.low, found.high]).all()
    compared = stats.compare(metrics.accuracy, label, a, b, ["s"] * 3)
    assert compared.difference.value == pytest.approx(1 / 3)
    assert np.isnan([compared.difference.low, compared.p_value]).all()
