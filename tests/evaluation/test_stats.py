import functools
import time

import numpy as np
import pytest
from scipy import stats as reference

from medjax.evaluation import metrics, stats
from medjax.outputs.labels import metrics as label_metrics
from medjax.outputs.landmarks import metrics as landmark_metrics

ACCURACY = metrics.accuracy


def answers(rng, n: int, share: float):
    """`n` cases of which about `share` are answered right."""
    label = rng.integers(0, 2, n)
    right = rng.random(n) < share
    p = np.where(right, label, 1 - label)
    return label, np.stack([1 - p, p], 1) * 0.8 + 0.1


def test_the_interval_of_a_share_is_about_the_normal_one(rng):
    y, p = answers(rng, 400, 0.8)
    value = (p.argmax(1) == y).mean()
    half = 1.96 * np.sqrt(value * (1 - value) / 400)
    found = stats.bootstrap(ACCURACY, y, p, [str(i) for i in range(400)])
    assert found.value == value
    assert found.low == pytest.approx(value - half, abs=0.01)
    assert found.high == pytest.approx(value + half, abs=0.01)


def test_it_is_subjects_that_count(rng):
    """Ten equal images a subject: the interval is that of 40 subjects, not of 400 images."""
    y, p = answers(rng, 40, 0.8)
    names = [str(i) for i in range(40)]
    few = stats.bootstrap(ACCURACY, y, p, names)
    many = stats.bootstrap(ACCURACY, np.repeat(y, 10), np.repeat(p, 10, 0), np.repeat(names, 10))
    assert (few.low, few.high) == pytest.approx((many.low, many.high))


@pytest.mark.parametrize(("n", "has"), [(4, False), (9, False), (10, True)])
def test_fewer_than_ten_subjects_have_no_interval(rng, n, has):
    y, p = answers(rng, n, 0.7)
    p[0] = np.eye(2)[1 - y[0]]
    found = stats.bootstrap(ACCURACY, y, p, list(map(str, range(n))))
    assert np.isnan(found.low) != has
    assert found.reason == ("" if has else "fewer than 10 subjects")
    compared = stats.compare(ACCURACY, y, p, np.eye(2)[y], list(map(str, range(n))), samples=50)
    assert np.isnan(compared.difference.low) != has
    assert not np.isnan(compared.p_value)


def test_a_class_with_few_subjects_has_no_interval(rng):
    y = np.array([0] * 20 + [1] * 4)
    s = rng.random(24)
    found = stats.bootstrap(metrics.auc, y, np.stack([1 - s, s], 1), list(map(str, range(24))))
    assert found.reason == "fewer than 5 subjects of a class"
    assert np.isnan(found.low)


def test_one_subject_with_most_of_the_images_leaves_no_interval(rng):
    """Of 49 images 40 are of one: as much as (49 / sqrt(9 + 1600))^2 = 1.5 equal subjects."""
    y, p = answers(rng, 49, 0.7)
    names = ["a"] * 40 + list(map(str, range(9)))
    found = stats.bootstrap(ACCURACY, y, p, names)
    assert np.isnan(found.low)
    assert found.reason == "one subject, or a few, has most of the images"
    compared = stats.compare(ACCURACY, y, p, np.eye(2)[y], names, samples=50).difference
    assert compared.reason == found.reason


@pytest.mark.parametrize(("wrong", "has"), [(4, False), (5, True)])
def test_calibration_with_few_errors_has_no_interval(wrong, has):
    """Nothing tells whether a model that is sure of all is right to be so."""
    y = np.zeros(60, int)
    p = np.tile([0.9, 0.1], (60, 1))
    p[:wrong] = [0.1, 0.9]
    found = stats.bootstrap(metrics.ece, y, p, list(map(str, range(60))))
    assert np.isnan(found.low) != has
    assert found.reason == ("" if has else "fewer than 5 subjects with a wrong answer")


@pytest.mark.parametrize(("n", "has"), [(49, False), (50, True)])
def test_a_standard_deviation_needs_fifty_subjects(rng, n, has):
    present, error = np.ones((n, 1), bool), rng.lognormal(size=(n, 1))
    found = stats.bootstrap(landmark_metrics.error_mm_sd, present, error, list(map(str, range(n))))
    assert np.isnan(found.low) != has
    assert found.reason == ("" if has else "fewer than 50 subjects")


