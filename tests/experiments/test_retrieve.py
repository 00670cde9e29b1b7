"""`experiments.retrieve` through its real flags."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import retrieve
from medjax import app
from medjax.errors import UserError
from tests.bundle import conftest as shared
from tests.conftest import REPORT, real_data

SMALL = {
    "subjects": 14,
    "steps": 2,
    "batch": 4,
    "eval_every": 1,
    "log_every": 1,
    "bootstrap": 20,
    "warmup_steps": 1,
    "size": 4,
}


def run_here(workdir, cache, **flags):
    values = {"bootstrap": 20, "workdir": workdir, "cache_dir": cache, **flags}
    retrieve.main(
        app.parse(
            retrieve.Config, ["retrieve", *(f"--{k}={v}" for k, v in values.items())], "retrieve"
        )
    )
    return json.loads((workdir / "report.json").read_text())


@pytest.fixture(scope="module")
def codes(tmp_path_factory, cache_dir):
    """The run of four bits, of two seeds."""
    workdir = shared.made("retrieve", tmp_path_factory, cache_dir).workdir
    return json.loads((workdir / "report.json").read_text()), workdir


def test_every_method_stands_beside_chance_pixels_and_components(codes):
    report, workdir = codes
    assert set(report) >= REPORT
    names = {
        "precision_at_1",
        "ap_at_5",
        "ap_at_5_published",
        "map",
        "recall_at_5",
        "majority_vote_at_5",
        "ndcg",
    }
    assert names <= set(report["metrics"])
    assert list(report["beside"]) == ["this run", "random", "pixels", "pca"]
    assert set(report["compared"]) == {"random", "pixels", "pca"}
    assert report["of"] == "ensemble of 2 seeds"
    assert (workdir / "figures" / "map.png").stat().st_size > 5000
    assert (workdir / "figures" / "neighbours.png").stat().st_size > 5000


def test_neighbours_are_training_cases_in_order_of_distance(codes):
    report, workdir = codes
    head, *lines = (workdir / "neighbours.csv").read_text().splitlines()
    assert head == "case_id,rank,neighbour,neighbour_class,distance"
    rows = [line.split(",") for line in lines]
    assert len(rows) == 5 * report["cases"]
    distance = np.array([float(row[4]) for row in rows]).reshape(-1, 5)
    assert (np.diff(distance) >= 0).all() and set(np.unique(distance)) <= set(range(9))
    queries = {row[0] for row in rows}
    assert not queries & {row[2] for row in rows}


def write_set(folder, rng, *, test_level):
    """Two classes by intensity; the images of the test split are others at another level."""
    folder.mkdir()
    first, lines = None, ["path,label,split,subject_id,age"]
    for i in range(40):
        split = "train" if i < 24 else "val" if i < 32 else "test"
        level = 40 + 60 * (i % 2) if split != "test" else test_level
        pixels = (level + rng.integers(0, 60, (12, 12))).astype(np.uint8)
        pixels = first if i == 39 else pixels  # a copy in the test split
        first = pixels if i == 0 else first
        Image.fromarray(pixels).save(folder / f"{i}.png")
        ages = {"train": 30 + i, "val": 30 + i, "test": test_level}
        age = "" if i in (3, 30) else ages[split]
        lines.append(f"{i}.png,{'ab'[i % 2]},{split},s{i // 2},{age}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("transform", ["svm", pytest.param("median", marks=pytest.mark.slow)])
def test_what_is_fitted_does_not_see_the_queries(tmp_path, cache_dir, transform):
    """Components, machines, medians and weights are the same whatever the test images are."""
    digests, chosen = [], []
    for level in (30, 150):
        data = write_set(tmp_path / f"{level}", np.random.default_rng(0), test_level=level)
        given = {"data_dir": data, "features": "pca", "size": 5, "transform": transform}
        given |= {"metadata_columns": "age", "metadata": "age"}
        if transform == "svm":
            given["known_classes"] = True
        workdir = tmp_path / f"run_{level}"
        report = run_here(workdir, cache_dir, **given, auto=False)
        digests.append(report["weights_sha256"])
        assert set(report["metadata_weights"]) == {"age"}
        chosen += [line for line in report["remarks"] if "weights of metadata" in line]
        copies = [line for line in report["remarks"] if "all but equal" in line]
        assert copies and copies[0].startswith("1 queries")
    assert digests[0] == digests[1]
    assert chosen[0] == chosen[1]
    assert "chosen on 8 cases of validation" in chosen[0]
    assert "1 without age" in chosen[0]
    assert report["best_step"] == 0 and report["cases"] == 8
    assert report["model"] == "pca"


@pytest.mark.slow
def test_a_trained_network_is_evaluated_with_another_ranking(tmp_path, cache_dir):
    data = write_set(tmp_path / "set", np.random.default_rng(0), test_level=30)
    given = {**SMALL, "data_dir": data, "auto": False, "metadata_columns": "age"}
    given.pop("subjects")
    before = run_here(tmp_path / "w", cache_dir, **given)
    more = {"transform": "means", "known_classes": True, "metadata": "age", "shortlist": 3}
    after = run_here(tmp_path / "w", cache_dir, **given, **more, eval_only=True)
    assert after["best_step"] == before["best_step"]
    assert before["weights_sha256"] != after["weights_sha256"]  # with the means of classes
    assert any("weights of metadata" in line for line in after["remarks"])
    assert (
        run_here(tmp_path / "w", cache_dir, **given, eval_only=True)["metrics"]
        == (before["metrics"])
    )


def test_barcodes_of_volumes_are_refused_before_anything_is_written(tmp_path, cache_dir):
    with pytest.raises(UserError, match="`features=frozen`: of which network"):
        run_here(tmp_path / "w", cache_dir, features="frozen")
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_components_find_pneumonia_as_published(tmp_path, cache_dir):
    """Pixels: published 85.33 and 82.37 % (AP@5 and ACC@1)."""
    data = real_data("pneumoniamnist")
    given = {"dataset": "pneumoniamnist", "data_dir": data, "features": "pixels"}
    report = run_here(tmp_path / "w", cache_dir, **given)
    assert report["metrics"]["ap_at_5_published"]["value"] == pytest.approx(0.8533, abs=0.01)
    assert report["metrics"]["precision_at_1"]["value"] == pytest.approx(0.8237, abs=0.005)
