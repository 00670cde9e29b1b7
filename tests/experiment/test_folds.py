"""All folds as one run."""

import csv
import json

import numpy as np
import pytest

from medjax import app, bundle, weights
from medjax.errors import UserError
from tests.conftest import settings

SMALL = {
    "subjects": 24,
    "model": "mlp",
    "batch": 8,
    "bootstrap": 20,
    "steps": 3,
    "seeds": 2,
    "learning_rates": "1e-4,1e-2",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir):
    from experiments import classify

    workdir = tmp_path_factory.mktemp("folds") / "run"
    flags = settings(SMALL, folds=3, workdir=workdir, cache_dir=cache_dir)
    given = [f"--{k}={v}" for k, v in flags.items()]
    return workdir, classify.main(app.parse(classify.Config, ["classify", *given], "classify"))


def test_every_case_is_predicted_once_by_the_networks_of_its_fold(done):
    workdir, _ = done

    def rows(folder):
        with (folder / "predictions.csv").open() as f:
            return {r["case_id"]: r for r in csv.DictReader(f)}

    pooled = rows(workdir)
    folds = [rows(workdir / f"fold_{i}") for i in range(3)]
    assert sum(map(len, folds)) == len(pooled) == 240
    for fold in folds:
        for case, row in fold.items():
            assert pooled[case] == row


def test_its_report_says_what_its_numbers_are_of(done):
    workdir, finished = done
    report = json.loads((workdir / "report.json").read_text())
    assert report["of"] == "each case by the networks of its fold, 3 folds"
    assert report["split"] == "all folds"
    assert report["cases"] == 240
    assert len(report["folds"]) == 3
    assert any("no number here is of that ensemble" in note for note in report["notes"])
    assert finished.report["metrics"]["auc"].value == report["metrics"]["auc"]["value"]


def test_its_networks_are_one_ensemble(done):
    from medjax.bundle.card import Notes

    workdir, _ = done
    files = bundle.make(workdir, notes=Notes("x"))
    model = bundle.opened(files, where="b")
    assert model.spec.seeds == 6
    single = weights.parse((workdir / "fold_1" / weights.NAME).read_bytes(), where="w")
    for name, array in weights.flat(model.weights).items():
        np.testing.assert_array_equal(array[2:4], single[name])


def test_a_single_fold_is_a_run_of_its_own(tmp_path, cache_dir, done):
    from experiments import classify

    flags = settings(SMALL, folds=3, fold=1, workdir=tmp_path / "w", cache_dir=cache_dir)
    given = [f"--{k}={v}" for k, v in flags.items()]
    classify.main(app.parse(classify.Config, ["classify", *given], "classify"))
    here = (tmp_path / "w" / "predictions.csv").read_bytes()
    assert here == (done[0] / "fold_1" / "predictions.csv").read_bytes()


def test_a_folder_with_another_run_is_refused_before_any_fold_is_trained(tmp_path):
    from experiments import classify

    (tmp_path / "config.json").write_text('{"fold": "0"}')
    given = ["--folds=3", f"--workdir={tmp_path}"]
    with pytest.raises(UserError, match="holds a run without folds; choose another"):
        classify.main(app.parse(classify.Config, ["classify", *given], "classify"))
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_what_is_chosen_on_the_cases_of_all_folds_is_called_optimistic(done):
    """Thresholds: each case validated one fold and is reported by another."""
    _, finished = done
    assert finished.evaluation.tuned is finished.evaluation.ensemble


def test_the_notes_of_the_set_stand_in_the_report_of_all_folds(done):
    workdir, _ = done
    notes = json.loads((workdir / "report.json").read_text())["notes"]
    first = json.loads((workdir / "fold_0" / "report.json").read_text())["notes"]
    assert any(note.startswith("fold 0 of 3") for note in first)
    of_set = [note for note in first if not note.startswith("fold 0 of 3")]
    assert notes[: len(of_set)] == of_set and "shared as one ensemble" in notes[-2]
    assert not any(note.startswith("fold 0") for note in notes)


def test_each_fold_has_its_own_choice(done):
    """No fold's choice, nor its value on validation, stands for all."""
    workdir, _ = done
    report = json.loads((workdir / "report.json").read_text())
    folds = [json.loads((workdir / f"fold_{i}" / "report.json").read_text()) for i in range(3)]
    assert not {"choice", "chosen", "choices"} & set(report)
    values = [fold["validation"]["value"] for fold in folds]
    assert report["validation"] == {
        **folds[0]["validation"],
        "value": pytest.approx(np.mean(values)),
    }
    rates = "; ".join(f"learning_rate {f['chosen']['learning_rate']:g}" for f in folds)
    assert report["notes"][-1].startswith("chosen by each fold: ")
    assert "; ".join(p.split(",")[0] for p in report["notes"][-1][21:].split("; ")) == rates
