"""Two networks, of which the second looks at images in the pose that the first has found."""

import csv
import json

import nibabel
import numpy as np
import pytest

from experiments import heatmap
from medjax import app, bundle
from medjax.bundle import archive
from medjax.bundle.card import Notes
from medjax.errors import UserError
from medjax.tools import predict
from tests.bundle.conftest import SHORT, rewritten

SHAPE = np.array([[0.0, 0, 0], [24, 2, 0], [3, 21, 1], [1, 4, 26]])
AFFINE = np.array([[0, -2.0, 0, 22], [2.0, 0, 0, -18], [0, 0, 2.0, -20], [0, 0, 0, 1]])


pytestmark = pytest.mark.slow  # two trainings


@pytest.fixture(scope="module")
def two(tmp_path_factory, cache_dir):
    """Volumes of four dots, in any pose; the bundles of both looks, and the second run."""
    root = tmp_path_factory.mktemp("pose")
    (root / "data").mkdir()
    lines = ["volume,landmark,x_ras_mm,y_ras_mm,z_ras_mm,split"]
    for i in range(7):
        rng = np.random.default_rng(i)
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn[:, 0] *= np.sign(np.linalg.det(turn))
        name = f"{i}.nii.gz"
        nibabel.save(
            nibabel.Nifti1Image(rng.normal(size=(20, 22, 20)).astype(np.float32), AFFINE),
            root / "data" / name,
        )
        split = "train" if i < 3 else "val" if i < 5 else "test"
        lines += [
            f"{name},p{j},{','.join(map(str, point))},{split}"
            for j, point in enumerate((SHAPE - SHAPE.mean(0)) @ turn.T)
        ]
    (root / "data" / "landmarks.csv").write_text("\n".join(lines) + "\n")

    def run(name, **changes):
        values = {
            **SHORT,
            "dataset": "landmark_folder",
            "data_dir": root / "data",
            "image_shape": "16,16,16",
            "grid_mm": 2.5,
            "width": 2,
            "levels": 2,
            "cache_dir": cache_dir,
            "workdir": root / name,
            "model": "unet",
            **changes,
        }
        heatmap.main(
            app.parse(
                heatmap.Config, ["heatmap", *(f"--{k}={v}" for k, v in values.items())], "heatmap"
            )
        )
        archive.write_zip(root / f"{name}.zip", bundle.make(root / name, notes=Notes("tiny")))

    run("first")
    every = root / "first" / "every"  # its answers for validation and test
    ask(root / "first.zip", root / "data", every, cache_dir)
    run("second", pose_from=every)
    return root


def ask(model, source, output, cache_dir, **changes):
    values = {
        "bundle": model,
        "input": source,
        "output": output,
        "cache_dir": cache_dir,
        "overlays": 0,
        **changes,
    }
    predict.main(
        app.parse(
            predict.Config, ["predict", *(f"--{k}={v}" for k, v in values.items())], "predict"
        )
    )


def points_of(path, form):
    with path.open() as f:
        return {
            (r["case_id"], r["landmark"]): np.array([float(r[form.format(a)]) for a in "xyz"])
            for r in csv.DictReader(f)
        }


def test_the_second_look_of_files_is_that_of_the_run(two, tmp_path, cache_dir):
    ask(
        two / "second.zip",
        two / "data",
        tmp_path / "out",
        cache_dir,
        pose_from=two / "first" / "every" / "predictions.csv",
    )
    found = points_of(tmp_path / "out" / "predictions.csv", "{}_mm")
    expected = points_of(two / "second" / "predictions.csv", "pred_{}_mm")
    assert len(expected) == 2 * 4
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-3)


def test_from_python_too(two):
    image = nibabel.load(two / "data" / "6.nii.gz")
    first, second = (bundle.load(two / f"{name}.zip") for name in ("first", "second"))
    array = np.asarray(image.dataobj)
    rough = first.predict(array, affine=image.affine)
    fine = second.predict(array, affine=image.affine, points_mm=rough.points_mm)
    expected = points_of(two / "second" / "predictions.csv", "pred_{}_mm")
    np.testing.assert_allclose(fine.points_mm[1], expected["6.nii.gz", "p1"], atol=1e-2)
    with pytest.raises(UserError, match="takes images in one pose; give where a first one"):
        second.predict(array, affine=image.affine)
    few = np.where(np.arange(4)[:, None] < 2, rough.points_mm, np.nan)
    with pytest.raises(UserError, match="found fewer than 3 of its landmarks"):
        second.predict(array, affine=image.affine, points_mm=few)


def test_the_card_tells_of_the_first_look(two):
    first, second = (
        archive.read(two / f"{name}.zip")["README.md"].decode() for name in ("first", "second")
    )
    assert "--pose_from=FIRST_ANSWERS" in second and "points_mm=first.points_mm" in second
    assert "pose" not in first


def test_it_is_asked_for_where_it_is_needed(two, tmp_path, cache_dir):
    table = two / "first" / "every" / "predictions.csv"
    for name, more, words in (
        ("first", {"pose_from": table}, "in any pose; leave it out"),
        ("second", {}, "takes images in one pose"),
        ("second", {"pose_from": tmp_path / "no"}, "no predictions.csv of"),
    ):
        with pytest.raises(UserError, match=words):
            ask(two / f"{name}.zip", two / "data", tmp_path / "out", cache_dir, **more)
    assert not (tmp_path / "out").exists()


def test_a_pose_that_is_none_is_refused(two):
    files = archive.read(two / "second.zip")
    pose = json.loads(files[bundle.ABOUT])["trained"]["info"]["pose"]
    flat = [[name, [1.0, 2.0, 3.0]] for name, _ in pose]
    ragged = [[pose[0][0], pose[0][1][:2]], *pose[1:]]
    for bad in (
        pose[:2],
        [[name, place[:2]] for name, place in pose],
        flat,
        ragged,
        [["a", place] for _, place in pose],
    ):
        with pytest.raises(UserError, match="pose"):
            bundle.opened(rewritten(files, trained__info__pose=bad), where="b")
