import csv
import dataclasses
import functools
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from medjax.data import labelled, preprocess, source
from medjax.data.options import DataOptions
from medjax.data.subjects import UNKNOWN
from medjax.errors import UserError
from tests.conftest import ROOT, real_data


def load(name, cache, **options):
    return source.load(name, options=DataOptions(**options), cache_dir=cache)


def prepared(cache):
    """What lies in the cache, but for the lock."""
    return [p for p in cache.rglob("*") if p.is_file() and p.name != ".lock"]


SIZES = (("train", 20), ("val", 8), ("test", 8))


def write_npz(path, *, side=8, space=2, channels=(), labels=None, **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in SIZES:
        arrays[f"{split}_images"] = rng.integers(0, 255, (n, *(side,) * space, *channels), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 2 if labels is None else labels[:n])[:, None]
    np.savez(path, **{**arrays, **changes})


@pytest.mark.parametrize(
    ("name", "space", "channels", "shape"),
    [
        ("pneumoniamnist", 2, (), (8, 8, 1)),
        ("nodulemnist3d", 3, (), (8, 8, 8, 1)),
        ("breastmnist", 2, (3,), (8, 8, 3)),
    ],
)
def test_medmnist_layout(tmp_path, cache_dir, name, space, channels, shape):
    write_npz(tmp_path / f"{name}.npz", space=space, channels=channels)
    found = load(name, cache_dir, data_dir=str(tmp_path))
    assert {k: len(s) for k, s in found.splits.items()} == {"train": 20, "validation": 8, "test": 8}
    train = found.splits["train"]
    assert train.image_shape == shape
    stored = np.load(tmp_path / f"{name}.npz")["train_images"].reshape(-1, *shape)
    np.testing.assert_array_equal(train.images(range(20)), stored)
    assert train["label"].tolist() == [0, 1] * 10
    assert found.report_split == "test"


def test_larger_images_are_a_set_of_their_own_and_a_test_split_may_be_held_back(
    tmp_path, cache_dir
):
    write_npz(tmp_path / "adrenalmnist3d_64.npz", side=6, space=3)
    with np.load(tmp_path / "adrenalmnist3d_64.npz") as stored:
        kept = {name: stored[name] for name in stored.files if not name.startswith("test_")}
    np.savez(tmp_path / "adrenalmnist3d_64.npz", **kept)
    found = load("adrenalmnist3d_64", cache_dir, data_dir=str(tmp_path))
    assert set(found.splits) == {"train", "validation"} and found.report_split == "validation"
    assert found.info.classes == ("normal", "hyperplasia")
    with pytest.raises(UserError, match=r"bloodmnist_224 is not downloaded: fetch"):
        load("bloodmnist_224", cache_dir)


def test_images_are_brought_to_another_size(tmp_path, cache_dir):
    write_npz(tmp_path / "pneumoniamnist.npz")
    found = load("pneumoniamnist", cache_dir, data_dir=str(tmp_path), image_size=16)
    train = found.splits["train"]
    stored = np.load(tmp_path / "pneumoniamnist.npz")["train_images"]
    assert train.image_shape == (16, 16, 1)
    pairs = train.images(range(20))[..., 0].reshape(20, 8, 2, 8, 2).mean((2, 4))
    assert np.corrcoef(pairs.ravel(), stored.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((20, 3), int), "each image must have 14 findings"),
        (np.full((20, 14), 2), "findings are 1 or 0; there is 2"),
    ],
)
def test_findings_of_chestmnist(tmp_path, cache_dir, labels, message):
    rng = np.random.default_rng(0)
    right = {f"{s}_labels": rng.integers(0, 2, (n, 14)) for s, n in SIZES}
    write_npz(tmp_path / "chestmnist.npz", **right)
    found = load("chestmnist", cache_dir, data_dir=str(tmp_path))
    assert len(found.info.findings) == 14 and found.info.summary == "14 findings"
    np.testing.assert_array_equal(found.splits["test"]["findings"], right["test_labels"])
    write_npz(tmp_path / "chestmnist.npz", **{**right, "train_labels": labels})
    with pytest.raises(UserError, match=message):
        load("chestmnist", cache_dir, data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.full(20, 7)}, "label 7 is out of range, there are classes 0 to 1"),
        ({"labels": np.zeros(20, int)}, "no example of pneumonia in the split train"),
        ({"train_labels": np.zeros((3, 1), int)}, "20 images but 3 labels in train"),
    ],
)
def test_bad_npz_is_told_and_leaves_nothing(tmp_path, changes, message):
    write_npz(tmp_path / "pneumoniamnist.npz", **changes)
    with pytest.raises(UserError, match=message):
        load("pneumoniamnist", tmp_path / "cache", data_dir=str(tmp_path))
    assert not prepared(tmp_path / "cache")


