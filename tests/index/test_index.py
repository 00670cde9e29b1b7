"""`medjax index` through its real flags, and the same from Python."""

import shutil

import numpy as np
import pytest
from PIL import Image

import medjax
from medjax import app
from medjax.data import subjects
from medjax.errors import ExitError, UserError
from medjax.index import listing, parse_conditions
from medjax.index.sqlite_store import FILE
from medjax.tools import index as tool


def run_here(*words, **flags):
    given = [f"--{k}={v}" for k, v in flags.items()]
    tool.main(app.parse(tool.Config, ["index", *map(str, words), *given], "index"))


@pytest.fixture
def made(network, pictures, tmp_path, cache_dir):
    """An index of the eight pictures."""
    folder = tmp_path / "my_index"
    run_here("make", network.workdir, folder, pictures, cache_dir=cache_dir)
    return folder


def write_picture(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def test_an_index_grows_and_answers(made, pictures, tmp_path, cache_dir, capsys):
    query = tmp_path / "query.png"
    write_picture(query, 9)
    run_here("add", made, pictures, cache_dir=cache_dir)
    assert "0 cases added, 8 there already, 8 now" in capsys.readouterr().out
    write_picture(pictures / "extra.png", 4)
    with (pictures / "metadata.csv").open("a") as table:
        table.write("\nextra.png,z,F,70")
    run_here("add", made, pictures, cache_dir=cache_dir)
    out = capsys.readouterr().out
    assert "1 case added, 8 there already, 9 now" in out
    assert "1 image of 9 without age" in out
    page = tmp_path / "similar.html"
    run_here("search", made, query, html=page, k=3, cache_dir=cache_dir)
    out = capsys.readouterr().out
    assert out.count("case_") + out.count("extra.png") >= 3
    assert page.read_text().count("data:image/png") == 4
    run_here("show", made, cache_dir=cache_dir)
    assert "9 cases" in capsys.readouterr().out
    run_here("verify", made, cache_dir=cache_dir)
    assert "whole; 9 cases" in capsys.readouterr().out


def test_python_finds_the_same_as_the_network_says(made, network, pictures):
    index = medjax.open_index(made)
    assert len(index) == 8
    assert "8 cases" in repr(index)
    model = index.model
    bits = {p.name: model.predict(p).vector > 0.5 for p in sorted(pictures.glob("*.png"))}
    query = bits.pop("case_0.png")
    found = index.search(pictures / "case_0.png", k=7)
    assert len(found) == 7  # the picture itself is passed over
    assert [c.distance for c in found] == sorted((query != b).sum() for b in bits.values())
    assert all(c.distance == (query != bits[c.case_id]).sum() for c in found)
    array = np.asarray(Image.open(pictures / "case_0.png"))
    assert index.search(array, k=1)[0].case_id == "case_0.png"
    assert found[0].facts.keys() <= {"sex", "age"}
    assert index.read_picture(found[0].number).startswith(b"\x89PNG")


def test_other_cases_of_the_subject_are_passed_over(made, pictures):
    index = medjax.open_index(made)
    found = index.search(pictures / "case_0.png", k=8, subject_id="a")
    assert sorted(c.case_id for c in found) == [f"case_{i}.png" for i in range(2, 8)]
    found = index.search(pictures / "case_0.png", k=8, where=parse_conditions(["sex=F", "age>=43"]))
    assert sorted(c.case_id for c in found) == ["case_4.png", "case_6.png"]


def test_the_patient_of_a_dicom_file_is_passed_over_by_either_name(made, pictures, monkeypatch):
    """A table may name patients as they are, and a header is read as it is."""
    monkeypatch.setattr(subjects, "patient_of", lambda path: "a")
    with medjax.open_index(made) as index:
        found = index.search(pictures / "case_0.png", k=8)
    assert found and "a" not in {case.subject_id for case in found}


def test_patients_of_a_table_are_pseudonyms_and_found_by_their_names(
    network, pictures, tmp_path, cache_dir
):
    text = (pictures / "metadata.csv").read_text().replace("subject_id", "PatientID")
    for letter, number in zip("abcd", "1234", strict=True):
        text = text.replace(f",{letter},", f",77{number},")
    (pictures / "metadata.csv").write_text(text)
    run_here("make", network.workdir, tmp_path / "i", pictures, cache_dir=cache_dir)
    index = medjax.open_index(tmp_path / "i")
    found = index.search(pictures / "case_0.png", k=8, subject_id="771")
    assert sorted(c.case_id for c in found) == [f"case_{i}.png" for i in range(2, 8)]
    assert not {"772", "773", "774"} & {v for c in found for v in (c.subject_id, *c.facts.values())}


def test_metadata_that_some_lack_are_counted(made, pictures, cache_dir, capsys):
    run_here("search", made, pictures / "case_0.png", where="age>=43", cache_dir=cache_dir)
    out = capsys.readouterr().out
    assert "1 case without age passed over" in out
    assert "1 case with the same file passed over" in out


def test_without_a_table_the_folder_is_the_label(network, tmp_path, cache_dir, capsys):
    for name in ("normal", "ill"):
        (tmp_path / "in" / name).mkdir(parents=True)
        write_picture(tmp_path / "in" / name / "x.png", len(name))
    run_here("make", network.workdir, tmp_path / "i", tmp_path / "in", cache_dir=cache_dir)
    index = medjax.open_index(tmp_path / "i")
    assert index.count_facts() == {"label": {"normal": 1, "ill": 1}}


def test_one_bad_image_does_not_stop_the_rest(network, pictures, tmp_path, cache_dir, capsys):
    (pictures / "case_3.png").write_bytes(b"no picture")
    Image.new("RGB", (12, 12), (200, 10, 10)).save(pictures / "case_4.png")
    with pytest.raises(ExitError):
        run_here("make", network.workdir, tmp_path / "i", pictures, cache_dir=cache_dir)
    out, err = capsys.readouterr()
    assert "6 cases added" in out
    assert "case_3.png" in err
    assert "case_4.png" in err
    assert "--channels=gray" in err


def test_a_file_that_goes_away_meanwhile_costs_no_other(made, pictures, monkeypatch):
    for name in ("x.png", "y.png"):
        write_picture(pictures / name, len(name))
    (pictures / "metadata.csv").unlink()
    picture_file = listing.picture_file

    def read(path, *given, **more):
        if path.name == "x.png":
            path.unlink()
        return picture_file(path, *given, **more)

    monkeypatch.setattr(listing, "picture_file", read)
    count = medjax.open_index(made).add(pictures)
    assert count.added == 1 and [name for name, _ in count.bad] == ["x.png"]


def test_a_file_that_has_changed_stays_as_it_was(made, pictures, cache_dir, capsys):
    write_picture(pictures / "case_2.png", 99)
    with pytest.raises(ExitError):
        run_here("add", made, pictures, cache_dir=cache_dir)
    assert "case_2.png: is in the index with other contents" in capsys.readouterr().err
    assert medjax.open_index(made).verify()


def test_a_network_that_gives_no_vectors(classifier, tmp_path, cache_dir):
    with pytest.raises(UserError, match=r"medjax classify.*gives no vectors"):
        run_here("make", classifier.workdir, tmp_path / "i", cache_dir=cache_dir)
    assert not (tmp_path / "i").exists()


def test_an_index_of_another_network(made, network, cache_dir):
    index = medjax.open_index(made, network_sha256="")
    right = index.settings.network_sha256
    medjax.open_index(made, network_sha256=right.upper())
    with pytest.raises(UserError, match="cannot be compared"):
        medjax.open_index(made, network_sha256="0" * 64)
    run_here("show", made, network_sha256=right, cache_dir=cache_dir)
    store = index._store
    store.run("UPDATE about SET content = %s WHERE name = 'network'", [b"PK junk"])
    with pytest.raises(UserError, match="network"):
        medjax.open_index(made)


def test_a_query_of_another_kind(made, tmp_path, cache_dir):
    with pytest.raises(UserError, match="an image of 1 channel"):
        medjax.open_index(made).search(np.zeros((4, 4, 4, 1), np.uint8))
    with pytest.raises(UserError, match="no such file"):
        run_here("search", made, tmp_path / "absent.png", cache_dir=cache_dir)
    with pytest.raises(UserError, match="k=0"):
        medjax.open_index(made).search(np.zeros((12, 12), np.uint8), k=0)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "unknown verb"),
        (("find",), "unknown verb"),
        (("add", "a"), "takes INDEX IMAGES, got 1"),
        (("search", "absent"), "takes INDEX IMAGE"),
        (("show", "absent"), "no index of medjax"),
        (("make", "absent", "i"), "no such folder or file"),
    ],
)
def test_words_that_make_no_command(words, complaint, tmp_path, cache_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=complaint):
        run_here(*words, cache_dir=cache_dir)


