"""Tables that name images: every row means one file, and no two rows disagree."""

import pytest

from medjax.data import table
from medjax.data.options import DataOptions
from medjax.errors import UserError


def rows_of(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return table.read_rows(tmp_path / "t.csv")


def test_cells_are_trimmed_and_know_their_line(tmp_path):
    rows = rows_of(tmp_path, '\ufeffname, label ,\n a.png ,"two\nlines",\n\n,,\nb  c.png,x,\n')
    assert rows == [{"name": "a.png", "label": "two\nlines"}, {"name": "b  c.png", "label": "x"}]
    assert table.tidy(rows[0]["label"]) == "two lines"
    assert [row.origin.split(", ")[1] for row in rows] == ["line 3", "line 6"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "a,b\n1,2,3\n",
            "line 2: has 3 fields where the header has 2; a text with a comma needs quot",
        ),
        ("a,b\n1,2\n3\n", "line 3: has 1 fields where the header has 2"),
        ("a,b,a\n1,2,3\n", "the column 'a' stands twice in its header"),
        ("a , b,a\n1,2,3\n", "the column 'a' stands twice"),
        ("a,b,A\n1,2,3\n", "the column 'a' stands twice"),
        ("a;b\n1;2\n", "its fields are separated by ';'; save it with commas"),
        ("a,b\n", "has no rows"),
        ("", "has no rows"),
        ('a,b\n"1,2\n', "not a CSV file"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        rows_of(tmp_path, text)


def test_usual_columns_have_any_case_and_marks(tmp_path):
    row = rows_of(tmp_path, "Image,SPLIT,Patient ID\na,train,7\n")[0]
    assert table.optional_column(tmp_path, row, wish="", usual=("split",)) == "SPLIT"
    assert table.usual_in(row, ("patient_id", "image")) == ["Patient ID", "Image"]
    assert table.optional_column(tmp_path, row, wish="", usual=("spacing_mm",)) == ""


def test_names_that_differ_by_case_only_are_refused():
    table.check_alike(["a", "b", "a"], what="classes")
    with pytest.raises(UserError, match="the landmarks Nasion and nasion differ by case only"):
        table.check_alike(["nasion", "b", "Nasion"], what="landmarks")
    assert table.tidy("caf\u00e9") == table.tidy("cafe\u0301")


def test_rows_of_one_image_must_agree(tmp_path):
    rows = rows_of(tmp_path, "image,split\na,train\na,\na,val\n")
    assert table.one_value(rows[:2], "split", what="a") == "train"
    assert table.one_value(rows[:2], "subject", what="a") == ""
    with pytest.raises(UserError, match=r"line 4: a has split 'val', but 'train' in .*line 2"):
        table.one_value(rows, "split", what="a")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "b.jpg", "c.nii.gz", "series/1.dcm"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"")
    (tmp_path / "in" / "other.png").symlink_to(tmp_path / "in" / "a.png")
    return table.FileIndex(
        tmp_path, DataOptions(path_folder="in"), what="image", suffixes=(".png", ".jpg", ".nii.gz")
    )


def test_a_name_is_found_with_and_without_its_suffix(files):
    assert files.find("a", origin="line 2").name == "a.png"
    assert files.find("a", origin="line 3").name == "a.png"
    assert files.find("c", origin="line 4").name == "c.nii.gz"
    assert files.find("b.jpg", origin="line 5").name == "b.jpg"
    assert files.find("series", origin="line 6").is_dir()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["a", "a.png"],
            "line 1: 'a.png' is the file that is called 'a' in line 0; give it one name",
        ),
        (["a", "other"], "line 1: 'other' is the file that is called 'a' in line 0"),
        (["b"], "line 0: 'b' may be b.png or b.jpg; give the name with its suffix"),
        (["d"], "line 0: no such image file: .*in/d"),
        (["../in/a"], "'../in/a' leaves the folder"),
        (["/etc/passwd"], "leaves the folder"),
    ],
)
def test_names_that_mean_no_single_file(files, names, words):
    with pytest.raises(UserError, match=words):
        for i, name in enumerate(names):
            files.find(name, origin=f"line {i}")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x"])
def test_numbers_that_have_to_be_positive(text):
    with pytest.raises(UserError, match=r"line 3: '.*' is no positive number of millimetres"):
        table.positive(text, what="millimetres", origin="line 3")
    assert table.positive("", what="", origin="") is None
    assert table.positive("0.5", what="", origin="") == 0.5