def test_two_processes_may_want_the_same_set(tmp_path):
    write_npz(tmp_path / "pneumoniamnist.npz")
    program = (
        "import sys\nfrom medjax.data import source\n"
        "from medjax.data.options import DataOptions\n"
        "found = source.load('pneumoniamnist', options=DataOptions(data_dir=sys.argv[1]),"
        " cache_dir=sys.argv[2])\nprint(found.digest)"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(tmp_path / "cache")]
    both = [
        subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    (first, error_1), (second, error_2) = (p.communicate(timeout=120) for p in both)
    first, second = (text.split()[-1:] for text in (first, second))  # behind words of others
    assert first == second, error_1 + error_2
    assert len(first[0]) == 40
    # The cache lies in the data here, and what is written into it makes no other set of them.
    assert len(list((tmp_path / "cache" / "datasets" / "pneumoniamnist").iterdir())) == 1


def test_the_digest_of_a_set_changes_with_its_data(tmp_path):
    write_npz(tmp_path / "pneumoniamnist.npz")
    before = load("pneumoniamnist", tmp_path / "a", data_dir=str(tmp_path)).digest
    assert before == load("pneumoniamnist", tmp_path / "b", data_dir=str(tmp_path)).digest
    write_npz(tmp_path / "pneumoniamnist.npz", test_labels=np.arange(8)[:, None] // 4)
    assert before != load("pneumoniamnist", tmp_path / "a", data_dir=str(tmp_path)).digest


def test_not_an_npz_and_missing(tmp_path, cache_dir):
    with pytest.raises(UserError, match=r"holds no pneumoniamnist\.npz"):
        load("pneumoniamnist", cache_dir, data_dir=str(tmp_path))
    with pytest.raises(UserError, match="no such file or folder"):
        load("pneumoniamnist", cache_dir, data_dir=str(tmp_path / "nowhere"))
    (tmp_path / "pneumoniamnist.npz").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        load("pneumoniamnist", cache_dir, data_dir=str(tmp_path))
    with pytest.raises(UserError, match="did you mean pneumoniamnist"):
        load("pneumonianist", cache_dir)


def test_a_pickle_in_an_npz_does_not_run(tmp_path, cache_dir):
    np.savez(
        tmp_path / "pneumoniamnist.npz",
        **{
            f"{s}_{k}": np.array([{"a": 1}], dtype=object)
            for s in ("train", "val", "test")
            for k in ("images", "labels")
        },
    )
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        load("pneumoniamnist", cache_dir, data_dir=str(tmp_path))


def test_a_folder_a_class(folder_of_images, cache_dir):
    found = load("image_folder", cache_dir, data_dir=str(folder_of_images))
    assert found.info.classes == ("bright", "dark")
    assert sum(len(s) for s in found.splits.values()) == 24
    for split in found.splits.values():
        means = split.images(range(len(split))).mean((1, 2, 3))
        np.testing.assert_array_equal(split["label"], (means < 120).astype(int))
    cases = [c for s in found.splits.values() for c in s.case_id]
    assert len(set(cases)) == 24
    assert "bright/00.png" in cases


def test_preparing_happens_once_and_again_when_a_file_changes(folder_of_images, cache_dir):
    said = []

    def again():
        source.load(
            "image_folder",
            options=DataOptions(data_dir=str(folder_of_images)),
            cache_dir=cache_dir,
            say=said.append,
        )

    again()
    again()
    assert len(said) == 1
    Image.fromarray(np.full((10, 12), 255, np.uint8)).save(folder_of_images / "bright" / "00.png")
    again()
    assert len(said) == 2


def test_blocks_of_files_are_subjects(folder_of_images, cache_dir):
    found = load("image_folder", cache_dir, data_dir=str(folder_of_images), subject_block=2)
    subjects = {s for split in found.splits.values() for s in split.subject_id}
    assert subjects == {f"{c}/{b:04d}" for c in ("bright", "dark") for b in range(6)}


def test_split_folders(folder_of_images, tmp_path, cache_dir):
    for split in ("train", "val", "test"):
        (tmp_path / "splits").mkdir(exist_ok=True)
        (folder_of_images.parent / "splits" / split).mkdir()
    for label in ("bright", "dark"):
        for i, file in enumerate(sorted((folder_of_images / label).iterdir())):
            target = tmp_path / "splits" / ("train", "val", "test")[i % 3] / label
            target.mkdir(exist_ok=True)
            file.rename(target / file.name)
    found = load("image_folder", cache_dir, data_dir=str(tmp_path / "splits"))
    assert {k: len(s) for k, s in found.splits.items()} == {"train": 8, "validation": 8, "test": 8}


def table(folder, rows, header=("image", "dx", "split", "patient", "sex")):
    with (folder / "metadata.csv").open("w", newline="") as f:
        csv.writer(f).writerows([header, *rows])


COLUMNS = {
    "path_column": "image",
    "label_column": "dx",
    "subject_column": "patient",
    "path_suffix": ".png",
    "metadata_columns": ("sex",),
}


def rows_of(folder):
    out = []
    for label in ("bright", "dark"):
        for i in range(12):
            out.append([f"{label}/{i:02d}", label, ("train", "val")[i % 2], f"{label}{i % 4}", "f"])
    return out


def test_metadata_csv(folder_of_images, cache_dir):
    table(folder_of_images, rows_of(folder_of_images))
    found = load("image_folder", cache_dir, data_dir=str(folder_of_images), **COLUMNS)
    assert set(found.splits) == {"train", "validation"}
    assert found.report_split == "validation"
    assert found.splits["train"].metadata[0] == {"sex": "f"}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda r: r.__setitem__(0, ["bright/00", "bright", "val", "bright2", "f"]),
            {},
            "subject 'bright2' is in the splits",
        ),
        (
            lambda r: r.__setitem__(3, ["bright/99", "bright", "val", "bright3", "f"]),
            {},
            r"line 5: no such image file: .*99\.png",
        ),
        (lambda r: r.__setitem__(3, ["", "bright", "val", "x", "f"]), {}, r"line 5: \w+ is empty"),
        (
            lambda r: r.__setitem__(3, ["bright/03", "bright", "", "x", "f"]),
            {},
            "line 5: has no split",
        ),
        (
            lambda r: r.__setitem__(3, ["bright/03", "bright", "hold", "x", "f"]),
            {},
            "unknown split",
        ),
        (
            lambda r: r.__setitem__(3, ["bright/03", "bright", "val", "NA", "f"]),
            {},
            "line 5: the subject is empty",
        ),
        (
            lambda r: r.__setitem__(3, ["bright/03", "nan", "val", "x", "f"]),
            {},
            "is empty; fill it",
        ),
        (lambda r: r.append(r[0]), {}, "named more than once"),
        (lambda r: None, {"label_column": "diagnosis"}, "unknown column"),
        (lambda r: None, {"subject_column": "pateint"}, "did you mean patient"),
        (lambda r: r.clear(), {}, "has no rows"),
    ],
)
def test_bad_tables(folder_of_images, tmp_path, change, options, message):
    rows = rows_of(folder_of_images)
    change(rows)
    table(folder_of_images, rows)
    with pytest.raises(UserError, match=message):
        load(
            "image_folder",
            tmp_path / "cache",
            data_dir=str(folder_of_images),
            **{**COLUMNS, **options},
        )
    assert not prepared(tmp_path / "cache"), "a failed preparation leaves files"


