"""Several findings an image: metrics against scikit-learn, tables, what is not known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation import stats
from medjax.outputs import findings
from medjax.outputs.base import Evaluation, ModelSpec
from medjax.outputs.findings import metrics, operating
from medjax.outputs.findings.predictions import FindingPredictions

NAMES = ("effusion", "mass", "nodule")


def draw_cases(seed, n=30, unknown=0.2):
    """Findings `[n, 3]`, of which each is there, absent and not known at least once."""
    rng = np.random.default_rng(seed)
    present = rng.integers(0, 2, (n, 3)).astype(float)
    present[rng.uniform(size=present.shape) < unknown] = np.nan
    present[:3] = [[0, 1, np.nan], [1, np.nan, 0], [np.nan, 0, 1]]
    return present, np.round(rng.uniform(size=(n, 3)), 1)


def as_table(present, probability):
    names = [f"case {i}" for i in range(len(present))]
    return FindingPredictions(names, names, present, probability, NAMES)


@given(seed=st.integers(0, 10**6))
def test_metrics_equal_scikit_learn_on_what_is_known(seed):
    present, p = draw_cases(seed)
    w = np.random.default_rng(seed).integers(1, 4, len(p)).astype(float)
    found = {name: metric(present, p, w[None])[0] for name, metric in metrics.METRICS.items()}

    def mean(function):
        known = np.isfinite(present)
        return np.mean(
            [function(present[k, i], p[k, i], sample_weight=w[k]) for i, k in enumerate(known.T)]
        )

    assert found["auc"] == pytest.approx(mean(reference.roc_auc_score))
    assert found["average_precision"] == pytest.approx(mean(reference.average_precision_score))
    f1 = mean(lambda y, s, **w: reference.f1_score(y, s >= 0.5, zero_division=np.nan, **w))
    assert found["f1"] == pytest.approx(f1)
    i, j = np.nonzero(np.isfinite(present))
    truth, score, weight = present[i, j], p[i, j], w[i]
    assert found["brier"] == pytest.approx(np.average((score - truth) ** 2, weights=weight))
    right = reference.accuracy_score(truth, score >= 0.5, sample_weight=weight)
    assert found["accuracy"] == pytest.approx(right)


def test_what_is_not_known_has_no_part():
    present, p = draw_cases(0)
    wild = np.where(np.isnan(present), 1 - p, p)
    one = np.ones((1, len(p)))
    for metric in metrics.METRICS.values():
        assert metric(present, p, one) == metric(present, wild, one)


def test_an_answer_that_is_not_finite_is_undefined_where_the_finding_is_known():
    present = np.array([[1.0, 0.0], [0.0, np.nan], [1.0, 1.0], [0.0, 0.0]])
    probability = np.array([[0.9, 0.1], [0.2, np.nan], [0.6, 0.8], [0.3, 0.4]])
    weight = np.array([[1.0, 1, 1, 1], [1.0, 1, 0, 1]])
    for name, metric in metrics.METRICS.items():
        assert np.isfinite(metric(present, probability, weight)[0]), name
        lost = probability.copy()
        lost[2, 1] = np.nan
        value = metric(present, lost, weight)
        assert np.isnan(value[0]), name
        assert np.isfinite(value[1]) or name not in ("accuracy", "brier"), name


def test_a_finding_that_nobody_has_leaves_the_mean_undefined():
    present, p = draw_cases(1)
    present[:, 1] = 0
    assert np.isnan(metrics.macro_auc(present, p, np.ones((1, len(p)))))


def test_a_table_is_read_as_it_was_written(tmp_path):
    table = as_table(*draw_cases(2))
    table.write(tmp_path / "predictions.csv")
    again = FindingPredictions.read(tmp_path / "predictions.csv")
    np.testing.assert_array_equal(again.present, table.present)
    np.testing.assert_allclose(again.probability, table.probability)
    assert again.names == NAMES and again.case_id == table.case_id
    assert FindingPredictions.recognises(
        (tmp_path / "predictions.csv").read_text().splitlines()[0].split(",")
    )


def test_two_tables_are_compared_case_by_case(tmp_path):
    present, p = draw_cases(3)
    order = np.arange(len(p))[::-1]
    a, b = as_table(present, p), as_table(present, 1 - p)
    turned = FindingPredictions(
        [b.case_id[i] for i in order], b.case_id, present[order], 1 - p[order], NAMES
    )
    a.write(tmp_path / "a.csv")
    turned.write(tmp_path / "b.csv")
    pair = findings.read_pair(tmp_path / "a.csv", tmp_path / "b.csv", None)
    np.testing.assert_allclose(pair.b, 1 - pair.a)
    as_table(np.where(present == 1, 0, present), p).write(tmp_path / "b.csv")
    with pytest.raises(UserError, match="not the same data"):
        findings.read_pair(tmp_path / "a.csv", tmp_path / "b.csv", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case_id,label\nx,1\n", "expected the columns"),
        ("case_id,subject_id,present_a,p_a\nx,x,1,many\n", "line 2: could not convert"),
        ("case_id,subject_id,present_a,p_a\nx,x,1,\n", "line 2: a value is missing"),
    ],
)
def test_another_file_is_told(text, message, tmp_path):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        FindingPredictions.read(tmp_path / "p.csv")


def test_the_checkpoint_is_chosen_by_what_validation_can_tell(capsys):
    info = DatasetInfo("x", findings=NAMES)

    def validation(present):
        return Split({"findings": present}, [""], [""], [{}], None, (1, 1, 1), np.uint8)

    both = np.array([[0.0, 1, np.nan], [1, 0, 0], [np.nan, 1, 1]])
    assert metrics.choose_score("auc", validation(both), info) == "auc"
    assert metrics.choose_score("auc", validation(both[:2]), info) == "loss"
    assert "which has nodule never or always" in capsys.readouterr().out
    assert metrics.choose_score("brier", validation(both[:2]), info) == "brier"
    with pytest.raises(UserError, match="`best=kappa`: of several findings"):
        metrics.choose_score("kappa", validation(both), info)


def test_a_finding_by_itself():
    present = np.array([[1.0, np.nan], [0, 1], [1, 0], [0, np.nan]])
    p = np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.6], [0.0, 0.9]])
    found = metrics.by_finding(present, p, ("a", "b"), list("wxyz"))
    assert found["a"]["auc"].value == 0.75 and found["b"]["auc"].value == 0
    assert (found["a"]["present"], found["a"]["known"]) == (2, 4)
    assert (found["b"]["present"], found["b"]["known"]) == (1, 2)


def evaluate(tuned, ensemble):
    return Evaluation(None, None, None, ensemble, [], tuned, None, "", {}, None, 20)


def test_a_threshold_comes_from_validation_where_the_finding_is_known():
    present = np.array([[0.0, 0, 1, 1, np.nan]] * 3).T
    present[:, 1], present[2, 2] = 0, np.nan  # the second is never there
    p = np.tile([[0.1], [0.3], [0.6], [0.9], [0.0]], (1, 3))
    tuned = as_table(present, p)
    shown = as_table(np.array([[1.0, 0, 0], [0, 1, 1]]), np.array([[0.5] * 3, [0.5] * 3]))
    found = operating.describe_findings(evaluate(tuned, shown))
    assert set(found) == {"effusion", "nodule"}
    youden = found["effusion"]["operating_points"][0]
    assert youden["threshold"] == pytest.approx(0.45)  # between 0.3 and 0.6
    assert youden["sensitivity"].value == 1 and youden["specificity"].value == 0
    table = operating.tabulate_findings(found, on_same=False)
    assert [row[0] for row in table["rows"]] == ["effusion", "nodule"]


def test_new_images_are_called_by_what_the_report_has_and_by_nothing_else():
    spec = ModelSpec(DatasetInfo("x", findings=NAMES), None, (1, 1, 1), "uint8")
    point = {"chosen_by": "Youden", "threshold": 0.3}
    rows = {
        "effusion": {"operating_points": [point], "calibration": {"temperature": 2.0}},
        "mass": {"operating_points": [{"chosen_by": "Youden", "threshold": "low"}, 3]},
        "nodule": {"operating_points": point, "calibration": {"temperature": -1}},
    }
    answer = findings.FindingProbabilities("c", {"effusion": 0.4, "mass": 0.9, "nodule": 0.1})
    (row,) = findings.decide(answer, spec, {"findings": rows}).rows()
    # Logits halved: the odds 2 : 3 become their square roots.
    calibrated = np.sqrt(2) / (np.sqrt(2) + np.sqrt(3))
    assert row == {
        "case_id": "c",
        "p_effusion": 0.4,
        "p_mass": 0.9,
        "p_nodule": 0.1,
        "calibrated_effusion": pytest.approx(calibrated),
        "effusion at Youden": 1,
    }
    for other in ({}, {"findings": [1]}, {"findings": {"mass": 3}}):
        assert findings.decide(answer, spec, other) == answer


def test_scores_on_another_scale_are_exchanged_by_their_ranks():
    """A shift of one model's logits changes no AUC, and so no p-value."""
    rng = np.random.default_rng(0)
    present = rng.integers(0, 2, (60, 2)).astype(float)
    a, b = (present + rng.normal(0, s, (60, 2)) for s in (1.0, 1.4))
    subjects = [str(i) for i in range(60)]
    for metric in (metrics.macro_auc, metrics.macro_average_precision):
        once, shifted = (
            stats.compare(metric, present, a, other, subjects, samples=300) for other in (b, b + 3)
        )
        assert once.p_value == shifted.p_value


def test_few_cases_of_a_finding_give_the_mean_no_interval():
    present, p = draw_cases(1, n=60, unknown=0.0)
    people = [f"p{i}" for i in range(60)]
    for name in ("auc", "average_precision", "f1"):
        assert np.isfinite(stats.bootstrap(metrics.METRICS[name], present, p, people).low)
    present[:, 1] = 0
    present[:4, 1] = 1
    for name in ("auc", "average_precision", "f1"):
        found = stats.bootstrap(metrics.METRICS[name], present, p, people)
        assert np.isnan(found.low) and "with or without a finding" in found.reason
