"""What tables say of images beside what is to be found in them: subject, split, size of a pixel."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax.data import images, landmark_table, subjects, table, walk
from medjax.data.options import BoxOptions, LandmarkOptions, MaskOptions
from medjax.errors import UserError

TableOptions = LandmarkOptions | MaskOptions | BoxOptions


class Facts(NamedTuple):
    """The columns of a table that say more of an image; empty where it has none."""

    subject: str
    split: str
    spacing: str


def columns_of(
    path: Path,
    rows: Sequence[table.TableRow],
    options: TableOptions,
    *,
    other: Mapping[str, str] | None = None,
) -> Facts:
    """Which columns those are.

    Args:
      other: a row of a second table, which may have what this one lacks.

    Raises:
      UserError: if a column that was wished for stands in neither.
    """
    row = rows[0]

    def elsewhere(wish: str) -> bool:
        return bool(wish) and wish not in row and wish in (other or {})

    subject, split, spacing = options.subject_column, options.split_column, options.spacing_column
    return Facts(
        "" if elsewhere(subject) else subjects.column_of(path, row, wish=subject, rows=rows),
        "" if elsewhere(split) else table.optional_column(path, row, wish=split, usual=("split",)),
        ""
        if elsewhere(spacing)
        else table.optional_column(path, row, wish=spacing, usual=("spacing_mm",)),
    )


def facts_of_rows(rows: Sequence[table.TableRow], columns: Facts, *, image: str) -> dict[str, Any]:
    """Subject, split and spacing, as the rows of an image have them, for `from_file`.

    Raises:
      UserError: if two rows say different things, or one has no subject where it should.
    """
    origin = rows[0].origin
    subject = table.one_value(rows, columns.subject, what=image)
    if columns.subject and table.is_missing(subject):
        raise UserError(f"{origin}: the subject is empty; name it, or leave the column out")
    return {
        "subject": subject,
        "split": table.split_of(
            {"": table.one_value(rows, columns.split, what=image)}, "", origin=origin
        ),
        "spacing_mm": table.positive(
            table.one_value(rows, columns.spacing, what=image), origin=origin, what="mm of a pixel"
        ),
    }


def join_facts(here: dict[str, Any], there: dict[str, Any], origin: str) -> dict[str, Any]:
    """What two tables say of an image; raises UserError if they contradict each other."""
    for name, value in there.items():
        if value and here[name] and value != here[name]:
            raise UserError(
                f"{origin}: {name} {here[name]!r} here, but {value!r} in metadata.csv; "
                "the tables must agree"
            )
    return {name: value or there.get(name) or value for name, value in here.items()}


class Metadata:
    """`metadata.csv`: what it says of images, each of which it names once."""

    def __init__(self, root: Path, options: TableOptions, other: Mapping[str, str] | None = None):
        """`other` is a row of a second table, which may have columns that this one lacks."""
        self._path = root / "metadata.csv"
        self._rows: dict[str, table.TableRow] = {}  # by real path
        self._lost: list[str] = []
        self.columns = Facts("", "", "")
        self.header: Mapping[str, str] = {}
        if not self._path.exists():
            return
        rows = table.read_rows(self._path)
        self.header = rows[0]
        self.columns = columns_of(self._path, rows, options, other=other)
        wish = options.path_column if options.path_column in rows[0] else ""
        key = landmark_table.image_column(self._path, rows[0], wish)
        files = table.FileIndex(root, options, suffixes=images.SUFFIXES, what="image")
        for row in rows:
            if not files.candidates(row[key], origin=row.origin):
                self._lost.append(row[key])
                continue
            real = os.path.realpath(files.find(row[key], origin=row.origin))
            first = self._rows.setdefault(real, row)
            if first is not row:
                raise UserError(f"{row.origin}: {row[key]} is named twice, first in {first.origin}")

    def describe_image(self, path: Path) -> dict[str, Any]:
        """What it says of the image at `path`, for `from_file`."""
        if not self._rows and not self._lost:
            return {"subject": "", "split": None, "spacing_mm": None}
        row = self._rows.get(os.path.realpath(path))
        if row is None and (self.columns.subject or self.columns.split):
            lost = f"; it names {walk.such_as(self._lost)}, which is no image" * bool(self._lost)
            raise UserError(
                f"{path}: no row of {self._path.name} names it, so its "
                f"{self.columns.subject or self.columns.split} is not known{lost}"
            )
        return facts_of_rows([row], self.columns, image=path.name) if row else {}

    def notes(self) -> list[str]:
        """Rows that match no image."""
        return walk.note_of(self._lost, "row", f"of {self._path.name} without an image")

    def known_by(self) -> str:
        """How it knows subjects; empty where it does not."""
        name = self.columns.subject
        return f"column {name} of {self._path.name}" if name else ""