def test_bad_folders(folder_of_images, tmp_path):
    def fails(message, folder=folder_of_images):
        with pytest.raises(UserError, match=message):
            load("image_folder", tmp_path / "cache", data_dir=str(folder))

    Image.fromarray(np.zeros((9, 12), np.uint8)).save(folder_of_images / "dark" / "odd.png")
    fails(r"odd\.png: shape \(9, 12\) where the first image has \(10, 12\); give `image_size=N`")
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(folder_of_images / "dark" / "odd.png")
    fails(r"odd\.png: 3 channels where the first image has 1")
    (folder_of_images / "dark" / "odd.png").write_bytes(b"\x89PNG broken")
    fails(r"odd\.png: unreadable or truncated")
    (folder_of_images / "dark" / "odd.png").unlink()
    (folder_of_images / "empty").mkdir()
    fails("no images of the class 'empty'")
    fails("no such folder|no such file", folder_of_images / "nowhere")
    (tmp_path / "nothing").mkdir()
    fails("no images found", tmp_path / "nothing")
    (tmp_path / "one" / "only").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "one" / "only" / "a.png")
    fails("only the class 'only'", tmp_path / "one")


def test_image_size_makes_shapes_equal(folder_of_images, cache_dir):
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(folder_of_images / "dark" / "big.png")
    found = load("image_folder", cache_dir, data_dir=str(folder_of_images), image_size=6)
    assert found.splits["train"].image_shape == (6, 6, 1)


