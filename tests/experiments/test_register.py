"""`experiments.register` through its real flags."""

import csv
import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

import medjax
from experiments import register
from medjax import app, bundle
from medjax.bundle.card import Notes
from medjax.errors import UserError
from medjax.experiment import training
from medjax.tools import predict
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
    "warmup_steps": 1,
    "transform": "displacement",
}


def run_here(workdir, cache, **changes):
    values = settings(SMALL, workdir=workdir, cache_dir=cache, **changes)
    flags = [f"--{k}={v}" for k, v in values.items()]
    register.main(app.parse(register.Config, ["register", *flags], "register"))
    return json.loads((workdir / "report.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir):
    workdir = tmp_path_factory.mktemp("run") / "w"
    return run_here(workdir, cache_dir), workdir


def rows_of(path):
    with path.open() as f:
        return list(csv.DictReader(f))


def test_the_report_keeps_the_contract(done):
    report, workdir = done
    assert REPORT | {"structures"} <= set(report)
    names = {"dice", "dice_worst_30", "hd95_mm", "tre_mm", "field_error_vox"}
    names |= {"folding", "log_jacobian_sd"}
    assert names == set(report["metrics"]) == set(report["baseline"])
    assert "before registration" in report["baseline_is"]
    assert 0 < report["baseline"]["dice"] < 1 and report["baseline"]["folding"] == 0
    for name in ("before_and_after", "worst_1"):
        assert (workdir / "figures" / f"{name}.png").stat().st_size > 5000
    for folder in ("fields", "affines", "warped", "warped_masks", "warped_points"):
        assert len(list((workdir / folder).iterdir())) == report["cases"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "optimise", "rotate_degrees": 5}, "are for `method=network`"),
        ({"method": "optimise", "shapes": 4}, "are for `method=network`"),
        ({"method": "optimise", "init_from": "runs/other"}, "are for `method=network`"),
        ({"shapes": 4, "rotate_degrees": 5}, "leave augmentation out"),
        ({"lncc_window": 4}, "give an odd number"),
        ({"lncc_window": 5, "similarity": "mse"}, "of `similarity=lncc`, not of mse"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(tmp_path, cache_dir, given, told):
    with pytest.raises(UserError, match=told):
        run_here(tmp_path / "w", cache_dir, **given)
    assert not (tmp_path / "w").exists()


def test_the_predictions_add_up_to_the_report(done):
    report, workdir = done
    rows = rows_of(workdir / "predictions.csv")
    assert len(rows) == report["cases"] and {r["moving"] for r in rows} == {"template"}
    error = np.mean([float(r["tre_mm"]) for r in rows])
    assert error == pytest.approx(report["metrics"]["tre_mm"]["value"], rel=1e-4)


def test_a_run_goes_on_and_answers_otherwise(done, cache_dir):
    """`refine` says how a trained network answers; its metric falls, its weights stay."""
    report, workdir = done
    weights = (workdir / "weights.safetensors").read_bytes()
    again = run_here(workdir, cache_dir, eval_only=True, refine=20)
    assert (workdir / "weights.safetensors").read_bytes() == weights
    assert again["metrics"]["tre_mm"]["value"] < report["metrics"]["tre_mm"]["value"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Three small volumes with masks, one of other orientation and size of voxels."""
    root, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for i, name in enumerate("abc"):
        places = np.indices((20, 18, 16)) - np.array([9.0 + i, 8.0, 8.0]).reshape(3, 1, 1, 1)
        radius = np.sqrt((places**2).sum(0))
        image = 300 * (radius < 6) + ndimage.gaussian_filter(rng.normal(0, 40, radius.shape), 1)
        world = np.diag([1.5, 1.5, 1.5, 1.0]) if name != "c" else np.diag([-1.5, 1.5, 1.2, 1.0])
        for folder, values in (("images", image), ("labels", (radius < 6).astype(float))):
            (root / folder).mkdir(exist_ok=True)
            saved = nibabel.Nifti1Image(values.astype(np.int16), world)
            saved.set_sform(world, 1)
            saved.set_qform(world, 1)
            nibabel.save(saved, root / folder / f"{name}.nii.gz")
    return root


@pytest.fixture(scope="module")
def optimised(scans, tmp_path_factory, cache_dir):
    workdir = tmp_path_factory.mktemp("optimised") / "w"
    more = {"data_dir": scans, "method": "optimise", "initial": "mass", "pairs": "consecutive"}
    answered, predict_split = [], training.predict
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "predict", lambda *a: answered.append(a[-1]) or predict_split(*a))
        report = run_here(workdir, cache_dir, **more, iterations=5, affine="rigid", auto=True)
    assert answered == ["test"]  # which has the pairs of validation too: once is enough
    return report, workdir


def test_ones_own_volumes_without_training(optimised, scans):
    report, workdir = optimised
    assert "no network" in (workdir / "report.html").read_text()
    assert report["cases"] == 2 and report["split"] == "test"
    assert report["model"] == "each pair optimised (displacement, lncc)"
    assert report["metrics"]["dice"]["value"] > report["baseline"]["dice"]
    for fixed in "ab":
        name = next((workdir / "warped").glob(f"*to images_{fixed}*")).name
        warped = nibabel.load(workdir / "warped" / name)
        original = nibabel.load(scans / "images" / f"{fixed}.nii.gz")
        assert warped.shape == original.shape
        np.testing.assert_allclose(warped.affine, original.affine, atol=1e-5)
        field = nibabel.load(workdir / "fields" / name)
        assert field.shape == (*original.shape, 1, 3)
        assert field.header.get_intent()[0] == "vector"


@pytest.mark.slow
def test_a_bundle_registers_new_images_to_a_fixed_one(optimised, scans, tmp_path, cache_dir):
    """As the run did: the same displacement, of the same two files."""
    _, workdir = optimised
    made = bundle.make(workdir, notes=Notes("tiny"), export=True)
    bundle.archive.write_zip(tmp_path / "b.zip", made)
    flags = [f"--bundle={tmp_path / 'b.zip'}", f"--input={scans / 'images'}"]
    flags += [f"--output={tmp_path / 'out'}", f"--cache_dir={cache_dir}"]

    def answer(*more):
        predict.main(app.parse(predict.Config, ["predict", *flags, *more], "predict"))

    answer(f"--fixed={scans / 'images' / 'a.nii.gz'}")  # which is left out
    mine, theirs = (
        nibabel.load(next((folder / "fields").glob(f"*b*{end}"))).get_fdata()
        for folder, end in ((workdir, "to images_a*"), (tmp_path / "out", ""))
    )
    assert np.abs(mine).max() > 1
    model = bundle.load(tmp_path / "b.zip")
    assert model.spec.info.initial == "mass"
    np.testing.assert_allclose(theirs, mine, atol=0.02)
    table = tmp_path / "pairs.csv"
    table.write_text("fixed,moving\nb,c\na.nii.gz,b\n")
    flags[2] = f"--output={tmp_path / 'listed'}"
    answer(f"--pairs={table}")
    rows = rows_of(tmp_path / "listed" / "predictions.csv")
    assert [row["case_id"] for row in rows] == ["c.nii.gz to b.nii.gz", "b.nii.gz to a.nii.gz"]
    listed = nibabel.load(next((tmp_path / "listed" / "fields").glob("b*"))).get_fdata()
    np.testing.assert_allclose(listed, theirs, atol=1e-5)
    flags[2] = f"--output={tmp_path / 'refused'}"
    with pytest.raises(UserError, match="leave one out"):
        answer(f"--pairs={table}", "--fixed=a.nii.gz")
    with pytest.raises(UserError, match="no such file"):
        answer("--pairs=lost.csv")
    with pytest.raises(UserError, match="`fixed`: to which image"):
        model.predictor.output.prepare.read(
            scans / "images" / "b.nii.gz",
            model.predictor,
            model.spec,
            case_id="b",
            hints=predict.ImageHints(),
        )


@pytest.mark.slow
def test_volumes_with_masks_in_training(tmp_path, cache_dir):
    report = run_here(
        tmp_path / "w",
        cache_dir,
        ndim=3,
        dice_weight=1.0,
        inverse_weight=0.1,
        model="voxelmorph",
        transform="velocity",
        seeds=2,
        rotate_degrees=5.0,
    )
    assert report["of"] == "ensemble of 2 seeds"
    field = nibabel.load(next((tmp_path / "w" / "fields").iterdir()))
    assert field.shape == (40, 48, 40, 1, 3)


@pytest.mark.slow
def test_a_set_that_knows_its_splits_keeps_them(tmp_path, cache_dir):
    """Without training too: the deformations, of which there is a validation."""
    more = {"method": "optimise", "iterations": 2, "affine": "none"}
    report = run_here(tmp_path / "w", cache_dir, dataset="brain_pairs", **more)
    assert report["data"]["splits"]["train"]["cases"] > report["cases"]
    (tmp_path / "set").mkdir()
    more |= {"dataset": "hippocampus_pairs", "data_dir": tmp_path / "set"}
    with pytest.raises(UserError, match=r"landmarks\.csv: not a CSV file"):
        run_here(tmp_path / "v", cache_dir, **more)


@pytest.mark.slow
def test_the_mice_go_through(tmp_path, cache_dir):
    report = run_here(
        tmp_path / "w",
        cache_dir,
        dataset="mouse_brain",
        data_dir=real_data("mouse_brain"),
        longest_side=48,
        batch=1,
    )
    assert report["cases"] == 5 and len(report["structures"]) == 37
    assert report["baseline"]["dice"] > 0.05


def test_masks_that_are_asked_for_must_be_there(scans, tmp_path, cache_dir):
    (tmp_path / "set").mkdir()
    for file in (scans / "images").iterdir():
        (tmp_path / "set" / file.name).symlink_to(file)
    rows = [f"{n}.nii.gz,{s}" for n, s in zip("abc", ("train", "train", "val"), strict=True)]
    (tmp_path / "set" / "metadata.csv").write_text("\n".join(["path,split", *rows]) + "\n")
    (tmp_path / "set" / "pairs.csv").write_text("fixed,moving\na,b\nc,a\n")
    with pytest.raises(UserError, match="`dice_weight`: of masks, and the set has none"):
        run_here(tmp_path / "w", cache_dir, data_dir=tmp_path / "set", dice_weight=1.0)


def test_pairs_that_are_all_reported_on_train_no_network(scans, tmp_path, cache_dir):
    with pytest.raises(UserError, match="`unsplit`"):
        run_here(tmp_path / "w", cache_dir, data_dir=scans, unsplit=True)
    assert not (tmp_path / "w").exists()


def test_from_python(tmp_path, cache_dir):
    with pytest.raises(UserError, match="two images, or the set alone"):
        medjax.register(medjax.Dataset.from_arrays(np.zeros((9, 4, 4)), list("abc") * 3), "b.nii")


def test_a_training_that_diverges_ends_with_one_line(tmp_path, cache_dir):
    with pytest.raises(UserError, match="not finite"):
        run_here(tmp_path / "w", cache_dir, learning_rate=1e30, warmup_steps=0, steps=4)
    assert not (tmp_path / "w" / "report.json").exists()
