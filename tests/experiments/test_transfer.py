"""`experiments.transfer` through its real flags."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments import transfer
from medjax import app, bundle, lock
from medjax.bundle.card import Notes
from medjax.errors import UserError
from tests.conftest import REPORT, common, settings

SMALL = {
    "subjects": 20,
    "steps": 4,
    "batch": 8,
    "eval_every": 2,
    "log_every": 2,
    "bootstrap": 50,
    "model": "cnn",
    "warmup_steps": 1,
    "train_sizes": "2,all",
}


def run_here(workdir, cache, **changes):
    values = settings(SMALL, workdir=workdir, cache_dir=cache, **changes)
    given = ["transfer", *(f"--{k}={v}" for k, v in values.items())]
    return transfer.main(app.parse(transfer.Config, given, "transfer"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights of the small network."""
    from tests.bundle.conftest import pictures_and_weights

    folder = common(tmp_path_factory) / "transfer_weights"
    folder.mkdir(exist_ok=True)
    file = folder / "weights.safetensors"
    with lock.hold(folder / "lock", wait=True):
        return file if file.exists() else pictures_and_weights(folder / "set")["init_from"]


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir, weights):
    """A run of all arms at two sizes."""
    folder = common(tmp_path_factory) / "transfer"  # whichever worker needs it first makes it
    folder.mkdir(exist_ok=True)
    with lock.hold(folder / "lock", wait=True):
        if not (folder / "run" / "report.html").exists():
            run_here(folder / "run", cache_dir, init_from=weights, init_scaling="set")
    workdir = tmp_path_factory.mktemp("transfer") / "run"  # which a test may write into
    shutil.copytree(folder / "run", workdir)
    return workdir, json.loads((workdir / "report.json").read_text())


def test_every_arm_stands_in_the_report_at_every_size(done):
    workdir, report = done
    assert set(report) >= REPORT
    assert [(a["arm"], a["size"]) for a in report["arms"]] == [
        (arm, size)
        for size in ("2", "all")
        for arm in ("scratch", "frozen", "probe_then_finetune", "finetune")
    ]
    scratch, frozen = report["arms"][:2]
    assert (
        scratch["examples"] == 4 * 8 * 2
        and frozen["examples"] == report["data"]["splits"]["train"]["cases"]
    )
    assert all(a["seconds"] > 0 and "auc" in a["metrics"] for a in report["arms"])
    assert len(report["compared"]) == 2 * 6 * 2  # sizes, pairs, metrics
    assert {"size", "a", "b", "metric", "difference", "p_value", "p_holm"} == set(
        report["compared"][0]
    )
    assert report["remarks"][0].startswith("By auc, against scratch: frozen ")
    assert report["started_from"]["scaling"] == "set"
    page = (workdir / "report.html").read_text()
    assert "Pairs of arms" in page and "started from" in page
    assert (workdir / "figures" / "training_size.png").exists()


