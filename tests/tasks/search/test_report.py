"""Metrics and files of searches, by hand."""

import csv
import dataclasses

import numpy as np
import pytest

from medjax.errors import UserError
from medjax.tasks.search import metrics as search_metrics
from medjax.tasks.search import report as search_report
from medjax.tasks.search.environment import LEFT, RESTED, TIMED_OUT
from tests.outputs.landmarks.test_report import split

TRUE = np.array([[[1.0, 1.0]], [[4.0, 2.0]]])  # two cases, one landmark, voxels of 2 mm


@pytest.fixture
def searches():
    """One seed, three starts: off by 0, 1 and 2 voxels; then 3, gone, 1."""
    off = np.array([[0.0, 1.0, 2.0], [3.0, np.nan, 1.0]])
    found = np.tile(TRUE[:, :, None, None], (1, 1, 1, 3, 1))
    found[:, 0, 0, :, 0] += off
    found[np.isnan(found).any(-1)] = np.nan
    status = np.array([[RESTED, RESTED, TIMED_OUT], [RESTED, LEFT, RESTED]])
    steps = np.array([[10, 20, 99], [30, 5, 60]])
    return search_report.in_world(
        split(TRUE),
        ["tip"],
        np.zeros_like(found),
        found,
        steps[:, None, None],
        status[:, None, None],
    )


def test_metrics_by_hand(searches):
    values = searches.values(search_metrics.declared([2.5]))
    assert values["error_mm"] == pytest.approx(2 * (0 + 1 + 2 + 3 + 1) / 5)
    assert values["error_mm_median"] == pytest.approx(2.0)
    assert values["sdr_2.5mm"] == pytest.approx(3 / 6)  # who left found nothing
    assert values["steps_to_rest"] == pytest.approx((10 + 20 + 30 + 60) / 4)
    assert values["left_volume"] == pytest.approx(1 / 6)
    assert values["never_rested"] == pytest.approx(1 / 6)


def test_a_checkpoint_gains_nothing_by_agents_that_leave(searches):
    """The one that left counts as if it ended at the first voxel, farthest from (4, 2)."""
    metrics, volumes = search_metrics.declared([2.5]), split(TRUE)
    judged, values = searches.judged(metrics, volumes), searches.values(metrics)
    assert judged["error_mm"] == pytest.approx(2 * (0 + 1 + 2 + 3 + np.hypot(4, 2) + 1) / 6)
    assert judged["left_volume"] == values["left_volume"]


def test_every_metric_has_an_interval_from_ten_subjects_on(rng):
    count, starts = 14, 5
    true = rng.uniform(2, 6, (count, 1, 2))
    found = np.tile(true[:, :, None, None], (1, 1, 1, starts, 1)) + rng.normal(
        size=(count, 1, 1, starts, 2)
    )
    status = rng.choice([RESTED, TIMED_OUT], (count, 1, 1, starts), p=[0.8, 0.2])
    steps = rng.integers(5, 60, status.shape)
    some = search_report.in_world(split(true), ["tip"], np.zeros_like(found), found, steps, status)
    estimates = some.estimates(search_metrics.declared([2.5]), samples=50)
    values = some.values(search_metrics.declared([2.5]))
    for name, one in estimates.items():
        assert one.value == values[name]
        assert one.low <= one.value <= one.high or one.reason, name
    assert not estimates["error_mm_median"].reason


def test_shares_of_the_variance_by_hand():
    """Two volumes, two seeds, two starts: means 2 and 6; seeds +-1; starts +-0.5."""
    base = np.array([2.0, 6.0])[:, None, None, None]
    seeds = np.array([-1.0, 1.0])[None, None, :, None]
    starts = np.array([-0.5, 0.5])[None, None, None]
    shares = search_metrics.variance_shares(base + seeds + starts)
    total = 4.0 + 1.0 + 0.25
    assert shares == pytest.approx({"volume": 4 / total, "seed": 1 / total, "start": 0.25 / total})
    again = search_metrics.variance_shares(np.full((2, 1, 1, 3), 2.0))
    assert np.isnan(again["start"])  # nothing varies


def test_the_consensus_is_the_median_of_those_that_stayed(searches):
    found = search_report.consensus(split(TRUE), searches)
    np.testing.assert_allclose(found.error_mm[:, 0], [2.0, 4.0])  # of 0, 1, 2; of 3, 1
    assert found.confidence[0, 0] == 1.0
    gone = dataclasses.replace(searches, points_mm=np.full_like(searches.points_mm, np.nan))
    assert np.isnan(search_report.consensus(split(TRUE), gone).error_mm).all()


def test_predictions_have_a_row_a_search(searches, tmp_path):
    searches.write(tmp_path / "p.csv")
    with (tmp_path / "p.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 6
    assert [r["ended"] for r in rows] == [
        "rested",
        "rested",
        "timed out",
        "rested",
        "left",
        "rested",
    ]
    assert [r["error_mm"] for r in rows] == ["0", "2", "4", "6", "", "2"]
    assert rows[1]["start"] == "1"


def test_another_run_stands_beside_for_the_same_cases(searches, tmp_path):
    other = search_report.at_voxels(
        split(TRUE), ["tip"], TRUE + np.array([[[1.0, 0.0]], [[0.0, 2.0]]])
    )
    other.write(tmp_path / "predictions.csv")
    mean = search_report.as_searches(search_report.at_voxels(split(TRUE), ["tip"], TRUE))
    found = search_report.from_run(tmp_path / "predictions.csv", mean)
    np.testing.assert_allclose(found.error_mm.ravel(), [2.0, 4.0], rtol=1e-6)
    compared = search_report.compare(mean, found, samples=200)
    assert compared["difference_mm"].value == pytest.approx(3.0)
    with pytest.raises(UserError, match="has no landmark 'heel'"):
        heel = dataclasses.replace(mean, names=("heel",))
        search_report.from_run(tmp_path / "predictions.csv", heel)


def test_a_run_of_other_references_is_not_put_beside(tmp_path):
    mean = search_report.as_searches(search_report.at_voxels(split(TRUE), ["tip"], TRUE))
    moved = search_report.at_voxels(split(TRUE + 1.0), ["tip"], TRUE)
    moved.write(tmp_path / "predictions.csv")
    with pytest.raises(UserError, match="has other reference points"):
        search_report.from_run(tmp_path / "predictions.csv", mean)
