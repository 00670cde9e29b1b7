"""`experiments.search` through its real flags."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments import search
from medjax import app, bundle
from medjax.errors import UserError
from tests.conftest import REPORT, ROOT, newest_state, settings

SMALL = {
    "subjects": 14,
    "steps": 4,
    "batch": 4,
    "agents": 4,
    "eval_every": 1,
    "log_every": 1,
    "bootstrap": 50,
    "ndim": 2,
    "width": 4,
    "hidden": 8,
    "crop_size": 9,
    "starts": 3,
    "validation_starts": 2,
    "validation_cases": 2,
    "fill": 4,
    "replay": 20,
    "limit": 10,
    "search_limit": 15,
    "warmup_steps": 1,
    "explore_steps": 2,
}
FIGURES = {"learning_curve.png", "errors.png", "paths.png", "search.gif"}


def flags(workdir, cache, **changes):
    values = settings(SMALL, workdir=workdir, cache_dir=cache, **changes)
    return [f"--{k}={v}" for k, v in values.items()]


def run_here(workdir, cache, **changes):
    search.main(app.parse(search.Config, ["search", *flags(workdir, cache, **changes)], "search"))
    return json.loads((workdir / "report.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir):
    """One run on slices."""
    workdir = tmp_path_factory.mktemp("run") / "w"
    return run_here(workdir, cache_dir), workdir


def test_the_report_keeps_the_contract(done):
    report, workdir = done
    assert REPORT | {"beside", "compared", "landmarks", "variance"} <= set(report)
    assert {
        "error_mm",
        "error_mm_median",
        "sdr_2mm",
        "steps_to_rest",
        "left_volume",
        "never_rested",
    } <= set(report["metrics"])
    assert set(report["beside"]) == {
        "search, each start",
        "median of the starts",
        "mean position in train",
        "random walk",
    }
    assert set(report["landmarks"]) == {"AC", "PC"}
    assert sum(v for v in report["variance"].values()) == pytest.approx(1.0)
    names = {p.name for p in (workdir / "figures").iterdir()}
    assert {n for n in names if not n.startswith("worst_")} == {*FIGURES, "captions.json"}
    assert all((workdir / "figures" / f).stat().st_size > 5000 for f in FIGURES)


def test_the_predictions_add_up_to_the_report(done):
    report, workdir = done
    with (workdir / "predictions.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 2 * 3 * report["cases"]
    error = [
        np.hypot(*(float(r[f"pred_{a}_mm"]) - float(r[f"true_{a}_mm"]) for a in "xy")) for r in rows
    ]
    np.testing.assert_allclose(error, [float(r["error_mm"]) for r in rows], rtol=1e-4, atol=1e-4)
    assert np.mean(error) == pytest.approx(report["metrics"]["error_mm"]["value"], rel=1e-4)
    rested = [float(r["steps"]) for r in rows if r["ended"] == "rested"]
    wanted = report["metrics"]["steps_to_rest"]["value"]
    assert np.mean(rested) == pytest.approx(wanted) if rested else wanted is None


def test_evaluation_alone_says_the_same_beside_another_run(done, cache_dir, tmp_path):
    report, workdir = done
    described = (workdir / "config.json").read_text()  # as a run of before described itself:
    (workdir / "config.json").write_text(described.replace('"spacings_mm"', '"scales"'))
    beside = tmp_path / "other"
    beside.mkdir()
    (workdir / "consensus.csv").rename(beside / "predictions.csv")
    again = run_here(workdir, cache_dir, eval_only=True, beside=beside)
    assert again["metrics"] == report["metrics"]
    row = again["beside"][str(beside)]
    assert row["error_mm"]["value"] == pytest.approx(
        again["beside"]["median of the starts"]["error_mm"]["value"], rel=1e-5
    )
    assert again["compared"][str(beside)]["p_value"] == 1.0


@pytest.mark.slow
def test_volumes_four_landmarks_two_seeds_and_all_that_can_be_chosen(tmp_path, cache_dir):
    report = run_here(
        tmp_path / "w",
        cache_dir,
        ndim=3,
        image_shape="24,32,24",
        grid_mm=8,
        seeds=2,
        steps=2,
        eval_every=1,
        history=3,
        n_step=2,
        priority=0.6,
        variant="dueling_double",
        communicate=True,
        reward="squared",
        clip_reward=0,
        outside="leave",
        answer="lowest",
        spacings_mm="24,8",
        strides="24,8",
        outlier_sd=3,
        landmarks="AC,PC,genu of CC,splenium of CC",
        act_steps=2,
        fill=8,
        copies=1,
        learning_rates="1e-3,3e-3",
        weight_decays="0.0,0.1",
    )
    assert len(report["choices"]) == 2 and report["chosen"]["weight_decay"] in (0.0, 0.1)
    assert report["of"] == "2 seeds, pooled"
    assert set(report["seeds"]["each"]) == {"0", "1"}
    assert "corrected by shape" in report["beside"]


@pytest.mark.slow  # a kill in the middle of another family is in the quick tests
def test_killed_and_resumed_it_ends_bit_equal(done, cache_dir, tmp_path):
    """Learner, target network, agents and replay all go on where they were."""
    _, whole = done
    workdir = tmp_path / "w"
    command = [sys.executable, "-m", "experiments.search", *flags(workdir, cache_dir)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.time() + 240
    while not any(p.name.isdigit() for p in (workdir / "checkpoints").glob("*")) and (
        process.poll() is None
    ):  # until then it has another name
        assert time.time() < deadline, "no checkpoint within 240 s"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=300
    )
    at = re.search(r"resuming at step (\d+)", again.stdout)
    assert at and int(at[1]) < SMALL["steps"]  # else nothing was left to go on with
    assert newest_state(workdir) == newest_state(whole)
    assert (workdir / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


@pytest.mark.slow
def test_agents_on_four_devices_do_what_they_do_on_one(done, cache_dir, tmp_path):
    _, one = done
    workdir = tmp_path / "w"
    many = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=2",
    }
    found = subprocess.run(
        [sys.executable, "-m", "experiments.search", *flags(workdir, cache_dir)],
        cwd=ROOT,
        env=many,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "4 x" in found.stdout
    assert (workdir / "predictions.csv").read_bytes() == (one / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmarks": "AC,PB"}, "unknown landmark of brain_landmarks 'PB': did you mean PC"),
        ({"crop_size": 99}, "`crop_size=99` is larger than the padded volumes"),
        ({"crop_size": 10}, "must be odd"),
        ({"spacings_mm": "5,2"}, r"`spacings_mm=5,2`: give whole multiples of the voxels of 2 mm"),
        ({"spacings_mm": "2,4"}, "the largest first"),
        ({"strides": "8,4"}, "gives 2 lengths for 3 scales"),
        ({"fill": 1, "agents": 2}, "gives 2 steps to draw from, fewer than `batch=4`"),
        (
            {"replay": 10**9},
            r"`replay=1000000000` steps of `agents=4` need .* GB, 1 learner at once",
        ),
        ({"outlier_sd": 3}, "needs four `landmarks`"),
        ({"beside": "nowhere"}, "has no predictions.csv"),
        ({"discount": 1.5}, "`discount=1.5`: must lie between 0 and 1"),
    ],
)
def test_bad_settings_get_one_clear_line(tmp_path, cache_dir, changes, message):
    with pytest.raises(UserError, match=message):
        run_here(tmp_path / "w", cache_dir, **changes)
    assert not (tmp_path / "w" / "report.json").exists()


@pytest.mark.slow
def test_every_volume_is_searched_by_the_agents_of_its_fold(tmp_path, cache_dir):
    """`--fold=all`: one report, one table, and the networks of all folds as one bundle."""
    report = run_here(tmp_path / "w", cache_dir, folds=3, fold="all", subjects=12)
    assert (report["cases"], report["split"], len(report["folds"])) == (12, "all folds", 3)

    def rows(folder):
        with (folder / "predictions.csv").open() as f:
            return list(csv.DictReader(f))

    pooled = rows(tmp_path / "w")
    assert pooled == [row for i in range(3) for row in rows(tmp_path / "w" / f"fold_{i}")]
    assert len({row["case_id"] for row in pooled}) == 12
    shared, one = (bundle.of_run(folder) for folder in (tmp_path / "w", tmp_path / "w" / "fold_1"))
    assert (shared.spec.seeds, one.spec.seeds) == (3, 1)
    both = (shared.weights[0], one.weights[0])
    for several, single in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_array_equal(several[1], single[0])
