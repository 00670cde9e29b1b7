"""One's own folders: what a table or layout must not lose, whatever the kind of set."""

import csv
import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image

from medjax.data import catalogue, slicer, source
from medjax.data.options import DataOptions, LandmarkOptions
from medjax.data.sequence_options import SequenceOptions
from medjax.data.subjects import UNKNOWN
from medjax.errors import UserError

OPTIONS = {
    "image_folder": DataOptions,
    "landmark_folder": LandmarkOptions,
    "sequence_folder": SequenceOptions,
}


def load(kind, root, cache, **options):
    return source.load(kind, options=OPTIONS[kind](data_dir=str(root), **options), cache_dir=cache)


def write(path, rows):
    with path.open("w", newline="") as f:
        csv.writer(f).writerows(rows)


def picture(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make(kind, root):
    """Twelve images of six patients, and the table that says so."""
    root.mkdir(exist_ok=True)
    if kind == "image_folder":
        name, rows = "metadata.csv", [["path", "label", "patient"]]
        for i in range(12):
            picture(root / f"{i}.png", i)
            rows.append([f"{i}.png", "ab"[i % 2], f"p{i // 2}"])
    elif kind == "landmark_folder":
        name, rows = "landmarks.csv", [["path", "landmark", "x", "y", "spacing_mm", "patient"]]
        for i in range(12):
            picture(root / f"{i}.png", i)
            rows.append([f"{i}.png", "tip", 3, 4, 0.5, f"p{i // 2}"])
    else:
        name, rows = "frames.csv", [["case", "name", "index", "patient"]]
        for i in range(12):
            for t in range(3):
                picture(root / f"c{i}" / f"{t}.png", 10 * i + t)
            rows.append([f"c{i}", "ED", 1, f"p{i // 2}"])
    write(root / name, rows)
    return root / name, rows


@pytest.fixture(params=OPTIONS)
def folder(request, tmp_path):
    table, rows = make(request.param, tmp_path / "set")
    return request.param, table, rows


def subjects_of(found):
    return {who for split in found.splits.values() for who in split.subject_id}


def test_a_usual_column_of_subjects_is_found_and_said(folder, tmp_path):
    kind, table, _ = folder
    found = load(kind, table.parent, tmp_path / "cache")
    assert subjects_of(found) == {f"p{i}" for i in range(6)}
    assert found.info.subjects == f"column patient of {table.name}, 6"
    for a in found.splits.values():
        for b in found.splits.values():
            assert a is b or not set(a.subject_id) & set(b.subject_id)
    assert UNKNOWN not in found.notes


def test_without_such_a_column_that_is_said_too(folder, tmp_path):
    kind, table, rows = folder
    write(table, [row[:-1] for row in rows])
    found = load(kind, table.parent, tmp_path / "cache")
    assert found.info.subjects == ""
    assert UNKNOWN in found.notes
    assert len(subjects_of(found)) == 12


@pytest.mark.parametrize("wish", ["subject_column", "split_column"])
def test_a_column_that_was_wished_for_must_be_there(folder, tmp_path, wish):
    kind, table, _ = folder
    with pytest.raises(UserError, match=r"unknown column of .* 'pateint': did you mean patient"):
        load(kind, table.parent, tmp_path / "cache", **{wish: "pateint"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[3].append("more"), "line 4: has . fields where the header has"),
        (lambda rows: rows[0].__setitem__(-1, rows[0][0]), "stands twice in its header"),
        (lambda rows: rows[4].__setitem__(-1, ""), "line 5: the subject is empty"),
        (lambda rows: rows[4].__setitem__(0, "nowhere"), "line 5: no such .* file: .*nowhere"),
    ],
)
def test_rows_that_are_wrong_are_told_with_their_line(folder, tmp_path, change, words):
    kind, table, rows = folder
    change(rows)
    write(table, rows)
    with pytest.raises(UserError, match=words):
        load(kind, table.parent, tmp_path / "cache")


