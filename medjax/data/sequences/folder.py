"""One's own sequences."""

import functools
from pathlib import Path
from typing import Any

from medjax.data import images, table
from medjax.data.info import DatasetInfo
from medjax.data.options import SequenceOptions
from medjax.data.sequences import files
from medjax.data.sequences.case import (
    Case,
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
    path = root / "frames.csv"
    rows = table.read_rows(path)
    key = table.column(path, rows[0], wish=options.path_column, usual=("case", "path", "file"),
                       what="sequences", flag="--path_column")
    for needed in ("name", "index"):
        if needed not in rows[0]:
            raise UserError(f"{path}: no column {needed!r}; it has {', '.join(rows[0])}")
    entries: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for line, row in enumerate(rows, start=2):
        entries.setdefault(row[key], []).append((f"{path}, line {line}", row))
    cases = [case for name, entry in entries.items()
             for case in _cases(root, options, name, entry)]
    for case in cases:  # a wrong index is more to the point than what follows
        check(case)
    unnamed = sorted(_sequences(root, options) - {c.metadata["file"] for c in cases})
    if unnamed:
        raise UserError(f"{root / unnamed[0]}: no row of {path.name} names a frame of it; add one, "
                        "or move it away")
    names = tuple(dict.fromkeys(n for case in cases for n in case.marks))
    return SequenceSet(DatasetInfo(root.resolve().name, frames=names, cyclic=options.cyclic), cases)


def _sequences(root: Path, options: SequenceOptions) -> set[str]:
    """The files below `root` that could be sequences."""
    return {p.relative_to(root).as_posix() for p in (root / options.path_folder).rglob("*")
            if p.is_file() and images.suffix(p) in files.SUFFIXES
            and images.suffix(p) not in images.PICTURES}


def _cases(root: Path, options: SequenceOptions, name: str, entry: list) -> list[Case]:
    origin, first = entry[0]
    file = table.find_file(root, options, name, suffixes=files.SUFFIXES, what="sequence",
                           origin=origin)
    frames, planes = files.count(file)
    marks: dict[int, dict[str, list[int]]] = {}
    for where, row in entry:
        one = row.get("slice")
        chosen = [whole_number(one, origin=where)] if one else range(planes)
        for z in chosen:
            if not 0 <= z < planes:
                raise UserError(f"{where}: slice {z}, but {file} has the slices 0 to {planes - 1}")
            marks.setdefault(z, {}).setdefault(row["name"], []).append(
                whole_number(row["index"], origin=where))
    common: dict[str, Any] = {
        "length": frames, "origin": origin, "metadata": {"file": file.relative_to(root).as_posix()},
        "subject": first.get(options.subject_column) or first.get("subject_id") or name,
        "split": table.split_of(first, options.split_column, origin=origin),
        "frame_ms": milliseconds(first.get("frame_ms"), origin=origin)}
    return [Case(functools.partial(files.read, file, plane=z),
                 case_id=f"{name}:{z}" if planes > 1 else name, marks=found, **common)
            for z, found in sorted(marks.items())]
