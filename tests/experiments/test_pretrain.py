"""`experiments.pretrain` through its real flags."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import classify, pretrain, retrieve
from medjax import app, models
from medjax.data import catalogue, source
from medjax.data.options import DataOptions
from medjax.errors import UserError
from medjax.experiment import starting
from tests.bundle import conftest as shared
from tests.conftest import REPORT

SMALL = {
    "subjects": 14,
    "steps": 2,
    "batch": 4,
    "eval_every": 1,
    "log_every": 1,
    "bootstrap": 20,
    "warmup_steps": 1,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir):
    workdir = shared.made("pretrain", tmp_path_factory, cache_dir).workdir
    return json.loads((workdir / "report.json").read_text()), workdir


def test_the_report_holds_it_against_the_network_before_training(done):
    report, _ = done
    assert set(report) >= REPORT
    rows = ["this run", "before training", "random", "pixels", "pca"]
    assert list(report["beside"]) == rows
    assert report["validation"]["metric"] == "loss"


def test_a_classifier_starts_from_it(done):
    """All but the last layer is that of the run, whose layers for training alone are gone."""
    _, workdir = done
    network = models.classifier("cnn", num_classes=2)

    def init(key):
        made = network.init(key, np.zeros((1, 12, 12, 1)), train=False)
        return made["params"], made.get("batch_stats", {})

    start = starting.find_start(starting.StartOptions(str(workdir)), model="cnn")
    fresh, _ = init(jax.random.key(0))
    params, _ = start.init(init)(jax.random.key(0))
    changed = {
        k for k in params if not jax.tree.all(jax.tree.map(np.array_equal, params[k], fresh[k]))
    }
    assert changed and "fc" not in changed
    with pytest.raises(UserError, match=r"lacks|no part"):
        find = starting.find_start(starting.StartOptions(str(workdir)), model="mlp")
        other = models.classifier("mlp", num_classes=2)

        def init_other(key):
            made = other.init(key, np.zeros((1, 12, 12, 1)), train=False)
            return made["params"], {}

        find.init(init_other)(jax.random.key(0))


@pytest.mark.slow
def test_hidden_patches_are_filled_in_better_and_better(tmp_path, cache_dir):
    flags = {**SMALL, "method": "mae", "steps": 120, "eval_every": 20, "batch": 16}
    flags |= {"workdir": tmp_path / "w", "cache_dir": cache_dir}
    pretrain.main(
        app.parse(pretrain.Config, ["pretrain", *(f"--{k}={v}" for k, v in flags.items())], "p")
    )
    lines = [json.loads(x) for x in (tmp_path / "w" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert losses[-1] < 0.8 * losses[0]


def test_images_without_labels_are_enough(tmp_path, cache_dir, rng, capsys):
    for i in range(20):
        folder = tmp_path / "set" / f"scanner {i % 3}" / "day"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (12, 12), np.uint8)).save(folder / f"{i}.png")
    values = {"data_dir": tmp_path / "set", "cache_dir": cache_dir, "unlabelled": True}
    flags = {k: v for k, v in SMALL.items() if k != "subjects"} | values

    def run(program, name, **more):
        given = {**flags, "workdir": tmp_path / name, **more}
        argv = [name, *(f"--{k}={v}" for k, v in given.items())]
        program.main(app.parse(program.Config, argv, name))

    run(pretrain, "pretrain")
    report = json.loads((tmp_path / "pretrain" / "report.json").read_text())
    assert all(entry["value"] is None for entry in report["metrics"].values())
    assert any("images have no labels" in line for line in report["remarks"])
    assert "images without labels" in capsys.readouterr().out
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in (tmp_path / "set").rglob("*.png"):
        (flat / file.name).write_bytes(file.read_bytes())
    found = source.load(
        catalogue.infer(DataOptions(str(flat), unlabelled=True)),
        options=DataOptions(str(flat), unlabelled=True),
        cache_dir=cache_dir,
    )
    assert sum(map(len, found.splits.values())) == 20
    with pytest.raises(UserError, match=r"set has no labels to learn; `medjax pretrain` takes"):
        run(classify, "classify")
    with pytest.raises(UserError, match="set has no labels, and images are compared by classes"):
        run(retrieve, "retrieve")
    one = tmp_path / "set" / "scanner 0"  # whose only folder is taken for a class
    with pytest.raises(UserError, match=r"only the class 'day'.*`medjax pretrain` needs none"):
        run(classify, "classify", unlabelled=False, data_dir=one)
    assert {p.name for p in tmp_path.iterdir()} == {"set", "flat", "pretrain"}


def test_findings_are_no_classes(tmp_path, cache_dir, rng):
    folder, rows = tmp_path / "set", ["path,a,b"]
    folder.mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{i % 2},1")
    (folder / "metadata.csv").write_text("\n".join(rows))
    for program, more in ((pretrain, ", or give `unlabelled`"), (retrieve, "")):
        flags = {"data_dir": folder, "finding_columns": "a,b", "cache_dir": cache_dir}
        flags["workdir"] = tmp_path / "run"
        with pytest.raises(UserError, match=f"has findings, and images .*`label_column`{more}$"):
            given = ["x", *(f"--{k}={v}" for k, v in flags.items())]
            program.main(app.parse(program.Config, given, "x"))