@pytest.mark.parametrize(
    ("kind", "column", "values"),
    [
        ("landmark_folder", "patient", ("p0", "p1")),
        ("landmark_folder", "split", ("train", "val")),
        ("landmark_folder", "spacing_mm", ("0.5", "0.6")),
        ("sequence_folder", "patient", ("p0", "p1")),
        ("sequence_folder", "split", ("train", "val")),
    ],
)
def test_rows_of_one_image_that_contradict(kind, column, values, tmp_path):
    table, rows = make(kind, tmp_path / "set")
    at = rows[0].index(column) if column in rows[0] else len(rows[0])
    twice = [
        [*row[:at], "train" if column == "split" else row[at], *row[at + 1 :]] for row in rows[1:]
    ]
    twice.append([*twice[0][:at], values[1], *twice[0][at + 1 :]])
    twice[-1][1] = "other"
    twice[0][at] = values[0]
    write(table, [[*rows[0][:at], column, *rows[0][at + 1 :]], *twice])
    words = f"line 14: .* has {column} '{values[1]}', but '{values[0]}' in .*line 2; rows of one"
    with pytest.raises(UserError, match=words):
        load(kind, table.parent, tmp_path / "cache")


@pytest.mark.parametrize("kind", ["image_folder", "landmark_folder"])
def test_images_that_no_row_names_are_counted(kind, tmp_path):
    table, rows = make(kind, tmp_path / "set")
    write(table, rows[:-1])
    found = load(kind, table.parent, tmp_path / "cache")
    assert f"1 image left out that no row of {table.name} names: 11.png" in found.notes


def test_a_sequence_that_no_row_names_is_an_error(tmp_path):
    table, rows = make("sequence_folder", tmp_path / "set")
    write(table, rows[:-1])
    with pytest.raises(UserError, match=r"set/c11: no row of frames\.csv names a frame of it"):
        load("sequence_folder", table.parent, tmp_path / "cache")


@pytest.mark.parametrize("kind", ["image_folder", "landmark_folder"])
def test_two_names_of_one_file(kind, tmp_path):
    table, rows = make(kind, tmp_path / "set")
    rows[4][0] = rows[3][0].removesuffix(".png")
    write(table, rows)
    with pytest.raises(UserError, match=r"'2' is the file that is called '2\.png' in "):
        load(kind, table.parent, tmp_path / "cache")


def test_left_out_files_are_counted_and_hidden_ones_not(folder_of_images, cache_dir):
    (folder_of_images / "dark" / "notes.txt").write_text("x")
    (folder_of_images / "dark" / "._00.png").write_bytes(b"x")
    (folder_of_images / ".ipynb_checkpoints").mkdir()
    picture(folder_of_images / ".ipynb_checkpoints" / "00.png", 0)
    found = load("image_folder", folder_of_images, cache_dir)
    assert sum(map(len, found.splits.values())) == 24
    assert "1 file of other kinds left out (1 .txt)" in found.notes


def test_classes_that_differ_by_blanks_are_one(tmp_path, cache_dir):
    table, rows = make("image_folder", tmp_path / "set")
    for row in rows[1::4]:
        row[1] = f" {row[1]} "
    write(table, rows)
    assert load("image_folder", table.parent, cache_dir).info.classes == ("a", "b")


def test_blocks_follow_the_numbers_of_frames(tmp_path, cache_dir):
    for label in "ab":
        for i in range(12):
            picture(tmp_path / "set" / label / f"{i}.png", i)
    found = load("image_folder", tmp_path / "set", cache_dir, subject_block=4)
    of_case = {
        case: who
        for split in found.splits.values()
        for case, who in zip(split.case_id, split.subject_id, strict=True)
    }
    assert {of_case[f"a/{i}.png"] for i in (4, 5, 6, 7)} == {"a/0001"}
    assert of_case["a/10.png"] == of_case["a/11.png"] == "a/0002"


@pytest.fixture
def lists(tmp_path):
    """Four volumes with a list beside each."""
    for i in range(4):
        volume = np.random.default_rng(i).normal(size=(8, 8, 8)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / f"v{i}.nii.gz")
        slicer.write_json(tmp_path / f"v{i}.mrk.json", {"tip": (-1.0, -2.0, 3.0)})
    return tmp_path


def table_beside(root, *lines):
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")


def test_a_row_beside_lists_that_matches_no_image_is_counted(lists, cache_dir):
    table_beside(lists, "path,site", *(f"v{i},a" for i in range(4)), "v9,b")
    found = load("landmark_folder", lists, cache_dir)
    assert "1 row of metadata.csv without an image: v9" in found.notes
    assert sum(map(len, found.splits.values())) == 4


