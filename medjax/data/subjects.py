"""Who is a subject: by a column of a table, by the headers of DICOM files, or not known.

Splits, intervals and tests are by subject. Where nothing says who one is, each image counts as one,
and that is told. The name of a patient in a DICOM header never leaves the machine: predictions,
reports and logs have a short keyed hash of it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax.data import dicom, images, table, walk
from medjax.errors import UserError

USUAL = (
    "subject",
    "subject_id",
    "patient",
    "patient_id",
    "PatientID",
    "participant",
    "participant_id",
)
UNKNOWN = "each image counts as its own subject; intervals are over images"
KEY_NAME = "subject.key"
Secret = Callable[[], bytes]  # the key is made only if there is a name to hide


class Subjects(NamedTuple):
    """The subject of each image.

    Attributes:
      ids: by which splits are drawn; `shown`: the same, as others may see them.
      known_by: how they are known; empty: each image is its own.
      notes: what is worth knowing about it.
    """

    ids: list[str]
    shown: list[str]
    known_by: str
    notes: list[str]


def column_of(
    path: Path, row: Mapping[str, str], *, wish: str, rows: Sequence[table.TableRow] = ()
) -> str:
    """The column of the subjects: the one wished for, or one with a usual name; else empty.

    Raises:
      UserError: if the wish is absent, or two usual columns group the rows differently.
    """
    chosen = table.optional_column(path, row, wish=wish, usual=USUAL)
    for other in table.usual_in(row, USUAL) if not wish else ():
        if _groups(rows, other) != _groups(rows, chosen):
            raise UserError(
                f"{path}: both {chosen} and {other} may name the subjects, and they "
                "differ; choose with `subject_column`"
            )
    return chosen


def _groups(rows: Sequence[table.TableRow], name: str) -> list[int]:
    first: dict[str, int] = {}
    return [first.setdefault(row[name], i) for i, row in enumerate(rows)]


def resolve(
    names: Sequence[str],
    paths: Sequence[Path | None],
    *,
    column: str = "",
    own: Sequence[str],
    origins: Sequence[str],
    otherwise: str = "",
    secret: Secret | None = None,
) -> Subjects:
    """The subject of every image.

    Args:
      names: what a table or layout says of each; empty where it says nothing.
      paths: the files, None for images that are made.
      column: where `names` come from, for messages.
      own: what each image counts as where nothing is known; `otherwise` says what that is, empty
        if it is the image itself.
      origins: where each image stands, for messages.
      secret: hides the names of patients; None shows them.

    Raises:
      UserError: if some are known and others not.
    """
    if any(names):
        _check_complete(names, origins, "has no subject where others have one")
        hidden = _is_patient_id(column.removeprefix("column ").split(" of ")[0])
        _check_case(names, hidden=hidden)
        shown = _hidden(names, secret if hidden else None)
        return Subjects(list(names), shown, f"{column}, {len(set(names))}", [])
    headers = [_header_of(path) for path in paths]
    patients, studies = [patient for patient, _ in headers], [study for _, study in headers]
    if len(set(patients)) > 1:
        _check_complete(patients, origins, "has no PatientID where others have one")
        _check_case(patients, hidden=True)
        return Subjects(
            patients, _hidden(patients, secret), f"PatientID of DICOM, {len(set(patients))}", []
        )
    same = (
        [f"all {len(own)} images have one PatientID, which tells no subjects apart"]
        if any(patients) and len(own) > 1
        else []
    )
    if 1 < len(set(studies)) < len(studies) and all(studies):  # slices of series
        known = f"StudyInstanceUID of DICOM, {len(set(studies))}"
        return Subjects(studies, _hidden(studies, secret), known, same)
    if otherwise:
        return Subjects(list(own), list(own), f"{otherwise}, {len(set(own))}", same)
    return Subjects(list(own), list(own), "", [*same, UNKNOWN])


def _check_case(names: Sequence[str], *, hidden: bool) -> None:
    """Raises UserError for subjects that may be one person; names them unless they are hidden."""
    try:
        table.check_alike(names, what="subjects")
    except UserError:
        if not hidden:
            raise
        raise UserError(
            "two PatientIDs differ by upper and lower case only: one person, or two? Give a column "
            "of subjects that says it"
        ) from None


def _is_patient_id(column: str) -> bool:
    return table.plain(column) == "patientid"


def hide(values: Mapping[str, str], secret: Secret | None) -> dict[str, str]:
    """Values by column, those of PatientIDs as pseudonyms; as they are without a secret."""
    return {
        name: _hidden([value], secret)[0] if value and _is_patient_id(name) else value
        for name, value in values.items()
    }


def _hidden(names: Sequence[str], secret: Secret | None) -> list[str]:
    """Their pseudonyms; the names themselves without a secret."""
    if secret is None:
        return list(names)
    known = secret()
    return [pseudonym(name, secret=known) for name in names]


def of_cases(
    cases: Sequence[Any], *, known_by: str, layout: str, secret: Secret | None
) -> Subjects:
    """The subject of every case of a set.

    Args:
      cases: each has `subject`, `path`, `case_id` and `origin`; cases of one file are of one
        subject.
      known_by: the column that says it; empty where none does.
      layout: says how the layout of a published or generated set knows them; empty if it does not.
    """
    names = [case.subject for case in cases]
    if layout:
        return Subjects(names, names, layout, [])
    return resolve(
        names,
        [case.path for case in cases],
        column=known_by,
        own=[case.metadata.get("file", case.case_id) for case in cases],
        origins=[case.origin for case in cases],
        secret=secret,
    )


def patient_of(path: Path | None) -> str:
    """By the header of a DICOM file, or of the first of a series; empty of others."""
    return _header_of(path)[0]


def _header_of(path: Path | None) -> tuple[str, str]:
    """The patient and the examination."""
    if path is None:
        return "", ""
    if path.is_dir():
        path = next(iter(images.slices_in(path)), path)
    if not path.is_file() or not images.is_dicom(path):
        return "", ""
    with images.readable(path, what="image"):
        return dicom.patient_and_study(path)


def check_patients(
    cases: Sequence[Any], splits: Sequence[str], subjects: Subjects, *, wished: bool
) -> list[str]:
    """Looks whether patients, by DICOM headers, are in two splits, where a column has the subjects.

    Args:
      cases: each has a `path` and an `origin`.
      wished: the user chose the column, and is told; else it is an error.

    Raises:
      UserError: it names two files of the first such patient.
    """
    if not subjects.known_by.startswith("column"):
        return []
    first: dict[str, tuple[str, str]] = {}
    torn: dict[str, str] = {}
    for case, split in zip(cases, splits, strict=True):
        patient = patient_of(case.path)
        before, where = first.setdefault(patient, (split, case.origin))
        if patient and before != split:
            torn.setdefault(patient, f"{where} in {before}, {case.origin} in {split}")
    if not torn:
        return []
    line = (
        f"{len(torn)} patients, by the PatientID of their files, are in two splits though "
        f"their subjects ({subjects.known_by}) are not: {next(iter(torn.values()))}"
    )
    if not wished:
        raise UserError(f"{line}; give `subject_column` if the column is right")
    return [line]


def _check_complete(names: Sequence[str], origins: Sequence[str], what: str) -> None:
    missing = [where for name, where in zip(names, origins, strict=True) if not name]
    if missing:
        raise UserError(
            f"{walk.such_as(missing)}: {what}; name the subject of every image, or of none"
        )


def pseudonym(name: str, *, secret: bytes) -> str:
    """A short name that nobody without the key can lead back."""
    return f"p{hmac.new(secret, name.encode(), hashlib.sha256).hexdigest()[:10]}"


def read_key(folder: Path) -> bytes:
    """The key of this cache folder, made when it is first asked for; only its owner may read it."""
    path = folder / KEY_NAME
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"{KEY_NAME}.{secrets.token_hex(4)}"
        made.touch(mode=0o600)
        made.write_bytes(secrets.token_bytes(32))
        try:
            path.hardlink_to(made)  # the first of several processes wins
        except OSError:
            if not path.exists():
                made.replace(path)
        made.unlink(missing_ok=True)
    return path.read_bytes()