def test_duplicates_are_reported(folder_of_images, cache_dir):
    pixels = (folder_of_images / "dark" / "00.png").read_bytes()
    for i in range(12):
        (folder_of_images / "dark" / f"{i:02d}.png").write_bytes(pixels)
    found = load("image_folder", cache_dir, data_dir=str(folder_of_images))
    assert any("also in train, pixel for pixel" in note for note in found.notes)


def test_brain_planes(cache_dir):
    found = load("brain_planes", cache_dir, subjects=20)
    assert sum(len(s) for s in found.splits.values()) == 200
    assert set(found.splits) == {"train", "validation", "test"}
    assert found.info.subjects == "synthetic, 20"
    assert found.info.synthetic


def test_preprocessing_is_fitted_to_the_range():
    eight = preprocess.fit(lambda i: np.full((len(i), 2, 2, 1), 51, np.uint8), 3)
    assert (eight.low, eight.high) == (0.0, 255.0)
    assert eight.mean == pytest.approx((0.2,))
    rng = np.random.default_rng(0)
    deep = preprocess.fit(lambda i: rng.normal(1000, 100, (len(i), 8, 8, 2)).astype(np.float32), 50)
    assert 700 < deep.low < 800
    assert 1200 < deep.high < 1300
    assert deep.mean == pytest.approx((0.5, 0.5), abs=0.03)
    unit = deep.unit(np.array([0.0, 1e6]))
    assert unit.tolist() == [0.0, 1.0]


def test_of_deep_images_pixels_inside_of_masks_count():
    """As of CT: air and bone beyond the structure change nothing, unless there is no structure."""
    image = np.array([-1000.0, 40, 60, 50, 2000], np.float32)[None, :, None, None]
    mask = np.array([0, 1, 2, 1, 0], np.uint8)[None, :, None]
    inside = preprocess.fit(lambda i: image, 1, inside=lambda i: mask)
    assert (inside.low, inside.high) == pytest.approx((40, 60), abs=0.5)
    assert inside.mean == pytest.approx((0.5,))
    none = preprocess.fit(lambda i: image, 1, inside=lambda i: 0 * mask)
    assert none == preprocess.fit(lambda i: image, 1)
    eight = preprocess.fit(lambda i: image.astype(np.uint8), 1, inside=lambda i: mask)
    assert (eight.low, eight.high) == (0.0, 255.0)


def test_options_change_the_fingerprint(tmp_path):
    base = DataOptions()
    mark = functools.partial(DataOptions.fingerprint, apart_from=tmp_path)
    assert mark(base) == mark(DataOptions())
    assert mark(base) != mark(dataclasses.replace(base, image_size=7))


@pytest.mark.parametrize("cache", ["", "images", "cache", "images/cache"])
def test_a_file_changes_the_fingerprint_wherever_the_cache_is(tmp_path, cache):
    """About the set, the set's own folder, beside it, or in it; what a cache holds does not."""
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    options = DataOptions(data_dir=str(root))
    mark = functools.partial(options.fingerprint, apart_from=tmp_path / cache)
    (root / "a" / "1.png").touch()
    first = mark()
    for name in ("datasets/image_folder/x.npy", "compilation/y-cache", "subject.key"):
        (tmp_path / cache / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / cache / name).touch()
    assert mark() == first
    (root / "a" / "2.png").touch()
    assert mark() != first


def test_the_usual_columns_have_any_case(folder_of_images, cache_dir):
    rows = rows_of(folder_of_images)
    lines = ["Path,Label", *(f"{r[0]}.png,{r[1]}" for r in rows)]
    (folder_of_images / "metadata.csv").write_text("\n".join(lines) + "\n")
    found = load("image_folder", cache_dir, data_dir=str(folder_of_images))
    assert set(found.info.classes) == {r[1] for r in rows}


def test_the_real_pneumonia_set(cache_dir):
    found = load("pneumoniamnist", cache_dir, data_dir=str(real_data("pneumoniamnist")))
    assert {k: len(s) for k, s in found.splits.items()} == {
        "train": 4708,
        "validation": 524,
        "test": 624,
    }
    assert found.notes == (UNKNOWN, "8 images of validation also in train, pixel for pixel")


