"""Files of any name and content."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax import files


@given(st.lists(st.text(min_size=1, max_size=300), unique=True, max_size=8))
def test_every_case_has_a_name_of_its_own_that_a_file_may_have(cases):
    names = files.Names()
    made = [names.name_of(case) for case in cases]
    assert len({m.casefold() for m in made}) == len(cases)
    for name in made:
        assert 0 < len(f"{name}.mrk.json".encode()) < 255
        assert "/" not in name and "\0" not in name
        assert not name.startswith(".")
    assert [names.name_of(case) for case in cases] == made


def test_names_that_are_equal_once_cleaned():
    names = files.Names()
    made = [names.name_of(case) for case in ("a/b", "a_b", "x.nii", "x.nii.gz", "X.nii", "x")]
    assert (made[0], made[2]) == ("a_b", "x")
    assert len({m.casefold() for m in made}) == 6
    assert files.Names().name_of("\udcff.png").endswith(".png")


def test_a_case_that_is_called_as_another_will_be():
    first = files.Names()
    first.name_of("a_b.nii")
    taken = first.name_of("a_b.nii.gz")  # has a hash, as a_b is taken
    names = files.Names()
    made = [names.name_of(case) for case in (taken, "a_b.nii", "a_b.nii.gz")]
    assert len(set(made)) == 3


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=12),
        min_size=2,
        max_size=2,
    )
)
def test_texts_come_back_and_no_spreadsheet_runs_them(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("t") / "t.csv"
    files.write_table(path, ["a", "b"], [cells])
    assert files.read_records(path) == [{"a": cells[0], "b": cells[1]}]
    import csv

    with path.open(newline="") as f:
        stored = list(csv.reader(f))[1]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in stored)


def test_numbers_keep_their_sign_and_what_is_undefined_is_empty(tmp_path):
    files.write_table(tmp_path / "t.csv", ["a", "b", "c"], [[-1.5, np.nan, -3]])
    assert (tmp_path / "t.csv").read_bytes() == b"a,b,c\r\n-1.5,,-3\r\n"


def test_no_link_is_followed(tmp_path):
    (tmp_path / "precious").write_text("keep")
    (tmp_path / "out.csv").symlink_to(tmp_path / "precious")
    (tmp_path / "out.csv.part").symlink_to(tmp_path / "precious")
    files.write_bytes(tmp_path / "out.csv", b"new")
    assert (tmp_path / "precious").read_text() == "keep"
    assert (tmp_path / "out.csv").read_bytes() == b"new"
    assert not (tmp_path / "out.csv").is_symlink()


def test_what_a_killed_process_left_is_no_hindrance(tmp_path):
    (tmp_path / "a.part").write_bytes(b"half")
    files.write_bytes(tmp_path / "a", b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write_bytes(tmp_path / "a", b"whole")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write_bytes(tmp_path / "no" / "a", b"")