def test_the_difference_of_medians_is_resampled(rng):
    """Leaving one out hardly moves a median; scipy's percentiles of resampled pairs are right."""
    a, b = rng.lognormal(size=(2, 41))
    expected = reference.bootstrap(
        (a, b),
        lambda x, y, axis: np.median(y, axis) - np.median(x, axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=rng,
    ).confidence_interval
    found = stats.compare(
        landmark_metrics.error_mm_median,
        np.ones((41, 1), bool),
        a[:, None],
        b[:, None],
        list(map(str, range(41))),
        samples=4000,
    ).difference
    assert (found.low, found.high) == pytest.approx(expected, abs=0.05)


def test_what_is_undefined_without_a_subject_has_no_interval():
    """Only one subject shows the point: without it there is no mean."""
    error = np.full((12, 2), np.nan)
    error[3] = 1.0, 2.0
    found = stats.bootstrap(
        landmark_metrics.error_mm, np.ones((12, 2), bool), error, list(map(str, range(12)))
    )
    assert found.value == 1.5
    assert (found.undefined, found.reason) == (1, "undefined without 1 of the subjects")


def test_a_rate_has_wilsons_interval(rng):
    """Single images: of n - 1 of them, by Student's quantile, in the end the normal one."""
    y, p = answers(rng, 3000, 0.9)
    hits = int((p.argmax(1) == y).sum())
    exact = reference.binomtest(hits, 3000).proportion_ci(method="wilson")
    found = stats.bootstrap(ACCURACY, y, p, list(map(str, range(3000))))
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-3)
    all_right = stats.bootstrap(ACCURACY, y[:40], np.eye(2)[y[:40]], list(map(str, range(40))))
    assert all_right.high == pytest.approx(1.0)
    assert all_right.low == pytest.approx(1 - 2.023**2 / (40 + 2.023**2), abs=1e-3)  # t of 39


def test_the_mean_of_what_is_normal_has_students_interval(rng):
    x = rng.normal(10, 1, (40, 1))
    found = stats.bootstrap(
        landmark_metrics.error_mm, np.ones((40, 1), bool), x, list(map(str, range(40)))
    )
    low, high = reference.t.interval(0.95, 39, x.mean(), reference.sem(x[:, 0]))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03)


def test_the_median_has_the_interval_of_order_statistics(rng):
    x = rng.gamma(2, 1, (400, 1))
    found = stats.bootstrap(
        landmark_metrics.error_mm_median, np.ones((400, 1), bool), x, list(map(str, range(400)))
    )
    order = np.sort(x[:, 0])
    first, last = reference.binom.ppf([0.025, 0.975], 400, 0.5).astype(int)
    assert order[first - 3] <= found.low <= order[first + 2]
    assert order[last - 3] <= found.high <= order[last + 2]


def test_an_auc_of_one_has_an_interval_too(rng):
    y = np.repeat([0, 1], 20)
    s = np.where(y, 0.9, 0.1) + rng.normal(0, 0.01, 40)
    found = stats.bootstrap(metrics.auc, y, np.stack([1 - s, s], 1), list(map(str, range(40))))
    assert found.value == found.high == 1.0
    assert 0.85 < found.low < 0.99


def clusters(rng, n, distance, prevalence=0.5):
    """One to seven images of each of n subjects, all of one class, half of the variance shared."""
    who = np.repeat(np.arange(n), rng.integers(1, 8, n))
    y = (rng.random(n) < prevalence)[who].astype(int)
    z = rng.normal(0, 0.5**0.5, n)[who] + rng.normal(0, 0.5**0.5, len(who)) + distance * y
    s = 1 / (1 + np.exp(-z))
    return y, np.stack([1 - s, s], 1), who.astype(str)


@pytest.mark.parametrize("distance", [1.5, 3.0])
def test_intervals_of_an_auc_hold_it_near_one_too(distance):
    true = reference.norm.cdf(distance / 2**0.5)
    held = 0
    for seed in range(200):
        found = stats.bootstrap(metrics.auc, *clusters(np.random.default_rng(seed), 40, distance))
        held += found.low <= true <= found.high
    assert 183 <= held <= 199


def test_a_calibrated_model_is_within_its_interval():
    """Plain ECE is never 0; less what noise adds, 0 is within reach."""
    held, values = 0, []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.ones(3), 200)
        y = np.array([rng.choice(3, p=q) for q in p])
        found = stats.bootstrap(metrics.ece, y, p, list(map(str, range(200))), samples=300)
        held += found.low <= 0.005
        values.append((found.value, metrics.evaluate(metrics.ece, y, p)))
    assert held >= 54
    debiased, plain = np.mean(values, axis=0)
    assert debiased < 0.6 * plain


