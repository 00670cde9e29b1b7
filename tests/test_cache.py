"""`medjax cache` lists and empties what is kept."""

import pytest

from medjax import lock
from medjax.errors import UserError
from medjax.tools import cache


@pytest.fixture
def kept(tmp_path):
    """Two sets, one of them in two forms, and a compiled program."""
    for name, mark, size in (("a", "0" * 12, 10), ("a", "1" * 12, 20), ("b", "2" * 12, 3000)):
        folder = tmp_path / "datasets" / name / mark / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(b"0" * size)
        (folder.parent / ".lock").touch()
    (tmp_path / "compilation").mkdir()
    (tmp_path / "compilation" / "jit-cache").write_bytes(b"0" * 7)
    (tmp_path / "key").write_bytes(b"secret")
    return tmp_path


def names(folder):
    return [entry.name for entry in cache.list_entries(folder)]


def test_it_lists_sets_and_programs_with_their_sizes(kept, capsys):
    entries = {e.name: e for e in cache.list_entries(kept)}
    assert (entries["a"].number, entries["b"].number, entries["programs"].number) == (2, 1, 1)
    assert entries["programs"].size_bytes == 7
    assert entries["b"].size_bytes >= 3000
    cache.main(cache.Config(cache_dir=str(kept)))
    assert "programs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("a", ["b", "programs"]),
        ("sets", ["programs"]),
        ("programs", ["a", "b"]),
        ("all", []),
    ],
)
def test_it_removes_what_is_named_and_keeps_the_key(kept, what, left):
    cache.main(cache.Config(cache_dir=str(kept), empty=what))
    assert names(kept) == left
    assert (kept / "key").exists()


def test_a_set_that_is_being_prepared_stays(kept):
    with (
        lock.hold(kept / "datasets" / "b" / ("2" * 12) / ".lock", wait=False),
        pytest.raises(UserError, match="1 set being prepared just now"),
    ):
        cache.main(cache.Config(cache_dir=str(kept), empty="all"))
    assert names(kept) == ["b"]


def test_what_is_not_there_is_one_line(kept, tmp_path):
    with pytest.raises(UserError, match="unknown entry of the cache 'c'"):
        cache.main(cache.Config(cache_dir=str(kept), empty="c"))
    cache.main(cache.Config(cache_dir=str(tmp_path / "nothing")))


def test_what_is_not_of_medjax_stays(kept):
    others = [kept / "datasets" / "BraTS" / "patient1" / "t1.nii.gz", kept / "features" / "own.csv"]
    for path in others:
        path.parent.mkdir(parents=True)
        path.touch()
    cache.main(cache.Config(cache_dir=str(kept), empty="all"))
    assert all(path.exists() for path in others)
