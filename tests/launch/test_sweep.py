"""Many runs from one command line."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from launch import points, sweep
from medjax import app
from medjax.errors import UserError
from tests.conftest import ROOT

RUN = [
    "experiments.classify",
    "--subjects=20",
    "--steps=2",
    "--batch=8",
    "--eval_every=1",
    "--model=mlp",
    "--bootstrap=20",
    "--warmup_steps=1",
]


def config(*arguments):
    return app.parse(sweep.Config, ["sweep", *map(str, arguments)], "sweep")


def made(*flags, random=0, experiment="experiments.classify"):
    values = points.parse(flags)
    out = points.drawn(values, count=random, seed=0) if random else list(points.grid(values))
    points.check(experiment, out)
    return out


def test_all_combinations():
    assert made("--model=cnn", "--model=mlp", "--batch=8", "--dropout=0.1", "--dropout=0.2") == [
        {"model": m, "batch": "8", "dropout": d} for m in ("cnn", "mlp") for d in ("0.1", "0.2")
    ]


def test_random_ones_lie_in_their_ranges_and_every_seed_is_run():
    found = made(
        "--learning_rate=1e-4~1e-2", "--model=cnn", "--model=mlp", "--seed=0", "--seed=1", random=10
    )
    assert len(found) == 20
    rates = {float(p["learning_rate"]) for p in found}
    assert len(rates) == 10 and min(rates) >= 1e-4 and max(rates) <= 1e-2
    assert {p["model"] for p in found} == {"cnn", "mlp"}
    assert found == made(
        "--learning_rate=1e-4~1e-2", "--model=cnn", "--model=mlp", "--seed=0", "--seed=1", random=10
    )


def test_neighbouring_seeds_are_one_program():
    merged = points.merge_seeds(
        made("--model=cnn", "--model=mlp", "--seed=3", "--seed=4", "--seed=5")
    )
    assert merged == [{"model": m, "seed": "3", "seeds": "3"} for m in ("cnn", "mlp")]
    apart = made("--model=cnn", "--seed=1", "--seed=3")
    assert points.merge_seeds(apart) == apart


def test_learning_rates_and_weight_decays_are_one_program():
    every = made(
        "--model=cnn",
        "--model=mlp",
        "--learning_rate=1e-3",
        "--learning_rate=3e-3",
        "--learning_rate=1e-2",
        "--weight_decay=0.1",
    )
    together = points.merge_rates(every, at_most=2)
    assert together == [
        point
        for m in ("cnn", "mlp")
        for point in (
            {"model": m, "learning_rates": "1e-3,3e-3", "weight_decays": "0.1,0.1"},
            {"model": m, "learning_rate": "1e-2", "weight_decay": "0.1"},
        )
    ]
    assert points.merge_rates(every, at_most=1) == every
    assert list(points.named(together, ["model", "learning_rate"])) == [
        f"model-{m}_learning_rate-{r}" for m in ("cnn", "mlp") for r in ("1e-3+3e-3", "1e-2")
    ]
    dated = points.named([{"model": "a__2"}, {"model": "a"}, {"model": "a"}], ["model"])
    assert [p["model"] for p in dated.values()] == ["a__2", "a", "a"]
    crossed = [{"learning_rates": "1,2", "weight_decays": w} for w in ("3,4", "4,3", "3,4")]
    assert len(points.named(crossed, ["learning_rate"])) == 3


def test_each_setting_of_a_program_has_its_line():
    point = {
        "model": "cnn",
        "learning_rates": "1e-3,3e-3",
        "weight_decays": "0.1,0.1",
        "seed": "0",
        "seeds": "2",
    }
    found = {
        "validation": {"value": 0.8},
        "choices": [{"value": 0.8}, {"value": None}],
        "choice": 0,
        "train": {"seconds": 5.0},
    }
    one, other = sweep.rows_of("run", point, found, ["learning_rate", "weight_decay", "seed"])
    assert one.shown == {"learning_rate": "1e-3", "weight_decay": "0.1", "seed": "0..1"}
    assert other.shown["learning_rate"] == "3e-3"
    assert one.value == 0.8 and math.isnan(other.value) and one.kept and not other.kept
    alone = {"validation": {"value": 0.7}, "train": {"seconds": 5.0}}
    (row,) = sweep.rows_of("run", {"learning_rate": "1"}, alone, ["learning_rate", "seed"])
    assert row.shown == {"learning_rate": "1", "seed": ""} and row.value == 0.7


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--learning_rates=1,2"], "the sweep gives it"),
        (["--modl=cnn"], "unknown flag"),
        (["--model=vgg"], "unknown value of --model"),
        (["--workdir=x"], "the sweep gives it"),
        (["cnn"], "given as --name=value"),
        ([], "give flags"),
        (["--learning_rate=1e-4~1e-2"], "a range is for --random"),
        (["--batch=x"], "batch"),
        (["--auto=perhaps"], "give true or false"),
        (["--learning_rate=1e-3", "--learning_rate=x"], "learning_rate"),
        (["--data_dir=a\nrm -r b"], "has control characters"),
    ],
)
def test_bad_flags_are_told_before_anything_runs(flags, words):
    with pytest.raises(UserError, match=words):
        made(*flags)


def test_flags_that_need_each_other_are_checked_together():
    """A width is learned by the squared error; `~/` is a path, not a range."""
    given = ["--loss=l2", "--learn_sigma=0.1", "--data_dir=~/images"]
    every = made(*given, "--batch=4", "--batch=8", experiment="experiments.heatmap")
    assert [p["batch"] for p in every] == ["4", "8"]
    with pytest.raises(UserError, match="learn_sigma"):
        made(*given[1:], experiment="experiments.heatmap")


def test_folds_choose_their_own_rate_so_that_each_rate_is_a_program():
    rates = "--learning_rate=1e-3", "--learning_rate=3e-3"
    for fold in ([], ["--fold=all"]):
        every = made(*rates, "--folds=3", *fold)
        assert points.merge_rates(every, at_most=4) == every
    assert len(points.merge_rates(made(*rates, "--folds=3", "--fold=1"), at_most=4)) == 1


@pytest.mark.parametrize(
    ("value", "words"), [("a~b", "two numbers"), ("2~1", "to a larger one"), ("0~1", "positive")]
)
def test_ranges_that_are_none(value, words):
    import numpy as np

    with pytest.raises(UserError, match=words):
        points.value(np.random.default_rng(0), value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the experiment"),
        (["--", "--model=cnn"], "name the experiment"),
        (["--", "experiments.none", "--a=1"], "unknown command 'none'"),
        (["--jobs=-1", "--", *RUN], "must not be negative"),
    ],
)
def test_bad_calls_get_one_clear_line(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        sweep.main(config(f"--workdir={tmp_path}/s", *arguments))
    assert not (tmp_path / "s").exists()


def test_printed_as_commands(tmp_path, capsys):
    sweep.main(
        config(
            f"--workdir={tmp_path}/s",
            "--where=print",
            "--",
            *RUN,
            "--seed=0",
            "--seed=1",
            "--dropout=0.1",
            "--dropout=0.2",
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("--seeds=2" in line for line in lines)
    assert not (tmp_path / "s").exists()


def test_what_is_done_with_other_settings_is_not_shown_for_these(tmp_path):
    """Its folder has the same name, which holds what is varied alone."""
    runs = {"model=cnn": {"model": "cnn", "steps": "5"}}
    sweep.keep_record(tmp_path, "classify", runs)
    (tmp_path / "model=cnn").mkdir()
    (tmp_path / "model=cnn" / "report.json").write_text("{}")
    sweep.keep_record(tmp_path, "classify", runs)
    others = {"model=cnn": {"model": "cnn", "steps": "9"}}
    with pytest.raises(UserError, match=r"--steps=5, --steps=9\); choose another"):
        sweep.keep_record(tmp_path, "classify", others)


@pytest.mark.slow
def test_run_stopped_and_run_again(tmp_path, cache_dir):
    """Two runs; stopped in the second, of which the first is then skipped."""
    call = [
        sys.executable,
        "-m",
        "launch.sweep",
        f"--workdir={tmp_path}/s",
        "--",
        *RUN,
        f"--cache_dir={cache_dir}",
        "--dropout=0.1",
        "--dropout=0.2",
        "--learning_rate=1e-3",
        "--learning_rate=3e-3",
    ]
    process = subprocess.Popen(
        call, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    told = ""
    while "1/2" not in told:
        told += process.stdout.readline()
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "the same command goes on" in rest
    done = subprocess.run(call, cwd=ROOT, text=True, capture_output=True, timeout=200, check=True)
    assert "2 runs, 1 of them done" in done.stdout or "2 runs, 2 of them done" in done.stdout
    assert "by auc on validation" in done.stdout and "on test: auc" in done.stdout
    with (tmp_path / "s" / "sweep.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert {(r["dropout"], r["learning_rate"]) for r in rows} == {
        (d, rate) for d in ("0.1", "0.2") for rate in ("1e-3", "3e-3")
    }
    values = [float(r["validation_auc"]) for r in rows]
    assert values == sorted(values, reverse=True)
    for run in {r["run"] for r in rows}:
        report = json.loads((tmp_path / "s" / run / "report.json").read_text())
        best = max(v for v, r in zip(values, rows, strict=True) if r["run"] == run)
        assert best == pytest.approx(report["validation"]["value"])
    assert (tmp_path / "s" / "sweep.png").stat().st_size > 5000