@pytest.mark.parametrize("column", ["split", "subject"])
def test_a_row_that_would_lose_split_or_subject_is_an_error(lists, tmp_path, column):
    values = [f"v{i},{'train' if i else 'val'}" for i in range(3)]
    table_beside(lists, f"path,{column}", *values, "v_3,train")
    with pytest.raises(
        UserError,
        match=rf"v3\.nii\.gz: no row of metadata\.csv names it, so its "
        rf"{column} is not known; it names v_3, which is no image",
    ):
        load("landmark_folder", lists, tmp_path / "cache")


def test_lists_without_partners(lists, tmp_path):
    (lists / "v3.nii.gz").rename(lists / "w3.nii.gz")
    with pytest.raises(
        UserError,
        match=r"1 image without a list left out: w3\.nii\.gz; 1 list "
        r"without an image left out: v3\.mrk\.json; a list has",
    ):
        load("landmark_folder", lists, tmp_path / "cache")
    (lists / "v3.mrk.json").unlink()
    found = load("landmark_folder", lists, tmp_path / "cache")
    assert "1 image without a list left out: w3.nii.gz" in found.notes


def test_half_a_landmark_is_none(tmp_path):
    table, _ = make("landmark_folder", tmp_path / "set")
    write(table, [["path", "a_x", "a_y", "b_x"], ["0.png", 1, 2, 3]])
    with pytest.raises(UserError, match="the column b_x has no partner for y"):
        load("landmark_folder", table.parent, tmp_path / "cache")
    write(table, [["path", "landmark", "x", "y"], ["0.png", "a", 1, ""]])
    with pytest.raises(UserError, match="line 2: of the landmark 'a' 1 of 2 coordinates are empty"):
        load("landmark_folder", table.parent, tmp_path / "cache")


def test_volumes_without_an_orientation_have_no_landmarks_in_the_world(lists, tmp_path):
    image = nibabel.load(lists / "v0.nii.gz")
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, lists / "v0.nii.gz")
    with pytest.raises(UserError, match=r"v0\.nii\.gz: .*sform.*qform"):
        load("landmark_folder", lists, tmp_path / "cache")


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_set_is_known_by_its_folder(kind, tmp_path):
    make(kind, tmp_path / "set")
    assert catalogue.infer(OPTIONS[kind](data_dir=str(tmp_path / "set"))) == kind


def test_what_a_set_does_not_read_is_refused(tmp_path):
    with pytest.raises(UserError, match="`data_dir` is not read by the set brain_planes"):
        source.check_read("brain_planes", DataOptions(data_dir=str(tmp_path)), ["data_dir"])
    with pytest.raises(UserError, match="no set of this kind; looked for"):
        catalogue.infer(DataOptions(data_dir=str(tmp_path)))
    with pytest.raises(UserError, match="no such file or folder"):
        catalogue.infer(DataOptions(data_dir=str(tmp_path / "no")))