def test_every_arm_has_its_predictions_and_the_mean_of_them_is_reported(done):
    workdir, report = done
    for row in report["arms"]:
        values = []
        for seed in range(2):
            path = workdir / f"{row['arm']}_{row['size']}" / f"predictions_{seed}.csv"
            with path.open() as f:
                rows = list(csv.DictReader(f))
            names = [k for k in rows[0] if k.startswith("p_")]
            guess = [max(names, key=lambda n, r=r: float(r[n]))[2:] for r in rows]
            values.append(np.mean([g == r["label"] for g, r in zip(guess, rows, strict=True)]))
        assert row["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(values))


def test_arms_begin_as_they_say_and_a_frozen_network_is_not_trained(done):
    from safetensors.numpy import load_file

    workdir, _ = done
    arms = {
        name: load_file(workdir / f"{name}_2" / "weights.safetensors")
        for name in ("scratch", "frozen", "probe_then_finetune", "finetune")
    }
    name = next(k for k in arms["frozen"] if k.endswith("kernel") and "fc" not in k)
    frozen = arms["frozen"][name]
    np.testing.assert_array_equal(frozen[0], frozen[1])
    moved = {arm: np.abs(values[name] - frozen).mean() for arm, values in arms.items()}
    assert moved["scratch"] > 3 * moved["finetune"] > 0
    assert moved["probe_then_finetune"] > 0


def test_the_best_arm_is_what_is_shared(done, tmp_path):
    workdir, report = done
    best = report["best_arm"]
    mine = (workdir / f"{best['arm']}_{best['size']}" / "weights.safetensors").read_bytes()
    assert (workdir / "weights.safetensors").read_bytes() == mine
    files = bundle.make(workdir, notes=Notes("tiny"))
    assert json.loads(files["bundle.json"])["experiment"] == "transfer"


@pytest.mark.slow
def test_arms_of_tables_stand_beside_networks_and_are_not_shared(tmp_path, cache_dir, weights):
    workdir = tmp_path / "run"
    given = {"init_from": weights, "init_scaling": "set", "train_sizes": "4", "head": "corn"}
    names = ["svm", "frozen", "knn", "late_fusion", "frozen_and_saliency", "windows"]
    run_here(workdir, cache_dir, arms=",".join(names), **given)
    report = json.loads((workdir / "report.json").read_text())
    assert [a["arm"] for a in report["arms"]] == names
    assert report["best_arm"] == {"arm": "frozen", "size": "4"}
    assert [a["examples"] for a in report["arms"]] == [*[140] * 4, 2 * 140, 9 * 140]
    assert all(a["metrics"]["mae"]["value"] < 10 for a in report["arms"])
    assert report["remarks"][0].startswith("By auc, against svm: frozen ")
    assert not (workdir / "svm_4" / "weights.safetensors").exists()
    files = bundle.make(workdir, notes=Notes("tiny"))
    assert json.loads(files["bundle.json"])["how"]["head"] == "corn"


def test_asked_again_it_trains_nothing_and_says_the_same(done, cache_dir, weights, capsys):
    workdir, before = done
    run_here(workdir, cache_dir, init_from=weights, init_scaling="set")
    out = capsys.readouterr().out
    assert out.count("training has ended before") == 6
    after = json.loads((workdir / "report.json").read_text())
    for a, b in zip(before["arms"], after["arms"], strict=True):
        assert a["metrics"] == b["metrics"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": "scratch,magic"}, "unknown arm 'magic'"),
        ({"arms": "svm,pixels"}, "name one that is a network too"),
        ({"arms": "scratch"}, "`arms`: name two or more, each once"),
        ({"train_sizes": "2,2"}, "`train_sizes`: name one or more, each once"),
        ({"train_sizes": "5000"}, "`train_sizes=5000`: class .* has .* training images"),
        ({"learning_rates": "0.1,0.2"}, "every arm has the same"),
        ({"init_from": "nowhere"}, "no such file or folder"),
        ({"init_scaling": ""}, "how do these weights want images scaled"),
    ],
)
def test_bad_flags_are_told_in_one_line_and_leave_nothing(
    tmp_path, cache_dir, weights, changes, message
):
    given = {"init_from": weights, "init_scaling": "set", **changes}
    with pytest.raises(UserError, match=message) as error:
        run_here(tmp_path / "run", cache_dir, **given)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_findings_are_transferred_too(tmp_path, cache_dir, weights, rng):
    folder, workdir = tmp_path / "set", tmp_path / "run"
    folder.mkdir()
    rows = ["path,bright,dark"]
    for i in range(40):
        pixels = rng.integers(0, 120, (12, 12), np.uint8) + 100 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02d}.png")
        rows.append(f"{i:02d}.png,{i % 2},{'' if i % 5 == 0 else i // 2 % 2}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    flags = {"dataset": "image_folder", "data_dir": folder, "finding_columns": "bright,dark"}
    flags |= {"arms": "finetune,pixels", "train_sizes": "all", "best": "accuracy"}
    run_here(workdir, cache_dir, init_from=weights, init_scaling="set", **flags)
    report = json.loads((workdir / "report.json").read_text())
    assert {row["arm"] for row in report["arms"]} == {"finetune", "pixels"}
    assert {row["metric"] for row in report["compared"]} == {"accuracy"}
    assert set(report["findings"]) == {"bright", "dark"}
    probed = [row["metrics"] for row in report["arms"] if row["arm"] == "pixels"]
    assert probed[0]["accuracy"]["value"] > 0.6