def test_nothing_is_written_over(made, network, pictures, tmp_path, cache_dir):
    with pytest.raises(UserError, match="is there already"):
        run_here("make", network.workdir, made, cache_dir=cache_dir)
    (tmp_path / "fresh.part").mkdir()
    (tmp_path / "fresh.part" / FILE).write_bytes(b"of a process that was killed")
    run_here("make", network.workdir, tmp_path / "fresh", cache_dir=cache_dir)
    assert not (tmp_path / "fresh.part").exists()


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("path,sex\ncase_0.png,F\nabsent.png,M", "line 3: no such image file"),
        ("path,sex\n../secret.png,F", "line 2"),
        ('path,"a""b"\ncase_0.png,1', "quotation mark"),
        ("name,sex\ncase_0.png,F", "no column of file names"),
        ("path,sex\ncase_0.png,F\ncase_0.png,M", "line 3: case_0.png is named twice"),
    ],
)
def test_tables_that_do_not_fit(made, pictures, tmp_path, cache_dir, table, complaint):
    (tmp_path / "own.csv").write_text(table)
    with pytest.raises(UserError, match=complaint):
        run_here("add", made, pictures, table=tmp_path / "own.csv", cache_dir=cache_dir)


def test_flags_of_a_table_that_is_not_there(made, network, pictures, cache_dir):
    (pictures / "metadata.csv").unlink()
    with pytest.raises(UserError, match="`subject_column`"):
        run_here("add", made, pictures, subject_column="patient", cache_dir=cache_dir)


def test_an_index_can_be_moved(made, pictures, tmp_path):
    shutil.move(made, tmp_path / "elsewhere")
    found = medjax.open_index(tmp_path / "elsewhere").search(pictures / "case_1.png", k=2)
    assert len(found) == 2