def test_an_empty_class_of_a_held_back_split_is_a_note(tmp_path, cache_dir):
    table, rows = make("image_folder", tmp_path / "set")
    for i, row in enumerate(rows[1:]):
        row.append("train" if i < 6 else "val")
        row[1] = "ab"[i % 2] if i < 6 else "a"
    write(table, [[*rows[0], "split"], *rows[1:]])
    found = load("image_folder", table.parent, cache_dir)
    assert any("no example of b in the split validation" in note for note in found.notes)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_column_of_splits_has_any_case(kind, tmp_path):
    table, rows = make(kind, tmp_path / "set")
    for i, row in enumerate(rows[1:]):
        row.append(("train", "val", "test")[i // 2 % 3])
    write(table, [[*rows[0], "Split"], *rows[1:]])
    found = load(kind, table.parent, tmp_path / "cache")
    assert {name: len(split) for name, split in found.splits.items()} == {
        "train": 4,
        "validation": 4,
        "test": 4,
    }


@pytest.mark.parametrize("kind", OPTIONS)
def test_patients_by_their_headers_are_not_torn_apart_in_any_set(kind, tmp_path):
    dicom = pytest.importorskip("tests.data.test_dicom", reason="needs the extra `dicom`")
    table, rows = make(kind, tmp_path / "set")
    for i, row in enumerate(rows[1:]):
        pixels = np.random.default_rng(i).integers(0, 99, (3, 8, 8)).astype(np.uint8)
        row[0] = f"d{i}.dcm"
        dicom.saved(
            table.parent / row[0],
            pixels if kind == "sequence_folder" else pixels[0],
            PatientID=f"Kim{i // 3}",
        )
        row[-1] = f"s{i}"
        row.append("train" if i % 3 else "val")
    for path in table.parent.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    write(table, [[*rows[0], "split"], *rows[1:]])
    with pytest.raises(UserError, match="4 patients, by the PatientID of their files, are in two"):
        load(kind, table.parent, tmp_path / "cache")


def test_blocks_of_a_table_are_subjects_too(tmp_path, cache_dir):
    table, rows = make("image_folder", tmp_path / "set")
    write(table, [row[:2] for row in rows])
    found = load("image_folder", table.parent, cache_dir, subject_block=3)
    assert found.info.subjects == "files in blocks of 3, 4"
    assert subjects_of(found) == {f"{c}/{k:04d}" for c in "ab" for k in (0, 1)}


@pytest.mark.parametrize("kind", OPTIONS)
def test_bad_and_missing_files_are_left_out_on_request(kind, tmp_path):
    """The first of the table among them."""
    table, rows = make(kind, tmp_path / "set")
    first = table.parent / rows[1][0]
    if kind == "sequence_folder":
        (first / "0.png").write_bytes(b"broken")
    else:
        first.write_bytes(b"broken")
    rows[3][0] = "nowhere"
    write(table, [row[:-1] for row in rows])
    with pytest.raises(UserError):
        load(kind, table.parent, tmp_path / "cache")
    gone = table.parent / ("c2" if kind == "sequence_folder" else "2.png")
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    found = load(kind, table.parent, tmp_path / "cache", skip_bad=True)
    assert sum(map(len, found.splits.values())) == 10
    assert any("1 row of" in note and "nowhere" in note for note in found.notes)
    assert any("1 file left out that cannot be read" in note for note in found.notes)


def test_pages_are_sequences_and_not_frames(tmp_path):
    root = tmp_path / "set"
    (root / "data").mkdir(parents=True)
    rows = [["case", "name", "index"]]
    for i in range(6):
        pages = [Image.fromarray(np.full((9, 9), 10 * i + t, np.uint8)) for t in range(3)]
        pages[0].save(root / "data" / f"c{i}.tif", save_all=True, append_images=pages[1:])
        rows.append([f"data/c{i}", "ED", 1])
    write(root / "frames.csv", rows)
    found = load("sequence_folder", root, tmp_path / "cache")
    assert sum(map(len, found.splits.values())) == 6
    write(root / "frames.csv", rows[:-1])
    with pytest.raises(UserError, match=r"c5\.tif: no row of frames\.csv names a frame of it"):
        load("sequence_folder", root, tmp_path / "cache")


def test_files_with_axes_in_two_orders_are_refused(tmp_path, cache_dir):
    for i in range(4):
        picture(tmp_path / "set" / "a" / f"{i}.png", i)
        (tmp_path / "set" / "b").mkdir(exist_ok=True)
        nibabel.save(
            nibabel.Nifti1Image(np.zeros((16, 12), np.float32), np.eye(4)),
            tmp_path / "set" / "b" / f"{i}.nii",
        )
    with pytest.raises(
        UserError,
        match=r"0\.nii: its axes are stored as x, y, those of .*0\.png "
        r"as y, x; convert them to one kind of file",
    ):
        load("image_folder", tmp_path / "set", cache_dir)


def test_an_empty_class_folder_of_a_held_back_split_is_a_note(tmp_path, cache_dir):
    for split in ("train", "test"):
        for label in "ab":
            for i in range(4):
                picture(tmp_path / "set" / split / label / f"{i}.png", i)
    shutil.rmtree(tmp_path / "set" / "test" / "b")
    (tmp_path / "set" / "test" / "b").mkdir()
    found = load("image_folder", tmp_path / "set", cache_dir)
    assert any("no example of b in the split test" in note for note in found.notes)


def test_names_with_odd_blanks_and_suffixes_in_capitals(tmp_path, cache_dir):
    rows = [["path", "label"]]
    for i in range(8):
        name = f"Shot  {i}\u202fPM"
        picture(tmp_path / "set" / f"{name}.png", i)
        (tmp_path / "set" / f"{name}.png").rename(tmp_path / "set" / f"{name}.PNG")
        rows.append([name, "ab"[i % 2]])
    write(tmp_path / "set" / "metadata.csv", rows)
    assert sum(map(len, load("image_folder", tmp_path / "set", cache_dir).splits.values())) == 8
