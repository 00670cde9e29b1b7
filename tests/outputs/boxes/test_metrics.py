"""Box metrics by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from medjax.evaluation import stats
from medjax.outputs.boxes import metrics


def table(*cases):
    """Cases of (score, hit) as metrics take them, hits at every threshold."""
    most = max(map(len, cases))
    out = np.full((len(cases), most, 1 + len(metrics.THRESHOLDS)), np.nan)
    for i, case in enumerate(cases):
        for j, (score, hit) in enumerate(case):
            out[i, j, 0], out[i, j, 1:] = score, hit
    return out


ONE = np.ones((1, 2))
# Two cases of two references each. In the order of scores: hit, other, hit, other.
BOXES, COUNTS = table([(0.9, 1), (0.4, 0)], [(0.8, 0), (0.7, 1)]), np.array([2, 2])


def test_each_box_takes_the_reference_that_it_overlaps_most():
    overlap = np.array([[0.55, 0.80], [0.0, 0.9], [0.62, 0.0]])
    hits = metrics.match(np.array([0.5, 0.9, 0.4]), overlap)
    # The second box is first and takes reference 1; the first is left with 0.55; the third finds
    # reference 0 taken at 0.5 and 0.55, and free above.
    assert hits[:, 0].tolist() == [True, True, False]
    assert hits[:, 2].tolist() == [False, True, True]
    assert hits[:, -1].tolist() == [False, False, False]
    assert metrics.match(np.array([0.5]), np.zeros((1, 0))).any() == np.False_


def test_average_precision_by_hand():
    """Precision 1 to recall 1/4, 2/3 to 1/2, 0 beyond; of 101 recalls 26 and 25."""
    assert metrics.average_precision_voc(COUNTS, BOXES, ONE) == pytest.approx(1 / 4 + 2 / 3 / 4)
    expected = (26 + 25 * 2 / 3) / 101
    assert metrics.average_precision(COUNTS, BOXES, ONE) == pytest.approx(expected)
    assert metrics.average_precision_all(COUNTS, BOXES, ONE) == pytest.approx(expected)


def test_froc_by_hand():
    """Without a false positive 1 of 4; with half a one a case 2 of 4."""
    curve = metrics.froc_curve(COUNTS, BOXES, ONE)[0]
    assert curve.tolist() == [0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert metrics.froc(COUNTS, BOXES, ONE) == pytest.approx(3.0 / 7)


def test_a_weight_is_a_case_that_is_repeated():
    weight = np.array([[2.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    twice = np.concatenate([BOXES, BOXES[:1]])
    many = metrics.declared(score=0.5)
    for name, metric in many.items():
        got = metric(COUNTS, BOXES, weight)
        assert got[0] == pytest.approx(metric(np.array([2, 2, 2]), twice, np.ones((1, 3)))[0]), name
        assert got[1] == pytest.approx(metric(COUNTS[1:], BOXES[1:], np.ones((1, 1)))[0]), name
        assert np.isnan(got[2]), name


def test_boxes_are_counted_from_a_score_on():
    """One and two of two each."""
    assert metrics.count_error(COUNTS, BOXES, ONE, score=0.5) == pytest.approx(0.5)


def test_the_area_is_that_of_scikit_learn_where_precision_only_falls():
    rng = np.random.default_rng(0)
    score = np.sort(rng.random(40))[::-1]
    hit = np.array([1] * 12 + [0] * 28)  # the best first: precision never rises
    boxes = table(list(zip(score, hit, strict=True)))
    area = metrics.average_precision_voc(np.array([12]), boxes, np.ones((1, 1)))
    assert area == pytest.approx(average_precision_score(hit, score))


def test_more_misses_and_more_that_is_wrong_never_gain():
    for name in ("map_50", "map_50_95", "froc"):
        metric = metrics.declared(score=0.5)[name]
        now = metric(COUNTS, BOXES, ONE)
        missing = table([(0.4, 0)], [(0.8, 0), (0.7, 1)])
        wrong = table([(0.9, 1), (0.4, 0), (0.95, 0)], [(0.8, 0), (0.7, 1)])
        assert metric(COUNTS, missing, ONE) < now and metric(COUNTS, wrong, ONE) < now, name


def test_no_box_anywhere():
    nothing = table([(np.nan, 0)], [(np.nan, 0)])
    assert metrics.average_precision(COUNTS, nothing, ONE) == 0.0
    assert metrics.froc(COUNTS, nothing, ONE) == 0.0
    assert np.isnan(metrics.average_precision(np.array([0, 0]), BOXES, ONE))


def test_scores_on_another_scale_are_exchanged_by_their_order():
    """Half of all scores of one model changes no average precision, and so no p-value."""
    rng = np.random.default_rng(0)
    counts, names = np.full(40, 2), [str(i) for i in range(40)]

    def boxes(noise):
        hit = rng.random((40, 3)) < 0.6
        score = np.clip(0.3 + 0.4 * hit + rng.normal(0, noise, hit.shape), 0.01, 1.0)
        return table(*(list(zip(s, h, strict=True)) for s, h in zip(score, hit, strict=True)))

    a, b = boxes(0.05), boxes(0.6)
    half = b.copy()
    half[..., 0] /= 2
    classes = (np.stack([counts] * 2, 1), *(np.stack([x] * 2, 1) for x in (a, b, half)))
    for reference, one, other, halved in ((counts, a, b, half), classes):
        for metric in (metrics.average_precision, metrics.froc):
            found = [
                stats.compare(metric, reference, one, x, names, samples=200)
                for x in (other, halved)
            ]
            assert found[0].p_value == found[1].p_value < 1
