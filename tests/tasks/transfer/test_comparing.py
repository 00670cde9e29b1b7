"""Arms beside one another, against numbers by hand."""

import numpy as np
import pytest

from medjax.evaluation import metrics
from medjax.evaluation.intervals import Estimate
from medjax.outputs.labels import metrics as labels
from medjax.outputs.labels.predictions import LabelPredictions
from medjax.tasks.transfer import comparing, showing
from medjax.tasks.transfer.comparing import Arm

CLASSES = ["healthy", "ill"]
METRICS = {"accuracy": metrics.accuracy, "brier": metrics.brier}


def make_arm(name, size, hits, seeds=2):
    """An arm whose networks are right in the first `hits` of 40 cases, the second in one less."""
    label = np.arange(40) % 2
    names = [str(i) for i in range(40)]
    tables = []
    for seed in range(seeds):
        right = np.arange(40) < hits - seed
        ill = np.where(right, label, 1 - label) * 0.8 + 0.1
        tables.append(LabelPredictions(names, names, label, np.stack([1 - ill, ill], 1), CLASSES))
    return Arm(name, size, tables, 1.5, 300)


def test_a_metric_is_the_mean_of_the_networks_not_that_of_their_ensemble():
    arm = make_arm("scratch", "10", 30)
    found = comparing.estimate(arm, METRICS, samples=50)
    assert found["accuracy"].value == pytest.approx((30 / 40 + 29 / 40) / 2)
    assert found["accuracy"].low < 0.7375 < found["accuracy"].high
    assert found["brier"].value == pytest.approx((0.01 * 59 + 0.81 * 21) / 80)
    assert np.isnan(found["brier"].low) and found["brier"].reason == "a mean over networks"


def test_scores_of_arms_are_exchanged_by_their_order_and_need_subjects_of_each_class():
    """As of single networks: a shift of one arm's logits changes no AUC, and so no p-value."""
    rng = np.random.default_rng(0)
    label, names = (np.arange(60) % 3 == 0).astype(int), [str(i) for i in range(60)]

    def arm(name, logit, label=label):
        ill = 1 / (1 + np.exp(-logit))
        table = LabelPredictions(names, names, label, np.stack([1 - ill, ill], 1), CLASSES)
        return Arm(name, "10", [table], 1.5, 300)

    a, b = (label * 1.5 + rng.normal(0, s, 60) for s in (1.0, 2.0))
    p_values = [
        comparing.compare_arms(
            [arm("a", a), arm("b", b + shift)], {"auc": metrics.auc}, samples=200
        )
        for shift in (0, -4)
    ]
    assert p_values[0][0]["p_value"] == p_values[1][0]["p_value"] < 1
    few = (np.arange(60) < 3).astype(int)
    found = comparing.estimate(arm("few", a, few), {"auc": metrics.auc}, samples=50)["auc"]
    assert found.reason == "fewer than 5 subjects of a class"


def test_every_pair_of_a_size_is_compared_and_all_tests_are_corrected():
    arms = [
        make_arm(name, size, hits)
        for size in ("10", "all")
        for name, hits in (("scratch", 20), ("frozen", 38), ("finetune", 20))
    ]
    rows = comparing.compare_arms(arms, {"accuracy": metrics.accuracy}, samples=400)
    assert len(rows) == 6 and [r["size"] for r in rows] == ["10"] * 3 + ["all"] * 3
    first = rows[0]
    assert (first["a"], first["b"]) == ("scratch", "frozen")
    assert first["difference"].value == pytest.approx(18 / 40)
    assert first["p_value"] == pytest.approx(1 / 401) and first["p_holm"] == pytest.approx(6 / 401)
    same = rows[1]
    assert same["difference"].value == 0 and same["p_value"] == 1


def test_however_many_tests_there_are_a_clear_difference_can_be_told():
    """21 pairs: 50 exchanges each could not bring a corrected p-value below 0.05."""
    arms = [make_arm(str(i), "10", 20 + 3 * i) for i in range(7)]
    rows = comparing.compare_arms(arms, {"accuracy": metrics.accuracy}, samples=50)
    assert len(rows) == 21
    assert min(r["p_holm"] for r in rows) == pytest.approx(21 / 841)


def row(size, a, b, value, p):
    difference = Estimate(value, value - 0.1, value + 0.1)
    return {"size": size, "a": a, "b": b, "metric": "auc", "difference": difference} | {
        "p_value": p,
        "p_holm": p,
    }


def test_one_sentence_says_what_the_data_show_and_what_they_do_not():
    compared = [
        row("10", "frozen", "scratch", -0.2, 0.001),
        row("10", "scratch", "finetune", 0.01, 0.5),
        row("10", "frozen", "finetune", -0.19, 0.002),
        row("all", "frozen", "scratch", 0.1, 0.04),
        row("all", "scratch", "finetune", 0.3, 0.01),
    ]
    assert comparing.conclude(compared, metric="auc", against="scratch") == (
        "By auc, against scratch: frozen better at 10 (+0.200), worse at all (-0.100); "
        "finetune better at all (+0.300), not told apart at 10 (+0.010)."
    )
    assert comparing.conclude(compared, metric="accuracy", against="scratch") == ""
    of_errors = comparing.conclude(compared, metric="auc", against="scratch", higher=False)
    assert "frozen better at all (-0.100), worse at 10 (+0.200)" in of_errors


def test_tables_and_figure_have_every_arm(tmp_path):
    arms = [make_arm(n, s, 30) for s in ("10", "all") for n in ("scratch", "frozen")]
    declared = {**METRICS, "balanced_accuracy": metrics.balanced_accuracy}
    summary = showing.summarise(arms, declared, metric="accuracy", samples=20)
    table = showing.tabulate_arms(summary)
    assert [r[:2] for r in table["rows"]] == [
        ["10 a class", "scratch"],
        ["10 a class", "frozen"],
        ["all", "scratch"],
        ["all", "frozen"],
    ]
    assert all(len(r) == len(table["columns"]) for r in table["rows"])
    assert showing.tabulate_pairs(summary.compared)["rows"][0][1] == "frozen - scratch"
    pictures = showing.draw_sizes(tmp_path, summary, of_all=55.0)
    assert (tmp_path / pictures[0].file).stat().st_size > 5000


def test_the_best_table_is_found_and_undefined_is_worse_than_any():
    tables = [make_arm("a", "10", hits, seeds=1).by_seed[0] for hits in (20, 38, 30)]
    assert labels.find_best(tables, METRICS, "accuracy") == 1
    assert labels.find_best(tables, METRICS, "brier") == 1
    undefined = {"accuracy": lambda label, answers, weight: np.full(1, np.nan)}
    assert labels.find_best(tables, undefined, "accuracy") == 0
