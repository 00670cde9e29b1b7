"""Quantities of an image: metrics against scikit-learn, intervals that hold, tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.outputs import quantities
from medjax.outputs.base import ModelSpec
from medjax.outputs.quantities import conformal, metrics, serve
from medjax.outputs.quantities.predictions import QuantityPredictions

NAMES = ("age", "weight")


def draw_cases(seed, n=30, unknown=0.2):
    """Quantities `[n, 2]`, some not known, and answers."""
    rng = np.random.default_rng(seed)
    truth = rng.normal([50, 80], [10, 5], (n, 2))
    truth[rng.uniform(size=truth.shape) < unknown] = np.nan
    truth[:2] = [[40.0, 70], [60, 90]]
    return truth, np.nan_to_num(truth, nan=55.0) + rng.normal(0, 3, (n, 2))


def as_table(truth, answer, names=NAMES):
    cases = [f"case {i}" for i in range(len(truth))]
    return QuantityPredictions(cases, cases, truth, answer, names)


@given(seed=st.integers(0, 10**6))
def test_metrics_equal_scikit_learn_on_what_is_known(seed):
    truth, answer = draw_cases(seed)
    w = np.random.default_rng(seed).integers(1, 4, len(truth)).astype(float)
    found = {k: m(truth, answer, w[None])[0] for k, m in metrics.declare_metrics(NAMES).items()}
    known = np.isfinite(truth).T
    for name, function in (
        ("mae", reference.mean_absolute_error),
        ("mse", reference.mean_squared_error),
        ("r2", reference.r2_score),
    ):
        expected = [
            function(truth[k, j], answer[k, j], sample_weight=w[k]) for j, k in enumerate(known)
        ]
        assert [found[f"{name}_{n}"] for n in NAMES] == pytest.approx(expected)
    assert found["r2"] == pytest.approx((found["r2_age"] + found["r2_weight"]) / 2)


def test_an_answer_that_is_none_leaves_the_metric_undefined():
    truth, answer = draw_cases(0)
    answer[5, 0], truth[5, 0] = np.nan, 50.0
    found = {
        k: m(truth, answer, np.ones((1, 30)))[0] for k, m in metrics.declare_metrics(NAMES).items()
    }
    assert {k for k, v in found.items() if np.isnan(v)} == {"r2", "mae_age", "mse_age", "r2_age"}
    truth[5, 0] = np.nan
    found = {
        k: m(truth, answer, np.ones((1, 30)))[0] for k, m in metrics.declare_metrics(NAMES).items()
    }
    assert np.isfinite(list(found.values())).all()


def test_one_quantity_has_plain_names_and_several_have_none_that_mix_units():
    assert list(metrics.declare_metrics(("age",))) == ["mae", "mse", "r2"]
    assert not {"mae", "mse"} & set(metrics.declare_metrics(NAMES))


def test_of_equal_references_nothing_is_explained():
    truth = np.full((5, 1), 3.0)
    (value,) = metrics.r2(truth, truth + 1, np.ones((1, 5)), places=(0,))
    assert np.isnan(value)


def test_the_interval_is_the_error_that_so_many_stay_below():
    # Errors 1 to 19: with 19 subjects the 0.9 (19 + 1) = 18th smallest.
    tuned = as_table(np.zeros((19, 1)), np.arange(1.0, 20.0)[:, None], ("age",))
    shown = as_table(np.array([[0.0], [0], [np.nan], [0]]), np.array([[18.0], [19], [99], [-2]]))
    bound = conformal.find_bound(tuned, shown, 0)
    assert bound.radius == 18 and bound.coverage == pytest.approx(2 / 3)
    assert conformal.find_bound(tuned, shown, 0, level=0.1).coverage == pytest.approx(1 / 3)
    assert np.isinf(conformal.find_bound(tuned, shown, 0, level=0.99).radius)
    assert np.isnan(conformal.find_bound(tuned, tuned, 0).coverage)


@given(seed=st.integers(0, 10**6))
def test_intervals_hold_for_further_subjects_as_often_as_they_say(seed):
    rng = np.random.default_rng(seed)
    error = rng.standard_t(3, (400, 1, 39))
    held = []
    for further, *known in error[:, 0]:
        tuned = as_table(np.zeros((38, 1)), np.array(known)[:, None])
        held.append(abs(further) <= conformal.find_bound(tuned, tuned, 0).radius)
    assert np.mean(held) == pytest.approx(0.9, abs=0.07)


def test_intervals_are_over_the_subjects_whose_quantity_is_known():
    truth, answer = draw_cases(4, n=40, unknown=0.0)
    truth[9:, 0] = np.nan  # nine are known, one too few for an interval
    found = as_table(truth, answer).estimates(metrics.declare_metrics(NAMES), samples=50)
    assert np.isnan(found["mae_age"].low) and np.isfinite(found["mae_age"].value)
    assert np.isfinite(found["mae_weight"].low)
    nothing = as_table(np.full((9, 2), np.nan), np.zeros((9, 2)))
    found = nothing.estimates(metrics.declare_metrics(NAMES), samples=50)
    assert all(np.isnan(estimate.value) for estimate in found.values())


def test_a_table_is_read_as_it_was_written(tmp_path):
    table = as_table(*draw_cases(2))
    table.write(tmp_path / "predictions.csv")
    again = QuantityPredictions.read(tmp_path / "predictions.csv")
    np.testing.assert_allclose(again.reference, table.reference, rtol=1e-6)
    np.testing.assert_allclose(again.answer, table.answer, rtol=1e-6)
    assert again.names == NAMES and again.case_id == table.case_id
    header = (tmp_path / "predictions.csv").read_text().splitlines()[0].split(",")
    assert QuantityPredictions.recognises(header)


def test_two_tables_are_compared_case_by_case(tmp_path):
    truth, answer = draw_cases(3)
    as_table(truth, answer).write(tmp_path / "a.csv")
    b = as_table(truth[::-1], answer[::-1] + 1)
    QuantityPredictions(b.case_id[::-1], b.case_id, b.reference, b.answer, NAMES).write(
        tmp_path / "b.csv"
    )
    pair = quantities.read_pair(tmp_path / "a.csv", tmp_path / "b.csv", None)
    np.testing.assert_allclose(pair.b, pair.a + 1)
    as_table(truth + 1, answer).write(tmp_path / "b.csv")
    with pytest.raises(UserError, match="the quantities of some cases differ"):
        quantities.read_pair(tmp_path / "a.csv", tmp_path / "b.csv", None)
    as_table(truth, answer, ("age", "size")).write(tmp_path / "b.csv")
    with pytest.raises(UserError, match="the quantities differ: age, weight and age, size"):
        quantities.read_pair(tmp_path / "a.csv", tmp_path / "b.csv", None)


@pytest.mark.parametrize(
    "radius", ["wide", float("nan"), float("inf"), -1.0, True, None, {"age": 1}]
)
def test_a_stranger_s_report_gives_no_interval_that_is_none(radius):
    spec = ModelSpec(DatasetInfo("x", quantities=NAMES), None, (1, 1, 1), "uint8")
    rows = {"age": {"conformal_radius": radius}, "weight": {"conformal_radius": 2.0}}
    answer = serve.Quantities("case", {"age": 50.0, "weight": 70.0})
    row = serve.decide(answer, spec, {"quantities": rows}).rows()[0]
    assert row == {
        "case_id": "case",
        "predicted_age": 50.0,
        "predicted_weight": 70.0,
        "low_weight": 68.0,
        "high_weight": 72.0,
    }
    for other in ({}, {"quantities": [1]}, {"quantities": {"weight": 3}}):
        assert serve.decide(answer, spec, other) == answer


def test_the_loss_chooses_the_checkpoint_unless_something_else_is_said():
    info = DatasetInfo("x", quantities=("age",))
    split = Split({}, [""], [""], [{}], None, (1, 1, 1), np.uint8)
    assert metrics.choose_score("auc", split, info) == "loss"
    assert metrics.choose_score("mae", split, info) == "mae"
    with pytest.raises(UserError, match="`best=kappa` is for classes"):
        metrics.choose_score("kappa", split, info)
