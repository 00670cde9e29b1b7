"""Who is a subject, and what others see of it."""

import os
import stat

import numpy as np
import pytest

from medjax.data import source, subjects, table
from medjax.data.options import DataOptions
from medjax.errors import UserError
from tests.data.test_dicom import saved as dicom


def rows_of(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    return table.read_rows(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "name", ["subject", "Subject_ID", "PATIENT", "patient_id", "PatientID", "participant-id"]
)
def test_usual_names_of_the_column(tmp_path, name):
    rows = rows_of(tmp_path, f"image,{name},age\na,p1,3\n")
    assert subjects.column_of(tmp_path, rows[0], wish="", rows=rows) == name
    assert subjects.column_of(tmp_path, rows[0], wish="age", rows=rows) == "age"
    with pytest.raises(UserError, match="unknown column"):
        subjects.column_of(tmp_path, rows[0], wish="pateint", rows=rows)


def test_two_columns_that_group_otherwise_are_refused(tmp_path):
    same = rows_of(tmp_path, "image,subject,patient\na,s1,7\nb,s1,7\nc,s2,8\n")
    assert subjects.column_of(tmp_path, same[0], wish="", rows=same) == "subject"
    differ = rows_of(tmp_path, "image,subject,patient\na,s1,7\nb,s2,7\n")
    with pytest.raises(UserError, match="both subject and patient may name the subjects"):
        subjects.column_of(tmp_path, differ[0], wish="", rows=differ)
    assert subjects.column_of(tmp_path, differ[0], wish="patient", rows=differ) == "patient"


def resolve(names, paths=(None,) * 3, **changes):
    return subjects.resolve(names, paths, own=["a", "b", "c"], origins=["A", "B", "C"], **changes)


def test_without_a_word_each_image_is_its_own_and_that_is_said():
    found = resolve(["", "", ""])
    assert (found.ids, found.known_by, found.notes) == (["a", "b", "c"], "", [subjects.UNKNOWN])
    known = resolve(["p", "p", "q"], column="column patient of t.csv")
    assert (known.known_by, known.notes) == ("column patient of t.csv, 2", [])
    with pytest.raises(UserError, match="B: has no subject where others have one"):
        resolve(["p", "", "q"], column="column patient")
    with pytest.raises(UserError, match="the subjects P and p differ by case only"):
        resolve(["p", "P", "q"], column="column patient")
    with pytest.raises(UserError, match="two PatientIDs differ by upper and lower case only") as e:
        resolve(["kim", "Kim", "lee"], column="column PatientID of t.csv")
    assert "Kim" not in str(e.value)


def test_patients_of_dicom_are_subjects_under_another_name(tmp_path):
    paths = [
        dicom(tmp_path / f"{i}.dcm", np.zeros((2, 2), np.uint8), PatientID=who)
        for i, who in enumerate(("Kim", "Kim", "Lee"))
    ]
    hidden = resolve(["", "", ""], paths, secret=lambda: b"key")
    assert hidden.ids == ["Kim", "Kim", "Lee"]
    assert hidden.shown[0] == hidden.shown[1] != hidden.shown[2]
    assert not any(who in str(hidden.shown) + hidden.known_by for who in ("Kim", "Lee"))
    assert hidden.known_by == "PatientID of DICOM, 2"
    assert hidden.shown != resolve(["", "", ""], paths, secret=lambda: b"other").shown
    assert resolve(["", "", ""], paths).shown == ["Kim", "Kim", "Lee"]
    dicom(paths[1], np.zeros((2, 2), np.uint8))
    with pytest.raises(UserError, match="B: has no PatientID where others have one"):
        resolve(["", "", ""], paths)


def test_one_patient_for_all_tells_nothing_apart(tmp_path):
    paths = [
        dicom(tmp_path / f"{i}.dcm", np.zeros((2, 2), np.uint8), PatientID="anonymous")
        for i in range(3)
    ]
    found = resolve(["", "", ""], paths)
    assert found.ids == ["a", "b", "c"]
    assert "all 3 images have one PatientID" in found.notes[0]


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    first = subjects.read_key(tmp_path / "cache")
    assert first == subjects.read_key(tmp_path / "cache")
    assert len(first) == 32
    assert os.listdir(tmp_path / "cache") == [subjects.KEY_NAME]
    mode = stat.S_IMODE((tmp_path / "cache" / subjects.KEY_NAME).stat().st_mode)
    assert mode == 0o600


@pytest.fixture
def patients(tmp_path):
    """Two classes of 12 files; patient i has one file in each."""
    for i in range(12):
        for level, label in enumerate(("a", "b")):
            (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 99, (6, 6)).astype(np.uint8) + level
            dicom(tmp_path / "set" / label / f"{i}", pixels, PatientID=f"Miller{i}")
    return tmp_path / "set"


def test_a_patient_is_in_one_split_and_named_nowhere(patients, tmp_path):
    """The files have no suffix: DICOM is known by its content."""
    found = source.load(
        "image_folder", options=DataOptions(data_dir=str(patients)), cache_dir=tmp_path / "cache"
    )
    assert sum(map(len, found.splits.values())) == 24
    assert found.info.subjects == "PatientID of DICOM, 12"
    seen = [set(s.subject_id) for s in found.splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 12
    assert "Miller" not in str([s.subject_id for s in found.splits.values()])
    assert not any(
        b"Miller" in p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file()
    )


def test_those_who_may_see_the_names(patients, tmp_path):
    found = source.load(
        "image_folder",
        cache_dir=tmp_path / "cache",
        options=DataOptions(data_dir=str(patients), plain_ids=True),
    )
    assert {f"Miller{i}" for i in range(12)} == {
        who for s in found.splits.values() for who in s.subject_id
    }


def test_a_table_that_tears_a_patient_apart_names_two_files(patients, tmp_path):
    lines = ["path,label,subject,split"]
    for i in range(12):
        lines += [f"{c}/{i},{c},{c}{i},{'train' if c == 'a' or i % 2 else 'val'}" for c in "ab"]
    (patients / "metadata.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(
        UserError,
        match=r"6 patients, by the PatientID of their files, are in two"
        r" splits .*line 2 in train, .*line 3 in validation",
    ):
        source.load(
            "image_folder",
            cache_dir=tmp_path / "cache",
            options=DataOptions(data_dir=str(patients)),
        )


@pytest.mark.parametrize("name", ["PatientID", "Patient ID", "patient_id"])
def test_patient_ids_of_a_table_are_hidden_wherever_they_stand(tmp_path, name):
    from PIL import Image

    lines = [f"path,label,{name}"]
    (tmp_path / "set").mkdir()
    for i in range(8):
        Image.fromarray(np.full((4, 4), 9 * i, np.uint8)).save(tmp_path / "set" / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},Miller{i}")
    (tmp_path / "set" / "metadata.csv").write_text("\n".join(lines) + "\n")
    found = source.load(
        "image_folder",
        cache_dir=tmp_path / "cache",
        options=DataOptions(data_dir=str(tmp_path / "set"), metadata_columns=(name,)),
    )
    for split in found.splits.values():
        assert "Miller" not in str(split.subject_id) + str(split.metadata)
        assert [m[name] for m in split.metadata] == split.subject_id


def test_examinations_are_subjects_where_no_patient_is_named(tmp_path):
    paths = [
        dicom(tmp_path / f"{i}.dcm", np.zeros((2, 2), np.uint8), StudyInstanceUID=f"1.2.{uid}")
        for i, uid in enumerate((3, 3, 4))
    ]
    found = resolve(["", "", ""], paths)
    assert found.ids == ["1.2.3", "1.2.3", "1.2.4"]
    assert found.known_by == "StudyInstanceUID of DICOM, 2"
