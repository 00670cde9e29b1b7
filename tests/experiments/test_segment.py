"""`experiments.segment` through its real flags."""

import csv
import json

import nibabel
import numpy as np
import pytest
from PIL import Image

import medjax
from experiments import segment
from medjax import app
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.outputs.masks import pairs
from tests.conftest import REPORT, real_data, settings

SMALL = {
    "subjects": 14,
    "steps": 2,
    "batch": 2,
    "eval_every": 1,
    "log_every": 1,
    "bootstrap": 50,
    "width": 4,
    "levels": 2,
    "warmup_steps": 1,
}


def run_here(workdir, cache, **changes):
    values = settings(SMALL, workdir=workdir, cache_dir=cache, **changes)
    segment.main(
        app.parse(
            segment.Config, ["segment", *(f"--{k}={v}" for k, v in values.items())], "segment"
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
    assert REPORT | {"structures"} <= set(report)
    assert {
        "dice",
        "iou",
        "hd95_mm",
        "assd_mm",
        "surface_dice_1mm",
        "missed",
        "dice_grey matter",
    } <= set(report["metrics"])
    assert set(report["baseline"]) == set(report["metrics"])
    assert report["baseline"]["dice"] > 0.3  # brains are alike
    assert set(report["structures"]) == {"grey matter", "white matter"}
    assert (workdir / "figures" / "dice_per_structure.png").stat().st_size > 5000
    assert (workdir / "figures" / "worst_1.png").stat().st_size > 5000
    assert len(list((workdir / "masks").glob("*.png"))) == report["cases"]


def test_the_predictions_add_up_to_the_report(done):
    report, workdir = done
    with (workdir / "predictions.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 2 * report["cases"]
    dice = np.mean([float(r["dice"]) for r in rows])
    assert dice == pytest.approx(report["metrics"]["dice"]["value"], rel=1e-4)


def test_a_run_is_reported_again_with_its_own_settings(done, cache_dir):
    """Whatever of them is not given anew."""
    report, workdir = done
    flags = [f"--workdir={workdir}", f"--cache_dir={cache_dir}", "--eval_only"]
    segment.main(app.parse(segment.Config, ["segment", *flags], "segment"))
    again = json.loads((workdir / "report.json").read_text())
    assert again["metrics"] == report["metrics"]
    assert report["command"].startswith(again["command"])  # without what matters to no number


def test_patches_must_fit(tmp_path, cache_dir):
    with pytest.raises(UserError, match=r"`patch`: give 2 sides"):
        run_here(tmp_path / "a", cache_dir, patch="16,16,16")
    with pytest.raises(UserError, match=r"needs sides that divide by 2; the patches have 15 x 16"):
        run_here(tmp_path / "b", cache_dir, patch="15,16")


def test_a_patch_that_is_larger_than_all_images_is_told(tmp_path, capsys):
    train = Split({}, [], [], [], None, (20, 31, 1), np.dtype(np.uint8))
    assert segment.check_patch((), train, divisor=4) == (20, 32)
    assert segment.check_patch((64, 32), train, divisor=4) == (64, 32)
    assert "note: 20 x 32 holds the largest image; the patch is larger" in capsys.readouterr().out


@pytest.mark.slow
def test_volumes_in_patches_two_seeds_and_files_that_lie_on_their_images(tmp_path, cache_dir):
    report = run_here(
        tmp_path / "w",
        cache_dir,
        ndim=3,
        patch="24,32,24",
        seeds=2,
        flip="0",
        elastic=0.3,
        deep_supervision=1,
        levels=3,
        probabilities=True,
        largest_component="white matter",
    )
    assert report["of"] == "ensemble of 2 seeds"
    files = sorted((tmp_path / "w" / "masks").glob("*.nii.gz"))
    assert len(files) == report["cases"]
    mask = nibabel.load(files[0])
    assert mask.shape == (40, 48, 40)
    np.testing.assert_allclose(mask.affine[:3, 3], [-78.0, -114.0, -74.0])
    folder = tmp_path / "w" / "probabilities"
    name = files[0].name.removesuffix(".nii.gz")
    grey, white = (
        nibabel.load(folder / f"{name}_{t}_matter.nii.gz").get_fdata() for t in ("grey", "white")
    )
    where = np.asarray(mask.dataobj) == 1
    assert (grey[where] >= white[where] - 0.01).all() and (grey + white <= 1.02).all()
    pytest.importorskip("pydicom", reason="needs the extra `dicom`")
    from tests.data.test_series import save_series

    pixels = np.random.default_rng(0).integers(0, 999, (12, 30, 20)).astype(np.uint16)
    answer = medjax.open_run(tmp_path / "w").predict(save_series(tmp_path / "scan", pixels))
    assert answer.mask.shape == (12, 30, 20)
    np.testing.assert_allclose(answer.world @ [0, 0, 0, 1], [-5, -6, 10, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [("hippocampus", {}), ("acdc", {"patch": "64,64,1"}), ("chasedb1", {"patch": "64,64"})],
)
def test_real_sets_go_through(tmp_path, cache_dir, name, more):
    report = run_here(
        tmp_path / "w",
        cache_dir,
        dataset=name,
        data_dir=real_data(name),
        train_cases=2,
        **more,
    )
    unit = "mm" if name == "hippocampus" else "vox"
    assert report["split"] == "validation"
    assert f"hd95_{unit}" in report["metrics"]


def discs(root, count=12, *, growing=0):
    """Images of bright discs, each higher by so much, and masks that number them."""
    rng = np.random.default_rng(0)
    for i in range(count):
        things = np.zeros((32 + i * growing, 40), np.uint16)
        grid = np.stack(np.meshgrid(*map(np.arange, things.shape), indexing="ij"), -1)
        for number, centre in enumerate([(8, 8), (8, 28), (24, 18)][: 2 + i % 2], start=1):
            things[np.linalg.norm(grid - centre, axis=-1) < 6] = 300 + number
        pixels = 40 + 150 * (things > 0) + rng.integers(0, 30, things.shape)
        for folder, values in (("images", pixels.astype(np.uint8)), ("labels", things)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / folder / f"{i:02d}.png")
    return root


@pytest.mark.slow
def test_folds_of_images_of_several_sizes(tmp_path, cache_dir):
    root = discs(tmp_path / "set", 9, growing=2)
    more = {"data_dir": root, "patch": "16,16", "structures": "disc", "instances": True}
    report = run_here(tmp_path / "w", cache_dir, folds=3, **more)
    assert report["cases"] == 9 and len(list((tmp_path / "w").glob("fold_*"))) == 3


@pytest.mark.slow
def test_single_things_from_a_folder_to_new_images(tmp_path, cache_dir):
    root = discs(tmp_path / "set")
    learning = {"steps": 150, "eval_every": 150, "log_every": 50, "batch": 4, "width": 8}
    report = run_here(
        tmp_path / "w", cache_dir, data_dir=root, instances=True, best="ap_50", **learning
    )
    assert report["metrics"]["ap_50"]["value"] > 0.8 > report["baseline"]["ap_50"]
    assert report["metrics"]["count_error"]["value"] < 1
    assert report["baseline"]["count_error"] > 0
    with (tmp_path / "w" / "predictions.csv").open() as f:
        cases = list(csv.DictReader(f))
    found = np.mean([float(r["ap_50"]) for r in cases])
    assert found == pytest.approx(report["metrics"]["ap_50"]["value"], rel=1e-4)
    assert {int(float(r["things_reference"])) for r in cases} <= {2, 3}
    table = tmp_path / "w" / "predictions.csv"
    pair = pairs.read_pair(table, table, None)
    for name in ("ap_50", "ap_50_95", "count_error", "dice"):
        value = pair.metrics[name](pair.reference, pair.a, np.ones((1, len(pair.a))))[0]
        assert value == pytest.approx(report["metrics"][name]["value"], rel=1e-4)
    written = np.asarray(Image.open(next((tmp_path / "w" / "masks").glob("*.png"))))
    assert set(np.unique(written)) <= {0, 1, 2, 3}
    answer = medjax.open_run(tmp_path / "w").predict(root / "images" / "01.png")
    (row,) = answer.rows()
    assert row["structure"] == "thing" and row["things"] == answer.mask.max()
    assert row["voxels"] == (answer.mask > 0).sum()
    answer.draw(
        tmp_path / "drawn.png", np.asarray(Image.open(root / "images" / "01.png"))[..., None]
    )
    assert (tmp_path / "drawn.png").stat().st_size > 3000
