"""`classify` and `transfer` of quantities, through their real flags."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from experiments import classify, transfer
from medjax import app, bundle
from medjax.bundle.card import Notes
from medjax.errors import UserError

SMALL = {
    "dataset": "image_folder",
    "model": "cnn",
    "steps": 30,
    "batch": 8,
    "eval_every": 15,
    "bootstrap": 50,
    "warmup_steps": 1,
    "learning_rate": 3e-3,
}


def run_here(program, **flags):
    name = program.__name__.split(".")[-1]
    given = [name, *(f"--{k}={v}" for k, v in {**SMALL, **flags}.items())]
    program.main(app.parse(program.Config, given, name))
    return json.loads((flags["workdir"] / "report.json").read_text())


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Pictures, whose quantity is how bright they are; of some it is not known."""
    folder, rng = tmp_path_factory.mktemp("bright") / "set", np.random.default_rng(0)
    folder.mkdir()
    rows = ["path,brightness,constant,side"]
    for i in range(60):
        level = int(rng.integers(20, 200))
        pixels = (level + rng.integers(0, 30, (12, 12))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
        rows.append(f"{i:02d}.png,{'' if i % 10 == 0 else level / 2},7,{level > 100}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder


def test_a_quantity_is_learnt_shared_and_told_of_new_images(bright, tmp_path, cache_dir):
    workdir = tmp_path / "run"
    flags = {"data_dir": bright, "workdir": workdir, "cache_dir": cache_dir}
    found = run_here(classify, quantity_columns="brightness", best="mae", **flags)
    assert set(found["metrics"]) == {"mae", "mse", "r2"}
    assert found["metrics"]["mae"]["value"] < found["baseline"]["mae"] / 2
    about = found["quantities"]["brightness"]
    assert about["known"] < found["cases"] and 0 <= about["coverage"] <= 1
    assert any("quantities are not known" in line for line in found["remarks"])
    page = (workdir / "report.html").read_text()
    assert "Each quantity" in page and "predicted" in page
    assert {"agreement.png", "coverage.png"} <= {p.name for p in (workdir / "figures").iterdir()}
    opened = bundle.opened(bundle.make(workdir, notes=Notes("tiny")), where="tiny")
    rows = [
        opened.predict(np.full((12, 12), level, np.uint8)).rows()[0] for level in (40, 110, 180)
    ]
    told = [row["predicted_brightness"] for row in rows]
    assert told == sorted(told) and told[0] < 45 and told[2] > 65
    radius = about["conformal_radius"]
    for row in rows:
        reach = row["high_brightness"] - row["predicted_brightness"]
        assert reach == pytest.approx(radius, rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"quantity_columns": "constant"}, "constant has fewer than two values in the training"),
        ({"quantity_columns": "brightness", "best": "kappa"}, "`best=kappa` is for classes"),
        ({"quantity_columns": "brightness", "class_weights": "balanced"}, "is for classes"),
        ({"quantity_columns": "brightness", "loss": "focal"}, "`loss` is for `head=classes`"),
        ({"quantity_columns": "darkness"}, "unknown column of .* 'darkness'"),
        ({"quantity_columns": "brightness,brightness"}, "brightness is named twice"),
        (
            {"quantity_columns": "brightness", "metadata_columns": "brightness"},
            "brightness is named twice, or is in `metadata_columns` too",
        ),
        ({"quantity_columns": "brightness", "class_order": "a"}, "`class_order` is for classes"),
        ({"label_column": "constant", "head": "quantities"}, "only the class '7'"),
        ({"label_column": "side", "head": "quantities"}, "`head=quantities`: set has classes"),
    ],
)
def test_bad_flags_are_told_in_one_line(bright, tmp_path, cache_dir, flags, message):
    workdir = tmp_path / "run"
    with pytest.raises(UserError, match=message) as error:
        run_here(classify, data_dir=bright, workdir=workdir, cache_dir=cache_dir, **flags)
    assert "\n" not in str(error.value) and not workdir.exists()


@pytest.mark.slow
def test_networks_of_folds_answer_in_one_unit(bright, tmp_path, cache_dir):
    flags = {"quantity_columns": "brightness", "folds": 3}
    found = run_here(
        classify, data_dir=bright, workdir=tmp_path / "run", cache_dir=cache_dir, **flags
    )
    assert found["metrics"]["mae"]["value"] < found["baseline"]["mae"] / 2
    scales = [
        json.loads((tmp_path / "run" / f"fold_{k}" / "config.json").read_text())["trained"]
        for k in range(3)
    ]
    assert len({str(scale["quantity_scale"]) for scale in scales}) == 1


@pytest.mark.slow
def test_quantities_are_transferred_too(bright, tmp_path, cache_dir):
    from tests.bundle.conftest import pictures_and_weights

    given = pictures_and_weights(tmp_path / "other")
    workdir = tmp_path / "run"
    found = run_here(
        transfer,
        data_dir=bright,
        workdir=workdir,
        cache_dir=cache_dir,
        quantity_columns="brightness",
        arms="scratch,frozen,pixels",
        train_sizes="6,all",
        init_from=given["init_from"],
        init_scaling="set",
    )
    assert {row["metric"] for row in found["compared"]} == {"r2"}
    rows = {(row["arm"], row["size"]): row["metrics"] for row in found["arms"]}
    assert rows["pixels", "all"]["r2"]["value"] > 0.8
    assert found["remarks"][0].startswith("By r2, against scratch: ")
    with (workdir / "pixels_all" / "predictions_0.csv").open() as f:
        (head, *_) = csv.reader(f)
    assert head == ["case_id", "subject_id", "reference_brightness", "predicted_brightness"]
    with pytest.raises(UserError, match="svm and knn are of classes"):
        run_here(
            transfer,
            data_dir=bright,
            workdir=tmp_path / "other_run",
            cache_dir=cache_dir,
            quantity_columns="brightness",
            arms="scratch,svm",
            init_from=given["init_from"],
            init_scaling="set",
        )
