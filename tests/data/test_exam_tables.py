"""Tables of exam images: published sets as they lie on disk, and several findings an image."""

import csv

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax.errors import UserError
from tests.conftest import real_data


def write(folder, header, rows, *, table="metadata.csv", images="images", size=(24, 20)):
    """Pictures that are as bright as their number, and the table of them."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        name = row[0] if "." in row[0] else f"{row[0]}.jpg"
        Image.fromarray(np.full(size, 5 * number, np.uint8)).save(folder / images / name)
    with (folder / table).open("w", newline="") as f:
        csv.writer(f).writerows([header, *rows])
    return folder


@pytest.fixture
def findings(tmp_path):
    rows = [[f"{i:02d}.png", i % 2, "" if i == 3 else 1 - i % 2, f"p{i // 2}"] for i in range(24)]
    return write(tmp_path / "set", ["path", "mass", "nodule", "patient_id"], rows, images=".")


def test_findings_are_there_absent_or_not_known(findings, cache_dir):
    found = medjax.open_dataset(findings, finding_columns=("mass", "nodule"), cache_dir=cache_dir)
    assert found.info.findings == ("mass", "nodule") and not found.info.classes
    train = found.splits["train"]
    by_case = dict(zip(train.case_id, train["findings"].tolist(), strict=True))
    number = next(n for n in by_case if n != "03.png")
    assert by_case[number] == [int(number[:2]) % 2, 1 - int(number[:2]) % 2]
    unknown = [
        s["findings"][s.case_id.index("03.png")]
        for s in found.splits.values()
        if "03.png" in s.case_id
    ]
    assert unknown[0][0] == 1 and np.isnan(unknown[0][1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finding_columns": ("mass", "tumour")}, "unknown column of .* 'tumour'"),
        ({"finding_columns": ("patient_id",)}, "line 2: patient_id is 'p0'; a finding is 1, 0"),
        ({"quantity_columns": ("patient_id",)}, "line 2: patient_id is 'p0'; a quantity is a num"),
        (
            {"finding_columns": ("mass",), "quantity_columns": ("mass",)},
            "`finding_columns` with `quantity_columns`: give one of the two",
        ),
        (
            {"finding_columns": ("mass",), "taxonomy": "tree.csv"},
            "`taxonomy` is a tree of classes; `finding_columns` are none",
        ),
    ],
)
def test_what_are_no_findings_is_told(findings, cache_dir, options, message):
    with pytest.raises(UserError, match=message) as error:
        medjax.open_dataset(findings, cache_dir=cache_dir, **options)
    assert "\n" not in str(error.value)


def test_ham10000_lies_as_it_is_downloaded(tmp_path, cache_dir):
    rows = [
        [f"HAM_{i}", f"ISIC_{i}", ("mel", "nv")[i % 2], 40 + i, "male", "back", split]
        for i, split in enumerate(["train"] * 6 + ["val"] * 4)
    ]
    header = ["lesion_id", "image_id", "dx", "age", "sex", "localization", "split"]
    write(tmp_path, header, [[r[1], *r] for r in rows])  # pictures are called by the image
    with (tmp_path / "metadata.csv").open("w", newline="") as f:
        csv.writer(f).writerows([header, *rows])
    found = medjax.open_dataset("ham10000", data_dir=str(tmp_path), cache_dir=cache_dir)
    assert found.info.classes == ("mel", "nv") and found.info.licence == "CC BY-NC 4.0"
    train = found.splits["train"]
    assert train.metadata[0] == {"age": "40", "sex": "male", "localization": "back"}
    assert found.info.subjects == "column lesion_id of metadata.csv, 10"


def test_brixia_is_six_zones_a_film_by_patient(tmp_path, cache_dir):
    zones = [f"{who}_{zone}" for who in ("senior", "junior") for zone in "ABCDEF"]
    header = ["image", "patient", "sex", "age", "view", "split", *zones, "senior_global"]
    rows = [
        [f"{i}.jpg", str(i), "M", 50, "PA", split, *[j % 4 for j in range(12)], i]
        for i, split in enumerate(["train"] * 4 + ["val"] * 2)
    ]
    write(tmp_path, header, rows, table="scores.csv")
    found = medjax.open_dataset(
        "brixia_cxr", data_dir=str(tmp_path), cache_dir=cache_dir, image_size=16
    )
    assert found.info.classes == ("0", "1", "2", "3") and found.info.ordered
    train = found.splits["train"]
    assert (len(train), len(set(train.subject_id))) == (24, 4)
    assert train["label"][:6].tolist() == [0, 1, 2, 3, 0, 1]
    assert train.metadata[1]["zone"] == "B" and train.metadata[1]["junior"] == "3"
    assert train.case_id[1] == "images/0.jpg:B"


@pytest.mark.parametrize(
    ("name", "cases", "classes"),
    [
        ("ham10000", (1621, 288), 7),
        ("brixia_cxr", (288, 42), 4),
        ("adrenalmnist3d_64", (1188, 98), 2),
    ],
)
@pytest.mark.slow
def test_real_sets_are_read_by_their_tables(name, cases, classes, cache_dir):
    folder = real_data(name)
    found = medjax.open_dataset(name, data_dir=str(folder), cache_dir=cache_dir)
    assert tuple(len(s) for s in found.splits.values()) == cases
    assert len(found.info.classes) == classes


@pytest.mark.slow
def test_a_gallery_is_trained_on(cache_dir):
    folder = real_data("covid_cxr")
    found = medjax.open_dataset("covid_cxr", data_dir=str(folder), cache_dir=cache_dir)
    assert sum(len(s) for s in found.splits.values()) == 145
    assert len({who for s in found.splits.values() for who in s.subject_id}) == 68
