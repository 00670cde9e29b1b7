"""`experiments.detect` through its real flags."""

import csv
import json

import numpy as np
import pytest

from experiments import detect
from medjax import app
from medjax.errors import UserError
from tests.conftest import REPORT, real_data, settings

SMALL = {
    "subjects": 14,
    "steps": 2,
    "batch": 2,
    "eval_every": 1,
    "log_every": 1,
    "bootstrap": 50,
    "width": 4,
    "levels": 3,
    "stride": 2,
    "most_boxes": 20,
    "image_shape": "64,64",
    "warmup_steps": 1,
}


def run_here(workdir, cache, **changes):
    values = settings(SMALL, workdir=workdir, cache_dir=cache, **changes)
    detect.main(
        app.parse(detect.Config, ["detect", *(f"--{k}={v}" for k, v in values.items())], "detect")
    )
    return json.loads((workdir / "report.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir):
    """One run on pictures."""
    workdir = tmp_path_factory.mktemp("run") / "w"
    return run_here(workdir, cache_dir), workdir


def test_the_report_keeps_the_contract(done):
    report, workdir = done
    assert REPORT | {"boxes"} <= set(report)
    assert {"map_50", "map_50_95", "froc", "count_error", "ap_50_ring"} <= set(report["metrics"])
    assert set(report["baseline"]) == set(report["metrics"])
    assert (workdir / "figures" / "boxes.png").stat().st_size > 5000
    assert (workdir / "figures" / "worst_1.png").stat().st_size > 5000


def test_the_reference_of_the_predictions_is_that_of_the_set(done):
    report, workdir = done
    with (workdir / "predictions.csv").open() as f:
        rows = list(csv.DictReader(f))
    true = [r for r in rows if r["what"] == "reference"]
    assert len(true) == sum(row["in_reference"] for row in report["boxes"].values())
    for row in report["boxes"].values():
        assert 0 <= row["sensitivity_smallest_third"] <= 1
        assert {"sensitivity_at_0.125", "conformal_count", "coverage"} <= set(row)
    assert len({r["case_id"] for r in rows}) == report["cases"]
    size = np.array([[float(r[f"{a}max"]) - float(r[f"{a}min"]) for a in "xy"] for r in true])
    assert (size > 0).all() and (size <= 128).all()


def test_a_stride_must_be_one_of_the_levels(tmp_path, cache_dir):
    with pytest.raises(UserError, match=r"`stride=8`: 1, 2, 4 or 8, with more `levels`"):
        run_here(tmp_path / "a", cache_dir, stride=8)


@pytest.mark.slow
def test_it_learns_to_find_cells(tmp_path, cache_dir):
    report = run_here(
        tmp_path / "w",
        cache_dir,
        subjects=24,
        steps=80,
        batch=8,
        width=8,
        image_shape="128,128",
        levels=4,
        eval_every=40,
        seeds=2,
        most_boxes=50,
    )
    assert report["metrics"]["map_50"]["value"] > 0.6
    assert report["baseline"]["map_50"] < 0.1


@pytest.mark.slow
def test_volumes_go_through(tmp_path, cache_dir):
    report = run_here(tmp_path / "w", cache_dir, ndim=3, image_shape="24,24,24", flip="0,1,2")
    assert report["metrics"]["froc"]["value"] is not None


@pytest.mark.slow
def test_the_blood_smears_go_through(tmp_path, cache_dir):
    report = run_here(
        tmp_path / "w", cache_dir, dataset="bccd", data_dir=real_data("bccd"), train_cases=8
    )
    assert report["split"] == "validation" and report["cases"] == 87