@pytest.mark.slow
def test_the_real_skin_lesions(cache_dir):
    found = load(
        "image_folder",
        cache_dir,
        data_dir=str(real_data("ham10000")),
        image_size=16,
        path_column="image_id",
        label_column="dx",
        path_folder="images",
        path_suffix=".jpg",
        metadata_columns=("age", "sex", "localization"),
    )
    assert len(found.info.classes) == 7
    assert {k: len(s) for k, s in found.splits.items()} == {"train": 1621, "validation": 288}


def test_the_real_mednist_folder(cache_dir):
    found = load("image_folder", cache_dir, data_dir=str(real_data("mednist")), subject_block=20)
    assert sum(len(s) for s in found.splits.values()) == 4800


def test_split_folders_beside_others_and_their_subjects(folder_of_images, tmp_path, cache_dir):
    root = tmp_path / "splits"
    for split in ("train", "val"):
        for label in ("bright", "dark"):
            (root / split / label).mkdir(parents=True)
            for i, file in enumerate(sorted((folder_of_images / label).iterdir())):
                (root / split / label / f"{i}.png").write_bytes(file.read_bytes())
    found = load("image_folder", cache_dir, data_dir=str(root), subject_block=4)
    assert len(set(found.splits["train"].subject_id)) == 6
    (root / "unlabelled").mkdir()
    with pytest.raises(UserError, match="'unlabelled' stands beside folders that name splits"):
        load("image_folder", cache_dir, data_dir=str(root))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ["/bright/00", "bright", "train", "bright0", "f"],
            "line 2: '/bright/00' leaves the folder",
        ),
        (["../bright/00", "bright", "train", "bright0", "f"], "leaves the folder"),
        (["bright/00", "bright", "train", " ", "f"], "line 2: the subject is empty"),
        (["bright/00", "bright", "train", "bright1 ", "f"], "subject 'bright1' is in the splits"),
    ],
)
def test_paths_and_subjects_of_a_table_are_checked(folder_of_images, tmp_path, row, message):
    rows = rows_of(folder_of_images)
    rows[0] = row
    table(folder_of_images, rows)
    with pytest.raises(UserError, match=message):
        load("image_folder", tmp_path / "cache", data_dir=str(folder_of_images), **COLUMNS)


def test_a_table_in_another_encoding(folder_of_images, tmp_path):
    (folder_of_images / "metadata.csv").write_bytes("image,dx\nä,b\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"metadata\.csv: not a CSV file in UTF-8"):
        load("image_folder", tmp_path / "cache", data_dir=str(folder_of_images))


def test_what_a_kill_has_left_of_a_set_is_removed(tmp_path):
    write_npz(tmp_path / "pneumoniamnist.npz")
    load("pneumoniamnist", tmp_path / "a", data_dir=str(tmp_path))
    (form,) = (tmp_path / "a" / "datasets" / "pneumoniamnist").iterdir()
    (ready,) = [path for path in form.iterdir() if path.is_dir()]
    shutil.rmtree(ready)
    (form / "incomplete.ABC_1.0.0").mkdir()
    load("pneumoniamnist", tmp_path / "a", data_dir=str(tmp_path))
    assert [path.name for path in form.iterdir() if path.is_dir()] == [ready.name]


def test_masks_among_the_images_of_a_class_are_left_out(tmp_path, cache_dir):
    """As BUSI has them."""
    for label in ("benign", "malignant"):
        (tmp_path / label).mkdir()
        for i in range(4):
            pixels = np.random.default_rng(i + len(label)).integers(0, 255, (8, 9), np.uint8)
            for ending in ("", "_mask", "_mask_1"):
                Image.fromarray(pixels).save(tmp_path / label / f"{label} ({i}){ending}.png")
    found = load("image_folder", cache_dir, data_dir=str(tmp_path))
    assert sum(len(split) for split in found.splits.values()) == 8
    assert any("16 masks of images" in note for note in found.notes)


@pytest.mark.parametrize("masks", ["labels", "masks", "Masks"])
def test_images_and_their_masks_are_no_classes(tmp_path, masks):
    for folder in ("images", masks):
        (tmp_path / folder).mkdir()
        for i in range(6):
            Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / folder / f"{i}.png")
    with pytest.raises(UserError, match="no classes but images and masks, which `medjax segment`"):
        labelled.scan(DataOptions(data_dir=str(tmp_path)))
    assert len(labelled.scan(DataOptions(data_dir=str(tmp_path), unlabelled=True)).rows) == 12