def test_scores_on_another_scale_are_compared_by_their_ranks(rng):
    """A shift of all logits changes no AUC, so no p-value."""
    y, a, who = clusters(rng, 60, 1.0)
    z = np.log(a[:, 1] / a[:, 0]) + 1.5 * y + rng.normal(0, 0.5, len(y))
    found = [
        stats.compare(metrics.auc, y, a, np.stack([1 - s, s], 1), who, samples=300)
        for s in (1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-z - 3)))
    ]
    assert found[0].p_value == found[1].p_value < 0.05
    np.testing.assert_array_equal(
        metrics.by_order(np.array([[3.0], [1], [np.nan], [3], [2]]))[:, 0],
        [-0.5, -3, np.nan, -0.5, -2],
    )
    frames = np.array([[[3.0], [1.0]], [[2.0], [5.0]]])  # all frames of all sequences together
    assert metrics.by_order(frames).ravel().tolist() == [-1, -3, -2, 0]


def test_models_are_compared_on_points_that_both_found():
    """B refuses the point that it gets wrong, and is no better for it."""
    a = np.tile([1.0, 1, 20], (12, 1))
    b = a.copy()
    b[:, 2] = np.nan
    found = stats.compare(
        landmark_metrics.error_mm,
        np.ones((12, 3), bool),
        a,
        b,
        list(map(str, range(12))),
        samples=50,
    )
    assert (found.a, found.b, found.difference.value) == (1.0, 1.0, 0.0)
    assert (found.common, found.points) == (24, 36)


def test_holms_correction_by_hand():
    assert stats.holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, np.nan], nan_ok=True
    )
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0]


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
    found = stats.compare(
        label_metrics.CLASSIFICATION["auc"], np.zeros(4, int), p, p, list("abcd"), samples=20
    )
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


def test_intervals_of_two_thousand_subjects_take_seconds(rng):
    y, p = answers(rng, 2000, 0.8)
    start = time.perf_counter()
    for metric in label_metrics.CLASSIFICATION.values():
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
        (gain,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True
    )
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.02)


def test_one_subject_has_no_interval():
    label, a, b = np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], np.eye(2)[[0, 1, 1]]
    found = stats.bootstrap(metrics.accuracy, label, a, ["s"] * 3)
    assert found.value == pytest.approx(2 / 3)
    assert np.isnan([found.low, found.high]).all()
    compared = stats.compare(metrics.accuracy, label, a, b, ["s"] * 3)
    assert compared.difference.value == pytest.approx(1 / 3)
    assert np.isnan([compared.difference.low, compared.p_value]).all()


def test_the_rate_of_independent_cases_has_the_exact_interval():
    """Of single images, 36 of 37 right: as scipy.stats.binomtest gives it."""
    label, probability = np.zeros(37, int), np.tile([0.9, 0.1], (37, 1))
    probability[3] = 0.2, 0.8
    found = stats.bootstrap(metrics.accuracy, label, probability, [str(i) for i in range(37)])
    exact = reference.binomtest(36, 37).proportion_ci(method="exact")
    np.testing.assert_allclose((found.low, found.high), (exact.low, exact.high), rtol=1e-9)
    # Two images a subject, of which both are right or both are wrong, say no more than one.
    twice = [np.repeat(x, 2, 0) for x in (label, probability, np.arange(37).astype(str))]
    again = stats.bootstrap(metrics.accuracy, *twice)
    np.testing.assert_allclose((again.low, again.high), (exact.low, exact.high), rtol=1e-9)


def test_subjects_without_a_value_do_not_make_an_interval(rng):
    """A point that few images show: the interval is that of those alone, or there is none."""
    radius = functools.partial(landmark_metrics.sdr, radius_mm=2.0)
    present, error = np.zeros((60, 1), bool), np.full((60, 1), np.nan)
    names = list(map(str, range(60)))
    present[:3], error[:3] = True, 1.0
    few = stats.bootstrap(radius, present, error, names)
    assert (few.value, few.reason) == (1.0, "fewer than 10 subjects with a value")
    for near in (20, 17):  # all of 20 images, and some
        present[:20], error[:20] = True, np.where(np.arange(20) < near, 1.0, 5.0)[:, None]
        found = stats.bootstrap(radius, present, error, names)
        alone = stats.bootstrap(radius, present[:20], error[:20], names[:20])
        assert found == alone
        assert not np.isnan(found.low)
    median = landmark_metrics.error_mm_median
    present[:], error[3:] = True, np.nan
    assert stats.bootstrap(median, present, error, names).reason == few.reason
    compared = stats.compare(radius, present[:, :1] & (error < 9), error, error + 9, names)
    assert compared.difference.reason == few.reason


def test_seeds_that_are_one_network_have_no_interval():
    found = stats.mean_interval([0.8, 0.8, 0.8])
    assert found.value == pytest.approx(0.8) and np.isnan(found.low)
    assert found.reason == "the same for all seeds"
