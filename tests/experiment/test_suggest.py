"""What is chosen where nobody says it."""

import dataclasses
import types

import nibabel
import numpy as np
import pytest
from PIL import Image

from experiments import classify
from medjax import app
from medjax.data import catalogue
from medjax.data import suggest as data_suggest
from medjax.data.dataset import Dataset, Split
from medjax.data.options import DataOptions, LandmarkOptions
from medjax.data.pair_options import PairOptions
from medjax.data.suggest import Suggestion, suggest_batch, suggest_form, suggest_steps
from medjax.errors import UserError
from medjax.experiment.suggest import apply, take_trained
from medjax.tasks.classification.suggest import suggest
from medjax.tasks.temporal.suggest import suggest as suggest_of_sequences
from medjax.tasks.temporal.task import LOSSES
from medjax.train.record import write_json


def pictures(root, sizes, mode="L"):
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for i, size in enumerate(sizes):
            kind = mode[i % len(mode)] if isinstance(mode, list) else mode
            noise = np.random.default_rng(i).integers(0, 255, (*size, 3)).astype(np.uint8)
            Image.fromarray(noise).convert(kind).save(root / label / f"{i}.png")
    return DataOptions(data_dir=str(root))


def test_sizes_that_differ_are_brought_to_one(tmp_path):
    options = pictures(tmp_path / "s", [(100, 120), (90, 200), (300, 300)])
    assert suggest_form(options, accelerated=False)[0][:2] == ("image_size", 64)
    assert suggest_form(options, accelerated=True)[0][:2] == ("image_size", 160)


def test_small_images_of_one_size_stay(tmp_path):
    options = pictures(tmp_path / "s", [(28, 28)] * 3)
    assert suggest_form(options, accelerated=False) == []


def test_gray_among_colour(tmp_path):
    options = pictures(tmp_path / "s", [(28, 28)] * 5, mode=["L", "RGB", "RGB", "RGB", "L"])
    assert suggest_form(options, accelerated=False)[0][:2] == ("channels", "rgb")


def test_landmark_images_shrink_in_proportion(tmp_path):
    Image.new("L", (400, 800)).save(tmp_path / "x.png")
    (tmp_path / "landmarks.csv").write_text("path,name,x,y,spacing_mm\nx.png,p,3,4,1\n")
    options = LandmarkOptions(data_dir=str(tmp_path))
    assert suggest_form(options, accelerated=False)[0][:2] == ("image_shape", (192, 96))


def test_batches_and_steps_by_hand():
    assert suggest_batch(1000, most=64).value == 64
    assert suggest_batch(100, most=64).value == 16  # eight updates an epoch and more
    assert suggest_batch(5, most=64).value == 4
    assert suggest_steps(1000, 50, epochs=30, accelerated=False).value == 600
    assert suggest_steps(10, 5, epochs=30, accelerated=False).value == 300
    assert suggest_steps(10**6, 50, epochs=30, accelerated=False).value == 2000


def test_the_network_follows_the_images_and_the_device():
    for side, accelerated, model in (
        (28, False, "resnet_slim"),
        (28, True, "resnet18_28"),
        (128, False, "resnet_slim_224"),
        (128, True, "resnet18_224"),
    ):
        images = np.zeros((20, side, side), np.uint8)
        data = Dataset.from_arrays(images, [0, 1] * 10)
        assert suggest(data, accelerated)[0].value == model


def test_the_loss_of_sequences_is_one_of_the_task_that_was_given():
    marks = np.zeros((9, 6, 1))
    marks[:, [1, 4]] = 1.0  # a name twice in a sequence: planes, unless the task is given
    names = list(map(str, range(9)))
    targets = {"marks": marks, "frame_ms": np.ones(9)}
    split = Split(targets, names, names, [{}] * 9, lambda i: None, (6, 4, 4, 1), np.dtype("uint8"))
    data = types.SimpleNamespace(splits={"train": split})
    for given, task in (("", "planes"), ("frames", "frames"), ("planes", "planes")):
        suggested = {s.name: s.value for s in suggest_of_sequences(data, False, given_task=given)}
        assert (suggested["task"], suggested["loss"]) == (task, LOSSES[task][0])


