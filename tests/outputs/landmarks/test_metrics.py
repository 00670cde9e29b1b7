import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.evaluation import metrics, stats
from medjax.evaluation.metrics import evaluate
from medjax.outputs.landmarks import metrics as landmark_metrics

DECLARED = landmark_metrics.declared((2.0, 4.0, 10.0))
# Two images, three landmarks: one the reference lacks, one the network did not find.
PRESENT = np.array([[True, True, False], [True, True, True]])
ERROR = np.array([[1.0, 4.0, np.nan], [2.0, np.nan, 11.0]])


def test_numbers_worked_out_by_hand():
    values = {name: evaluate(m, PRESENT, ERROR) for name, m in DECLARED.items()}
    assert values == pytest.approx(
        {
            "error_mm": 18 / 4,
            "error_mm_median": 3.0,
            "error_mm_sd": np.sqrt((1 + 16 + 4 + 121) / 4 - 4.5**2),
            "image_error_mm": (2.5 + 6.5) / 2,
            "sdr_2mm": 1 / 5,  # 2.0 is not nearer than 2
            "sdr_4mm": 2 / 5,  # nor 4.0 than 4; the one not found counts below
            "sdr_10mm": 3 / 5,
            "outliers_10mm": 1.0,
            "not_found": 1.0,
        }
    )


def test_an_outlier_is_at_the_radius_or_beyond():
    metric = landmark_metrics.declared((2.0,))["outliers_2mm"]
    assert evaluate(metric, np.ones((1, 3), bool), np.array([[1.999, 2.0, 2.1]])) == 2


@given(seed=st.integers(0, 10**6))
def test_weights_are_repeated_images(seed):
    rng = np.random.default_rng(seed)
    present = rng.uniform(size=(6, 4)) > 0.2
    error = np.where(rng.uniform(size=(6, 4)) > 0.2, rng.exponential(3, (6, 4)), np.nan)
    count = rng.integers(0, 3, 6)
    for name, metric in DECLARED.items():
        found = metric(present, error, count[None].astype(float))[0]
        again = evaluate(metric, np.repeat(present, count, 0), np.repeat(error, count, 0))
        assert found == pytest.approx(again, nan_ok=True), name


def test_against_numpy_where_all_is_found(rng):
    error = rng.exponential(2, (7, 5))
    present = np.ones_like(error, bool)
    assert evaluate(DECLARED["error_mm_median"], present, error) == np.median(error)
    assert evaluate(DECLARED["error_mm_sd"], present, error) == pytest.approx(error.std())
    assert evaluate(DECLARED["sdr_4mm"], present, error) == (error < 4).mean()


def test_nothing_found_is_undefined_but_counted():
    error = np.full((3, 2), np.nan)
    values = {name: evaluate(m, np.ones_like(error, bool), error) for name, m in DECLARED.items()}
    assert np.isnan([values["error_mm"], values["error_mm_median"], values["image_error_mm"]]).all()
    assert values["not_found"] == 6
    assert values["sdr_10mm"] == 0


def test_every_metric_is_printed_with_its_definition():
    lines = metrics.definitions(DECLARED)
    assert lines[0] == "error_mm: mean distance of found points, mm"
    assert any(line.startswith("outliers_10mm: ") and ">=" in line for line in lines)


def test_the_conformal_radius_by_hand():
    error = np.arange(1.0, 10.0)  # nine calibration errors: 90 % of ten is the ninth
    assert stats.conformal_radius(error, level=0.9) == 9.0
    assert stats.conformal_radius(error, level=0.5) == 5.0
    assert stats.conformal_radius(error[:8], level=0.9) == np.inf
    assert stats.conformal_radius(np.append(error, np.nan), level=0.9) == 9.0


def test_conformal_regions_hold_what_they_promise(rng):
    held = [
        rng.exponential(1.0) <= stats.conformal_radius(rng.exponential(1.0, 39), level=0.8)
        for _ in range(2000)
    ]
    assert np.mean(held) == pytest.approx(0.8, abs=0.03)
