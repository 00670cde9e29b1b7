"""Which files are found below a folder, in what order, and what is counted of the others."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data import walk
from medjax.errors import UserError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def is_png(path):
    return path.suffix == ".png"


def names_of(root, found):
    return [p.relative_to(root).as_posix() for p in found.files]


def test_numbers_sort_as_numbers(tmp_path):
    touch(
        tmp_path,
        *(f"{k}.png" for k in (10, 1, 2, 12)),
        "a/9.png",
        "a/10.png",
        "b2/x.png",
        "b10/x.png",
    )
    assert names_of(tmp_path, walk.find(tmp_path, is_png)) == [
        "a/9.png",
        "a/10.png",
        "b2/x.png",
        "b10/x.png",
        "1.png",
        "2.png",
        "10.png",
        "12.png",
    ]


@given(st.lists(st.integers(0, 10**12), unique=True), st.text("ab-_ .", max_size=4))
def test_the_order_of_names_is_that_of_their_numbers(numbers, before):
    assert sorted((f"{before}{n}x" for n in numbers), key=walk.natural) == [
        f"{before}{n}x" for n in sorted(numbers)
    ]


def test_hidden_files_are_left_out_at_every_depth_and_others_counted(tmp_path):
    touch(
        tmp_path,
        "a.png",
        "._a.png",
        ".DS_Store",
        "__MACOSX/b.png",
        "x/.ipynb_checkpoints/c.png",
        "x/y/.hidden/d.png",
        "x/y/e.png",
        "x/notes.TXT",
        "x/readme",
        "f.txt",
    )
    found = walk.find(tmp_path, is_png)
    assert names_of(tmp_path, found) == ["a.png", "x/y/e.png"]
    assert dict(found.left_out) == {".txt": 2, "without suffix": 1}
    assert walk.note_left_out(found.left_out) == [
        "3 files of other kinds left out (2 .txt, 1 without suffix)"
    ]
    assert walk.note_left_out(walk.find(tmp_path / "x" / "y", is_png).left_out) == []


def test_links_to_folders_are_followed_at_every_depth_but_not_in_circles(tmp_path):
    touch(tmp_path, "elsewhere/deep/a.png")
    (tmp_path / "set" / "inner").mkdir(parents=True)
    (tmp_path / "set" / "inner" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "round").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "nowhere.png").symlink_to(tmp_path / "gone")
    found = walk.find(tmp_path / "set", is_png)
    assert names_of(tmp_path / "set", found) == ["inner/linked/deep/a.png"]
    assert dict(found.left_out) == {"broken link": 1}


def test_two_names_of_one_file_are_refused(tmp_path):
    touch(tmp_path, "a/x.png", "b/y.png")
    (tmp_path / "b" / "z.png").symlink_to(tmp_path / "a" / "x.png")
    with pytest.raises(UserError, match=r"b/z\.png: is the same file as .*a/x\.png"):
        walk.check_single(walk.find(tmp_path, is_png).files)


def test_two_names_of_one_folder_are_refused_before_they_multiply(tmp_path):
    for here, there in (("a", "b"), ("b", "a")):
        touch(tmp_path, f"{here}/x.png")
        for i in range(3):
            (tmp_path / here / f"l{i}").symlink_to(tmp_path / there)
    with pytest.raises(UserError, match=r"is the same folder as .*; remove one of the two"):
        walk.find(tmp_path, is_png)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_told(tmp_path):
    touch(tmp_path, "a/x.png")
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(UserError, match="a: Permission denied; allow it to be read"):
            walk.find(tmp_path, is_png)
    finally:
        (tmp_path / "a").chmod(0o700)


def test_a_folder_whose_name_is_not_utf8_is_told(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).mkdir()
    with pytest.raises(UserError, match=r"'caf\\udce9' in it has a name that is not UTF-8; rename"):
        walk.find(tmp_path, is_png)


def test_a_name_that_is_not_utf8_is_counted(tmp_path):
    touch(tmp_path, "a.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(b"")
    found = walk.find(tmp_path, is_png)
    assert names_of(tmp_path, found) == ["a.png"]
    assert sum(found.left_out.values()) == 1