def test_what_was_given_is_not_chosen():
    config = app.parse(classify.Config, ["classify", "--steps=7", "my_images"], "classify")
    assert config.data.data_dir == "my_images"
    assert config.files.auto
    assert set(config.files.given) == {"steps"}
    said = []
    made = apply(
        config,
        [
            Suggestion("steps", 100, "x"),
            Suggestion("batch", 8, "20 cases"),
            Suggestion("no", 1, ""),
        ],
        say=said.append,
    )
    assert (made.training.steps, made.training.batch) == (7, 8)
    assert said == ["chosen: --batch=8 (20 cases)"]
    assert dataclasses.asdict(made.predictor) == dataclasses.asdict(config.predictor)


def test_two_folders_are_not_taken():
    with pytest.raises(UserError, match=r"unexpected: 'b'; only --data_dir may be given"):
        app.parse(classify.Config, ["classify", "a", "b"], "classify")
    with pytest.raises(UserError, match=r"unexpected: 'b'; only --data_dir may be given"):
        app.parse(classify.Config, ["classify", "--data_dir=a", "b"], "classify")


@pytest.mark.slow
def test_a_folder_alone_trains_and_goes_on_with_the_same_choices(tmp_path, cache_dir, capsys):
    pictures(tmp_path / "s", [(20, 24), (30, 22), (26, 26)] * 5)
    flags = [str(tmp_path / "s"), "--steps=4", "--bootstrap=20", f"--workdir={tmp_path / 'w'}"]
    for _ in range(2):
        config = app.parse(
            classify.Config, ["classify", *flags, f"--cache_dir={cache_dir}"], "classify"
        )
        done = classify.main(config)
        assert done.report["settings"]["image_size"] == 28
    out = capsys.readouterr().out
    assert out.count("chosen: --image_size=28") == 1


def volumes(root, shape, *, turned=False):
    for i, label in enumerate(("a", "b")):
        (root / label).mkdir(parents=True)
        affine = np.diag([1.0, 1, 1, 1])
        if turned and i:
            affine = affine[:, [1, 2, 0, 3]]
        image = np.random.default_rng(i).integers(0, 255, shape).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(image, affine), root / label / "x.nii.gz")
    return DataOptions(data_dir=str(root))


def test_the_longest_side_counts(tmp_path):
    options = volumes(tmp_path / "thin", (100, 100, 12))
    assert suggest_form(options, accelerated=False)[0][:2] == ("image_size", 32)
    options = pictures(tmp_path / "long", [(60, 900)] * 3)
    assert suggest_form(options, accelerated=False)[0][:2] == ("image_size", 64)


def test_volumes_of_one_stored_shape_may_lie_otherwise(tmp_path):
    options = volumes(tmp_path, (20, 24, 28), turned=True)
    assert suggest_form(options, accelerated=False)[0].name == "image_size"


def test_bad_files_are_passed_over_where_they_may(tmp_path):
    options = pictures(tmp_path / "s", [(28, 28)] * 3)
    (tmp_path / "s" / "a" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"0\.png"):
        suggest_form(options, accelerated=False)
    assert suggest_form(dataclasses.replace(options, skip_bad=True), accelerated=False) == []


def test_every_kind_of_set_has_its_form():
    assert set(data_suggest._FORMS) == set(catalogue._KINDS)
    assert suggest_form(PairOptions(), accelerated=False) == []


def test_a_run_is_reported_by_its_settings_under_their_names_of_today(tmp_path):
    """None of what is its own, given anew, or of folds; what differs alone counts as chosen."""
    stored = {"steps": 77, "views": 8, "loss": "own:focal", "seeds": 3, "folds": 5, "flip": [0]}
    write_json(tmp_path / "config.json", {"dataset": "image_folder", "best": "auc", **stored})
    flags = [f"--workdir={tmp_path}", "--eval_only", "--seeds=2"]
    found = take_trained(app.parse(classify.Config, ["classify", "somewhere", *flags], "classify"))
    assert (found.training.steps, found.predictor.tta, found.training.seeds) == (77, 8, 2)
    assert (found.augmentation.flip, found.loss) == ((0,), "cross_entropy")
    assert found.dataset == "" and found.cross_validation.folds == 0
    assert set(found.files.chosen) == {"steps", "tta", "flip"}
