"""One's own sequences."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax.data import images, subjects, table, walk
from medjax.data.info import DatasetInfo
from medjax.data.sequence_options import SequenceOptions
from medjax.data.sequences import files
from medjax.data.sequences.case import (
    SequenceCase,
    SequenceSet,
    check,
    milliseconds,
    whole_number,
)
from medjax.errors import UserError


def sequence_folder(options: SequenceOptions) -> SequenceSet:
    """One's own sequences: `frames.csv`, a row a named frame, with the columns `case, name, index`.

    A case is a file or a folder of pictures; further columns may give subject, split and the
    milliseconds a frame (`frame_ms`). The planes of a 4-D volume are cases of their own, and share
    the names of the row; a column `slice` names the frames of one.
    """
    root = table.root_of(options)
    path = table.path_of(options, "frames.csv")
    rows = table.read_rows(path)
    key = table.column(
        path,
        rows[0],
        wish=options.path_column,
        usual=("case", "path", "file"),
        what="sequences",
        option="path_column",
    )
    columns = _columns_of(path, rows, options)
    entries: dict[str, list[table.TableRow]] = {}
    for row in rows:
        if not row[columns.name]:
            raise UserError(f"{row.origin}: names no frame; fill the column name")
        if not row[key]:
            raise UserError(f"{row.origin}: names no sequence; fill the column {key}")
        entries.setdefault(row[key], []).append(row)
    cases, bad, notes = _read_entries(root, path, entries, columns, options)
    for case in cases:  # a wrong index is more to the point than what follows
        check(case)
    named = [case.path for case in cases if case.path]
    _check_named(root / options.path_folder, [*named, *bad], path)
    names = tuple(dict.fromkeys(n for case in cases for n in case.marks))
    table.check_alike(names, what="frames")
    info = DatasetInfo(root.resolve().name, frames=names, cyclic=options.cyclic)
    planes = {(c.path, files.planes(c.path)) for c in cases if c.path}
    lost = sum(count for _, count in planes) - len(cases)
    read = (*files.SUFFIXES, *images.PICTURES)
    below = walk.find(root, lambda p: images.suffix(p) in read or files.is_sequence(p))
    return SequenceSet(
        info,
        cases,
        known_by=f"column {columns.subject} of {path.name}" if columns.subject else "",
        notes=(
            *notes,
            *walk.note_unread(below),
            *[f"{walk.counted(lost, 'plane')} left out that no row of {path.name} names"]
            * bool(lost),
        ),
    )


def _read_entries(
    root: Path,
    path: Path,
    entries: Mapping[str, list[table.TableRow]],
    columns: "Columns",
    options: SequenceOptions,
) -> tuple[list[SequenceCase], list[Path], list[str]]:
    """The cases, files that cannot be read where they may be left out, and notes of them."""
    file_index = table.FileIndex(root, options, suffixes=files.SUFFIXES, what="sequence")
    cases, bad = [], dict[Path, str]()
    for name, entry in entries.items():
        file = file_index.find_if_there(name, origin=entry[0].origin)
        try:
            size = files.count(file, limit_bytes=options.limit_bytes) if file else None
        except UserError as e:
            if not options.skip_bad:
                raise
            bad[file] = str(e)  # type: ignore[index]
            continue
        if file and size:
            cases += _cases(
                root, name, entry, columns, file, size=size, limit_bytes=options.limit_bytes
            )
    notes = walk.note_of(bad.values(), "file", "left out that cannot be read", most=20)
    return cases, list(bad), [*file_index.notes(path), *notes]


def _check_named(base: Path, named: Sequence[Path], listed: Path) -> None:
    """Raises UserError for a sequence below `base` of which no frame is named."""
    known = {os.path.realpath(path) for path in named}
    pictures = (
        folder
        for folder, names in walk.folders(base)
        if folder != base
        and any(
            images.suffix(Path(name)) in images.PICTURES
            and os.path.realpath(folder / name) not in known
            for name in names
        )
    )
    for path in (*walk.find(base, files.is_sequence).files, *walk.in_order(pictures)):
        if os.path.realpath(path) not in known:
            raise UserError(
                f"{path}: no row of {listed.name} names a frame of it; add one, or move it away"
            )


class Columns(NamedTuple):
    """Which columns say what; empty where there is none.

    Attributes:
      name, place: of a frame, and its index; both are there.
      subject, split, frame_ms: of the sequence; plane: of a frame in a volume.
    """

    name: str
    place: str
    subject: str
    split: str
    plane: str
    frame_ms: str


def _columns_of(path: Path, rows: Sequence[table.TableRow], options: SequenceOptions) -> Columns:
    """Those of a table, whatever the case of their letters."""

    def usual(*names: str, wish: str = "") -> str:
        return table.optional_column(path, rows[0], wish=wish, usual=names)

    name, place = usual("name"), usual("index")
    for needed, there in (("name", name), ("index", place)):
        if not there:
            raise UserError(f"{path}: no column {needed!r}; it has {', '.join(rows[0])}")
    return Columns(
        name,
        place,
        subjects.column_of(path, rows[0], wish=options.subject_column, rows=rows),
        usual("split", wish=options.split_column),
        usual("slice"),
        usual("frame_ms"),
    )


def _cases(
    root: Path,
    name: str,
    entry: list[table.TableRow],
    columns: Columns,
    file: Path,
    *,
    size: tuple[int, int],
    limit_bytes: int,
) -> list[SequenceCase]:
    origin, (frames, planes) = entry[0].origin, size
    marks: dict[int, dict[str, list[int]]] = {}
    for row in entry:
        slice_text = row[columns.plane] if columns.plane else ""
        chosen = [whole_number(slice_text, origin=row.origin)] if slice_text else range(planes)
        for z in chosen:
            if not 0 <= z < planes:
                raise UserError(
                    f"{row.origin}: slice {z}, but {file} has the slices 0 to {planes - 1}"
                )
            marks.setdefault(z, {}).setdefault(table.tidy(row[columns.name]), []).append(
                whole_number(row[columns.place], origin=row.origin)
            )
    subject = table.one_value(entry, columns.subject, what=name)
    if columns.subject and table.is_missing(subject):
        raise UserError(f"{origin}: the subject is empty; name it, or leave the column out")
    split = table.one_value(entry, columns.split, what=name)
    common: dict[str, Any] = {
        "length": frames,
        "origin": origin,
        "metadata": {"file": file.relative_to(root).as_posix()},
        "subject": subject,
        "path": file,
        "split": table.split_of({"": split}, "", origin=origin),
        "frame_ms": milliseconds(
            table.one_value(entry, columns.frame_ms, what=name), origin=origin
        ),
    }
    return [
        SequenceCase(
            functools.partial(files.read, file, plane=z, limit_bytes=limit_bytes),
            case_id=f"{name}:{z}" if planes > 1 else name,
            marks=frame_of_name,
            **common,
        )
        for z, frame_of_name in sorted(marks.items())
    ]
