"""`experiments.heatmap` through its real flags."""

import csv
import json
import re

import numpy as np
import pytest

from experiments import heatmap
from medjax import app
from medjax.data import slicer
from medjax.errors import UserError
from tests.conftest import REPORT, real_data, settings

SMALL = {
    "subjects": 14,
    "steps": 2,
    "batch": 2,
    "eval_every": 1,
    "log_every": 1,
    "bootstrap": 50,
    "model": "unet",
    "width": 2,
    "levels": 2,
    "warmup_steps": 1,
    "image_shape": "24,32",
}
FIGURES = {
    "learning_curve.png",
    "cumulative_error.png",
    "error_per_landmark.png",
    "worst_cases.png",
}


def run_here(workdir, cache, **changes):
    values = settings(SMALL, workdir=workdir, cache_dir=cache, **changes)
    heatmap.main(
        app.parse(
            heatmap.Config, ["heatmap", *(f"--{k}={v}" for k, v in values.items())], "heatmap"
        )
    )
    return json.loads((workdir / "report.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir):
    """One run on slices."""
    workdir = tmp_path_factory.mktemp("run") / "w"
    return run_here(workdir, cache_dir), workdir


def test_the_report_keeps_the_contract(done):
    report, workdir = done
    assert REPORT | {"conformal", "landmarks"} <= set(report)
    assert report["split"] == "test"
    assert {
        "error_mm",
        "error_mm_median",
        "sdr_2mm",
        "sdr_4mm",
        "image_error_mm",
        "not_found",
    } <= set(report["metrics"])
    for value in report["metrics"].values():  # of so few subjects there is no interval
        assert value["low"] is None and value["reason"]
    assert set(report["baseline"]) == set(report["metrics"])
    assert len(report["landmarks"]) == 10
    names = {p.name for p in (workdir / "figures").iterdir()}
    assert {n for n in names if not re.match(r"worst_\d", n)} == {*FIGURES, "captions.json"}
    assert all((workdir / "figures" / f).stat().st_size > 5000 for f in FIGURES)


def test_the_predictions_add_up_to_the_report(done):
    report, workdir = done
    with (workdir / "predictions.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 10 * report["cases"]
    error = [
        np.hypot(*(float(r[f"pred_{a}_mm"]) - float(r[f"true_{a}_mm"]) for a in "xy")) for r in rows
    ]
    np.testing.assert_allclose(error, [float(r["error_mm"]) for r in rows], rtol=1e-4)
    assert np.mean(error) == pytest.approx(report["metrics"]["error_mm"]["value"], rel=1e-4)
    # Pixels of the slices are 2 mm.
    pixels = [
        np.hypot(*(float(r[f"pred_{a}"]) - float(r[f"true_{a}"]) for a in "xy")) for r in rows
    ]
    np.testing.assert_allclose(error, 2.0 * np.array(pixels), rtol=1e-3)


@pytest.mark.slow
def test_volumes_two_seeds_and_files_for_slicer(tmp_path, cache_dir):
    report = run_here(
        tmp_path / "w",
        cache_dir,
        ndim=3,
        image_shape="12,16,12",
        seeds=2,
        elastic=0.3,
        flip="0",
        loss="l2",
        decoder="peak",
        learn_sigma=0.01,
    )
    assert report["of"] == "ensemble of 2 seeds"
    assert set(report["seeds"]["each"]) == {"0", "1"}
    lists = sorted((tmp_path / "w" / "landmarks").glob("*.mrk.json"))
    assert len(lists) == report["cases"]
    points, system = slicer.read(lists[0])
    assert system == "LPS"
    assert len(points) == 32


@pytest.mark.slow
@pytest.mark.parametrize("model", ["downsampling", "scn", "scn2019"])
def test_networks_of_other_kinds_go_through(tmp_path, cache_dir, model):
    report = run_here(
        tmp_path / "w", cache_dir, model=model, image_shape="32,32", loss="l2", decoder="peak"
    )
    assert np.isfinite(report["metrics"]["error_mm"]["value"])


@pytest.mark.slow
@pytest.mark.slow
def test_a_point_of_little_confidence_is_absent(tmp_path, cache_dir):
    report = run_here(tmp_path / "w", cache_dir, absent_below=2.0, learning_rates="1e-3,3e-3")
    assert len(report["choices"]) == 2 and report["seeds"]["each"].keys() == {"0"}
    assert report["metrics"]["not_found"]["value"] == 10 * report["cases"]
    assert report["metrics"]["error_mm"]["value"] is None
    assert report["metrics"]["sdr_10mm"]["value"] == 0.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_shape": "25,32"}, "sides that divide by 2"),
        ({"image_shape": "24,32,24"}, "has 2 axes where the grid has 3"),
        ({"image_shape": "0,32"}, "`image_shape=0,32`"),
        ({"ndim": 4}, "`ndim=4`"),
        ({"sigma": 0.0}, "`sigma=0.0`"),
        ({"level": 1.0}, "`level=1.0`"),
        ({"radii_mm": "0,2"}, "`radii_mm`"),
        ({"window": "3,1"}, "`window`"),
        ({"loss": "l2", "decoder": "soft_argmax"}, "`loss=cross_entropy`"),
        ({"learn_sigma": 0.1}, "`learn_sigma` is for `loss=l2`"),
        ({"flip": "2"}, "the images have the axes 0 to 1"),
        ({"width": -1}, "`width=-1`"),
        ({"patch": "16,16"}, "`patch`: .*`loss=l2`"),
        ({"patch": "64,16", "loss": "l2", "decoder": "peak"}, "does not fit into images"),
        ({"dataset": "hc81"}, "did you mean hc18"),
        ({"elastic_points": 2}, "`elastic_points=2`"),
        ({"dataset": "hc18", "data_dir": ""}, "`data_dir=`: no such folder"),
    ],
)
def test_bad_settings_are_told_in_one_line_and_leave_nothing(tmp_path, cache_dir, changes, words):
    with pytest.raises(UserError, match=words) as e:
        run_here(tmp_path / "w", cache_dir, **changes)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_windows_that_are_smaller_than_the_image(tmp_path, cache_dir):
    report = run_here(tmp_path / "w", cache_dir, patch="16,16", loss="l2", decoder="peak")
    assert np.isfinite(report["metrics"]["error_mm"]["value"])


@pytest.mark.slow
def test_the_named_sets_train(tmp_path, cache_dir):
    run_here(
        tmp_path / "w",
        cache_dir,
        dataset="hippocampus",
        data_dir=real_data("hippocampus"),
        image_shape="16,16,16",
        grid_mm=4.0,
    )
