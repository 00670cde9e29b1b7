"""Thresholds and temperatures: chosen on validation, against numbers by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data.info import DatasetInfo
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.outputs.labels import operating, serve
from medjax.outputs.labels.operating import OperatingOptions, OperatingPoint
from medjax.outputs.labels.predictions import LabelPredictions


def table(label, positive):
    """Predictions of two classes, each case its own subject."""
    names = [str(i) for i in range(len(label))]
    p = np.asarray(positive, float)
    return LabelPredictions(names, names, np.asarray(label), np.stack([1 - p, p], 1), ["no", "yes"])


# Sorted: no at .1 .2 .6, yes at .4 .7 .9
CASES = table([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.4, 0.7, 0.9])


def thresholds(predictions=CASES, **options):
    points = operating.choose_points(predictions, 1, OperatingOptions(**options))
    return {point.name.split()[0]: point.threshold for point in points}


def test_of_probabilities_that_are_1_none_may_be_called():
    """A network that is sure of cases without the class too: only a threshold that calls nobody
    keeps every one of them out."""
    found = thresholds(table([0] * 20 + [1] * 4, [1.0] * 3 + [0.2] * 17 + [0.3, 0.5, 1.0, 1.0]))
    assert found["specificity"] > 1
    assert found["sensitivity"] == pytest.approx(0.25)


def test_thresholds_lie_between_the_cases_that_they_part():
    found = thresholds()
    # 2/3 + 1 at .65 is as good as 1 + 2/3 at .3, and the middle of what is alike is taken.
    assert found["Youden"] in (pytest.approx(0.3), pytest.approx(0.65))
    assert found["sensitivity"] == pytest.approx(0.3)  # all three are found, one alarm
    assert found["specificity"] == pytest.approx(0.65)  # no alarm, one missed
    assert thresholds(miss_cost=5)["a"] == pytest.approx(0.3)
    assert thresholds(miss_cost=0.2)["a"] in (pytest.approx(0.65), pytest.approx(0.8))


def test_a_point_is_described_on_other_cases():
    test = table([1, 1, 0, 0, 0], [0.5, 0.2, 0.4, 0.1, 0.1])
    found = operating.describe_point(OperatingPoint("x", 0.3), test, 1)
    assert found["sensitivity"].value == 0.5
    assert found["specificity"].value == pytest.approx(2 / 3)
    assert found["positive_predictive_value"].value == 0.5
    assert found["negative_predictive_value"].value == pytest.approx(2 / 3)


def test_without_both_classes_there_is_no_point():
    assert operating.choose_points(table([1, 1], [0.1, 0.9]), 1, OperatingOptions()) == []


@given(seed=st.integers(0, 10**6), least=st.floats(0, 0.99))
def test_the_least_rate_is_kept_on_validation(seed, least):
    rng = np.random.default_rng(seed)
    label = np.r_[0, 1, rng.integers(0, 2, 30)]
    cases = table(label, np.round(rng.uniform(size=32), 1))
    options = OperatingOptions(least_sensitivity=least, least_specificity=least)
    _, sensitive, specific, _ = operating.choose_points(cases, 1, options)
    assert operating.describe_point(sensitive, cases, 1)["sensitivity"].value >= least
    assert operating.describe_point(specific, cases, 1)["specificity"].value >= least


def overconfident(rng, factor, n=4000):
    """Probabilities whose logits are so many times the true ones."""
    logits = rng.normal(size=(n, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    label = (rng.uniform(size=(n, 1)) > p.cumsum(1)).sum(1)
    wrong = p**factor / (p**factor).sum(1, keepdims=True)
    names = [str(i) for i in range(n)]
    return LabelPredictions(names, names, label, wrong, list("abc"))


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_how_much_too_sure_the_answers_are(factor, rng):
    cases = overconfident(rng, factor)
    found = operating.fit_temperature(cases)
    assert found == pytest.approx(factor, rel=0.08)
    cooled = operating.cool(cases, found)
    assert operating.cross_entropy(cooled) <= operating.cross_entropy(cases) + 1e-9
    np.testing.assert_array_equal(cooled.probability.argmax(1), cases.probability.argmax(1))
    assert cooled.probability.sum(1) == pytest.approx(1)


def test_nothing_is_chosen_on_the_cases_of_the_report(rng):
    """Other labels there change neither temperature nor thresholds."""
    tuned = overconfident(rng, 2.0, n=300)
    right, wrong = (overconfident(rng, 2.0, n=100) for _ in range(2))
    found = [
        operating.describe_temperature(tuned, cases, lambda _: 0.0)["temperature"]
        for cases in (right, wrong)
    ]
    assert found[0] == found[1] == operating.fit_temperature(tuned)


REPORT = {
    "calibration": {"temperature": 2.0},
    "operating_points": [
        {"chosen_by": "Youden", "threshold": 0.3},
        {"chosen_by": "a miss costs 1 alarms", "threshold": 0.5},
        {"chosen_by": "broken", "threshold": "high"},
    ],
}


def two_classes():
    info = DatasetInfo("set", classes=("ill", "well"), positive="ill")
    return ModelSpec(info, Preprocessing(0.0, 1.0, (0.0,), (1.0,)), (1, 1, 1), "float32")


def test_a_new_image_is_decided_by_what_validation_chose():
    """At a temperature of 2 the odds 1 : 4 are 1 : 2, so that 0.2 becomes 1 / 3."""
    answer = serve.ClassProbabilities("x", {"ill": 0.2, "well": 0.8})
    row = serve.decide(answer, two_classes(), REPORT).rows()[0]
    assert row["p_ill"] == 0.2 and row["class"] == "well"
    assert row["calibrated_ill"] == pytest.approx(1 / 3)
    assert "class at broken" not in row
    near = serve.decide(
        answer._replace(probability={"ill": 0.4, "well": 0.6}), two_classes(), REPORT
    )
    assert near.decisions == {"Youden": "ill", "a miss costs 1 alarms": "well"}


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"calibration": 3, "operating_points": "none"},
        {"calibration": {"temperature": None}, "operating_points": [None, {"threshold": 0.5}]},
        {"calibration": {"temperature": -1.0}, "operating_points": [{"chosen_by": "x"}]},
        {"calibration": {"temperature": True}},
    ],
)
def test_a_report_without_choices_adds_nothing(report):
    answer = serve.ClassProbabilities("x", {"ill": 0.2, "well": 0.8})
    assert serve.decide(answer, two_classes(), report).rows() == answer.rows()
